//! What surrounds a program on the kernel is what surrounds it on the interpreter: time, random
//! numbers, ports, queues, routes.
#![expect(
    clippy::print_stdout,
    clippy::panic,
    reason = "helpers of tests, outside of test functions"
)]

use std::fmt::Write as _;
use std::sync::Arc;

use bpf::helper::Fib;
use bpf::map::{MapSet, Placement};
use bpf::object::{LoadOptions, load};
use bpf::run::{Arrival, Batch, Environment, XDP_HEADROOM};
use cpu_reference::{Interp, Kernel, Reference, Setup, Unsupported};

/// The program on both references; `None` (with a line that says so) where there is no kernel.
///
/// # Panics
/// If `NICBED_REQUIRE` asks for the kernel.
fn both(text: &str, queues: u32, environment: &Environment) -> Option<(Kernel, Interp)> {
    let options = LoadOptions {
        queues,
        ..LoadOptions::default()
    };
    let set = load("test.bpf", text.as_bytes(), &options).expect("assembly");
    let setup = || Setup {
        programs: set.programs.iter().cloned().map(Arc::new).collect(),
        maps: MapSet::for_program_set(&set.maps, queues, Placement::Private).expect("maps"),
        environment: Arc::new(environment.clone()),
    };
    let interp = Interp::new(setup()).expect("interp");
    match Kernel::new(setup()) {
        Ok(kernel) => Some((kernel, interp)),
        Err(Unsupported::Environment { needs, reason }) => {
            #[expect(clippy::disallowed_methods, reason = "the test's own switch")]
            let required = std::env::var("NICBED_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|word| word == needs), "{reason}");
            println!("skipped: needs {needs} ({reason})");
            None
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// Runs the same frames (arrival, bytes) on both and gives what each left: return codes, bytes and
/// map contents, as text.
fn left(reference: &dyn Reference, frames: &[(Arrival, Vec<u8>)]) -> String {
    let mut batch = Batch::new();
    for (arrival, bytes) in frames {
        batch.push(*arrival, bytes, XDP_HEADROOM, 64);
    }
    reference.runner().process(&mut batch);
    let mut text = format!("{:?}\n", batch.traps);
    for (index, frame) in batch.frames.iter().enumerate() {
        let _ = writeln!(
            text,
            "{index}: {:#x} {:02x?}",
            frame.r0 as u32,
            batch.bytes(index)
        );
    }
    for map in reference.maps().iter() {
        for key in map.host_keys() {
            let value = map.host_lookup(&key);
            let _ = writeln!(text, "{}[{key:02x?}] = {value:02x?}", map.def().name);
        }
    }
    text
}

fn arrival(number: u64, port: u32, queue: u32) -> Arrival {
    Arrival {
        number,
        arrival_ns: 1_700_000_000_000_000_000 + number * 3_333_333,
        port,
        queue,
    }
}

fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// Every clock and several random numbers into the packet, from the entry and from a function,
/// with jumps over the calls in both directions.
#[test]
fn time_and_random_numbers_are_the_packets() {
    let text = "r6 = r1
        r7 = *(u32 *)(r6 + 0)
        r8 = *(u32 *)(r6 + 4)
        r1 = r7
        r1 += 80
        if r1 > r8 goto out
        call bpf_ktime_get_ns
        *(u64 *)(r7 + 0) = r0
        call bpf_ktime_get_boot_ns
        *(u64 *)(r7 + 8) = r0
        call bpf_ktime_get_coarse_ns
        *(u64 *)(r7 + 16) = r0
        call bpf_ktime_get_tai_ns
        *(u64 *)(r7 + 24) = r0
        call bpf_jiffies64
        *(u64 *)(r7 + 32) = r0
        r9 = 3
    again:
        call bpf_get_prandom_u32
        *(u64 *)(r7 + 40) = r0
        call number
        *(u64 *)(r7 + 48) = r0
        r9 -= 1
        if r9 != 0 goto again
        call number
        *(u64 *)(r7 + 56) = r0
    out:
        r0 = 2
        exit
    number:
        call bpf_get_prandom_u32
        exit";
    let environment = Environment {
        seed: 7,
        ..Environment::default()
    };
    let Some((kernel, interp)) = both(text, 1, &environment) else {
        return;
    };
    let frames: Vec<_> = (0..20).map(|n| (arrival(n, 1, 0), vec![0; 100])).collect();
    assert_eq!(left(&kernel, &frames), left(&interp, &frames));
    let what: Vec<_> = kernel.untold().iter().map(|u| u.what).collect();
    assert_eq!(what, ["clock", "random"]);
}

/// A program that does not look at the port sees its queue.
#[test]
fn the_receive_queue_is_the_packets() {
    let text = ".map seen type=percpu_array key=4 value=8 entries=1
        r6 = *(u32 *)(r1 + 16)
        r0 = 0
        *(u32 *)(r10 - 4) = r0
        r2 = r10
        r2 += -4
        r1 = map[seen] ll
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        r1 = *(u64 *)(r0 + 0)
        r1 += 1
        *(u64 *)(r0 + 0) = r1
    out:
        call bpf_get_smp_processor_id
        r0 <<= 8
        r0 |= r6
        exit";
    let queues = cpus().min(4);
    let Some((kernel, interp)) = both(text, queues, &Environment::default()) else {
        return;
    };
    let frames: Vec<_> = (0..4 * queues)
        .map(|n| (arrival(n.into(), 1, n % queues), vec![0; 60]))
        .collect();
    assert_eq!(left(&kernel, &frames), left(&interp, &frames));
    assert_eq!(kernel.untold(), []);
}

/// One that does sees the port, and on all ports but 1, the loopback interface, its queue.
#[test]
fn ports_have_receive_queues() {
    let text = "r0 = *(u32 *)(r1 + 12)
        r1 = *(u32 *)(r1 + 16)
        r0 <<= 8
        r0 |= r1
        exit";
    let environment = Environment {
        ports: vec![1, 2, 7],
        ..Environment::default()
    };
    let Some((kernel, interp)) = both(text, 1, &environment) else {
        return;
    };
    let queues = cpus().min(4);
    let frames: Vec<_> = [(1, 0), (2, 0), (7, 0), (2, queues - 1), (7, queues - 1)]
        .into_iter()
        .enumerate()
        .map(|(n, (port, queue))| (arrival(n as u64, port, queue), vec![0; 60]))
        .collect();
    assert_eq!(left(&kernel, &frames), left(&interp, &frames));
}

#[test]
fn metadata_before_the_packet_is_given_and_taken() {
    let text = "r6 = r1
        r2 = -8
        call bpf_xdp_adjust_meta
        r1 = *(u32 *)(r6 + 8)
        r2 = *(u32 *)(r6 + 0)
        r3 = r1
        r3 += 8
        if r3 > r2 goto out
        *(u64 *)(r1 + 0) = 0x1234
    out:
        r0 = 2
        exit";
    let Some((kernel, interp)) = both(text, 1, &Environment::default()) else {
        return;
    };
    let mut batch = Batch::new();
    batch.push(arrival(0, 1, 0), &[7; 60], XDP_HEADROOM, 64);
    let meta_area = batch.frames[0].area.start + XDP_HEADROOM - 4;
    batch.frames[0].meta -= 4;
    batch.memory[meta_area..meta_area + 4].copy_from_slice(&[1, 2, 3, 4]);
    let run = |reference: &dyn Reference| {
        let mut batch = batch.clone();
        reference.runner().process(&mut batch);
        let frame = &batch.frames[0];
        let meta = frame.area.start + frame.meta as usize..frame.area.start + frame.end as usize;
        (
            frame.r0,
            frame.data - frame.meta,
            batch.memory[meta].to_vec(),
        )
    };
    assert_eq!(run(&kernel), run(&interp));
    assert_eq!(run(&kernel).1, 12);
}

/// The routes of `bpf/tests/fib_vs_kernel.rs`, by the environment alone.
#[test]
fn routes_are_those_of_the_fib() {
    let fib = r#"{
      "interfaces": [
        {"ifindex": 1, "mac": "02:00:00:00:00:09"},
        {"ifindex": 2, "mac": "02:00:00:00:00:0a"},
        {"ifindex": 3, "mac": "02:00:00:00:00:0b", "mtu": 1400},
        {"ifindex": 4, "mac": "02:00:00:00:00:0c", "forwarding": false}
      ],
      "routes": [
        {"to": "10.0.0.0/24", "ifindex": 2, "src": "10.0.0.1"},
        {"to": "10.0.1.0/24", "ifindex": 3, "src": "10.0.1.1"},
        {"to": "10.0.2.1/32", "ifindex": 4, "type": "local"},
        {"to": "10.9.0.0/16", "ifindex": 2, "via": "10.0.0.2", "metric": 7},
        {"to": "10.9.9.0/24", "ifindex": 3, "via": "10.0.1.2", "src": "10.0.1.1", "mtu": 900},
        {"to": "10.9.8.0/24", "ifindex": 3, "via": "10.0.1.99"},
        {"to": "10.9.7.0/24", "ifindex": 2, "via": "2001:db8:1::2"},
        {"to": "10.10.0.0/16", "type": "blackhole"},
        {"to": "10.11.0.0/16", "type": "unreachable"},
        {"to": "10.12.0.0/16", "type": "prohibit"},
        {"to": "10.13.0.0/16", "ifindex": 2, "via": "10.0.0.2", "table": 100},
        {"to": "10.0.2.9/32", "ifindex": 2, "type": "local"},
        {"to": "2001:db8:1::/64", "ifindex": 2, "src": "2001:db8:1::1"},
        {"to": "2001:db8:c::1/128", "ifindex": 2, "type": "local"},
        {"to": "fc00::1/128", "ifindex": 3, "type": "local"},
        {"to": "2001:db8:e::/48", "ifindex": 3},
        {"to": "2001:db8:9::/48", "ifindex": 2, "via": "2001:db8:1::2", "mtu": 1300},
        {"to": "2001:db8:a::/48", "type": "blackhole"},
        {"to": "2001:db8:c::/48", "type": "unreachable"},
        {"to": "2001:db8:d::/48", "ifindex": 2, "via": "2001:db8:1::2", "table": 1000}
      ],
      "neighbours": [
        {"ip": "10.0.0.2", "ifindex": 2, "mac": "02:00:00:00:00:22"},
        {"ip": "10.0.0.7", "ifindex": 2, "mac": "02:00:00:00:00:27"},
        {"ip": "10.0.1.2", "ifindex": 3, "mac": "02:00:00:00:00:32"},
        {"ip": "2001:db8:1::2", "ifindex": 2, "mac": "02:00:00:00:00:66"}
      ]
    }"#;
    let environment = Environment {
        ports: vec![1, 2, 3, 4],
        fib: Some(Fib::from_json(fib).expect("a FIB")),
        ..Environment::default()
    };
    let targets = [
        "10.0.0.7",
        "10.0.0.8",
        "10.0.0.1",
        "10.0.1.1",
        "10.0.2.1",
        "10.9.1.1",
        "10.9.9.1",
        "10.9.8.1",
        "10.9.7.1",
        "10.10.1.1",
        "10.11.1.1",
        "10.12.1.1",
        "10.13.1.1",
        "10.200.1.1",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "2001:db8:1::2",
        "2001:db8:1::1",
        "2001:db8:1::3",
        "2001:db8:9::1",
        "2001:db8:a::1",
        "2001:db8:b::1",
        "2001:db8:c::1",
        "2001:db8:d::1",
        "2001:db8:e::1",
        "fe80::2",
        "ff02::1",
        "::1",
        "::",
    ];
    // The packet is the parameters, then the flags.
    let text = "r6 = r1
        r7 = *(u32 *)(r6 + 0)
        r8 = *(u32 *)(r6 + 4)
        r1 = r7
        r1 += 72
        if r1 > r8 goto short
        r0 = *(u64 *)(r7 + 0)
        *(u64 *)(r10 - 64) = r0
        r0 = *(u64 *)(r7 + 8)
        *(u64 *)(r10 - 56) = r0
        r0 = *(u64 *)(r7 + 16)
        *(u64 *)(r10 - 48) = r0
        r0 = *(u64 *)(r7 + 24)
        *(u64 *)(r10 - 40) = r0
        r0 = *(u64 *)(r7 + 32)
        *(u64 *)(r10 - 32) = r0
        r0 = *(u64 *)(r7 + 40)
        *(u64 *)(r10 - 24) = r0
        r0 = *(u64 *)(r7 + 48)
        *(u64 *)(r10 - 16) = r0
        r0 = *(u64 *)(r7 + 56)
        *(u64 *)(r10 - 8) = r0
        r4 = *(u64 *)(r7 + 64)
        r1 = r6
        r2 = r10
        r2 += -64
        r3 = 64
        call bpf_fib_lookup
        r7 = *(u32 *)(r6 + 0)
        r8 = *(u32 *)(r6 + 4)
        r1 = r7
        r1 += 72
        if r1 > r8 goto short
        r1 = *(u64 *)(r10 - 64)
        *(u64 *)(r7 + 0) = r1
        r1 = *(u64 *)(r10 - 56)
        *(u64 *)(r7 + 8) = r1
        r1 = *(u64 *)(r10 - 48)
        *(u64 *)(r7 + 16) = r1
        r1 = *(u64 *)(r10 - 40)
        *(u64 *)(r7 + 24) = r1
        r1 = *(u64 *)(r10 - 32)
        *(u64 *)(r7 + 32) = r1
        r1 = *(u64 *)(r10 - 24)
        *(u64 *)(r7 + 40) = r1
        r1 = *(u64 *)(r10 - 16)
        *(u64 *)(r7 + 48) = r1
        r1 = *(u64 *)(r10 - 8)
        *(u64 *)(r7 + 56) = r1
        exit
    short:
        r0 = -1
        exit
    .license GPL";
    let mut frames = Vec::new();
    for target in targets {
        for (ifindex, length) in [
            (1, 0),
            (2, 0),
            (2, 901),
            (2, 1301),
            (3, 1401),
            (4, 0),
            (9, 0),
        ] {
            for flags in [0u64, 1, 4, 5, 16, 20, 9, 13, 64] {
                let mut params = vec![0u8; 72];
                params[6..8].copy_from_slice(&u16::to_le_bytes(length));
                params[8] = ifindex;
                match target.parse().expect("an address") {
                    std::net::IpAddr::V4(v4) => {
                        params[0] = 2;
                        params[32..36].copy_from_slice(&v4.octets());
                    }
                    std::net::IpAddr::V6(v6) => {
                        params[0] = 10;
                        params[32..48].copy_from_slice(&v6.octets());
                    }
                }
                if flags & 8 != 0 {
                    params[48] = 100;
                }
                params[64..72].copy_from_slice(&flags.to_le_bytes());
                frames.push((arrival(frames.len() as u64, 1, 0), params));
            }
        }
    }
    let Some((kernel, interp)) = both(text, 1, &environment) else {
        return;
    };
    let (ours, theirs) = (left(&interp, &frames), left(&kernel, &frames));
    let mut wrong = Vec::new();
    for ((a, b), (_, params)) in ours.lines().zip(theirs.lines()).skip(1).zip(&frames) {
        if a != b {
            wrong.push(format!("{params:02x?}\n  interp {a}\n  kernel {b}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        frames.len(),
        wrong[..wrong.len().min(6)].join("\n")
    );
    for code in [
        "0x0 ",
        "0x1 ",
        "0x2 ",
        "0x3 ",
        "0x4 ",
        "0x5 ",
        "0x7 ",
        "0x8 ",
        "0xffffffed ",
    ] {
        assert!(theirs.contains(&format!(": {code}")), "{code}");
    }
}
