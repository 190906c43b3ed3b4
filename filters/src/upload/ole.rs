//! Office files of the old kind (MS-CFB): a small file system, of which the list of entries is read.
//!
//! Storages that hold macros or embedded objects are refused, and so is a document that is encrypted. Reads the header
//! and the list, at most 1 MiB; of a text the first sector, of a workbook the first 256 KiB, where the sheets are named,
//! and of a presentation all of its stream. Whatever is called like one of these is read, wherever it is: readers choose
//! between them.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use memchr::memmem::Finder;

use super::archive::Fault;
use crate::filter::WholeBody;

const HEADER: u64 = 512;
/// Bytes of a workbook's beginning, where its sheets are named.
const MAX_START: usize = 256 * 1024;
const ENTRY: usize = 128;
/// Bytes of the list of entries.
const MAX_LIST: u64 = 1 << 20;
/// The head of a presentation's record about Visual Basic and of the atom in it; then come a reference and whether
/// there is a program.
const PROGRAM: &[u8] = b"\x1f\x00\xff\x03\x14\x00\x00\x00\x02\x00\x00\x04\x0c\x00\x00\x00";
/// Numbers from here on are no sectors.
const NO_SECTOR: u32 = 0xffff_fffa;
const END_OF_CHAIN: u32 = 0xffff_fffe;
const NO_STREAM: u32 = 0xffff_ffff;
/// Streams that may be the document; Excel once wrote two.
const MAX_DOCUMENTS: usize = 4;
/// Streams shorter than this are kept in small sectors, in the stream of the root.
const SMALL: u32 = 4096;
const SMALL_SECTOR: usize = 64;
/// Places in the header that say where the table of sectors is.
const IN_HEADER: usize = 109;

/// Streams that are a document, in lower case.
const DOCUMENTS: [&str; 4] = ["worddocument", "workbook", "book", "powerpoint document"];
/// Storages and streams that only a file with macros has.
const MACROS: [&str; 4] = ["macros", "_vba_project_cur", "vba", "_vba_project"];
const ENCRYPTED_DOCUMENT: &str = "an encrypted document";
const ENCRYPTED: [&str; 3] = ["encryptioninfo", "encryptedpackage", "\u{6}dataspaces"];

/// Why a file cannot be judged, or must not pass.
#[derive(Debug)]
pub(super) enum Stop {
    Fault(Fault),
    Unreadable(io::Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

const BROKEN: Fault = Fault::Mismatch("a compound file that is broken");

/// Judges a file of which all bytes are here, by its extension: for fuzz targets.
pub fn judge(bytes: &[u8], extension: &str) -> Result<(), Fault> {
    let body = Slice(bytes);
    match inspect(&body, 0..bytes.len() as u64, extension).now_or_never() {
        Some(Err(Stop::Fault(fault))) => Err(fault),
        Some(Err(Stop::Unreadable(_))) | None => Err(BROKEN),
        Some(Ok(())) => Ok(()),
    }
}

/// Checks the file in `range`, which has this extension.
pub(super) async fn inspect(body: &dyn WholeBody, range: Range<u64>, extension: &str) -> Result<(), Stop> {
    let mut file = Compound::open(body, range).await?;
    let entries = file.entries().await?;
    if !entries.iter().any(|entry| entry.is_document(extension)) {
        return Err(Fault::Mismatch("a compound file that is no document of this kind").into());
    }
    let has = |names: &[&str]| entries.iter().any(|entry| names.contains(&entry.name.as_str()));
    if has(&MACROS) {
        return Err(Fault::Active("macros").into());
    }
    if has(&ENCRYPTED) {
        return Err(Fault::Active(ENCRYPTED_DOCUMENT).into());
    }
    let documents = || entries.iter().filter(|entry| DOCUMENTS.contains(&entry.name.as_str()));
    if documents().count() > MAX_DOCUMENTS {
        return Err(Fault::Mismatch("a compound file of many documents").into());
    }
    for document in documents() {
        if let Some(fault) = file.document_fault(document).await? {
            return Err(Fault::Active(fault).into());
        }
    }
    match entries.iter().any(Entry::is_embedded) {
        true => Err(Fault::Active("an embedded object").into()),
        false => Ok(()),
    }
}

/// A storage or a stream.
struct Entry {
    /// In lower case.
    name: String,
    child: u32,
    start: u32,
    size: u32,
}

impl Entry {
    /// The stream that makes a file what its extension says.
    fn is_document(&self, extension: &str) -> bool {
        let names: &[&str] = match extension {
            "doc" | "dot" => &["worddocument"],
            "xls" | "xlt" => &["workbook", "book"],
            "ppt" | "pps" | "pot" => &["powerpoint document"],
            _ => return true,
        };
        names.contains(&self.name.as_str())
    }

    /// Word keeps an empty pool of objects in many a document.
    fn is_embedded(&self) -> bool {
        (self.name == "objectpool" && self.child != NO_STREAM)
            || self.name.starts_with("mbd0")
            || ["\u{1}ole10native", "package"].contains(&self.name.as_str())
    }
}

struct Compound<'a> {
    body: &'a dyn WholeBody,
    range: Range<u64>,
    /// A sector's size is two to this.
    shift: u32,
    first: u32,
    /// Where the table of small sectors begins.
    small: u32,
    /// The stream of all small sectors: the root's.
    root: u32,
    /// Which sectors hold the table of sectors.
    table: Vec<u32>,
    /// The one that was read last.
    read: Option<(u32, Vec<u8>)>,
}

impl<'a> Compound<'a> {
    async fn open(body: &'a dyn WholeBody, range: Range<u64>) -> Result<Self, Stop> {
        let mut file = Self {
            body,
            range,
            shift: 9,
            first: 0,
            small: NO_STREAM,
            root: NO_STREAM,
            table: Vec::new(),
            read: None,
        };
        let header = file.bytes(0, HEADER).await?;
        let shift = u32::from(u16_at(&header, 30));
        let known = header.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
            && u16_at(&header, 28) == 0xfffe
            && [(3, 9), (4, 12)].contains(&(u16_at(&header, 26), shift));
        if !known {
            return Err(BROKEN.into());
        }
        (file.shift, file.first, file.small) = (shift, u32_at(&header, 48), u32_at(&header, 60));
        file.table.extend((0..IN_HEADER).map(|at| u32_at(&header, 76 + 4 * at)));
        let (mut next, per_sector) = (u32_at(&header, 68), (1usize << shift) / 4 - 1);
        // A chain that is longer than the file goes in circles.
        let most = (file.range.end - file.range.start) >> shift;
        let mut seen = 0;
        while next < NO_SECTOR && seen < most {
            let sector = file.sector(next).await?;
            file.table.extend((0..per_sector).map(|at| u32_at(&sector, 4 * at)));
            next = u32_at(&sector, 4 * per_sector);
            seen += 1;
            if file.table.len() as u64 > IN_HEADER as u64 + most {
                break;
            }
        }
        Ok(file)
    }

