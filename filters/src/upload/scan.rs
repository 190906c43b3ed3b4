//! What a scanner of malware is, and what its answers come to.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use config::Fallback;
use futures_util::future::BoxFuture;

use super::builtin::{BlockList, MemberScan};
use crate::filter::WholeBody;

/// Looks for malware in one file at a time. Implementations bound their own time and memory.
pub trait Scanner: Send + Sync {
    /// The name that reports and metrics know it by: `clamav`, `builtin`.
    fn engine(&self) -> &'static str;

    /// Looks at one file.
    fn scan<'a>(&'a self, file: FileToScan<'a>) -> BoxFuture<'a, Result<Scanned, ScanFailure>>;

    /// Begins with a file that still arrives, from `start` in the body on, if that saves time and a place is free. The
    /// verdict is asked for as ever, with [`scan`](Self::scan), when the file is whole.
    fn ahead(&self, _body: &dyn WholeBody, _start: u64) -> Option<Arc<dyn Ahead>> {
        None
    }

    /// A look of the gateway's own at something inside of a file, with the block list that goes with this scanner.
    fn member(&self) -> MemberScan {
        MemberScan::new(BlockList::default())
    }
}

/// A scan that began before its file was whole. It ends when this is dropped.
pub trait Ahead: Any + Send + Sync {
    /// The file goes on up to `end` in the body, and the body's file has all of it.
    fn grown(&self, end: u64);
}

impl fmt::Debug for dyn Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ahead")
    }
}

/// One file of a body.
#[derive(Clone)]
pub struct FileToScan<'a> {
    /// The body it is in.
    pub body: &'a dyn WholeBody,
    /// Where in the body.
    pub range: Range<u64>,
    /// Of the file's bytes.
    pub sha256: [u8; 32],
    /// The scan of it that the scanner has begun.
    pub ahead: Option<Arc<dyn Ahead>>,
}

impl<'a> FileToScan<'a> {
    /// A file that nobody has begun with.
    pub fn new(body: &'a dyn WholeBody, range: Range<u64>, sha256: [u8; 32]) -> Self {
        Self { body, range, sha256, ahead: None }
    }
}

/// What a scanner says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scanned {
    /// Nothing found, and all of it was looked at.
    Clean,
    /// Something of this name.
    Infected(String),
    /// Nothing found, or no answer, but not all of it was looked at: `scanner.on_unscanned` decides.
    NotScanned(Unscanned),
}

/// Why a file was not looked at whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unscanned {
    /// It, or something in it, is over a limit of the scanner's.
    OverLimit,
    /// It, or something in it, is encrypted.
    Encrypted,
    /// The scanner did not answer in time.
    TimedOut,
    /// The scanner went away before it had answered.
    Cut,
    /// The scanner answered with an error, or with something that is no answer.
    Unclear(String),
}

impl Unscanned {
    /// Whether the same file may well be scanned at another time.
    pub fn is_passing(&self) -> bool {
        match self {
            Unscanned::OverLimit | Unscanned::Encrypted => false,
            Unscanned::TimedOut | Unscanned::Cut | Unscanned::Unclear(_) => true,
        }
    }
}

/// Why a scanner did not look at a file at all.
#[derive(Debug)]
pub enum ScanFailure {
    /// It cannot be reached: `scanner.on_failure` decides. For the operator: how.
    Unreachable(String),
    /// Too many scans are waiting. Always refused, whatever `scanner.on_failure` says: the queue is what a sender can
    /// fill at will.
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The body cannot be read back: 500.
    Unreadable(std::io::Error),
}

/// `scanner.on_failure` and `scanner.on_unscanned`.
#[derive(Debug, Clone, Copy)]
pub struct ScanPolicy {
    /// What happens to a file when the scanner cannot be reached.
    pub on_failure: Fallback,
    /// What happens to a file that was not looked at whole.
    pub on_unscanned: Fallback,
}

impl From<&config::Scanner> for ScanPolicy {
    fn from(scanner: &config::Scanner) -> Self {
        Self { on_failure: scanner.on_failure, on_unscanned: scanner.on_unscanned }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;

    /// A body in memory that gives at most 1,000 bytes at a time.
    pub(in super::super) struct Memory(pub Vec<u8>);

    impl WholeBody for Memory {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn read(&self, range: Range<u64>) -> BoxFuture<'_, std::io::Result<Bytes>> {
            let (start, end) = (range.start as usize, range.end as usize);
            let bytes = Bytes::copy_from_slice(&self.0[start..end.min(start + 1000)]);
            Box::pin(async move { Ok(bytes) })
        }
    }

    #[test]
    fn tells_what_time_may_heal_from_what_it_will_not() {
        assert!(Unscanned::TimedOut.is_passing() && Unscanned::Cut.is_passing());
        assert!(!Unscanned::OverLimit.is_passing() && !Unscanned::Encrypted.is_passing());
    }
}
