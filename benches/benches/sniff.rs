//! How fast are uploads inspected? A form with one PNG of 1 MiB, in chunks of 16 KB as they come off a socket: the
//! parser, the kind, the search for active content and the SHA-256. Without the scan, which is a second reading.

use benches::{Asked, pipeline, png, policy, quick};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use filters::chain::Inspection;
use filters::exchange::Exchange;
use filters::pipeline::Pipeline;
use futures_util::FutureExt;

const CHUNK: usize = 16 * 1024;

fn bench(criterion: &mut Criterion) {
    let pipeline = pipeline(&policy(1, 0));
    let file = png(1 << 20);
    let body = [
        b"------WebKitFormBoundaryK7cX2m9ZQ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n".as_slice(),
        &file,
        b"\r\n------WebKitFormBoundaryK7cX2m9ZQ--\r\n",
    ]
    .concat();
    let asked = Asked::browser(
        "POST",
        "card.example.com",
        "/upload",
        &[
            ("Content-Type", "multipart/form-data; boundary=----WebKitFormBoundaryK7cX2m9ZQ"),
            ("Content-Length", &body.len().to_string()),
        ],
    );
    let mut group = criterion.benchmark_group("sniff");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("png-1MiB", |bencher| {
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

criterion_group! {
    name = all;
    config = quick();
    targets = bench
}
criterion_main!(all);
