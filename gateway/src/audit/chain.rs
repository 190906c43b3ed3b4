//! The chain of hashes in an audit file, and what can be told from it.
//!
//! A line is `{"seq":N,…,"prev":"HASH","hash":"HASH"}`; `hash` is the SHA-256, in hex, of `prev` followed by the
//! line's bytes up to `,"hash"`. The first `prev` is 64 zeros.
//!
//! What it shows: a line that was changed, removed or moved, and a file that was cut in the middle of a line. What
//! it cannot show: that the newest lines were cut off at the end of a line, or that somebody with the right to write
//! the file made the whole rest of the chain anew. Against both, copy the lines (or the newest hash) elsewhere.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::own_line;

/// Bytes at the end of a file in which its last line must begin; a line is far smaller.
const TAIL: u64 = 1024 * 1024;
/// Hex digits of a hash.
const HASH: usize = 64;
const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const LINKED: &str = "audit_linked";
const SEALED: &str = "audit_sealed";

/// An open file and where its chain ends.
#[derive(Debug)]
pub(super) struct Chain {
    file: File,
    seq: u64,
    hash: String,
    /// Bytes that are known to be whole lines.
    length: u64,
    unsynced: bool,
}

impl Chain {
    /// Opens and locks the file, and goes on after its last line. A torn last line is ended and sealed.
    ///
    /// # Errors
    /// `WouldBlock` when another process has locked it; else as reading and writing files.
    pub(super) fn resume(path: &Path) -> io::Result<Self> {
        Self::open(path, None)
    }

    /// As [`resume`](Self::resume); a file that is empty is linked to the end of `old`.
    pub(super) fn resume_after(path: &Path, old: &Chain) -> io::Result<Self> {
        Self::open(path, Some(old))
    }

    fn open(path: &Path, old: Option<&Chain>) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let length = file.metadata()?.len();
        let tail = read_tail(&mut file, length)?;
        let whole = memchr::memrchr(b'\n', &tail).map_or(0, |at| at + 1);
        let torn = &tail[whole..];
        let last = tail[..whole].trim_ascii_end().rsplit(|byte| *byte == b'\n').next().and_then(Line::parse);
        let mut chain = Self { file, seq: 0, hash: START.to_owned(), length, unsynced: false };
        if let Some(last) = &last {
            (chain.seq, chain.hash) = (last.seq, last.hash.to_owned());
            if !last.is_whole() {
                log::error!(target: "menshen::audit", "the last line of the audit trail was changed");
            }
        } else if let (true, Some(old)) = (length == 0, old) {
            (chain.seq, chain.hash) = (old.seq, old.hash.clone());
            let line = own_line(LINKED, "continued", &format!("\"lines_before\":{}", old.seq));
            chain.append([line.as_slice()])?;
        }
        match Line::parse(torn).filter(Line::is_whole) {
            _ if torn.is_empty() => {}
            Some(line) => {
                (chain.seq, chain.hash) = (line.seq, line.hash.to_owned());
                chain.write(b"\n")?;
            }
            None => {
                log::warn!(target: "menshen::audit", "the last line of the audit trail was torn; it is sealed");
                let more = format!("\"torn_bytes\":{},\"torn_sha256\":\"{}\"", torn.len(), hex_of(&[torn]));
                chain.write(b"\n")?;
                chain.append([own_line(SEALED, "torn", &more).as_slice()])?;
            }
        }
        Ok(chain)
    }

    /// Whether this is the file that is meant.
    pub(super) fn is_file(&self, other: &Metadata) -> bool {
        self.file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (other.dev(), other.ino()))
    }

    /// Writes lines, given their members but `seq`, `prev` and `hash`, in one write. All of them or none.
    pub(super) fn append<'l>(&mut self, lines: impl IntoIterator<Item = &'l [u8]>) -> io::Result<()> {
        let (mut seq, mut hash) = (self.seq, self.hash.clone());
        let mut bytes = Vec::new();
        for members in lines {
            seq += 1;
            let start = bytes.len();
            bytes.extend_from_slice(format!("{{\"seq\":{seq},").as_bytes());
            bytes.extend_from_slice(members);
            bytes.extend_from_slice(format!(",\"prev\":\"{hash}\"").as_bytes());
            hash = hex_of(&[hash.as_bytes(), &bytes[start..]]);
            bytes.extend_from_slice(format!(",\"hash\":\"{hash}\"}}\n").as_bytes());
        }
        self.write(&bytes)?;
        (self.seq, self.hash) = (seq, hash);
        Ok(())
    }

    /// Puts everything written on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsynced) { self.file.sync_data() } else { Ok(()) }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // A part may have been written; when it cannot be cut off, the next to open the file seals it.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.unsynced = true;
        Ok(())
    }
}

/// Where a chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// The first line that does not fit, counted from 1.
    pub line: u64,
    /// How.
    pub kind: Kind,
}

