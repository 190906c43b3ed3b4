//! Good bodies, and what becomes of them on the way.

use std::ops::Range;

use bytes::Bytes;
use filters::WholeBody;
use futures_util::future::{BoxFuture, ready};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Changes to a body, each at a place that is cut down to its length.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Flip(usize, u8),
    Delete(usize, usize),
    Insert(usize, Vec<u8>),
    Duplicate(usize, usize),
    Truncate(usize),
}

impl Change {
    pub(crate) fn apply(&self, body: &mut Vec<u8>) {
        let range = |at: usize, length: usize| {
            let at = at % (body.len() + 1);
            at..(at + length).min(body.len())
        };
        match self {
            Change::Flip(at, byte) => {
                let at = range(*at, 1);
                body[at].iter_mut().for_each(|own| *own ^= byte);
            }
            Change::Delete(at, length) => drop(body.drain(range(*at, *length))),
            Change::Insert(at, bytes) => {
                let at = range(*at, 0);
                drop(body.splice(at, bytes.iter().copied()));
            }
            Change::Duplicate(at, length) => {
                let range = range(*at, *length);
                let copy = body[range.clone()].to_vec();
                drop(body.splice(range.end..range.end, copy));
            }
            Change::Truncate(at) => body.truncate(range(*at, 0).start),
        }
    }
}

/// Places crowd where parsers look: heads of parts and of files, and the end.
pub(crate) fn changes(most: usize) -> impl Strategy<Value = Vec<Change>> {
    let at = || prop_oneof![any::<usize>(), 0..1200_usize];
    let scraps = select(vec![
        "\r\n",
        "\n",
        "\r",
        "--",
        "\0",
        "\r\n--b",
        "\r\n--b--",
        "--b\r\n",
        "; filename=\"x.php\"",
        "; name=\"a\"",
        "\"",
        "<script>",
        "<?php ",
        "<!ENTITY x SYSTEM \"y\">",
        "PK\x03\x04",
        "PK\x05\x06",
        "vbaProject.bin",
        "Content-Transfer-Encoding: base64\r\n",
        "; filename*=UTF-8''%2e%2e%2fa.png",
        "%PDF-1.7 /JavaScript",
        "\u{202e}",
    ]);
    let inserted =
        prop_oneof![3 => scraps.prop_map(|scrap| scrap.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..32)];
    let change = prop_oneof![
        3 => (at(), 1..=255_u8).prop_map(|(at, byte)| Change::Flip(at, byte)),
        2 => (at(), 1..300_usize).prop_map(|(at, length)| Change::Delete(at, length)),
        3 => (at(), inserted).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (at(), 1..2000_usize).prop_map(|(at, length)| Change::Duplicate(at, length)),
        1 => at().prop_map(Change::Truncate),
    ];
    vec(change, 0..most)
}

/// A zip of stored members with these names.
pub(crate) fn office() -> Vec<u8> {
    let (mut body, mut directory) = (Vec::new(), Vec::new());
    for name in ["[Content_Types].xml", "_rels/.rels", "word/document.xml"] {
        let offset = body.len() as u32;
        let tail = [&[4, 0, 0, 0, 4, 0, 0, 0][..], &(name.len() as u16).to_le_bytes(), &[0, 0]].concat();
        body.extend(
            [b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\x63\xf3\xf3\xad", &tail[..], name.as_bytes(), b"data"]
                .concat(),
        );
        directory.extend(
            [b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0\x63\xf3\xf3\xad", &tail[..], &[0; 10]].concat(),
        );
        directory.extend([&offset.to_le_bytes()[..], name.as_bytes()].concat());
    }
    let (length, start) = ((directory.len() as u32).to_le_bytes(), (body.len() as u32).to_le_bytes());
    [body, directory, [b"PK\x05\x06\0\0\0\0\x03\0\x03\0", &length[..], &start, &[0, 0]].concat()].concat()
}

pub(crate) fn png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.resize(20_000, 0xaa);
    png
}

pub(crate) const SVG: &[u8] = b"<?xml version=\"1.0\"?><!-- a --><svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\"><title>&amp;</title>\
    <g style=\"fill:#fff\"><path d=\"M0 0L9 9\"/><use href=\"#a\"/></g></svg>";

/// What a browser sends for a text field and three files.
pub(crate) fn form() -> Vec<u8> {
    let file = |name: &str, kind: &str, bytes: &[u8]| {
        let head = format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
        );
        [head.as_bytes(), bytes, b"\r\n"].concat()
    };
    [
        b"--b\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nhello\r\n".to_vec(),
        file("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", &office()),
        file("b.svg", "image/svg+xml", SVG),
        file("c.png", "image/png", &png()),
        b"--b--\r\n".to_vec(),
    ]
    .concat()
}

pub(crate) struct Body(pub(crate) Vec<u8>);

impl WholeBody for Body {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, std::io::Result<Bytes>> {
        let (start, end) = (range.start as usize, range.end as usize);
        Box::pin(ready(Ok(Bytes::copy_from_slice(&self.0[start..end.min(start + 4096)]))))
    }
}
