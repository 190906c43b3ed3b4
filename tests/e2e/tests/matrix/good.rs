//! Good files arrive byte for byte, and the app is told the truth of them.

use std::collections::BTreeSet;
use std::time::Instant;

use harness::http::{Answer, Call, Connection, Wire, call, post};
use harness::sample::sha256;
use harness::samples::{self, Sample};
use harness::{Certificate, Form, Origin, WeCard, token};
use serde_json::{Value, json};

use super::case::media_type;
use super::{CLOSED, LENIENT, gateway, http2, tell};

/// A name that is not only ASCII, so that it has to be told in a way of its own.
fn filename(sample: &Sample) -> String {
    format!("{} 样本.{}", sample.name, sample.extension)
}

fn form(sample: &Sample) -> Vec<u8> {
    Form::new()
        .text("title", "a good file")
        .file("file", &filename(sample), media_type(&sample.extension), &sample.content)
        .body()
}

fn class(extension: &str) -> &'static str {
    match extension {
        "jpg" | "jpeg" | "png" | "gif" | "webp" | "bmp" | "tif" | "tiff" | "ico" | "avif" | "heic"
        | "jp2" | "jxl" | "psd" | "svg" => "image",
        "mp4" | "m4v" | "mov" | "webm" | "mkv" | "avi" | "3gp" | "mpg" | "ts" | "flv" | "wmv" | "ogv" => {
            "video"
        }
        "mp3" | "wav" | "ogg" | "opus" | "flac" | "m4a" | "aac" | "wma" | "aiff" => "audio",
        "txt" | "log" | "md" | "csv" | "tsv" | "json" | "xml" | "yaml" | "ics" | "vcf" => "text",
        "zip" | "7z" | "gz" | "tgz" | "tar" | "bz2" | "xz" => "archive",
        _ => "document",
    }
}

/// What `X-Upload-Files` must say, but for the media type, which is the gateway's to choose.
fn expected(sample: &Sample, field: &str, filename: &str) -> Value {
    json!({
        "field": field,
        "filename": filename,
        "size": sample.content.len(),
        "class": class(&sample.extension),
        "sha256": sha256(&sample.content),
        "scan": if CLOSED.contains(&sample.extension.as_str()) { "not_scanned" } else { "clean" },
        "engine": "builtin",
    })
}

/// Says what is wrong with what the app received.
fn fault(answer: &Answer, body: &[u8], file: &Value) -> Option<String> {
    if answer.status != 200 {
        return Some(format!("{:?} {}", answer.verdict(), answer.text()));
    }
    let seen = answer.json();
    if seen["sha256"] != sha256(body).as_str() || seen["length"] != body.len() {
        return Some("the bytes at the app are others".to_owned());
    }
    told(&seen["headers"], file)
}

/// Says what is wrong with the one `X-Upload-Files` among header lines.
fn told(headers: &Value, file: &Value) -> Option<String> {
    let lines = headers
        .as_array()?
        .iter()
        .filter(|line| line[0].as_str().is_some_and(|name| name.eq_ignore_ascii_case("x-upload-files")));
    let values: Vec<&str> = lines.filter_map(|line| line[1].as_str()).collect();
    let [value] = values.as_slice() else { return Some(format!("X-Upload-Files: {values:?}")) };
    let mut told: Value = serde_json::from_str(value).unwrap_or_default();
    let media_type = told[0].as_object_mut().and_then(|told| told.remove("type"));
    let typed = media_type.as_ref().and_then(Value::as_str).is_some_and(|kind| kind.contains('/'));
    (!value.is_ascii() || !typed || told != json!([file])).then(|| format!("X-Upload-Files: {value}"))
}

#[test]
fn every_good_file_arrives_byte_for_byte_with_what_was_found() {
    let (app, wecard, certificate) = (Origin::echo(), WeCard::start(), Certificate::localhost());
    let gateway = gateway(LENIENT, &app).tls(&certificate).env("WECARD", wecard.api()).start();
    let (started, mut wrong, mut sent) = (Instant::now(), Vec::new(), 0);
    let mut http1 = Connection::to(&Wire::Http1, gateway.address());
    let mut http2 = Connection::to(&http2(&certificate), gateway.secure());
    let good: Vec<&Sample> = samples::all().iter().filter(|sample| sample.is_good()).collect();
    for sample in &good {
        let (form, name) = (form(sample), filename(sample));
        let kind = Form::content_type();
        let in_form = expected(sample, "file", &name);
        let raw = expected(sample, "", &format!("report.{}", sample.extension));
        let put = call("PUT", &format!("/raw/report.{}", sample.extension));
        let mut calls: Vec<(&str, Call, &[u8], &Value)> = vec![
            ("form", post("/form").body(&kind, form.clone()), &form, &in_form),
            ("chunked form", post("/form").chunked(&kind, form.clone()), &form, &in_form),
            ("raw", put.body(media_type(&sample.extension), sample.content.clone()), &sample.content, &raw),
        ];
        if form.len() < 4096 {
            calls.push(("bytewise form", post("/form").bytewise(&kind, form.clone()), &form, &in_form));
        }
        for (way, call, body, file) in calls {
            for wire in ["HTTP/1.1", "HTTP/2"] {
                let before = wrong.len();
                sent += 1;
                match (if wire == "HTTP/2" { &mut http2 } else { &mut http1 }).exchange(&call) {
                    Ok(answer) => {
                        let fault = fault(&answer, body, file);
                        wrong.extend(
                            fault.map(|fault| format!("{} as {way} over {wire}: {fault}", sample.name)),
                        );
                    }
                    Err(error) => wrong.push(format!("{} as {way} over {wire}: {error}", sample.name)),
                }
                if wrong.len() > before {
                    // A refusal may have ended the connection.
                    http1 = Connection::to(&Wire::Http1, gateway.address());
                    http2 = Connection::to(&super::http2(&certificate), gateway.secure());
                }
            }
        }
        let stored = post("/api/v1/assets").bearer(&token::of("alice", "t-acme")).body(&kind, form.clone());
        let stored = stored.send(gateway.address());
        let file = &stored.json()["data"]["files"][0];
        if stored.status != 201
            || file["sha256"] != sha256(&sample.content).as_str()
            || file["filename"] != name.as_str()
        {
            wrong.push(format!("{} at WeCard: {} {}", sample.name, stored.status, stored.text()));
        }
    }
    let extensions: BTreeSet<&str> = good.iter().map(|sample| sample.extension.as_str()).collect();
    let seconds = started.elapsed().as_secs_f32();
    let formats = extensions.len();
    tell(&format!("{} good files of {formats} formats, sent {sent} times in {seconds:.1} s", good.len()));
    assert!(wrong.is_empty(), "{} did not arrive as they should:\n{}", wrong.len(), wrong.join("\n"));
    assert!(formats >= 40, "{formats} formats are too few");
}
