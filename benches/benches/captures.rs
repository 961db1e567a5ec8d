//! How fast captures are read, and how fast a whole run is.

use std::hint::black_box;

use benches::Subject;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use harness::testbed::{FrameIn, ReferenceChoice, Settings, Testbed};
use pcaps::CaptureReader;
use pcaps::generate::{Generator, Mix, Spec};
use std::sync::Arc;

const PACKETS: u64 = 200_000;

fn capture(mix: Mix) -> Vec<u8> {
    let mut spec = Spec::new(mix, PACKETS);
    spec.flows = 256;
    let mut bytes = Vec::new();
    Generator::new(spec)
        .map(|g| g.write_pcap(&mut bytes))
        .expect("a valid mix")
        .expect("memory");
    bytes
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Elements(PACKETS));
    for mix in [Mix::Udp, Mix::Imix] {
        let bytes = capture(mix);
        group.bench_function(BenchmarkId::from_parameter(mix), |b| {
            b.iter(|| {
                let mut reader = CaptureReader::new(black_box(&bytes[..])).expect("a capture");
                let mut sum = 0;
                while let Some(chunk) = reader.chunk().expect("a capture") {
                    sum += chunk.map(|record| record.data.len()).sum::<usize>();
                }
                sum
            });
        });
    }
    group.finish();
}

fn run(c: &mut Criterion) {
    let mut group = c.benchmark_group("run");
    group.throughput(Throughput::Elements(PACKETS));
    let bytes = capture(Mix::Udp);
    for name in ["parse_ports", "firewall"] {
        for (label, reference) in [
            ("alone", ReferenceChoice::None),
            ("compared", ReferenceChoice::Interp),
        ] {
            group.bench_function(BenchmarkId::new(name, label), |b| {
                b.iter(|| replay(name, &bytes, reference));
            });
        }
    }
    group.finish();
}

fn replay(name: &'static str, bytes: &[u8], reference: ReferenceChoice) -> u64 {
    let subject = Subject::new(name);
    let caps = Arc::new(caps::builtin("x86-dpu").expect("a built-in profile"));
    let settings = Settings {
        reference,
        threads: 1,
        ..Settings::default()
    };
    let mut testbed = Testbed::new(caps, settings).expect("a testbed");
    let program = subject.set.programs[0].name.clone();
    testbed
        .load_with(&subject.set, &program, subject.seeds.as_ref())
        .expect("a program");
    let mut reader = CaptureReader::new(bytes).expect("a capture");
    while let Some(chunk) = reader.chunk().expect("a capture") {
        for record in chunk {
            let frame = FrameIn {
                arrival_ns: record.meta.arrival_ns,
                port: 1,
                bytes: record.data,
            };
            if testbed.push(frame) {
                testbed.flush(&mut |_| Ok(())).expect("a run");
            }
        }
    }
    let report = testbed.finish().expect("a report");
    assert!(!report.disagrees(), "{name}: NIC and reference disagree");
    report.packets
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = read, run
}
criterion_main!(benches);
