//! A database in the form of ClamAV's own, so that `VERSION` names it as it names the one that freshclam brings.
//!
//! clamd loads a `.cvd` only when ClamAV has signed it, and a `.cld` only when ClamAV has signed the list in it; a `.cud`
//! is of somebody's own and needs no signature. Whichever it is, the version of the one called `daily` is what `VERSION`
//! says.

use std::fs;
use std::path::Path;

use crate::sample;

/// The length of the header, and of a tar's blocks.
const BLOCK: usize = 512;
/// The second at which version 0 was made, late in 2026.
const MADE: u64 = 1_795_600_000;

/// Signatures with a version.
pub struct Database {
    version: u32,
    signatures: Vec<String>,
}

impl Database {
    /// It knows the test file. Its date is as many seconds later as its version is higher.
    pub fn new(version: u32) -> Self {
        Self { version, signatures: vec![signature("Eicar-Test-Signature", &sample::eicar())] }
    }

    /// It knows these bytes too, anywhere in a file.
    pub fn finds(mut self, name: &str, bytes: &[u8]) -> Self {
        self.signatures.push(signature(name, bytes));
        self
    }

    /// Puts it into a folder of signatures, in one step, in the place of the one before.
    pub(crate) fn write(&self, folder: &Path) {
        // clamd looks at no file that ends like this.
        let new = folder.join("daily.new");
        fs::write(&new, self.packed()).expect("the folder is writable");
        fs::rename(&new, folder.join("daily.cud")).expect("the database can be replaced");
    }

    /// The header, padded; then a tar of a list, which repeats the header, and of what is on the list.
    fn packed(&self) -> Vec<u8> {
        let header = format!(
            "ClamAV-VDB:-:{version}:{count}:0:X:X:menshen:{made}",
            version = self.version,
            count = self.signatures.len(),
            made = MADE + u64::from(self.version),
        );
        let signatures = self.signatures.concat();
        let sum = sample::sha256(signatures.as_bytes());
        let list = format!("{header}\ndaily.ndb:{}:{sum}\n", signatures.len());
        let mut packed = header.into_bytes();
        packed.resize(BLOCK, b' ');
        // By this name in front clamd knows that the tar is not compressed.
        for (name, text) in
            [("COPYING", "Nobody's.\n"), ("daily.info", list.as_str()), ("daily.ndb", signatures.as_str())]
        {
            packed.extend_from_slice(&member(name, text.as_bytes()));
        }
        packed.extend_from_slice(&[0; 2 * BLOCK]);
        packed
    }
}

/// One line of a `.ndb`: these bytes, anywhere in a file of any kind.
pub(crate) fn signature(name: &str, bytes: &[u8]) -> String {
    format!("{name}:0:*:{}\n", hex::encode(bytes))
}

/// A member of a tar, with as much of its head as clamd reads: name, length, kind.
fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut member = vec![0; BLOCK];
    member[..name.len()].copy_from_slice(name.as_bytes());
    member[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    member[156] = b'0';
    member.extend_from_slice(content);
    member.resize(member.len().next_multiple_of(BLOCK), 0);
    member
}
