//! How fast are uploads read? Each part by itself, and forms with one file through all of them, in chunks of 16 KB as
//! they come off a socket. Without the scan, which is a second reading.

use std::hint::black_box;
use std::io::Write;

use benches::{Asked, load, pipeline, png, quick, text};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use filters::chain::Inspection;
use filters::exchange::Exchange;
use filters::pipeline::Pipeline;
use filters::upload::{Parser, archive};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use futures_util::FutureExt;
use sha2::{Digest, Sha256};

const CHUNK: usize = 16 * 1024;
const MIB: usize = 1 << 20;
const BOUNDARY: &str = "----WebKitFormBoundaryK7cX2m9ZQ";

fn parts(criterion: &mut Criterion) {
    let file = png(MIB);
    let form = form("a.png", "image/png", &file);
    let mut group = criterion.benchmark_group("parts");
    group.throughput(Throughput::Bytes(MIB as u64));
    group.bench_function("parser", |bencher| {
        bencher.iter(|| {
            let mut parser = Parser::new(BOUNDARY);
            for chunk in form.chunks(CHUNK) {
                parser
                    .feed(chunk, &mut |event| {
                        black_box(event);
                        Ok(())
                    })
                    .expect("the form is good");
            }
        });
    });
    group.bench_function("sha256", |bencher| bencher.iter(|| Sha256::digest(black_box(&file))));
    group.finish();
}

fn files(criterion: &mut Criterion) {
    let policy = text(1, 0).replace(
        "image: { extensions: [png], max_size: 2MB }",
        "all: { extensions: [png, mp4, svg, pdf, txt], max_size: 2MB }",
    );
    let pipeline = pipeline(&load(&policy));
    let mut group = criterion.benchmark_group("files");
    group.throughput(Throughput::Bytes(MIB as u64));
    for (name, kind, file) in [
        ("a.png", "image/png", png(MIB)),
        ("a.mp4", "video/mp4", mp4()),
        ("a.svg", "image/svg+xml", svg()),
        ("a.pdf", "application/pdf", pdf()),
        ("a.txt", "text/plain", prose(MIB)),
    ] {
        let body = form(name, kind, &file);
        let asked = Asked::browser(
            "POST",
            "card.example.com",
            "/upload",
            &[
                ("Content-Type", &format!("multipart/form-data; boundary={BOUNDARY}")),
                ("Content-Length", &body.len().to_string()),
            ],
        );
        group.bench_function(&name[2..], |bencher| {
            bencher.iter_batched(
                || inspection(&pipeline, &asked),
                |(mut inspection, mut exchange)| {
                    for chunk in body.chunks(CHUNK) {
                        inspection.chunk(chunk, &mut exchange).expect("the file is good");
                    }
                    (inspection, exchange)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// By what comes out: 8 MiB of prose.
fn archives(criterion: &mut Criterion) {
    let limits = config::rules::Archives {
        max_members: 1000,
        max_member: 25 << 20,
        max_total: 100 << 20,
        max_ratio: 100,
        max_depth: 3,
    };
    let text = prose(8 * MIB);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&text).expect("memory takes everything");
    let gzip = gzip.finish().expect("memory takes everything");
    let mut group = criterion.benchmark_group("archives");
    group.throughput(Throughput::Bytes(text.len() as u64));
    for (name, file) in [("zip", zip(&text)), ("gzip", gzip)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| archive::walk(black_box(&file), CHUNK, limits).expect("the archive is good"));
        });
    }
    group.finish();
}

fn inspection(pipeline: &Pipeline, asked: &Asked) -> (Inspection, Exchange) {
    let (arrival, mut header) = (asked.arrival(), asked.header());
    let mut exchange = Exchange::begin(&arrival);
    let admitted = pipeline.admit(&mut header, &arrival, &mut exchange).now_or_never();
    let route = admitted.expect("nothing here waits").expect("the request is good");
    let inspection = pipeline.inspection(&header, route, &mut exchange).expect("the request is good");
    (inspection, exchange)
}

fn form(name: &str, kind: &str, file: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
    );
    [head.as_bytes(), file, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat()
}

/// The start of a film and one box of noise.
fn mp4() -> Vec<u8> {
    let mut file = b"\0\0\0\x18ftypisom\0\0\x02\0isommp42".to_vec();
    let noise = png(MIB);
    file.extend_from_slice(&((noise.len() - 100 + 8) as u32).to_be_bytes());
    file.extend_from_slice(b"mdat");
    file.extend_from_slice(&noise[100..]);
    file
}

fn svg() -> Vec<u8> {
    let mut file = b"<svg xmlns=\"http://www.w3.org/2000/svg\">".to_vec();
    while file.len() < MIB {
        file.extend_from_slice(b"<path d=\"M12.5 3.25L99 42C1 2 3 4 5 6z\" style=\"fill:#a0b1c2\"/>\n");
    }
    file.extend_from_slice(b"</svg>");
    file
}

/// Pages of uncompressed text.
fn pdf() -> Vec<u8> {
    let mut file = b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\n".to_vec();
    let mut number = 3;
    while file.len() < MIB {
        let content = "BT /F1 12 Tf 72 720 Td (a line of text on a page) Tj ET\n".repeat(60);
        file.extend_from_slice(
            format!("{number} 0 obj<</Length {}>>stream\n{content}endstream endobj\n", content.len())
                .as_bytes(),
        );
        number += 1;
    }
    file.extend_from_slice(b"trailer<</Root 1 0 R>>\n%%EOF\n");
    file
}

fn prose(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 80);
    let mut line = 0_u64;
    while text.len() < bytes {
        line += 1;
        let number = line.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        text.extend_from_slice(
            format!("line {line} says {number:016x}, and that is all it says\n").as_bytes(),
        );
    }
    text.truncate(bytes);
    text
}

/// One deflated member.
fn zip(data: &[u8]) -> Vec<u8> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
    packed.write_all(data).expect("memory takes everything");
    let packed = packed.finish().expect("memory takes everything");
    let mut crc = flate2::Crc::new();
    crc.update(data);
    let (name, size) = (b"a.txt", (data.len() as u32).to_le_bytes());
    let packed_size = (packed.len() as u32).to_le_bytes();
    let about = [
        &b"\x14\0\0\0\x08\0\0\0\x21\0"[..],
        &crc.sum().to_le_bytes(),
        &packed_size,
        &size,
        &[name.len() as u8, 0, 0, 0],
    ]
    .concat();
    let local = [b"PK\x03\x04", &about[..], name, &packed].concat();
    let list = [b"PK\x01\x02\x14\0", &about[..], &[0; 14], name].concat();
    let (length, start) = ((list.len() as u32).to_le_bytes(), (local.len() as u32).to_le_bytes());
    [local, list, [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &length[..], &start, &[0, 0]].concat()].concat()
}

criterion_group! {
    name = all;
    config = quick();
    targets = parts, files, archives
}
criterion_main!(all);
