//! What does it cost to hide secrets in what is written for one request? For a usual URL and user agent, for a line
//! with a token in it, and for 64 KB made to be slow: everything that looks like the beginning of a secret, and text in
//! base64 in base64.

use std::hint::black_box;

use benches::{quick, token};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use filters::scrub::Scrubber;

const AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36";

fn bench(criterion: &mut Criterion) {
    let scrubber = Scrubber::build(&config::Scrub::default());
    let mut group = criterion.benchmark_group("scrub");
    group.bench_function("clean", |bencher| {
        bencher.iter(|| {
            let path = scrubber.path(black_box(b"/api/v1/cards/4711/assets")).len();
            let query = scrubber.query(black_box(b"page=2&size=20&sort=-created")).len();
            path + query + scrubber.scrub(black_box(AGENT)).len()
        });
    });

    let line = format!("GET /ws?token={} HTTP/1.1 from 198.51.100.7 by {AGENT}", token("t-7"));
    assert!(!scrubber.scrub(&line).contains("eyJ"));
    group.throughput(Throughput::Bytes(line.len() as u64));
    group.bench_function("token", |bencher| bencher.iter(|| scrubber.scrub(black_box(&line)).len()));

    for (case, text) in hostile() {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(case, |bencher| bencher.iter(|| scrubber.scrub(black_box(&text)).len()));
    }
    group.finish();
}

/// 64 KB of each.
fn hostile() -> [(&'static str, String); 3] {
    let fill = |piece: &str| piece.repeat(65_536 / piece.len());
    [
        ("beginnings", fill("eyJ.a@138001380%65%3d;token=\"a Bearer whk_ 6222021234")),
        ("encoded", fill("ZXlKaGJHY2lPaUpJVXpJMU5pSjkuZXlKemRXSWlPaUoxTVNKOQ%3D%3D")),
        ("one-word", fill("aB3-")),
    ]
}

criterion_group! {
    name = all;
    config = quick();
    targets = bench
}
criterion_main!(all);