/// How a chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The line, or the one before it, is not what was written.
    Changed,
    /// Lines in front of it are missing.
    Removed,
    /// It stands elsewhere than where it was written, or twice.
    Reordered,
    /// The file ends in the middle of a line.
    Torn,
}

impl std::fmt::Display for Break {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            Kind::Changed => "changed",
            Kind::Removed => "lines before it are missing (removed)",
            Kind::Reordered => "not where it was written (reordered)",
            Kind::Torn => "torn: the file ends in the middle of it",
        };
        write!(f, "line {}: {what}", self.line)
    }
}

/// Reads a whole file and counts its lines, or says where its chain is first broken. Memory: one line.
///
/// A torn line is no break when the line behind it seals it. The first line must be the start of a chain or linked
/// to another file, whose end is to be compared by whoever has both.
///
/// # Errors
/// When reading fails.
pub fn verify(mut reader: impl BufRead) -> io::Result<Result<u64, Break>> {
    let mut bytes = Vec::new();
    let mut number = 0;
    let mut last: Option<(u64, String)> = None;
    let mut torn: Option<String> = None;
    loop {
        bytes.clear();
        if reader.by_ref().take(4 * TAIL).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        number += 1;
        let broken = |line, kind| Ok(Err(Break { line, kind }));
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let Some(line) = Line::parse(text) else {
            if torn.is_some() {
                return broken(number - 1, Kind::Changed);
            }
            torn = Some(hex_of(&[text]));
            continue;
        };
        if let Some(hash) = torn.take()
            && !(line.is_event(SEALED) && line.contains(&format!("\"torn_sha256\":\"{hash}\"")))
        {
            return broken(number - 1, Kind::Changed);
        }
        if !line.is_whole() {
            return broken(number, Kind::Changed);
        }
        let follows = match &last {
            None => line.is_event(LINKED) || (line.seq == 1 && line.prev == START),
            Some((seq, hash)) => line.seq == seq + 1 && line.prev == hash,
        };
        if !follows {
            let expected = last.map_or(1, |(seq, _)| seq + 1);
            let kind = match line.seq.cmp(&expected) {
                std::cmp::Ordering::Less => Kind::Reordered,
                std::cmp::Ordering::Equal => Kind::Changed,
                std::cmp::Ordering::Greater if comes_later(reader, expected)? => Kind::Reordered,
                std::cmp::Ordering::Greater => Kind::Removed,
            };
            return broken(number, kind);
        }
        last = Some((line.seq, line.hash.to_owned()));
    }
    Ok(if torn.is_some() { Err(Break { line: number, kind: Kind::Torn }) } else { Ok(number) })
}

fn comes_later(mut reader: impl BufRead, seq: u64) -> io::Result<bool> {
    let start = format!("{{\"seq\":{seq},");
    let mut bytes = Vec::new();
    while reader.by_ref().take(4 * TAIL).read_until(b'\n', &mut bytes)? > 0 {
        if bytes.starts_with(start.as_bytes()) {
            return Ok(true);
        }
        bytes.clear();
    }
    Ok(false)
}

/// A line that has the form of one. No text in it can look like its end: quotes in texts are escaped.
struct Line<'a> {
    seq: u64,
    /// Everything in front of `,"hash"`.
    body: &'a [u8],
    prev: &'a str,
    hash: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_suffix(b"\"}")?;
        let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(HASH)?)?;
        let body = rest.strip_suffix(b",\"hash\":\"")?;
        let rest = body.strip_suffix(b"\"")?;
        let (rest, prev) = rest.split_at_checked(rest.len().checked_sub(HASH)?)?;
        rest.strip_suffix(b",\"prev\":\"")?;
        let digits = body.strip_prefix(b"{\"seq\":")?;
        let digits = &digits[..memchr::memchr(b',', digits)?];
        let seq = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let hex = |text: &'a [u8]| {
            std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        Some(Self { seq, body, prev: hex(prev)?, hash: hex(hash)? })
    }

    fn is_whole(&self) -> bool {
        hex_of(&[self.prev.as_bytes(), self.body]) == self.hash
    }

    /// Whether the trail said this of itself: `event` stands right behind `time`, whose length is fixed.
    fn is_event(&self, name: &str) -> bool {
        let start = memchr::memchr(b',', self.body).map_or(0, |at| at + 1);
        let expected = format!(",\"event\":\"{name}\",");
        self.body.get(start + 33..).is_some_and(|rest| rest.starts_with(expected.as_bytes()))
    }

    fn contains(&self, text: &str) -> bool {
        memchr::memmem::find(self.body, text.as_bytes()).is_some()
    }
}

fn read_tail(file: &mut File, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL.min(length)).read_to_end(&mut tail)?;
    Ok(tail)
}

fn hex_of(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hex::encode(hash.finalize())
}
