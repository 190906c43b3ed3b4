//! Which bytes begin an archive.

use super::tar;

/// Bytes of a file's start that are enough to tell.
pub(super) const HEAD: usize = 512;

/// What an archive is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// APPNOTE 6.3
    Zip,
    /// RFC 1952
    Gzip,
    /// POSIX ustar and pax, GNU tar, and the older form
    Tar,
    /// One that is not opened here, by name.
    Closed(&'static str),
}

/// Formats that are told of and not opened, by their first bytes.
const CLOSED: [(&str, &[u8]); 10] = [
    ("7z", b"7z\xbc\xaf\x27\x1c"),
    ("rar", b"Rar!\x1a\x07"),
    ("xz", b"\xfd7zXZ\0"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
    ("cab", b"MSCF\0\0\0\0"),
    ("lz4", b"\x04\x22\x4d\x18"),
    ("lzip", b"LZIP\x01"),
    ("ar", b"!<arch>\n"),
    ("wim", b"MSWIM\0\0\0"),
    ("xar", b"xar!\0\x1c"),
];

impl Format {
    /// Judges the first bytes of a file; 512 are enough, and fewer when it has no more.
    pub fn of(head: &[u8]) -> Option<Self> {
        let closed = || CLOSED.iter().find(|(_, magic)| head.starts_with(magic)).map(|(name, _)| *name);
        match head {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => {
                Some(Self::Closed("bzip2"))
            }
            [0x1f, 0x9d, 0x80..=0x90, ..] => Some(Self::Closed("compress")),
            [_, _, b'-', b'l', b'h', b'0'..=b'7', b'-', ..] => Some(Self::Closed("lha")),
            _ if tar::begins(head) => Some(Self::Tar),
            _ => closed().map(Self::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_archives_and_nothing_else() {
        for (head, format) in [
            (b"PK\x03\x04".as_slice(), Some(Format::Zip)),
            (b"PK\x05\x06", Some(Format::Zip)),
            (b"\x1f\x8b\x08\0", Some(Format::Gzip)),
            (b"BZh91AY&SY", Some(Format::Closed("bzip2"))),
            (b"BZh is a word", None),
            (b"Rar!\x1a\x07\x01\0", Some(Format::Closed("rar"))),
            (b"7z\xbc\xaf\x27\x1c\0\x04", Some(Format::Closed("7z"))),
            (b"PK is a word", None),
            (b"%PDF-1.7", None),
            (b"", None),
            (&[0; 512], None),
        ] {
            assert_eq!(Format::of(head), format, "{head:?}");
        }
    }
}
