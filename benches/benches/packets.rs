//! What a packet costs: the same frames through every engine and every peer, in one run.

use benches::{FRAMES, PROGRAMS, Subject, frames};
use cpu_reference::Reference;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

#[expect(clippy::print_stderr, reason = "what is not measured is said")]
fn packets(c: &mut Criterion) {
    let batch = frames();
    let mut group = c.benchmark_group("packets");
    group.throughput(Throughput::Elements(FRAMES as u64));
    for name in PROGRAMS {
        let subject = Subject::new(name);
        if nic_model::engine_for(isa::Isa::X86_64).is_some() {
            let mut queue = subject.queue("x86-dpu");
            group.bench_function(BenchmarkId::new("x86_64", name), |b| {
                b.iter_batched_ref(
                    || batch.clone(),
                    |b| queue.process(b),
                    BatchSize::LargeInput,
                );
            });
        }
        let interp = cpu_reference::Interp::new(subject.setup()).expect("interp takes all");
        let mut runner = interp.runner();
        group.bench_function(BenchmarkId::new("interp", name), |b| {
            b.iter_batched_ref(
                || batch.clone(),
                |b| runner.process(b),
                BatchSize::LargeInput,
            );
        });
        match cpu_reference::Rbpf::new(subject.setup()) {
            Ok(rbpf) => {
                let mut runner = rbpf.runner();
                group.bench_function(BenchmarkId::new("rbpf", name), |b| {
                    b.iter_batched_ref(
                        || batch.clone(),
                        |b| runner.process(b),
                        BatchSize::LargeInput,
                    );
                });
            }
            Err(why) => eprintln!("packets/rbpf/{name}: not run: {why}"),
        }
        #[cfg(all(feature = "peers", target_arch = "x86_64", target_os = "linux"))]
        match benches::peers::RbpfJit::new(&subject.program()) {
            Ok(mut jit) => {
                group.bench_function(BenchmarkId::new("rbpf-jit", name), |b| {
                    b.iter_batched_ref(|| batch.clone(), |b| jit.process(b), BatchSize::LargeInput);
                });
            }
            Err(why) => eprintln!("packets/rbpf-jit/{name}: not run: {why}"),
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = packets
}
criterion_main!(benches);
