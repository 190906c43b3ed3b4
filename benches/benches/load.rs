//! How long does a reload take? A policy of 1,000 routes and 10,000 tenants: reading the text into types that cannot be
//! wrong, and compiling these for serving.

use benches::{load, pipeline, quick, text};
use criterion::{Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    let text = text(10_000, 1_000);
    let policy = load(&text);
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    group.bench_function("read", |bencher| bencher.iter(|| load(&text)));
    group.bench_function("build", |bencher| bencher.iter(|| pipeline(&policy)));
    group.finish();
}

criterion_group! {
    name = all;
    config = quick();
    targets = bench
}
criterion_main!(all);
