use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};

use super::*;

/// What was found, and all that texts unpacked to.
fn judged(family: Family, picture: &[u8]) -> (Option<&'static str>, Vec<u8>) {
    let verdict = |piece| {
        let mut look = Picture::of(family).unwrap();
        let mut texts = Vec::new();
        let result = picture
            .chunks(piece)
            .try_for_each(|piece| look.push(piece, &mut |text| texts.extend_from_slice(text)));
        (result.err().or(look.fault(true)), texts)
    };
    let whole = verdict(usize::MAX);
    for piece in [1, 2, 3, 7, 64, 4096] {
        assert_eq!(verdict(piece), whole, "in pieces of {piece}");
    }
    whole
}

fn chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    [&u32::try_from(data.len()).unwrap().to_be_bytes(), kind, data, b"sum!"].concat()
}

fn png(chunks: &[Vec<u8>]) -> Vec<u8> {
    let start = [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &[0; 13])].concat();
    [start, chunks.concat(), chunk(b"IDAT", b"IEND\xff\xd9;"), chunk(b"IEND", b"")].concat()
}

fn jpeg() -> Vec<u8> {
    // A thumbnail's end inside a segment, a stuffed byte, a restart, fill bytes, and a second scan.
    b"\xff\xd8\xff\xe1\0\x08Exif\xff\xd9\xff\xda\0\x04ab\x12\xff\0\xff\xd0\x34\xff\xff\xda\0\x03a\x56\xff\xd9"
        .to_vec()
}

fn gif() -> Vec<u8> {
    let comment = b"\x21\xfe\x03;;;\0";
    let image = b"\x2c\0\0\0\0\x01\0\x01\0\x80\0\0\0\0\0\0\x02\x02\x44\x3b\0";
    [b"GIF89a\x01\0\x01\0\x80\0\0".as_slice(), &[0; 6], comment, image, b"\x3b"].concat()
}

fn webp() -> Vec<u8> {
    b"RIFF\x0d\0\0\0WEBPVP8 \x01\0\0\0a\0".to_vec()
}

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn finds_what_stands_behind_the_end() {
    let tar = [b"name".to_vec(), vec![0; 253], b"ustar\0".to_vec()].concat();
    let class = b"\xca\xfe\xba\xbe\0\0\0\x34";
    let evil: [&[u8]; 14] = [
        b"PK\x03\x04\x14\0",
        b"PK\x05\x06\0\0\0\0",
        b"Rar!\x1a\x07\x01\0",
        b"7z\xbc\xaf\x27\x1c\0\x04",
        b"\x1f\x8b\x08\0\0\0\0\0",
        b"BZh91AY&SY\0",
        &tar,
        b"MZ\x90\0\x03\0",
        b"\x7fELF\x02\x01\x01\0",
        b"\xcf\xfa\xed\xfe\x07\0\0\x01",
        class,
        b"%PDF-1.7\n",
        b"#!/bin/sh\nid\n",
        b"alert(document.cookie)",
    ];
    let fine: [&[u8]; 12] = [
        b"d41d8cd98f00b204e9800998ecf8427e",
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA and so on, number = 17",
        b"X5O!P%@AP[4 and so on",
        b"",
        b"\0\0\0\0",
        b"\r\n",
        b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data1SEFT",
        b"\xff\xd8\xff\xe0\0\x04ab\xff\xd9",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        b"vivo{\"version\":\"1\"}",
        b"\x8f\x11\xe4\x99\x01\x02 random bytes",
        b"end",
    ];
    for (family, picture) in
        [(Family::Png, png(&[])), (Family::Jpeg, jpeg()), (Family::Gif, gif()), (Family::Webp, webp())]
    {
        for behind in evil {
            for gap in [b"".as_slice(), b"\0\0", b"\r\n"] {
                let file = [&picture, gap, behind].concat();
                assert!(judged(family, &file).0.is_some(), "{family:?} {behind:?}");
            }
        }
        for behind in fine {
            let file = [&picture, behind].concat();
            assert_eq!(judged(family, &file).0, None, "{family:?} {behind:?}");
        }
        // The end was really found, and nothing else was taken for it.
        let mut look = Picture::of(family).unwrap();
        look.push(&picture[..picture.len() - 1], &mut |_| {}).unwrap();
        assert_ne!(look.state, State::Ended, "{family:?}");
    }
}

#[test]
fn a_broken_picture_has_no_end() {
    for (family, picture) in [
        (Family::Png, b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR%PDF-1.7".as_slice()),
        (Family::Png, b"\x89PNG\r\n\x1a\n\0\0\0\x01I\0DR%PDF-1.7"),
        (Family::Jpeg, b"\xff\xd8\xff\xe0\0\x01%PDF-1.7"),
        (Family::Jpeg, b"\xff\xd8%PDF-1.7"),
        (Family::Gif, b"GIF89a\x01\0\x01\0\0\0\0%PDF-1.7"),
        (Family::Webp, b"RIFF\xff\xff\xff\xffWEBPVP8 "),
    ] {
        assert_eq!(judged(family, picture).0, None);
    }
}

#[test]
fn unpacks_texts() {
    let text = packed(b"<script>");
    for (kind, head) in [
        (b"zTXt", b"Comment\0\0".as_slice()),
        (b"iCCP", b"icc\0\0"),
        (b"iTXt", b"Comment\0\x01\0\0\0"),
        (b"iTXt", b"Comment\0\x01\0en\0Kommentar\0"),
    ] {
        let picture = png(&[chunk(b"gAMA", b"abcd"), chunk(kind, &[head, &text].concat())]);
        assert_eq!(judged(Family::Png, &picture), (None, b"<script>".to_vec()), "{head:?}");
    }
    for (kind, data) in [
        (b"tEXt", [b"Comment\0\0".as_slice(), &text].concat()),
        (b"iTXt", [b"Comment\0\0\0\0\0".as_slice(), &text].concat()),
        (b"zTXt", [b"Comment\0\x01".as_slice(), &text].concat()),
        (b"zTXt", b"Comment\0\0broken".to_vec()),
        (b"zTXt", vec![b'a'; 200]),
    ] {
        assert_eq!(judged(Family::Png, &png(&[chunk(kind, &data)])), (None, Vec::new()));
    }
    let large = packed(&vec![b'a'; 9000]);
    let twice = png(&[
        chunk(b"zTXt", &[b"a\0\0", large.as_slice()].concat()),
        chunk(b"zTXt", &[b"b\0\0", large.as_slice()].concat()),
    ]);
    assert_eq!(judged(Family::Png, &twice).1.len(), 18_000);
    let stored = |bytes: usize| {
        let mut encoder = ZlibEncoder::new(b"a\0\0".to_vec(), Compression::none());
        encoder.write_all(&vec![b'a'; bytes]).unwrap();
        chunk(b"zTXt", &encoder.finish().unwrap())
    };
    for (bytes, verdict) in [(3 << 20, None), (5 << 20, Some("a picture whose texts unpack to too much"))] {
        let saved_up = chunk(b"zTXt", &[b"a\0\0".as_slice(), &packed(&vec![b'a'; bytes])].concat());
        let mut look = Picture::of(Family::Png).unwrap();
        let result = look.push(&png(&[stored(100_000), saved_up]), &mut |_| ());
        assert_eq!(result.err(), verdict, "{bytes}");
    }
    let bomb = packed(&vec![b'a'; 3 << 20]);
    let picture = png(&[chunk(b"zTXt", &[b"a\0\0", bomb.as_slice()].concat())]);
    assert_eq!(judged(Family::Png, &picture).0, Some("a picture whose texts unpack to too much"));
}
