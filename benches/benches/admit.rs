//! What does it cost to decide about one request by its head? For directories of different sizes, without any rule, with
//! a tenant by header, with an HS256 token and its tenant, and with a rate limit on top. A browser's
//! head, `Pipeline::admit` (framing, route, identity, tenant, rules) and `Pipeline::outgoing` (what the app is told).

use benches::{Asked, admit, pipeline, policy, quick, token};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit");
    for tenants in [1, 100, 10_000] {
        let pipeline = pipeline(&policy(tenants, 0));
        for case in ["plain", "open", "signed", "limited"] {
            let asked: Vec<Asked> =
                (0..tenants.min(500)).map(|n| ask(case, n * tenants / tenants.min(500))).collect();
            let mut turn = asked.iter().cycle();
            group.bench_function(BenchmarkId::new(case, tenants), |bencher| {
                bencher.iter_batched(
                    || turn.next().map(|asked| (asked, asked.header())).expect("a cycle has no end"),
                    |(asked, header)| admit(&pipeline, asked, header),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

/// A request to the route of this name, by a member of this tenant.
fn ask(case: &str, tenant: usize) -> Asked {
    let tenant = format!("t-{tenant}");
    let bearer = format!("Bearer {}", token(&tenant));
    let fields: &[(&str, &str)] = match case {
        "plain" => &[],
        "open" => &[("X-Tenant-ID", &tenant)],
        _ => &[("Authorization", &bearer)],
    };
    Asked::browser("GET", "card.example.com", &format!("/{case}/v1/cards?page=2&size=20"), fields)
}

criterion_group! {
    name = all;
    config = quick();
    targets = bench
}
criterion_main!(all);
