//! The scanner inside the gateway: the EICAR test file anywhere in a file, and a list of SHA-256 sums.
//! Reads a file once, 64 KiB at a time; about as fast as memory.

use std::collections::HashSet;

use futures_util::future::BoxFuture;
use memchr::memmem::Finder;

use super::scan::{FileToScan, ScanFailure, Scanned, Scanner};

/// The EICAR test string in two halves, so that this program is not taken for it.
const EICAR: [&str; 2] = [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STAN", "DARD-ANTIVIRUS-TEST-FILE!$H+H*"];

/// See the module.
pub struct Builtin {
    eicar: Finder<'static>,
    blocked: HashSet<[u8; 32]>,
}

impl Builtin {
    /// With the sums of files that must not pass.
    pub fn new(blocked: HashSet<[u8; 32]>) -> Self {
        Self { eicar: Finder::new(&EICAR.concat()).into_owned(), blocked }
    }

    async fn look(&self, file: FileToScan<'_>) -> Result<Scanned, ScanFailure> {
        if self.blocked.contains(&file.sha256) {
            return Ok(Scanned::Infected("Blocklist.SHA256".to_owned()));
        }
        let overlap = self.eicar.needle().len() - 1;
        let mut at = file.range.start;
        let mut seam: Vec<u8> = Vec::with_capacity(3 * overlap);
        while at < file.range.end {
            let bytes = file.body.read(at..file.range.end).await.map_err(ScanFailure::Unreadable)?;
            if bytes.is_empty() {
                return Err(ScanFailure::Unreadable(std::io::ErrorKind::UnexpectedEof.into()));
            }
            at += bytes.len() as u64;
            seam.extend_from_slice(&bytes[..bytes.len().min(overlap)]);
            if self.eicar.find(&seam).is_some() || self.eicar.find(&bytes).is_some() {
                return Ok(Scanned::Infected("Eicar-Test-Signature".to_owned()));
            }
            if bytes.len() >= overlap {
                seam.clear();
                seam.extend_from_slice(&bytes[bytes.len() - overlap..]);
            } else {
                seam.drain(..seam.len().saturating_sub(overlap));
            }
        }
        Ok(Scanned::Clean)
    }
}

impl Default for Builtin {
    fn default() -> Self {
        Self::new(HashSet::new())
    }
}

impl Scanner for Builtin {
    fn engine(&self) -> &'static str {
        "builtin"
    }

    fn scan<'a>(&'a self, file: FileToScan<'a>) -> BoxFuture<'a, Result<Scanned, ScanFailure>> {
        Box::pin(self.look(file))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::upload::scan::tests::Memory;

    /// The test file's 68 bytes.
    pub(in super::super) fn eicar() -> Vec<u8> {
        EICAR.concat().into_bytes()
    }

    async fn scan(bytes: Vec<u8>) -> Scanned {
        let range = 0..bytes.len() as u64;
        Builtin::default().scan(FileToScan { body: &Memory(bytes), range, sha256: [0; 32] }).await.unwrap()
    }

    #[tokio::test]
    async fn finds_the_test_file_wherever_pieces_end() {
        for place in [0, 1, 931, 932, 950, 999, 1000, 1001, 2500] {
            let bytes = [vec![b'x'; place], eicar(), vec![b'y'; 500]].concat();
            assert_eq!(scan(bytes).await, Scanned::Infected("Eicar-Test-Signature".into()), "{place}");
        }
    }

    #[tokio::test]
    async fn finds_nothing_in_other_files_and_beyond_the_range() {
        assert_eq!(scan(Vec::new()).await, Scanned::Clean);
        assert_eq!(scan(vec![b'X'; 5000]).await, Scanned::Clean);
        assert_eq!(scan(eicar()[..67].to_vec()).await, Scanned::Clean);
        let body = Memory([b"clean".to_vec(), eicar()].concat());
        let file = FileToScan { body: &body, range: 0..5, sha256: [0; 32] };
        assert_eq!(Builtin::default().scan(file).await.unwrap(), Scanned::Clean);
    }

    #[tokio::test]
    async fn finds_a_file_by_its_sum() {
        let file = FileToScan { body: &Memory(vec![1]), range: 0..1, sha256: [7; 32] };
        let verdict = Builtin::new(HashSet::from([[7; 32]])).scan(file).await.unwrap();
        assert_eq!(verdict, Scanned::Infected("Blocklist.SHA256".into()));
    }
}
