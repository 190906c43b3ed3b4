//! Archives and office files, made by real tools, with a real clamd behind the gateway.

use std::fs;
use std::path::Path;

use harness::http::{Answer, post};
use harness::process::{self, command};
use harness::{Clamd, Form, Gateway, Origin, policy, root, sample};
use tempfile::TempDir;

/// A gateway whose uploads are archives and office files, with these words in its rule.
fn gateway(origin: &Origin, clamd: &Clamd, rule: &str, on_unscanned: &str) -> Gateway {
    let scanner =
        format!("backend: clamd, address: \"${{CLAMD}}\", timeout: 30s, on_unscanned: {on_unscanned},");
    let classes = "video: { extensions: [mp4], max_size: 100MB }\n            office: { extensions: [docx, xlsx, pptx], \
                   max_size: 20MB }\n            archive: { extensions: [zip, gz, tgz, 7z], max_size: 20MB }";
    let text = policy::GUARDED
        .replace("backend: builtin, timeout: 5s,", &scanner)
        .replace("video: { extensions: [mp4], max_size: 100MB }", classes)
        .replace("scan: true", &format!("scan: true\n          {rule}"));
    Gateway::builder().policy(text).env("APP", origin.address()).env("CLAMD", clamd.tcp()).start()
}

fn upload(gateway: &Gateway, name: &str, content: &[u8]) -> Answer {
    let form = Form::of(name, "application/octet-stream", content).body();
    post("/upload").body(&Form::content_type(), form).send(gateway.address())
}

/// What the app was told of the one file that it received.
fn told(answer: &Answer) -> serde_json::Value {
    let headers = answer.json()["headers"].clone();
    let find = |pair: &&serde_json::Value| {
        pair[0].as_str().is_some_and(|name| name.eq_ignore_ascii_case("x-upload-files"))
    };
    let value = headers.as_array().and_then(|headers| headers.iter().find(find)).expect("files are told of");
    let files: serde_json::Value = serde_json::from_str(value[1].as_str().unwrap()).unwrap();
    files[0].clone()
}

/// A zip with one member, packed as hard as this digit says.
fn zipped(how: &str, content: &[u8]) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("member.bin"), content).unwrap();
    let mut zip = command("zip");
    zip.args([&format!("-q{how}X"), "a.zip", "member.bin"]).current_dir(folder.path());
    assert_eq!(process::finish("zip", zip).code, 0);
    fs::read(folder.path().join("a.zip")).unwrap()
}

#[test]
fn a_member_that_clamd_skips_is_looked_at_all_the_same() {
    let clamd = Clamd::builder().setting("MaxFileSize", "1M").start();
    let origin = Origin::echo();
    // Packed, so that clamd does not find the test file in the bytes of the archive itself.
    let packed = zipped("9", &[vec![b'a'; 3_000_000], sample::eicar()].concat());
    let stored = zipped("0", &[sample::noise(3_000_000, 3), sample::eicar()].concat());
    let good = zipped("0", &sample::noise(3_000_000, 3));
    assert_eq!(
        clamd.judge(&packed),
        "stream: OK",
        "clamd skips what is over its limit and says nothing of it"
    );
    assert!(clamd.judge(&zipped("9", &sample::eicar())).ends_with("FOUND"));
    let gateway = gateway(&origin, &clamd, "archives: { max_ratio: 10000 }", "deny");
    upload(&gateway, "a.zip", &packed).refused(422, "upload.infected");
    upload(&gateway, "a.zip", &stored).refused(422, "upload.infected");
    assert_eq!(origin.connections(), 0, "nothing of it reaches the app");
    assert_eq!(told(upload(&gateway, "a.zip", &good).is(200))["scan"], "clean");
}

#[test]
fn archives_and_office_files_of_real_tools_pass_and_hostile_ones_do_not() {
    let folder = TempDir::new().unwrap();
    let mut python = command(root().join("tests/apps/.venv/bin/python"));
    python.arg(root().join("tests/apps/archives.py")).arg(folder.path());
    let made = process::finish("python", python);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let (clamd, origin) = (Clamd::start(), Origin::echo());
    let strict = gateway(&origin, &clamd, "archives: { max_depth: 3 }", "deny");
    for name in [
        "info-zip.zip",
        "info-zip-stored.zip",
        "info-zip-streamed.zip",
        "seven-zip.zip",
        "python.zip",
        "python-zip64.zip",
        "nested.zip",
        "gnu.tgz",
        "pax.tgz",
        "python.tgz",
        "text.gz",
        "report.docx",
        "book.xlsx",
        "slides.pptx",
    ] {
        let content = read(folder.path(), name);
        let answer = upload(&strict, name, &content);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let form = Form::of(name, "application/octet-stream", &content).body();
        assert_eq!(answer.json()["sha256"], sample::sha256(&form), "{name} reaches the app as it was sent");
        assert_eq!(told(&answer)["scan"], "clean", "{name}");
    }
    let connections = origin.connections();
    for (name, code) in [
        ("locked.zip", "upload.archive_denied"),
        ("closed.7z", "upload.archive_denied"),
        ("link.zip", "upload.archive_denied"),
        ("link.tgz", "upload.archive_denied"),
        ("macro.docx", "upload.content_denied"),
        ("macro.xlsx", "upload.content_denied"),
        ("macro.pptx", "upload.content_denied"),
        ("template.docx", "upload.content_denied"),
        ("object.pptx", "upload.content_denied"),
        ("dde.docx", "upload.content_denied"),
        ("macro-inside.zip", "upload.content_denied"),
    ] {
        let answer = upload(&strict, name, &read(folder.path(), name));
        assert_eq!(answer.verdict(), (422, code.to_owned()), "{name}");
    }
    assert_eq!(origin.connections(), connections, "nothing that was refused reaches the app");
    let lenient = gateway(&origin, &clamd, "archives: { max_members: 6 }", "allow");
    for name in ["locked.zip", "closed.7z"] {
        let told = told(upload(&lenient, name, &read(folder.path(), name)).is(200));
        assert_eq!(told["scan"], "not_scanned", "{name}");
    }
    let answer = upload(&lenient, "many.zip", &read(folder.path(), "nested.zip"));
    answer.refused(422, "upload.archive_denied");
    assert_eq!(answer.json()["errors"][0]["limit"], 6);
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
