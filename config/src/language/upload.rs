//! `upload` and `websocket` of a route.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderName;

use super::header;
use crate::pattern::origin;
use crate::problem::quote;
use crate::read::{Reader, Shape};
use crate::rules::{Archives, Dedupe, DedupeMode, Upload, UploadClass, WebSocket};
use crate::scalar::{boolean, count, integer, line, size_between, time_limit, word, written_line};

/// How long a stored file is remembered where nothing else is written.
const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);

pub(super) fn upload(r: &Reader<'_>) -> Option<Upload> {
    let t = r.table()?;
    let fields = t.or("fields", "Form fields that may carry files; any when empty.", "[]", |r| r.list(line));
    let max_files = t.or("max_files", "Files in one request.", "1", count(1, 10_000));
    let classes =
        t.required("classes", "Kinds of file that may come, by a name of your own.", |r| r.names(class));
    let scan = t.or("scan", "Whether files are scanned for malware.", "true", boolean);
    let raw = t.or("raw", "Whether the body may be one file instead of a form.", "false", boolean);
    let max_fields = t.or("max_fields", "Parts of a form that are no files.", "100", count(0, 10_000));
    let max_field_size = t.or("max_field_size", "Bytes of one of them.", "1MB", size_between(1, 1 << 30));
    let declared_type = t.or(
        "declared_type",
        "Whether a file's own Content-Type may contradict its content; none, or one that says nothing, does not.",
        "match",
        word(&[("match", true), ("ignore", false)]),
    );
    let pdf_active = t.or(
        "pdf_active",
        "Whether a PDF may have scripts, actions, embedded files, or be encrypted.",
        "deny",
        word(&[("deny", false), ("allow", true)]),
    );
    let dedupe = t.or(
        "dedupe",
        "What happens to a file that the tenant, or on a route without tenants the route, has stored before.",
        "off",
        dedupe,
    );
    let quota = t.optional(
        "quota",
        "tenant: files count towards the storage of the tenant's plan; not counted when missing.",
        word(&[("tenant", ())]),
    );
    let archives = t.or("archives", "What an archive or an office file may unpack to.", "{}", archives);
    let classes: Vec<_> = classes?.into_iter().map(|(_, class)| class).collect();
    if classes.is_empty() {
        t.problem(
            "classes",
            "there is no class, so that no file could come",
            "add one, as in image: {extensions: [png], max_size: 5MB}",
        );
        return None;
    }
    let mut taken = HashMap::new();
    for class in &classes {
        for extension in &class.extensions {
            if let Some(other) = taken.insert(extension, &class.name)
                && other != &class.name
            {
                let what = format!("the extension {} is in {other} and in {}", quote(extension), class.name);
                t.problem("classes", what, "keep it in one class");
            }
        }
    }
    Some(Upload {
        fields: fields?,
        max_files: max_files?,
        classes,
        scan: scan?,
        raw: raw?,
        max_fields: max_fields?,
        max_field_size: max_field_size?,
        declared_type: declared_type?,
        pdf_active: pdf_active?,
        dedupe: dedupe?,
        quota: quota?.is_some(),
        archives: archives?,
    })
}

fn archives(r: &Reader<'_>) -> Option<Archives> {
    let t = r.table()?;
    let max_members =
        t.or("max_members", "Members of all archives in a file together.", "1000", integer(1, 1_000_000));
    let max_member = t.or("max_member", "Bytes of one member, unpacked.", "25MB", size_between(1, 1 << 40));
    let max_total =
        t.or("max_total", "Bytes of all members together, unpacked.", "100MB", size_between(1, 1 << 40));
    let max_ratio = t.or(
        "max_ratio",
        "Bytes of all members for each byte of the file, once they are over 1MB.",
        "100",
        integer(1, 1_000_000),
    );
    let max_depth = t.or("max_depth", "Archives in archives; the file is the first.", "3", count(1, 16));
    Some(Archives {
        max_members: max_members?,
        max_member: max_member?,
        max_total: max_total?,
        max_ratio: max_ratio?,
        max_depth: max_depth?,
    })
}

