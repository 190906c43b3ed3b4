use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use config::rules::{Archives, UploadClass};
use config::{Plan, Tenant};
use proptest::prelude::*;

use super::*;
use crate::denial::FieldProblem;
use crate::pipeline::Stores;
use crate::upload::archive::samples::{Entry, gzip, zip as zip_with, zip_of as zip};
use crate::upload::builtin::{Builtin, tests::eicar};
use crate::upload::scan::tests::Memory;

const BOUNDARY: &str = "----WebKitFormBoundaryX";

const LIMITS: Archives =
    Archives { max_members: 10, max_member: 2 << 20, max_total: 4 << 20, max_ratio: 100, max_depth: 2 };

/// What a request came to: its files and the header, or the code and entries of the refusal.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed(Vec<FileReport>, String),
    Refused(&'static str, Vec<FieldProblem>, String),
}

impl Outcome {
    fn code(&self) -> &'static str {
        match self {
            Outcome::Passed(..) => "passed",
            Outcome::Refused(code, ..) => code,
        }
    }
}

/// A request to a route that takes five images (8 KB), documents and texts.
struct Upload {
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    fields: Vec<String>,
    raw: bool,
    declared_type: bool,
    pdf_active: bool,
    archives: Archives,
    scanner: Arc<dyn Scanner>,
    policy: ScanPolicy,
    tenant: Option<Tenant>,
    body: Vec<u8>,
}

