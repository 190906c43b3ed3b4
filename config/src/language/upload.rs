//! `upload` and `websocket` of a route.

use std::collections::HashMap;

use crate::pattern::origin;
use crate::problem::quote;
use crate::read::Reader;
use crate::rules::{Upload, UploadClass, WebSocket};
use crate::scalar::{boolean, count, line, size_between, time_limit, word, written_line};

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
    })
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

fn extension(r: &Reader<'_>) -> Option<String> {
    let written = written_line(r)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+".contains(&byte);
    if written.text.len() <= 16 && written.text.bytes().all(fits) {
        return Some(written.text.to_ascii_lowercase());
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
