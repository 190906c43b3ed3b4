//! What does it cost to find a route among a thousand? For a literal path, one with parameters, one that only a
//! `/*` takes, and one that no route takes.

use benches::{policy, quick};
use criterion::{Criterion, criterion_group, criterion_main};
use filters::router::Router;
use http::Method;

fn bench(criterion: &mut Criterion) {
    let router = Router::build(&policy(1, 1_000).sites);
    let mut group = criterion.benchmark_group("route");
    for (case, path, found) in [
        ("literal", "/service-500/v1/items", true),
        ("params", "/service-500/v1/items/4711/parts/12", true),
        ("rest", "/service-997/static/a/b/c/d.js", true),
        ("none", "/service-1000/v1/items", false),
    ] {
        assert_eq!(router.find("many.example.com", path, &Method::GET).is_ok(), found, "{path}");
        group.bench_function(case, |bencher| {
            bencher.iter(|| router.find("many.example.com", path, &Method::GET))
        });
    }
    group.finish();
}

criterion_group! {
    name = all;
    config = quick();
    targets = bench
}
criterion_main!(all);
