//! Measures the time of every piece of the hot path: `cargo bench -p hot-paths`.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hot_paths::{Path, prepare};

/// More than the event-id window holds, so that no reused message is a repetition.
const INPUTS: usize = 40_000;

fn hot_paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tick");
    group.throughput(Throughput::Elements(1));
    for path in Path::ALL {
        let mut work = match prepare(path, INPUTS) {
            Ok(work) => work,
            Err(error) => {
                eprintln!("{} cannot be prepared: {error:#}", path.name());
                continue;
            }
        };
        let mut number = 0;
        group.bench_function(path.name(), |bencher| {
            bencher.iter(|| {
                work.one(number);
                number += 1;
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hot_paths);
criterion_main!(benches);
