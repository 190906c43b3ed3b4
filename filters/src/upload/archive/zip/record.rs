//! One member of a zip, as its own header and the list at the end tell of it (APPNOTE 4.3.7 and 4.3.12).

use super::super::Fault;
use super::super::cursor::{u16_at, u32_at, u64_at};
use super::super::name;

/// Bytes of a member's header before its name.
pub(super) const LOCAL: usize = 30;
/// Bytes of a list's entry before its name.
pub(super) const CENTRAL: usize = 46;

/// Says that what stands in the header's 32 bits is in the zip64 field.
const FULL: u64 = 0xffff_ffff;

const ENCRYPTED: u16 = 0x0041;
const STREAMED: u16 = 0x0008;
const UTF8: u16 = 0x0800;
/// Patched data, and headers whose values are masked.
const ODD: u16 = 0x2020;

const SYMBOLIC_LINK_OR_JUNCTION: u32 = 0x400;

/// What both tellings must agree in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: [u8; 32],
    /// Where its second name leads, if that is another place.
    pub(super) second: Option<[u8; 32]>,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) packed: u64,
    pub(super) size: u64,
}

impl Record {
    /// Its sizes follow its data.
    pub(super) fn is_streamed(&self) -> bool {
        self.flags & STREAMED != 0
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.flags & ENCRYPTED != 0
    }
}

/// Reads a member's own header, whole: its record and name. Sizes that follow the data are 0 in it.
pub(super) fn local(header: &[u8]) -> Result<(Record, Vec<u8>), Fault> {
    let (name, extra) = names(header, LOCAL, u16_at(header, 26), u16_at(header, 28));
    let mut record = Record {
        name: digest(name),
        second: None,
        flags: u16_at(header, 6),
        method: u16_at(header, 8),
        crc: u32_at(header, 14),
        packed: u64::from(u32_at(header, 18)),
        size: u64::from(u32_at(header, 22)),
    };
    let fields = fields(extra)?;
    let mut large = fields.large.chunks_exact(8).map(|eight| u64_at(eight, 0));
    for value in [&mut record.size, &mut record.packed] {
        if *value == FULL {
            *value = large.next().ok_or(Fault::Broken("a zip64 member without its sizes"))?;
        }
    }
    if fields.is_encrypted {
        record.flags |= 1;
    }
    record.second = judge(&record, name, &fields)?;
    Ok((record, name.to_vec()))
}

/// Reads an entry of the list, whole: its record and the offset of its member.
pub(super) fn central(entry: &[u8]) -> Result<(Record, u64), Fault> {
    let (name, extra) = names(entry, CENTRAL, u16_at(entry, 28), u16_at(entry, 30));
    let mut record = Record {
        name: digest(name),
        second: None,
        flags: u16_at(entry, 8),
        method: u16_at(entry, 10),
        crc: u32_at(entry, 16),
        packed: u64::from(u32_at(entry, 20)),
        size: u64::from(u32_at(entry, 24)),
    };
    let mut offset = u64::from(u32_at(entry, 42));
    let fields = fields(extra)?;
    let mut large = fields.large.chunks_exact(8).map(|eight| u64_at(eight, 0));
    for value in [&mut record.size, &mut record.packed, &mut offset] {
        if *value == FULL {
            *value = large.next().ok_or(Fault::Broken("a zip64 entry without its sizes"))?;
        }
    }
    if fields.is_encrypted {
        record.flags |= 1;
    }
    record.second = judge(&record, name, &fields)?;
    if u16_at(entry, 34) != 0 {
        return Err(Fault::Broken("a member on another disk"));
    }
    let attributes = u32_at(entry, 38);
    let (mode, dos) = (attributes >> 28, attributes & SYMBOLIC_LINK_OR_JUNCTION);
    // A Unix mode says in its first four bits what a file is: nothing, a folder or a plain file may come.
    match [0, 0o4, 0o10].contains(&mode) && dos == 0 {
        true => Ok((record, offset)),
        false => Err(Fault::Astray("a member that is a link or a device")),
    }
}

/// Gives the place that a second name leads to.
fn judge(record: &Record, name: &[u8], fields: &Fields<'_>) -> Result<Option<[u8; 32]>, Fault> {
    name::judge(name)?;
    let is_utf8 = record.flags & UTF8 != 0;
    if is_utf8 && std::str::from_utf8(name).is_err() {
        return Err(Fault::Broken("a name that says it is UTF-8 and is not"));
    }
    // A second name, for readers that know the field: the same, unless the first is in some other encoding.
    if let Some(second) = fields.name {
        name::judge(second)?;
        if std::str::from_utf8(second).is_err() || ((is_utf8 || name.is_ascii()) && second != name) {
            return Err(Fault::Broken("a member with two names"));
        }
    }
    match record.flags & ODD {
        0 => Ok(fields.name.map(name::place).filter(|&second| second != name::place(name))),
        _ => Err(Fault::Broken("a member with masked headers or patched data")),
    }
}

fn names(header: &[u8], start: usize, name: u16, extra: u16) -> (&[u8], &[u8]) {
    let name_end = start + usize::from(name);
    let name = header.get(start..name_end).unwrap_or_default();
    (name, header.get(name_end..name_end + usize::from(extra)).unwrap_or_default())
}

fn digest(name: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(name).into()
}

/// What the extra fields say that matters here (APPNOTE 4.5).
#[derive(Default)]
struct Fields<'a> {
    /// zip64: sizes and offset.
    large: &'a [u8],
    /// Info-ZIP's name in UTF-8.
    name: Option<&'a [u8]>,
    is_encrypted: bool,
}

fn fields(extra: &[u8]) -> Result<Fields<'_>, Fault> {
    let mut found = Fields::default();
    // Some writers align members with zeros: once, because there may be as many as fields.
    let end = extra.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let mut at = 0;
    while at < end {
        let length = usize::from(u16_at(extra, at + 2));
        let Some(value) = extra.get(at + 4..at + 4 + length) else {
            return Err(Fault::Broken("a broken extra field"));
        };
        match u16_at(extra, at) {
            0x0001 if !found.large.is_empty() => return Err(Fault::Broken("two zip64 fields")),
            0x0001 => found.large = value,
            0x0017 | 0x9901 => found.is_encrypted = true,
            0x7075 if found.name.is_some() => return Err(Fault::Broken("two fields with a name")),
            0x7075 => found.name = Some(value.get(5..).unwrap_or_default()),
            _ => {}
        }
        at += 4 + length;
    }
    Ok(found)
}
