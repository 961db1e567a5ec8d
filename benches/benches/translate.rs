//! How long verification and translation of a program take.

use std::hint::black_box;

use benches::{PROGRAMS, Subject};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn verify(c: &mut Criterion) {
    let mut group = c.benchmark_group("verify");
    for name in PROGRAMS {
        let subject = Subject::new(name);
        let program = subject.program();
        group.throughput(Throughput::Elements(program.insns.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| harness::pipeline::verify(black_box(&program)));
        });
    }
    group.finish();
}

fn translate(c: &mut Criterion) {
    let mut group = c.benchmark_group("translate");
    for nic in ["x86-dpu", "hbpf"] {
        let caps = caps::builtin(nic).expect("a built-in profile");
        let Some(backend) = jit_backends::by_name(&caps.backend) else {
            continue;
        };
        for name in PROGRAMS {
            let verified = Subject::new(name).verified();
            group.throughput(Throughput::Elements(verified.program().insns.len() as u64));
            group.bench_function(BenchmarkId::new(backend.name(), name), |b| {
                b.iter(|| backend.translate(black_box(&verified), &caps));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = verify, translate
}
criterion_main!(benches);
