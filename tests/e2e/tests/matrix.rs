//! The upload matrix: technique × kind of file × place in the request × way of sending.
//!
//! Good files of every kind come from the programs that people make them with and pass byte for byte. Hostile ones are
//! refused with their code, each of them named, and the app behind is not so much as connected to. Whatever fails is
//! told of by name, all of it.

mod case;
mod forms;
mod good;
mod hidden;
mod made;
mod names;
mod positions;
mod programs;
mod raw;
mod svg;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Instant;

use harness::gateway::Builder;
use harness::http::Wire;
use harness::{Certificate, Clamd, Gateway, Origin};

use case::{Case, send_all};

/// Every kind of file there is, in front of an app that counts.
const POLICY: &str = r#"
spool: { memory: 256KB, directory: "${DIR}", max_total: 1GB }
scanner: SCANNER
identities:
  user:
    jwt: { keys: [{ alg: HS256, secret: "@env:JWT_KEY" }], issuer: wecard }
    claims: { subject: sub, tenant: tenant_id, roles: role, permissions: permission }
tenants:
  resolve: [claim]
  directory: [{ id: t-acme, name: acme }]
upstreams:
  app: { servers: ["${APP}"] }
  wecard: { servers: ["${WECARD}"] }
sites:
  - hosts: [localhost]
    defaults: { upstream: app, auth: none, limits: { body: 110MB } }
    routes:
      - { path: /form, methods: [POST], upload: UPLOAD }
      - { path: "/raw/{name}", methods: [PUT, POST], upload: RAW }
      - { path: /api/v1/assets, methods: [POST], upstream: wecard, auth: { identity: user }, tenant: required, upload: UPLOAD }
"#;

/// The classes, and what else a route for uploads says.
const UPLOAD: &str = r#"{ fields: [file], max_files: 3, scan: true, classes: {
  image: { extensions: [jpg, jpeg, png, gif, webp, bmp, tif, tiff, ico, avif, heic, jp2, jxl, psd, svg], max_size: 5MB },
  video: { extensions: [mp4, m4v, mov, webm, mkv, avi, 3gp, mpg, ts, flv, wmv, ogv], max_size: 100MB },
  audio: { extensions: [mp3, wav, ogg, opus, flac, m4a, aac, wma, aiff], max_size: 20MB },
  document: { extensions: [pdf, docx, xlsx, pptx, odt, ods, odp, xls, rtf, ttf, eml], max_size: 20MB },
  text: { extensions: [txt, log, md, csv, tsv, json, xml, yaml, ics, vcf], max_size: 1MB },
  archive: { extensions: [zip, 7z, gz, tgz, tar, bz2, xz], max_size: 50MB } } }"#;

fn gateway(scanner: &str, app: &Origin) -> Builder {
    let form = UPLOAD.replace('\n', " ");
    let raw = form.replace("max_files: 3", "raw: true");
    let policy = POLICY.replace("SCANNER", scanner).replace("RAW", &raw).replace("UPLOAD", &form);
    Gateway::builder().policy(policy).env("APP", app.address()).env("WECARD", "127.0.0.1:1")
}

const BUILTIN: &str = "{ backend: builtin }";

/// Lets files pass that nobody can look into.
const LENIENT: &str = "{ backend: builtin, on_unscanned: allow }";

/// Formats of archives that the gateway does not open.
const CLOSED: &[&str] = &["7z", "bz2", "xz"];

fn http2(certificate: &Certificate) -> Wire {
    Wire::Http2(certificate.client(&["h2"]))
}

/// Says it even where what passing tests print is not shown.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "matrix: {line}");
}

fn all_cases() -> Vec<Case> {
    [
        names::cases(),
        raw::cases(),
        programs::cases(),
        hidden::cases(),
        svg::cases(),
        forms::cases(),
        made::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_hostile_upload_is_refused_with_its_code_and_reaches_no_app() {
    let cases = all_cases();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "every case has a name of its own");
    let (app, certificate) = (Origin::echo(), Certificate::localhost());
    let gateway = gateway(BUILTIN, &app).tls(&certificate).start();
    let started = Instant::now();
    let outcome = send_all(&cases, &gateway, &http2(&certificate));
    let seconds = started.elapsed().as_secs_f32();
    tell(&format!("{} hostile cases, sent {} times in {seconds:.1} s", cases.len(), outcome.sent));
    let mut groups = BTreeMap::<&str, usize>::new();
    for name in names {
        *groups.entry(name.split('/').next().unwrap_or_default()).or_default() += 1;
    }
    tell(&format!("{groups:?}"));
    outcome.none_passed();
    assert_eq!(app.connections(), 0, "the app was not so much as connected to");
    assert!(cases.len() >= 300, "{} cases are too few", cases.len());
}

#[test]
fn clamd_finds_what_it_knows_in_every_place() {
    let clamd = Clamd::start();
    let (app, certificate) = (Origin::echo(), Certificate::localhost());
    let scanner = format!("{{ backend: clamd, address: \"{}\" }}", clamd.tcp());
    let gateway = gateway(&scanner, &app).tls(&certificate).start();
    // A file that starts like an MP3 is "ignored" by clamd's own table of types: it says OK and does not look.
    let ignored = |case: &Case| case.name.starts_with("malware/behind a sound");
    let infected = |case: &Case| case.code == "upload.infected" && !ignored(case);
    let cases: Vec<Case> = made::cases().into_iter().filter(infected).collect();
    let outcome = send_all(&cases, &gateway, &http2(&certificate));
    tell(&format!("{} infected cases, sent {} times to clamd", cases.len(), outcome.sent));
    assert!(cases.len() >= 20, "{} cases are too few", cases.len());
    // clamd unpacks by itself, whatever the gateway does.
    outcome.none_passed();
    assert_eq!(app.connections(), 0);
}
