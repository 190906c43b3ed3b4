//! One member while it is unpacked.

use super::format::{Format, HEAD};
use crate::upload::builtin::MemberScan;

pub(super) struct Member {
    /// Bytes unpacked.
    pub(super) size: u64,
    /// Its first bytes, until they are enough to tell what it is.
    head: Option<Vec<u8>>,
    /// It is an archive, and the level below is fed with it.
    pub(super) is_archive: bool,
    scan: Option<MemberScan>,
}

impl Member {
    pub(super) fn new(scan: Option<MemberScan>) -> Self {
        Self { size: 0, head: Some(Vec::new()), is_archive: false, scan }
    }

    /// Takes the next bytes. Once there are enough to tell, gives what it begins as and all that has come.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<(Format, Vec<u8>)> {
        self.size += bytes.len() as u64;
        if let Some(scan) = &mut self.scan {
            scan.push(bytes);
        }
        let head = self.head.as_mut()?;
        head.extend_from_slice(bytes);
        match head.len() >= HEAD {
            true => self.tell(),
            false => None,
        }
    }

    /// What it begins as, when that has not been told: a short member has no more than this.
    pub(super) fn tell(&mut self) -> Option<(Format, Vec<u8>)> {
        let head = self.head.take()?;
        Format::of(&head).map(|format| (format, head))
    }

    /// It is whole: the name of what was found in it.
    pub(super) fn end(self) -> Option<&'static str> {
        self.scan?.end()
    }
}
