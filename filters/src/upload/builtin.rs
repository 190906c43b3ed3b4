//! What the gateway knows by itself: the EICAR test file anywhere in a file, and a list of SHA-256 sums.
//!
//! Both are there for bytes that come in pieces as well ([`MemberScan`]), so that what an archive unpacks to is looked at
//! while it is unpacked. About as fast as memory; less than 300 bytes are kept.

use std::sync::{Arc, LazyLock};

use futures_util::future::BoxFuture;
use memchr::memmem::Finder;
use sha2::{Digest, Sha256};

use super::scan::{FileToScan, ScanFailure, Scanned, Scanner};

/// The EICAR test string in two halves, so that this program is not taken for it.
const EICAR: [&str; 2] = [r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STAN", "DARD-ANTIVIRUS-TEST-FILE!$H+H*"];

static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&EICAR.concat()).into_owned());

/// What a find of the test file is called.
const EICAR_NAME: &str = "Eicar-Test-Signature";

/// What a file on the list is called.
const LISTED_NAME: &str = "Blocklist.SHA256";

/// Looks for the EICAR test file in bytes that come in pieces, wherever the pieces end.
#[derive(Debug, Default)]
pub struct EicarSearch {
    /// The end of what was seen, shorter than the test file; then also the beginning of the next piece.
    seam: Vec<u8>,
    found: bool,
}

impl EicarSearch {
    /// Takes the next bytes. Says whether the test file was in what has come so far.
    pub fn push(&mut self, piece: &[u8]) -> bool {
        if self.found {
            return true;
        }
        let overlap = FINDER.needle().len() - 1;
        self.seam.extend_from_slice(&piece[..piece.len().min(overlap)]);
        self.found = FINDER.find(&self.seam).is_some() || FINDER.find(piece).is_some();
        if piece.len() >= overlap {
            self.seam.clear();
            self.seam.extend_from_slice(&piece[piece.len() - overlap..]);
        } else {
            self.seam.drain(..self.seam.len().saturating_sub(overlap));
        }
        self.found
    }
}

/// SHA-256 sums of files that must not pass. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct BlockList(Arc<[[u8; 32]]>);

impl BlockList {
    /// Whether a file of this sum must not pass.
    pub fn contains(&self, sha256: &[u8; 32]) -> bool {
        self.0.binary_search(sha256).is_ok()
    }

    /// Files in the list.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The verdict on a file that is on the list.
    pub(super) fn judge(&self, sha256: &[u8; 32]) -> Option<Scanned> {
        self.contains(sha256).then(|| Scanned::Infected(LISTED_NAME.to_owned()))
    }
}

impl FromIterator<[u8; 32]> for BlockList {
    fn from_iter<T: IntoIterator<Item = [u8; 32]>>(sums: T) -> Self {
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_unstable();
        sums.dedup();
        Self(sums.into())
    }
}

/// The gateway's own look at something inside of a file, such as a member of an archive, while it is unpacked.
pub struct MemberScan {
    eicar: EicarSearch,
    sum: Sha256,
    list: BlockList,
}

impl MemberScan {
    /// Before the first byte of a member.
    pub fn new(list: BlockList) -> Self {
        Self { eicar: EicarSearch::default(), sum: Sha256::new(), list }
    }

    /// Takes the next bytes. The name of what was found in them, as soon as it is certain.
    pub fn push(&mut self, piece: &[u8]) -> Option<&'static str> {
        if !self.list.is_empty() {
            self.sum.update(piece);
        }
        self.eicar.push(piece).then_some(EICAR_NAME)
    }

    /// The name of what was found in the whole.
    pub fn end(self) -> Option<&'static str> {
        let listed = || !self.list.is_empty() && self.list.contains(&self.sum.finalize().into());
        if self.eicar.found {
            return Some(EICAR_NAME);
        }
        listed().then_some(LISTED_NAME)
    }
}

/// The smallest scanner there is: what this module knows, and nothing else.
#[derive(Default)]
pub struct Builtin {
    list: BlockList,
}

impl Builtin {
    /// With the sums of files that must not pass.
    pub fn new(list: BlockList) -> Self {
        Self { list }
    }

    async fn look(&self, file: FileToScan<'_>) -> Result<Scanned, ScanFailure> {
        if let Some(listed) = self.list.judge(&file.sha256) {
            return Ok(listed);
        }
        let mut eicar = EicarSearch::default();
        let mut at = file.range.start;
        while at < file.range.end {
            let bytes = file.body.read(at..file.range.end).await.map_err(ScanFailure::Unreadable)?;
            if bytes.is_empty() {
                return Err(ScanFailure::Unreadable(std::io::ErrorKind::UnexpectedEof.into()));
            }
            at += bytes.len() as u64;
            if eicar.push(&bytes) {
                return Ok(Scanned::Infected(EICAR_NAME.to_owned()));
            }
        }
        Ok(Scanned::Clean)
    }
}

impl Scanner for Builtin {
    fn engine(&self) -> &'static str {
        "builtin"
    }

    fn scan<'a>(&'a self, file: FileToScan<'a>) -> BoxFuture<'a, Result<Scanned, ScanFailure>> {
        Box::pin(self.look(file))
    }

    fn member(&self) -> MemberScan {
        MemberScan::new(self.list.clone())
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
        Builtin::default().scan(FileToScan::new(&Memory(bytes), range, [0; 32])).await.unwrap()
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
        let file = FileToScan::new(&body, 0..5, [0; 32]);
        assert_eq!(Builtin::default().scan(file).await.unwrap(), Scanned::Clean);
    }

    #[tokio::test]
    async fn finds_a_file_by_its_sum() {
        let body = Memory(vec![1]);
        let file = FileToScan::new(&body, 0..1, [7; 32]);
        let verdict = Builtin::new(BlockList::from_iter([[7; 32]])).scan(file).await.unwrap();
        assert_eq!(verdict, Scanned::Infected("Blocklist.SHA256".into()));
    }

    #[test]
    fn looks_at_a_member_in_pieces_of_any_length() {
        let bytes = [vec![b'x'; 150], eicar(), vec![b'y'; 90]].concat();
        for piece in [1, 2, 67, 68, 69, 200, 400] {
            let mut member = Builtin::default().member();
            bytes.chunks(piece).for_each(|piece| _ = member.push(piece));
            assert_eq!(member.end(), Some("Eicar-Test-Signature"), "{piece}");
        }
        let mut member = Builtin::default().member();
        assert_eq!(member.push(&eicar()[..67]), None);
        assert_eq!(member.end(), None);
    }

    #[test]
    fn finds_a_member_by_its_sum() {
        let list = BlockList::from_iter([Sha256::digest(b"bad one").into(), [0xff; 32], [0; 32]]);
        for (member, expected) in [(b"bad one".as_slice(), Some("Blocklist.SHA256")), (b"bad two", None)] {
            let mut look = MemberScan::new(list.clone());
            member.chunks(3).for_each(|piece| assert_eq!(look.push(piece), None));
            assert_eq!(look.end(), expected);
        }
    }
}