    async fn entries(&mut self) -> Result<Vec<Entry>, Stop> {
        let (mut entries, mut sector, mut read) = (Vec::new(), self.first, 0);
        while sector != END_OF_CHAIN {
            if read >= MAX_LIST {
                return Err(BROKEN.into());
            }
            let bytes = self.sector(sector).await?;
            if read == 0 {
                self.root = u32_at(&bytes, 116);
            }
            read += bytes.len() as u64;
            for entry in bytes.chunks_exact(ENTRY).filter(|entry| [1, 2, 5].contains(&entry[66])) {
                let length = usize::from(u16_at(entry, 64)).clamp(2, 64) - 2;
                let units =
                    entry[..length].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
                let name: String = char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect();
                entries.push(Entry {
                    name: name.to_lowercase(),
                    child: u32_at(entry, 76),
                    start: u32_at(entry, 116),
                    size: u32_at(entry, 120),
                });
            }
            sector = self.next(sector).await?;
        }
        Ok(entries)
    }

    /// What the beginning of the document says of it: encryption (MS-DOC 2.5.1, MS-XLS 2.4.117) and sheets of macros
    /// (MS-XLS 2.4.28).
    async fn document_fault(&mut self, main: &Entry) -> Result<Option<&'static str>, Stop> {
        if main.size < SMALL {
            let bytes = self.small_stream(main).await?;
            return Ok(match main.name.as_str() {
                "worddocument" => text_fault(&bytes),
                "powerpoint document" => has_program(&bytes).then_some("macros"),
                _ => workbook_fault(&bytes),
            });
        }
        match main.name.as_str() {
            "worddocument" => Ok(text_fault(&self.sector(main.start).await?)),
            "powerpoint document" => Ok(self.has_program(main.start).await?.then_some("macros")),
            _ => {
                let mut bytes = self.stream(main.start).await?;
                bytes.truncate(usize::try_from(main.size).unwrap_or(usize::MAX));
                Ok(workbook_fault(&bytes))
            }
        }
    }