fn dedupe(r: &Reader<'_>) -> Option<Option<Dedupe>> {
    const MODES: [(&str, DedupeMode); 2] =
        [("annotate", DedupeMode::Annotate), ("reject", DedupeMode::Reject)];
    r.shapes(&[
        (Shape::Text, &|r| {
            let [annotate, reject] = MODES.map(|(name, mode)| (name, Some(mode)));
            let mode = word(&[("off", None), annotate, reject])(r)?;
            Some(mode.map(|mode| Dedupe { mode, remember: REMEMBERED }))
        }),
        (Shape::Table, &|r| {
            let t = r.table()?;
            let mode = t.required(
                "mode",
                "Tell the app under which request the file came first, or refuse with 409 upload.duplicate.",
                word(&MODES),
            );
            let remember = t.or("remember", "How long a stored file is remembered.", "30d", time_limit);
            Some(Some(Dedupe { mode: mode?, remember: remember? }))
        }),
    ])
}

/// `quota` of a route.
pub(super) fn quota(r: &Reader<'_>) -> Option<HeaderName> {
    let t = r.table()?;
    t.required(
        "release",
        "header:NAME, a header of the app's 2xx answers with the bytes that the tenant no longer stores.",
        |r| {
            let written = written_line(r)?;
            let name = written.text.strip_prefix("header:").and_then(|name| name.parse::<HeaderName>().ok());
            if name.is_none() {
                let what = format!("{} names no header", written.quoted());
                r.problem(what, "write it as in header:X-Freed-Bytes");
            }
            name.filter(|name| header::is_free(r, name))
        },
    )
}

fn class(name: &str, r: &Reader<'_>) -> Option<UploadClass> {
    let t = r.table()?;
    let extensions = t.required("extensions", "Extensions without the dot.", |r| r.some(extension));
    let max_size = t.required("max_size", "Bytes of one file.", size_between(1, 1 << 40));
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !name.is_empty() && (name.len() > 64 || !name.bytes().all(fits)) {
        r.problem("this cannot be the name of a class", "use at most 64 letters, digits, - and _");
        return None;
    }
    Some(UploadClass { name: name.to_owned(), extensions: extensions?, max_size: max_size? })
}

/// Archives that the gateway does not open, of those whose content it can tell.
const CLOSED: &[&str] = &["7z", "rar", "bz2", "xz", "zst"];

fn extension(r: &Reader<'_>) -> Option<String> {
    let written = written_line(r)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+".contains(&byte);
    if written.text.len() <= 16 && written.text.bytes().all(fits) {
        let extension = written.text.to_ascii_lowercase();
        if CLOSED.contains(&extension.as_str()) {
            let what = format!(
                "what is in {extension} files is not looked into: all are refused unless \"scanner.on_unscanned\" is allow"
            );
            r.warn(what, "offer zip, gz or tar instead, or see docs/uploads.md");
        }
        return Some(extension);
    }
    let remedy = "write letters and digits without a dot, as in png";
    r.problem(format!("{} is not an extension", written.quoted()), remedy);
    None
}

pub(super) fn websocket(r: &Reader<'_>) -> Option<WebSocket> {
    let t = r.table()?;
    let origins = t.required(
        "origins",
        "Pages that may open it, as in https://desk.example.com; \"*\" for all.",
        |r| r.some(origin),
    );
    let max_message =
        t.or("max_message", "Bytes of one message; more closes with 1009.", "1MB", size_between(1, 1 << 30));
    let idle_timeout = t.or("idle_timeout", "Silence that closes with 1001.", "5m", time_limit);
    Some(WebSocket { origins: origins?, max_message: max_message?, idle_timeout: Some(idle_timeout?) })
}
