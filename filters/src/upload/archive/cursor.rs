//! Headers of an archive, put together from the pieces in which they come.

use super::Fault;

/// Takes bytes until there are as many as asked for.
#[derive(Default)]
pub(super) struct Cursor {
    held: Vec<u8>,
    /// Bytes given out.
    offset: u64,
}

impl Cursor {
    /// How far into the archive what comes next is.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Fills up to `length` bytes from the front of `input`; true when they are there.
    pub(super) fn fill(&mut self, input: &mut &[u8], length: usize) -> bool {
        let missing = length.saturating_sub(self.held.len()).min(input.len());
        let (piece, rest) = input.split_at(missing);
        self.held.extend_from_slice(piece);
        *input = rest;
        self.held.len() >= length
    }

    /// What is held.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Gives out the first bytes of what is held.
    pub(super) fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.held.split_off(length.min(self.held.len()));
        let taken = std::mem::replace(&mut self.held, rest);
        self.offset += taken.len() as u64;
        taken
    }

    /// Counts bytes that were taken from the input directly.
    pub(super) fn passed(&mut self, length: usize) {
        self.offset += length as u64;
    }
}

/// Little-endian numbers of a header that is known to be long enough; 0 beyond its end.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |pair| u16::from_le_bytes([pair[0], pair[1]]))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// What a reader of one archive did in one turn.
pub(super) enum Event {
    /// It needs more bytes.
    Hungry,
    /// It read a header.
    Nothing,
    /// A member begins; its name, empty when it has none.
    Begin(Vec<u8>),
    /// So many bytes of it were unpacked.
    Unpacked(usize),
    /// It ended, and its checksum was right.
    End,
    /// A member that cannot be looked into was passed over: why.
    Closed(&'static str),
}

/// Reads one archive in turns.
pub(super) trait Reader: Send {
    /// One turn: takes bytes from the front of `input`, or writes to `output`, or both.
    fn turn(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<Event, Fault>;

    /// There is no more input: whether this is the archive's end.
    fn end(&self) -> Result<(), Fault>;
}