    /// A stream that is kept in small sectors, of which the first [`MAX_START`] bytes are enough for any document.
    async fn small_stream(&mut self, entry: &Entry) -> Result<Vec<u8>, Stop> {
        let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
        if size == 0 {
            return Ok(Vec::new());
        }
        let (table, all) = (self.stream(self.small).await?, self.stream(self.root).await?);
        let (mut bytes, mut number) = (Vec::new(), entry.start);
        while bytes.len() < size {
            let place = usize::try_from(number).unwrap_or(usize::MAX);
            let start = place.saturating_mul(SMALL_SECTOR);
            let piece = all.get(start..start.saturating_add(SMALL_SECTOR)).ok_or(BROKEN)?;
            bytes.extend_from_slice(piece);
            number = u32_at(&table, place.saturating_mul(4));
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    /// Sectors of the file, with the last if that is shorter.
    fn sectors(&self) -> u64 {
        ((self.range.end - self.range.start) >> self.shift) + 1
    }

    /// The first [`MAX_START`] bytes of a stream.
    async fn stream(&mut self, start: u32) -> Result<Vec<u8>, Stop> {
        let (mut bytes, mut sector, mut runs) = (Vec::new(), start, 0);
        while bytes.len() < MAX_START && sector < NO_SECTOR {
            let (piece, next) = self.run(sector).await?;
            bytes.extend(piece);
            sector = next;
            runs += 1;
            // Sectors count, not bytes: the last of a file may give one byte, again and again.
            if runs > self.sectors() {
                return Err(BROKEN.into());
            }
        }
        Ok(bytes)
    }

    /// Whether a presentation says that it has a project of Visual Basic (MS-PPT 2.4.10): looked for in the whole stream.
    async fn has_program(&mut self, start: u32) -> Result<bool, Stop> {
        let (mut window, mut sector, mut read) = (Vec::new(), start, 0);
        while sector < NO_SECTOR {
            let (piece, next) = self.run(sector).await?;
            read += (piece.len() as u64).div_ceil(1 << self.shift);
            // A chain that is longer than the file goes in circles.
            if read > self.sectors() {
                return Err(BROKEN.into());
            }
            window.extend(piece);
            if has_program(&window) {
                return Ok(true);
            }
            window.drain(..window.len().saturating_sub(PROGRAM.len() + 8));
            sector = next;
        }
        Ok(false)
    }

    /// Sectors of a chain that stand one behind the other, 64 at most, and the sector that follows them.
    async fn run(&mut self, sector: u32) -> Result<(Vec<u8>, u32), Stop> {
        let (mut count, mut next) = (1, self.next(sector).await?);
        while next == sector.wrapping_add(count) && count < 64 {
            next = self.next(next).await?;
            count += 1;
        }
        let at = (u64::from(sector) + 1) << self.shift;
        Ok((self.bytes(at, u64::from(count) << self.shift).await?, next))
    }

    /// The sector that follows another in its chain.
    async fn next(&mut self, sector: u32) -> Result<u32, Stop> {
        let per_sector = 1u32 << (self.shift - 2);
        let place = usize::try_from(sector / per_sector).unwrap_or(usize::MAX);
        let Some(&holder) = self.table.get(place).filter(|&&holder| holder < NO_SECTOR) else {
            return Err(BROKEN.into());
        };
        if self.read.as_ref().is_none_or(|(known, _)| *known != holder) {
            self.read = Some((holder, self.sector(holder).await?));
        }
        let table = self.read.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        Ok(u32_at(table, 4 * (sector % per_sector) as usize))
    }

    /// The last sector of a file may be shorter than the others.
    async fn sector(&self, number: u32) -> Result<Vec<u8>, Stop> {
        if number >= NO_SECTOR {
            return Err(BROKEN.into());
        }
        let mut bytes = self.bytes((u64::from(number) + 1) << self.shift, 1 << self.shift).await?;
        bytes.resize(1 << self.shift, 0);
        Ok(bytes)
    }

    async fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>, Stop> {
        let mut at = self.range.start.saturating_add(at);
        let end = at.saturating_add(length).min(self.range.end);
        if at >= end {
            return Err(BROKEN.into());
        }
        let mut bytes = Vec::new();
        while at < end {
            let piece = self.body.read(at..end).await.map_err(Stop::Unreadable)?;
            if piece.is_empty() {
                return Err(Stop::Unreadable(io::ErrorKind::UnexpectedEof.into()));
            }
            at += piece.len() as u64;
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

fn has_program(bytes: &[u8]) -> bool {
    Finder::new(PROGRAM).find_iter(bytes).any(|at| u32_at(bytes, at + PROGRAM.len() + 4) != 0)
}

fn text_fault(start: &[u8]) -> Option<&'static str> {
    (u16_at(start, 10) & 0x0100 != 0).then_some(ENCRYPTED_DOCUMENT)
}

/// Reads a workbook's records (MS-XLS 2.1.4), also behind what calls itself the end of what is true of all sheets.
fn workbook_fault(mut rest: &[u8]) -> Option<&'static str> {
    while rest.len() >= 4 {
        let length = usize::from(u16_at(rest, 2));
        match u16_at(rest, 0) {
            // FilePass
            0x002f => return Some(ENCRYPTED_DOCUMENT),
            // BoundSheet8: sheets of macros, and modules of Visual Basic
            0x0085 if rest.get(9).is_some_and(|kind| [1, 6].contains(kind)) => return Some("macros"),
            _ => rest = rest.get(4 + length..).unwrap_or_default(),
        }
    }
    None
}

/// Little-endian; 0 beyond the end.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |pair| u16::from_le_bytes([pair[0], pair[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// A body that is in memory.
struct Slice<'a>(&'a [u8]);

impl WholeBody for Slice<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, io::Result<Bytes>> {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = self.0.get(place(range.start)..place(range.end)).map(Bytes::copy_from_slice);
        Box::pin(async { bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()) })
    }
}

#[cfg(test)]
mod tests;
