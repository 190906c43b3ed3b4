//! Archives made for tests, good ones and ones that no tool would make.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

/// A member of a zip in the making.
#[derive(Clone)]
pub(in crate::upload) struct Entry {
    pub name: Vec<u8>,
    /// As it stands in the file.
    pub packed: Vec<u8>,
    pub size: u64,
    pub crc: u32,
    pub method: u16,
    pub flags: u16,
    /// Unix mode in the list's attributes.
    pub mode: u32,
    pub extra: Vec<u8>,
    /// Sizes as zip64 has them.
    pub is_large: bool,
    /// The size that is told before the data, when the others are told behind it.
    pub foretold: u64,
}

impl Entry {
    /// Deflated.
    pub(in crate::upload) fn new(name: &str, data: &[u8]) -> Self {
        let mut crc = flate2::Crc::new();
        crc.update(data);
        Self {
            name: name.into(),
            packed: deflated(data),
            size: data.len() as u64,
            crc: crc.sum(),
            method: 8,
            flags: 0x0800,
            mode: 0,
            extra: Vec::new(),
            is_large: false,
            foretold: 0,
        }
    }

    /// As it is.
    pub(in crate::upload) fn stored(name: &str, data: &[u8]) -> Self {
        Self { packed: data.to_vec(), method: 0, ..Self::new(name, data) }
    }

    /// With its sizes behind the data.
    pub(in crate::upload) fn streamed(mut self) -> Self {
        self.flags |= 8;
        self
    }

    pub(in crate::upload) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn local(&self) -> Vec<u8> {
        let streamed = self.flags & 8 != 0;
        let told = |value: u64| if streamed { 0 } else { value };
        let mut extra = self.extra.clone();
        let size = if streamed { self.foretold } else { self.size };
        let (mut packed, mut size) = (told(self.packed.len() as u64) as u32, size as u32);
        if self.is_large {
            (packed, size) = (u32::MAX, u32::MAX);
            extra.extend_from_slice(&[1, 0, 16, 0]);
            extra.extend_from_slice(&told(self.size).to_le_bytes());
            extra.extend_from_slice(&told(self.packed.len() as u64).to_le_bytes());
        }
        [
            b"PK\x03\x04\x2d\0".as_slice(),
            &self.flags.to_le_bytes(),
            &self.method.to_le_bytes(),
            &[0, 0, 0x21, 0x58],
            &(told(self.crc.into()) as u32).to_le_bytes(),
            &packed.to_le_bytes(),
            &size.to_le_bytes(),
            &(self.name.len() as u16).to_le_bytes(),
            &(extra.len() as u16).to_le_bytes(),
            &self.name,
            &extra,
        ]
        .concat()
    }

    fn behind(&self) -> Vec<u8> {
        let (packed, size) = (self.packed.len() as u64, self.size);
        match (self.flags & 8 != 0, self.is_large) {
            (false, _) => Vec::new(),
            (true, true) => {
                [b"PK\x07\x08", &self.crc.to_le_bytes()[..], &packed.to_le_bytes(), &size.to_le_bytes()]
                    .concat()
            }
            (true, false) => {
                let (packed, size) = ((packed as u32).to_le_bytes(), (size as u32).to_le_bytes());
                [b"PK\x07\x08", &self.crc.to_le_bytes()[..], &packed, &size].concat()
            }
        }
    }

    fn central(&self, offset: u64) -> Vec<u8> {
        let mut extra = self.extra.clone();
        let (mut packed, mut size) = (self.packed.len() as u32, self.size as u32);
        if self.is_large {
            (packed, size) = (u32::MAX, u32::MAX);
            extra.extend_from_slice(&[1, 0, 16, 0]);
            extra.extend_from_slice(&self.size.to_le_bytes());
            extra.extend_from_slice(&(self.packed.len() as u64).to_le_bytes());
        }
        [
            b"PK\x01\x02\x2d\x03\x2d\0".as_slice(),
            &self.flags.to_le_bytes(),
            &self.method.to_le_bytes(),
            &[0, 0, 0x21, 0x58],
            &self.crc.to_le_bytes(),
            &packed.to_le_bytes(),
            &size.to_le_bytes(),
            &(self.name.len() as u16).to_le_bytes(),
            &(extra.len() as u16).to_le_bytes(),
            &[0; 6],
            &(self.mode << 16).to_le_bytes(),
            &(offset as u32).to_le_bytes(),
            &self.name,
            &extra,
        ]
        .concat()
    }
}

/// A zip of these members.
pub(in crate::upload) fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut body, mut list) = (Vec::new(), Vec::new());
    for entry in entries {
        list.extend(entry.central(body.len() as u64));
        body.extend([entry.local(), entry.packed.clone(), entry.behind()].concat());
    }
    let start = body.len() as u64;
    [body, list.clone(), end(entries.len() as u64, list.len() as u64, start)].concat()
}

/// The end of a list.
pub(in crate::upload) fn end(entries: u64, length: u64, start: u64) -> Vec<u8> {
    let count = (entries as u16).to_le_bytes();
    let (length, start) = ((length as u32).to_le_bytes(), (start as u32).to_le_bytes());
    [b"PK\x05\x06\0\0\0\0", &count[..], &count, &length, &start, &[0, 0]].concat()
}

/// A zip of members of these names, with something in each.
pub(in crate::upload) fn zip_of(names: &[&str]) -> Vec<u8> {
    zip(&names.iter().map(|name| Entry::new(name, b"<data/>")).collect::<Vec<_>>())
}

pub(in crate::upload) fn deflated(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub(in crate::upload) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A header of a tar and its data.
pub(in crate::upload) fn tar_member(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut block = name.as_bytes().to_vec();
    block.resize(100, 0);
    block.extend_from_slice(b"0000644\x000000000\x000000000\0");
    block.extend_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    block.extend_from_slice(b"14000000000\0        ");
    block.push(kind);
    block.resize(257, 0);
    block.extend_from_slice(b"ustar\x0000");
    block.resize(512, 0);
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(data);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// A tar of these members, with its end.
pub(in crate::upload) fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}
