//! Office files (ECMA-376 part 2): a zip whose members say what it is.
//!
//! A zip has two lists of its members, and readers differ in which one they follow. Here they must agree member for
//! member and leave no gap in the file: no bytes in front, between or behind, no comment, no zip64 (a file of this kind
//! needs none), no encryption. Reads the central directory (at most 1 MiB in memory) and each local header.
//!
//! What this does not protect from: macros under another name, external templates, bombs; members are not unpacked.

use std::collections::HashSet;
use std::io;
use std::ops::Range;

use super::family::Family;
use crate::filter::WholeBody;

/// Bytes of a central directory.
const MAX_DIRECTORY: u64 = 1 << 20;
const END: usize = 22;

/// Why an office file is refused.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is none, or readers could differ on what it holds: 415.
    Mismatch(&'static str),
    /// It carries macros: 422.
    Active(&'static str),
    /// The spool failed: 500.
    Unreadable(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// One member, as the central directory has it.
struct Member<'a> {
    name: &'a [u8],
    flags: u16,
    packed: u64,
    offset: u64,
}

/// Checks the file in `range` against its extension's family.
pub(super) async fn inspect(body: &dyn WholeBody, range: Range<u64>, family: Family) -> Result<(), Fault> {
    let folder: &[u8] = match family {
        Family::Docx => b"word/",
        Family::Xlsx => b"xl/",
        Family::Pptx => b"ppt/",
        _ => return Ok(()),
    };
    let size = range.end - range.start;
    let Some(end_at) = size.checked_sub(END as u64) else {
        return Err(Fault::Mismatch("too short for an office file"));
    };
    let end = read(body, range.start + end_at..range.end).await?;
    let (count, length, start) = (u16_at(&end, 10), u64::from(u32_at(&end, 12)), u64::from(u32_at(&end, 16)));
    let plain = end.starts_with(b"PK\x05\x06\0\0\0\0") && u16_at(&end, 8) == count && u16_at(&end, 20) == 0;
    if !plain || start + length != end_at || length > MAX_DIRECTORY {
        return Err(Fault::Mismatch("no central directory right before the file's end, or a very large one"));
    }
    let directory = read(body, range.start + start..range.start + start + length).await?;
    let mut members = members(&directory, usize::from(count))?;
    judge_names(&members, folder)?;
    members.sort_by_key(|member| member.offset);
    let mut expected = 0;
    for (at, member) in members.iter().enumerate() {
        let next = members.get(at + 1).map_or(start, |next| next.offset);
        if member.offset != expected || next < member.offset + 30 {
            return Err(Fault::Mismatch("members that overlap, or bytes that belong to none"));
        }
        let place = range.start + member.offset;
        let head = read(body, place..(place + 30 + member.name.len() as u64).min(range.start + next)).await?;
        if !head.starts_with(b"PK\x03\x04")
            || head.get(30..) != Some(member.name)
            || u16_at(&head, 6) != member.flags
        {
            return Err(Fault::Mismatch("a member whose two headers differ"));
        }
        let names = u64::from(u16_at(&head, 26)) + u64::from(u16_at(&head, 28));
        if u64::from(u16_at(&head, 26)) != member.name.len() as u64 {
            return Err(Fault::Mismatch("a member whose two headers differ"));
        }
        let data_end = member.offset + 30 + names + member.packed;
        let descriptor = next.checked_sub(data_end);
        let fits = match member.flags & 8 {
            0 => u64::from(u32_at(&head, 18)) == member.packed && descriptor == Some(0),
            _ => descriptor.is_some_and(|gap| [12, 16, 20, 24].contains(&gap)),
        };
        if !fits {
            return Err(Fault::Mismatch("a member whose size is not what it says"));
        }
        expected = next;
    }
    Ok(())
}

/// Reads the central directory (APPNOTE section 4.3.12).
fn members(directory: &[u8], count: usize) -> Result<Vec<Member<'_>>, Fault> {
    let mut members = Vec::new();
    let mut rest = directory;
    while !rest.is_empty() {
        if rest.len() < 46 || !rest.starts_with(b"PK\x01\x02") {
            return Err(Fault::Mismatch("a broken central directory"));
        }
        let (flags, method) = (u16_at(rest, 8), u16_at(rest, 10));
        let (packed, size, offset) = (u32_at(rest, 20), u32_at(rest, 24), u32_at(rest, 42));
        let name = usize::from(u16_at(rest, 28));
        let length = 46 + name + usize::from(u16_at(rest, 30)) + usize::from(u16_at(rest, 32));
        if rest.len() < length || [packed, size, offset].contains(&u32::MAX) || u16_at(rest, 34) != 0 {
            return Err(Fault::Mismatch("a broken central directory, or a zip64"));
        }
        if flags & 0x2041 != 0 || ![0, 8].contains(&method) {
            return Err(Fault::Active("an encrypted member, or one packed in an odd way"));
        }
        members.push(Member {
            name: &rest[46..46 + name],
            flags,
            packed: u64::from(packed),
            offset: u64::from(offset),
        });
        rest = &rest[length..];
    }
    match members.len() == count && count > 0 {
        true => Ok(members),
        false => Err(Fault::Mismatch("a central directory with another number of members than it says")),
    }
}

fn judge_names(members: &[Member<'_>], folder: &[u8]) -> Result<(), Fault> {
    let mut names = HashSet::with_capacity(members.len());
    for member in members {
        let name = member.name.to_ascii_lowercase();
        if name.ends_with(b"vbaproject.bin") || name.ends_with(b"vbadata.xml") {
            return Err(Fault::Active("macros"));
        }
        let climbs = name.split(|&b| b == b'/').any(|part| part == b"..");
        if climbs || name.is_empty() || name.starts_with(b"/") || name.iter().any(|&b| b == b'\\' || b < 0x20)
        {
            return Err(Fault::Active("a member whose name leads elsewhere"));
        }
        if !names.insert(name) {
            return Err(Fault::Mismatch("two members of one name"));
        }
    }
    let typed = members.iter().any(|member| member.name == b"[Content_Types].xml");
    match typed && names.iter().any(|name| name.starts_with(folder)) {
        true => Ok(()),
        false => Err(Fault::Mismatch("a zip that is no office file of this kind")),
    }
}

/// All bytes of a short range.
async fn read(body: &dyn WholeBody, range: Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let piece = body.read(at..range.end).await?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += piece.len() as u64;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Little-endian; 0 beyond the end, which no check takes for good.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |pair| u16::from_le_bytes([pair[0], pair[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::upload::scan::tests::Memory;

    /// A zip of stored members, its checksums left zero.
    pub(in super::super) fn zip(names: &[&str]) -> Vec<u8> {
        let (mut body, mut directory) = (Vec::new(), Vec::new());
        for name in names {
            let offset = body.len() as u32;
            let tail = [&[4, 0, 0, 0, 4, 0, 0, 0][..], &(name.len() as u16).to_le_bytes(), &[0, 0]].concat();
            body.extend_from_slice(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
            body.extend_from_slice(&tail);
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(b"data");
            directory.extend_from_slice(b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0\0\0\0\0");
            directory.extend_from_slice(&tail);
            directory.extend_from_slice(&[0; 10]);
            directory.extend_from_slice(&offset.to_le_bytes());
            directory.extend_from_slice(name.as_bytes());
        }
        let count = (names.len() as u16).to_le_bytes();
        let (length, start) = ((directory.len() as u32).to_le_bytes(), (body.len() as u32).to_le_bytes());
        [body, directory, [b"PK\x05\x06\0\0\0\0", &count[..], &count, &length, &start, &[0, 0]].concat()]
            .concat()
    }

    const WORD: [&str; 3] = ["[Content_Types].xml", "_rels/.rels", "word/document.xml"];

    async fn judged(file: Vec<u8>, family: Family) -> Result<(), Fault> {
        let length = file.len() as u64;
        let framed = [b"head".to_vec(), file, b"tail".to_vec()].concat();
        inspect(&Memory(framed), 4..4 + length, family).await
    }

    #[tokio::test]
    async fn lets_a_package_pass_as_what_it_is_alone() {
        assert!(judged(zip(&WORD), Family::Docx).await.is_ok());
        assert!(matches!(judged(zip(&WORD), Family::Xlsx).await, Err(Fault::Mismatch(_))));
        assert!(matches!(judged(zip(&["word/document.xml"]), Family::Docx).await, Err(Fault::Mismatch(_))));
        assert!(matches!(judged(zip(&[]), Family::Docx).await, Err(Fault::Mismatch(_))));
        assert!(matches!(judged(b"PK".to_vec(), Family::Docx).await, Err(Fault::Mismatch(_))));
    }

    #[tokio::test]
    async fn refuses_macros_and_names_that_climb() {
        for extra in ["word/vbaProject.bin", "word/VBAPROJECT.BIN", "../a", "/a", "word\\a", "a/../../b"] {
            let names = [WORD.as_slice(), &[extra]].concat();
            assert!(matches!(judged(zip(&names), Family::Docx).await, Err(Fault::Active(_))), "{extra}");
        }
        let doubled = [WORD.as_slice(), &["WORD/document.xml"]].concat();
        assert!(matches!(judged(zip(&doubled), Family::Docx).await, Err(Fault::Mismatch(_))));
    }

    #[tokio::test]
    async fn refuses_lists_of_members_that_disagree() {
        let good = zip(&WORD);
        for (at, byte) in
            [(30, b'X'), (6, 1), (18, 5), (26, 7), (0, b'Q'), (good.len() - 1, 1), (good.len() - 12, 9)]
        {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(judged(bad, Family::Docx).await.is_err(), "{at}");
        }
        assert!(judged([b"x".to_vec(), good.clone()].concat(), Family::Docx).await.is_err());
        assert!(judged([good.clone(), b"x".to_vec()].concat(), Family::Docx).await.is_err());
        for cut in 0..good.len() {
            assert!(judged(good[..cut].to_vec(), Family::Docx).await.is_err(), "{cut}");
        }
    }
}
