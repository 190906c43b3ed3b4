//! What the fuzzers drive, and what the crashers they found are run through again in the tests.
//!
//! Each target takes its bytes through the upload rules of a route, as the gateway does with a request's body, and asks
//! the same of all: no panic, an end, and one verdict however the bytes are divided. What passes has a name that an app
//! may take for a name.

use std::ops::Range;
use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use config::{Environment, Fallback};
use filters::exchange::{Arrival, Exchange};
use filters::pipeline::{Pipeline, Stores};
use filters::upload::ScanPolicy;
use filters::{FileReport, Reason, WholeBody};
use futures_util::future::{BoxFuture, ready};
use pingora_http::RequestHeader;

const POLICY: &str = r#"
version: 1
listeners: [{ address: "127.0.0.1:0" }]
upstreams: { app: { servers: ["127.0.0.1:9"] } }
sites:
  - hosts: ["*"]
    routes:
      - path: /upload
        upstream: app
        auth: none
        limits: { body: 1MB }
        upload:
          max_files: 3
          raw: true
          classes:
            image: { extensions: [png, jpg, gif, svg], max_size: 512KB }
            document: { extensions: [pdf, docx, xlsx, pptx, doc, xls, txt], max_size: 512KB }
            archive: { extensions: [zip, gz, tgz, tar], max_size: 512KB }
"#;

/// A form with the boundary `b`.
pub fn multipart(bytes: &[u8]) {
    let kind = [("Content-Type", "multipart/form-data; boundary=b")];
    if let Ok(files) = judged(&kind, bytes) {
        assert!(files.iter().map(|file| file.size).sum::<u64>() <= bytes.len() as u64);
        files.iter().for_each(|file| is_a_name(&file.filename));
    }
}

/// The name of a picture.
pub fn name(bytes: &[u8]) {
    let encoded: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
    let disposition = format!("attachment; filename*=UTF-8''{encoded}");
    if let Ok(files) = judged(&[("Content-Disposition", &disposition)], PNG) {
        is_a_name(&files[0].filename);
        assert_eq!(files[0].filename.as_bytes(), bytes);
    }
}

/// An archive; the first byte says of which kind.
pub fn archive(bytes: &[u8]) {
    file(bytes, &["a.zip", "a.gz", "a.tgz", "a.tar"]);
}

/// An office file; the first byte says of which kind.
pub fn office(bytes: &[u8]) {
    file(bytes, &["a.docx", "a.xlsx", "a.pptx", "a.doc"]);
}

/// An SVG.
pub fn svg(bytes: &[u8]) {
    named("a.svg", bytes);
}

/// A PDF.
pub fn pdf(bytes: &[u8]) {
    named("a.pdf", bytes);
}

fn file(bytes: &[u8], names: &[&str]) {
    if let Some((kind, bytes)) = bytes.split_first() {
        named(names[usize::from(*kind) % names.len()], bytes);
    }
}

fn named(name: &str, bytes: &[u8]) {
    let disposition = format!("attachment; filename=\"{name}\"");
    if let Ok(files) = judged(&[("Content-Disposition", &disposition)], bytes) {
        assert_eq!((files.len(), files[0].size), (1, bytes.len() as u64));
    }
}

/// What no file that passes may be called.
fn is_a_name(name: &str) {
    assert!(!name.is_empty() && name.len() <= 255, "{name:?}");
    assert!(!name.starts_with('.') && !name.ends_with(['.', ' ']), "{name:?}");
    assert!(!name.contains(['/', '\\', ':', '\0', '\r', '\n', '\u{202e}', '\u{200b}']), "{name:?}");
    let lower = name.to_lowercase();
    let hidden = [".php.", ".php;", ".phtml.", ".jsp.", ".asp.", ".exe.", "%00"];
    assert!(!lower.starts_with("%2e"), "{name:?}");
    assert!(!hidden.iter().any(|hidden| lower.contains(hidden)), "{name:?}");
}

/// One grey pixel.
const PNG: &[u8] = include_bytes!("../pixel.png");

/// The verdict on a body, whole and in pieces.
fn judged(fields: &[(&'static str, &str)], body: &[u8]) -> Result<Vec<FileReport>, Reason> {
    let whole = verdict(fields, body, body.len());
    let piece = 1 + body.first().copied().map_or(0, usize::from) % 67;
    assert_eq!(whole, verdict(fields, body, piece), "in pieces of {piece}");
    whole
}

fn verdict(fields: &[(&'static str, &str)], body: &[u8], piece: usize) -> Result<Vec<FileReport>, Reason> {
    let mut head = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n".to_vec();
    let mut request = RequestHeader::build("POST", b"/upload", None).expect("the head is good");
    let fixed = [("Host", "localhost"), ("Transfer-Encoding", "chunked")];
    for (name, value) in fixed.iter().chain(fields) {
        request.append_header(*name, *value).expect("the head is good");
    }
    for (name, value) in fields {
        head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    let arrival = Arrival {
        now: std::time::UNIX_EPOCH,
        peer: [127, 0, 0, 1].into(),
        https: false,
        port: 80,
        raw_head: Some(&head),
        random: 7,
    };
    let mut exchange = Exchange::begin(&arrival);
    let admitted = wait(pipeline().admit(&mut request, &arrival, &mut exchange));
    let route = admitted.map_err(|denial| denial.reason)?;
    let mut inspection =
        pipeline().inspection(&request, route, &mut exchange).map_err(|denial| denial.reason)?;
    for piece in body.chunks(piece.max(1)) {
        inspection.chunk(piece, &mut exchange).map_err(|denial| denial.reason)?;
    }
    let found = wait(inspection.finish(&Body(body), &mut exchange));
    found.map(|found| found.files).map_err(|denial| denial.reason)
}

fn pipeline() -> &'static Pipeline {
    static PIPELINE: OnceLock<Pipeline> = OnceLock::new();
    PIPELINE.get_or_init(|| {
        let loaded = config::load_text("fuzz.yaml", POLICY, &Environment::empty())
            .unwrap_or_else(|problems| panic!("{problems:?}"));
        let stores = Stores::local(ScanPolicy { on_failure: Fallback::Deny, on_unscanned: Fallback::Deny });
        Pipeline::build(&loaded.config, &stores).expect("a policy that loads can be built")
    })
}

/// Nothing here waits for anything but its next turn.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(std::task::Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("a verdict that does not come");
}

struct Body<'a>(&'a [u8]);

impl WholeBody for Body<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, std::io::Result<Bytes>> {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let end = place(range.end).min(place(range.start).saturating_add(4096));
        let bytes = self.0.get(place(range.start)..end).filter(|bytes| !bytes.is_empty());
        let bytes = bytes.map(Bytes::copy_from_slice).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into());
        Box::pin(ready(bytes))
    }
}