impl Upload {
    fn form(parts: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (head, data) in parts {
            body.extend_from_slice(
                format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        let content_type = ("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
        Self {
            method: "POST",
            path: "/api/v1/assets",
            headers: vec![content_type, ("content-length", "9".into())],
            fields: vec!["file".into()],
            raw: false,
            declared_type: true,
            pdf_active: false,
            archives: LIMITS,
            scanner: Arc::new(Builtin::default()),
            policy: ScanPolicy { on_failure: Fallback::Deny, on_unscanned: Fallback::Deny },
            tenant: None,
            body,
        }
    }

    fn file(name: &str, data: &[u8]) -> Self {
        Self::form(&[(&format!("name=\"file\"; filename=\"{name}\""), data)])
    }

    fn raw(method: &'static str, path: &'static str, data: &[u8]) -> Self {
        let headers = vec![("content-type", "image/png".into()), ("content-length", "9".into())];
        Self { method, path, headers, raw: true, body: data.to_vec(), ..Self::form(&[]) }
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn scanned_by(mut self, answer: Answer, on_failure: Fallback, on_unscanned: Fallback) -> Self {
        self.scanner = Arc::new(answer);
        self.policy = ScanPolicy { on_failure, on_unscanned };
        self
    }

    /// By somebody whose plan has images of 4 KB and texts.
    fn planned(mut self) -> Self {
        let plan = Plan {
            name: "free".into(),
            storage: None,
            uploads: Some(vec!["image".into(), "text".into()]),
            max_size: [("image".to_owned(), 4096)].into(),
        };
        self.tenant = Some(Tenant {
            id: "t-1".into(),
            name: "one".into(),
            suspended: false,
            plan: Some(Arc::new(plan)),
            upstreams: Default::default(),
        });
        self
    }

    async fn send(&self) -> Outcome {
        self.send_cut(&[]).await
    }

    async fn send_cut(&self, cuts: &[usize]) -> Outcome {
        match self.judge(cuts).await {
            Ok(findings) => {
                let header =
                    findings.request_headers.first().map(|(_, value)| value.to_str().unwrap().to_owned());
                Outcome::Passed(findings.files, header.unwrap_or_default())
            }
            Err(denial) => {
                let errors = denial.extra.map(|extra| extra.errors).unwrap_or_default();
                Outcome::Refused(denial.reason.code(), errors, denial.detail.into_owned())
            }
        }
    }

    async fn judge(&self, cuts: &[usize]) -> Result<Findings, Denial> {
        let class = |name: &str, extensions: &[&str], max_size| UploadClass {
            name: name.into(),
            extensions: extensions.iter().map(|&one| one.into()).collect(),
            max_size,
        };
        let rules = config::rules::Upload {
            fields: self.fields.clone(),
            max_files: 5,
            classes: vec![
                class("image", &["png", "jpg", "svg", "gif"], 8 * 1024),
                class("document", &["docx", "pdf"], 1 << 20),
                class("text", &["txt", "csv"], 1 << 20),
                class("archive", &["zip", "gz", "rar"], 1 << 20),
            ],
            scan: true,
            raw: self.raw,
            max_fields: 100,
            max_field_size: 1 << 20,
            declared_type: self.declared_type,
            pdf_active: self.pdf_active,
            dedupe: None,
            quota: false,
            archives: self.archives,
        };
        let mut request = RequestHeader::build(self.method, self.path.as_bytes(), None).unwrap();
        for (name, value) in &self.headers {
            request.append_header(*name, value.as_str()).unwrap();
        }
        let method = self.method.parse().unwrap();
        let facts = Facts {
            request_id: "r-1",
            now: SystemTime::UNIX_EPOCH,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            method: &method,
            host: "h",
            path: self.path,
            route: "/api/v1/assets",
            params: &[],
            caller: None,
            tenant: self.tenant.as_ref(),
        };
        let books = Bookkeeping::build("scope", &rules, &Stores::local(self.policy), false);
        let rules = UploadRules::build(&rules, self.scanner.clone(), self.policy, books);
        let mut inspector = rules.inspector(&request, &facts)?.expect("an upload route inspects every body");
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (self.body.len() + 1)).collect();
        places.extend([0, self.body.len()]);
        places.sort_unstable();
        places.windows(2).try_for_each(|pair| inspector.chunk(&self.body[pair[0]..pair[1]]))?;
        inspector.finish(&Memory(self.body.clone())).await
    }
}

/// A scanner with one answer.
#[derive(Clone)]
enum Answer {
    Says(Scanned),
    Unreachable,
    Busy,
}

impl Scanner for Answer {
    fn engine(&self) -> &'static str {
        "clamav"
    }

    fn scan<'a>(&'a self, _: FileToScan<'a>) -> BoxFuture<'a, Result<Scanned, ScanFailure>> {
        Box::pin(async move {
            match self {
                Answer::Says(scanned) => Ok(scanned.clone()),
                Answer::Unreachable => Err(ScanFailure::Unreachable("refused".into())),
                Answer::Busy => Err(ScanFailure::Busy { retry_after: Duration::from_secs(5) }),
            }
        })
    }
}

fn png(length: usize) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01".to_vec();
    png.resize(length.max(png.len()), 0xaa);
    png
}

#[tokio::test]
async fn lets_good_files_pass_and_tells_of_them() {
    let docx = zip(&["[Content_Types].xml", "word/document.xml"]);
    let parts: [(&str, &[u8]); 4] = [
        ("name=\"title\"", b"hello"),
        ("name=\"file\"; filename=\"a.png\"", &png(68)),
        ("name=\"file\"; filename=\"\u{62a5}.docx\"", &docx),
        ("name=\"file\"; filename=\"\"", b""),
    ];
    let Outcome::Passed(files, header) = Upload::form(&parts).send().await else { panic!("refused") };
    assert_eq!((files.len(), files[0].size, files[1].class.as_str()), (2, 68, "document"));
    assert!(header.starts_with("[{\"field\":\"file\",\"filename\":\"a.png\",\"size\":68,\"type\":\"image/png\",\"class\":\"image\",\"sha256\":\""));
    assert!(
        header.contains("\\u62a5.docx") && header.ends_with("\"scan\":\"clean\",\"engine\":\"builtin\"}]")
    );
    assert_eq!(
        Upload::form(&[("name=\"title\"", b"hello")]).send().await,
        Outcome::Passed(vec![], "[]".into())
    );
}

#[tokio::test]
async fn refuses_each_bad_file_with_its_code() {
    let infected = [b"text ".to_vec(), eicar()].concat();
    let zipped = zip(&["a.txt"]);
    let macros = zip(&["[Content_Types].xml", "word/document.xml", "word/vbaProject.bin"]);
    let php = [png(40), b"<?php system(1);".to_vec()].concat();
    let appended = [png(40), zip(&["a"])].concat();
    for (name, data, code) in [
        ("a.png", b"<?php system($_GET[0]); ?>".as_slice(), "upload.type_mismatch"),
        ("a.png", &php, "upload.content_denied"),
        ("a.png", &appended, "upload.content_denied"),
        ("a.png", b"", "upload.type_mismatch"),
        ("a.gif", b"GIF89a<script>alert(1)</script>", "upload.content_denied"),
        ("a.svg", b"<svg onload=\"a()\"></svg>", "upload.content_denied"),
        ("a.svg", b"<html></html>", "upload.type_mismatch"),
        ("a.txt", b"<!doctype html><p>", "upload.type_mismatch"),
        ("a.txt", b"a\0b", "upload.type_mismatch"),
        ("a.docx", &zipped, "upload.type_mismatch"),
        ("a.docx", &macros, "upload.content_denied"),
        ("a.pdf", b"%PDF-1.4 /JavaScript", "upload.content_denied"),
        ("a.txt", &infected, "upload.infected"),
        ("a.php.png", &png(40), "upload.filename_denied"),
        ("../a.png", &png(40), "upload.filename_denied"),
        ("a.exe", &png(40), "upload.extension_denied"),
        ("a.mp4", &png(40), "upload.extension_denied"),
        ("a", &png(40), "upload.extension_denied"),
        ("a.png", &png(8193), "upload.too_large"),
        ("", b"data", "upload.filename_denied"),
    ] {
        let Outcome::Refused(refused, errors, _) = Upload::file(name, data).send().await else {
            panic!("{name} passed");
        };
        let limit = (code == "upload.too_large").then_some(8192);
        let (field, filename) = (Some("file".to_owned()), Some(name.to_owned()));
        assert_eq!(
            (refused, errors),
            (code, vec![FieldProblem { field, filename, code, limit, ..FieldProblem::default() }]),
            "{name}"
        );
    }
    assert_eq!(Upload::file("a.png", &png(8192)).send().await.code(), "passed");
}

#[tokio::test]
async fn a_plan_has_its_classes_and_its_sizes() {
    let docx = zip(&["[Content_Types].xml", "word/document.xml"]);
    for (name, data, code, limit) in [
        ("a.png", png(4096), "passed", None),
        ("a.png", png(4097), "upload.too_large", Some(4096)),
        ("a.txt", vec![b'a'; 5000], "passed", None),
        ("a.docx", docx, "upload.extension_denied", None),
    ] {
        assert_eq!(Upload::file(name, &data).send().await.code(), "passed", "{name} without a plan");
        let disposition = format!("attachment; filename=\"{name}\"");
        let raw = Upload::raw("POST", "/f", &data)
            .header("content-disposition", &disposition)
            .header("content-type", "application/octet-stream");
        assert_eq!(raw.planned().send().await.code(), code, "{name}");
        let form = Upload::file(name, &data).planned().send().await;
        assert_eq!(form.code(), code, "{name}");
        if let Outcome::Refused(_, errors, _) = form {
            assert_eq!((errors[0].filename.as_deref(), errors[0].limit), (Some(name), limit));
        }
    }
}

#[tokio::test]
async fn looks_into_archives_and_office_files() {
    let types = Entry::new("[Content_Types].xml", b"<Types/>");
    let word = |extra: &[Entry]| {
        zip_with(&[&[types.clone(), Entry::new("word/document.xml", b"<document/>")], extra].concat())
    };
    let link = |kind: &str| {
        let rels = format!("<Relationship Type='x/{kind}' Target='http://x/' TargetMode='External'/>");
        word(&[Entry::new("word/_rels/a.rels", rels.as_bytes())])
    };
    let infected = [vec![b'x'; 50_000], eicar()].concat();
    let infected = zip_with(&[Entry::new("a", b"x"), Entry::new("b", &infected)]);
    let macros = word(&[Entry::new("word/x.xml", b"<Override ContentType='a.vbaProject'/>")]);
    let nested = zip_with(&[Entry::new("a.docx", &macros)]);
    let cut = word(&[]);
    let rar = b"Rar!\x1a\x07\x01\0";
    for (name, data, code, limit) in [
        ("a.zip", zip(&["a", "b"]), "passed", None),
        ("a.gz", gzip(b"text"), "passed", None),
        ("a.docx", link("hyperlink"), "passed", None),
        ("a.docx", link("attachedTemplate"), "upload.content_denied", None),
        ("a.docx", macros, "upload.content_denied", None),
        ("a.zip", nested, "upload.content_denied", None),
        ("a.docx", cut[..cut.len() - 1].to_vec(), "upload.type_mismatch", None),
        ("a.zip", cut[..cut.len() - 1].to_vec(), "upload.archive_denied", None),
        ("a.docx", word(&[Entry::new("b", &vec![0; (2 << 20) + 1])]), "upload.archive_denied", Some(100)),
        (
            "a.zip",
            zip(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a"]),
            "upload.archive_denied",
            Some(10),
        ),
        ("a.gz", gzip(&vec![0; 3 << 20]), "upload.archive_denied", Some(100)),
        ("a.gz", gzip(&gzip(&zip(&["a"]))), "upload.archive_denied", Some(2)),
        ("a.zip", zip(&["../a"]), "upload.archive_denied", None),
        ("a.zip", infected, "upload.infected", None),
        ("a.rar", rar.to_vec(), "upload.archive_denied", None),
        ("a.zip", zip_with(&[Entry::new("a.rar", rar)]), "upload.archive_denied", None),
    ] {
        let outcome = Upload::file(name, &data).send().await;
        assert_eq!(outcome.code(), code, "{name} {outcome:?}");
        if let Outcome::Refused(_, errors, _) = outcome {
            assert_eq!((errors[0].filename.as_deref(), errors[0].limit), (Some(name), limit));
        }
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_not_scanned() {
    let secret = zip_with(&[Entry::new("a", b"secret").with(|entry| entry.flags |= 1)]);
    for (on_unscanned, expected) in
        [(Fallback::Allow, "not_scanned"), (Fallback::Deny, "upload.archive_denied")]
    {
        let upload = Upload::file("a.zip", &secret);
        let answer = Answer::Says(Scanned::Clean);
        let told = match upload.scanned_by(answer, Fallback::Deny, on_unscanned).send().await {
            Outcome::Passed(files, _) => files[0].scan,
            Outcome::Refused(code, ..) => code,
        };
        assert_eq!(told, expected);
    }
    let infected = Answer::Says(Scanned::Infected("X".into()));
    let upload = Upload::file("a.zip", &secret).scanned_by(infected, Fallback::Deny, Fallback::Allow);
    assert_eq!(upload.send().await.code(), "upload.infected");
}

#[tokio::test]
async fn refuses_the_last_file_of_many() {
    let good = png(100);
    let php = b"<?php 1;".as_slice();
    let head = "name=\"file\"; filename=\"a.png\"";
    let second = Upload::form(&[(head, &good), (head, php)]);
    assert_eq!(second.send().await.code(), "upload.type_mismatch");
    let six = Upload::form(&[(head, good.as_slice()); 6]);
    assert_eq!(six.send().await.code(), "upload.too_many_files");
    assert_eq!(Upload::form(&[(head, good.as_slice()); 5]).send().await.code(), "passed");
}

#[tokio::test]
async fn refuses_forms_that_hide_something() {
    let large = vec![b'x'; (1 << 20) + 1];
    let fields = vec![("name=\"a\"", b"b".as_slice()); 101];
    assert_eq!(
        Upload::form(&[("name=\"other\"; filename=\"a.png\"", &png(9))]).send().await.code(),
        "upload.malformed"
    );
    assert_eq!(Upload::form(&[("name=\"a\"", &large)]).send().await.code(), "upload.too_large");
    assert_eq!(Upload::form(&fields).send().await.code(), "upload.malformed");
    let long = "name=\"file\"; filename=\"a.png\"\r\nContent-Length: 99";
    assert_eq!(Upload::form(&[(long, &png(50))]).send().await.code(), "upload.malformed");
    let exact = "name=\"file\"; filename=\"a.png\"\r\nContent-Length: 50";
    assert_eq!(Upload::form(&[(exact, &png(50))]).send().await.code(), "passed");
    for (header, value) in [
        ("content-type", "application/json"),
        ("content-type", "multipart/form-data"),
        ("content-type", "multipart/mixed; boundary=a"),
        ("content-encoding", "gzip"),
        ("content-range", "bytes 0-1/2"),
    ] {
        assert_eq!(
            Upload::file("a.png", &png(9)).header(header, value).send().await.code(),
            "upload.malformed"
        );
    }
    for charset in ["gbk", "utf-16", "utf-8x", "utf-", ""] {
        let form = Upload::form(&[("name=\"_charset_\"", charset.as_bytes())]);
        assert_eq!(form.send().await.code(), "upload.malformed", "{charset}");
    }
    assert_eq!(Upload::form(&[("name=\"_charset_\"", b"UTF-8")]).send().await.code(), "passed");
    let (field, file) =
        (("name=\"file\"", b"x".as_slice()), ("name=\"file\"; filename=\"a.png\"", &*png(50)));
    assert_eq!(Upload::form(&[field, file]).send().await.code(), "upload.malformed");
    assert_eq!(Upload::form(&[file, field]).send().await.code(), "upload.malformed");
    assert_eq!(Upload::form(&[field, field]).send().await.code(), "passed");
    let php = b"<?php system($_GET[0]);".as_slice();
    for kind in ["text/plain", "text/plain; charset=UTF-8", "application/json"] {
        let head = format!("name=\"a\"\r\nContent-Type: {kind}");
        assert_eq!(Upload::form(&[(&head, php)]).send().await.code(), "upload.content_denied", "{kind}");
        let json = b"{\"page\":\"<script>a()</script>\"}".as_slice();
        assert_eq!(Upload::form(&[(&head, json)]).send().await.code(), "passed", "{kind}");
    }
    assert_eq!(Upload::form(&[("name=\"a\"", php)]).send().await.code(), "passed");
    let mut any = Upload::form(&[("name=\"other\"; filename=\"a.png\"", &png(9))]);
    any.fields.clear();
    assert_eq!(any.send().await.code(), "passed");
}

#[tokio::test]
async fn compares_the_declared_type_with_the_content() {
    let declared = |kind: &str| {
        let head = format!("name=\"file\"; filename=\"a.png\"\r\nContent-Type: {kind}");
        Upload::form(&[(&head, &png(50))])
    };
    for kind in ["image/png", "IMAGE/PNG; a=b", "application/octet-stream", "image/*"] {
        assert_eq!(declared(kind).send().await.code(), "passed", "{kind}");
    }
    for kind in ["text/html", "image/gif", "application/x-php"] {
        assert_eq!(declared(kind).send().await.code(), "upload.type_mismatch", "{kind}");
        let ignored = Upload { declared_type: false, ..declared(kind) };
        assert_eq!(ignored.send().await.code(), "passed", "{kind}");
    }
    let raw = |kind| Upload::raw("PUT", "/files/a.png", &png(50)).header("content-type", kind);
    assert_eq!(raw("image/x-png").send().await.code(), "passed");
    assert_eq!(raw("application/x-www-form-urlencoded").send().await.code(), "passed");
    assert_eq!(raw("text/html").send().await.code(), "upload.type_mismatch");
}

#[tokio::test]
async fn lets_a_pdf_act_only_where_the_policy_says_so() {
    let upload = |pdf: &[u8]| Upload::file("a.pdf", pdf);
    let active = b"%PDF-1.4\n1 0 obj << /S /JavaScript /JS (a) >> endobj";
    assert_eq!(upload(active).send().await.code(), "upload.content_denied");
    assert_eq!(Upload { pdf_active: true, ..upload(active) }.send().await.code(), "passed");
    let cut = b"%PDF-1.4\n1 0 obj << /Type /ObjStm /N 1 /First 4 /Filter /FlateDecode >> stream\n";
    assert_eq!(upload(cut).send().await.code(), "upload.content_denied");
    let php = b"%PDF-1.4\n<?php system(1);";
    assert_eq!(Upload { pdf_active: true, ..upload(php) }.send().await.code(), "upload.content_denied");
}

#[tokio::test]
async fn a_request_without_a_body_passes_and_one_without_a_type_does_not() {
    let mut get = Upload::form(&[]);
    (get.method, get.headers, get.body) = ("GET", vec![], vec![]);
    assert_eq!(get.send().await.code(), "passed");
    get.body = b"surprise".to_vec();
    assert_eq!(get.send().await.code(), "upload.malformed");
    get.headers = vec![("transfer-encoding", "chunked".into())];
    assert_eq!(get.send().await.code(), "upload.malformed");
}

#[tokio::test]
async fn takes_a_raw_file_under_the_same_rules() {
    let Outcome::Passed(files, _) = Upload::raw("PUT", "/files/%E5%9B%BE.png", &png(50)).send().await else {
        panic!("refused");
    };
    assert_eq!((files[0].field.as_str(), files[0].filename.as_str()), ("", "图.png"));
    for (upload, code) in [
        (Upload::raw("PUT", "/files/a.php", &png(50)), "upload.extension_denied"),
        (Upload::raw("PUT", "/files/a", &png(50)), "upload.extension_denied"),
        (Upload::raw("PUT", "/files/a.png", b"<?php "), "upload.type_mismatch"),
        (Upload::raw("PUT", "/files/a.png", &png(8193)), "upload.too_large"),
        (Upload::raw("PUT", "/files/a%2Fb.png", &png(50)), "upload.filename_denied"),
        (Upload::raw("PUT", "/files/%ff.png", &png(50)), "upload.malformed"),
        (
            Upload::raw("PUT", "/files/a.txt", &eicar()).header("content-type", "text/plain"),
            "upload.infected",
        ),
    ] {
        assert_eq!(upload.send().await.code(), code, "{}", upload.path);
    }
    let long = Upload::raw("PUT", "/files/a.png", b"").header("content-length", "8193");
    assert_eq!(long.send().await.code(), "upload.too_large");
    let empty = Upload::raw("PUT", "/files/a.php", b"").header("content-length", "0");
    assert_eq!(empty.send().await.code(), "upload.extension_denied");
    let named = |method, path| {
        Upload::raw(method, path, &png(50)).header("content-disposition", "attachment; filename=\"b.png\"")
    };
    assert_eq!(named("POST", "/upload.php").send().await.code(), "passed");
    for (disposition, code) in [
        ("inline; filename=b.png", "passed"),
        ("attachment; filename*=UTF-8''%e5%9b%be.png", "passed"),
        ("attachment; filename=\"b.png\"; filename*=UTF-8''b.png", "passed"),
        ("attachment", "upload.filename_denied"),
        ("attachment; filename*=UTF-8''b.php%2epng", "upload.filename_denied"),
        ("attachment; filename=\"../b.png\"", "upload.filename_denied"),
        ("attachment; filename=\"b.png\"; filename*=UTF-8''c.png", "upload.malformed"),
        ("attachment; filename=\"b.png\"; filename=\"c.php\"", "upload.malformed"),
        ("attachment; filename=\"b.png\";", "upload.malformed"),
        ("attachment ; filename=\"b.png\"", "upload.malformed"),
        ("attachment; FileName=\"b.png\"", "upload.malformed"),
        ("attachment; filename*0=\"b.\"; filename*1=\"php\"", "upload.malformed"),
        ("attachment; filename='b.png'", "upload.malformed"),
        ("attachment; filename=\"b\\\".png\"", "upload.malformed"),
        ("filename=\"b.png\"", "upload.malformed"),
    ] {
        let upload = Upload::raw("POST", "/", &png(50)).header("content-disposition", disposition);
        assert_eq!(upload.send().await.code(), code, "{disposition}");
    }
    let mut doubled = named("POST", "/upload");
    doubled.headers.push(("content-disposition", "attachment; filename=\"b.png\"".into()));
    assert_eq!(doubled.send().await.code(), "upload.malformed");
    assert_eq!(named("PUT", "/files/a.php").send().await.code(), "upload.filename_denied");
    assert_eq!(named("PUT", "/files/a.svgz").send().await.code(), "upload.filename_denied");
    for path in ["/files/a.xml", "/files/a.svg", "/files/a.gif", "/files/a.p+g"] {
        assert_eq!(named("PUT", path).send().await.code(), "upload.extension_denied", "{path}");
    }
    for path in ["/files/a.png", "/files/a.PNG", "/files/42"] {
        assert_eq!(named("PUT", path).send().await.code(), "passed", "{path}");
    }
}

#[tokio::test]
async fn applies_the_policy_to_every_answer_of_a_scanner() {
    use Fallback::{Allow, Deny};
    let says = |scanned| Answer::Says(scanned);
    let not = |why| Answer::Says(Scanned::NotScanned(why));
    for (answer, on_failure, on_unscanned, expected) in [
        (says(Scanned::Clean), Deny, Deny, "clean"),
        (says(Scanned::Infected("X".into())), Allow, Allow, "upload.infected"),
        (not(Unscanned::TimedOut), Allow, Deny, "scan.unavailable"),
        (not(Unscanned::Cut), Allow, Deny, "scan.unavailable"),
        (not(Unscanned::Unclear("?".into())), Allow, Deny, "scan.unavailable"),
        (not(Unscanned::OverLimit), Allow, Deny, "upload.content_denied"),
        (not(Unscanned::Encrypted), Allow, Deny, "upload.content_denied"),
        (not(Unscanned::TimedOut), Deny, Allow, "not_scanned"),
        (not(Unscanned::OverLimit), Deny, Allow, "not_scanned"),
        (Answer::Unreachable, Deny, Allow, "scan.unavailable"),
        (Answer::Unreachable, Allow, Deny, "failed"),
        (Answer::Busy, Allow, Allow, "scan.unavailable"),
    ] {
        let outcome =
            Upload::file("a.png", &png(50)).scanned_by(answer, on_failure, on_unscanned).send().await;
        let told = match &outcome {
            Outcome::Passed(files, _) => files[0].scan,
            Outcome::Refused(code, ..) => code,
        };
        assert_eq!(told, expected);
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_division_gives_the_same_verdict(
        sizes in prop::collection::vec(0..20_000usize, 1..3),
        evil in prop::sample::select(vec!["", "<?php 1", "<script>", "\r\n------WebKitFormBoundaryX", "PK\x05\x06\0\0\0\0"]),
        place in any::<prop::sample::Index>(),
        mutation in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let files: Vec<Vec<u8>> = sizes.iter().map(|&size| png(size)).collect();
        let parts: Vec<(&str, &[u8])> =
            files.iter().map(|file| ("name=\"file\"; filename=\"a.png\"", file.as_slice())).collect();
        let mut upload = Upload::form(&parts);
        let place = place.index(upload.body.len());
        upload.body.splice(place..place, evil.bytes());
        if let Some((place, byte)) = mutation {
            let place = place.index(upload.body.len());
            upload.body[place] = byte;
        }
        block_on(async {
            let whole = upload.send().await;
            prop_assert_eq!(&whole, &upload.send_cut(&cuts).await);
            Ok(())
        })?;
    }
}
