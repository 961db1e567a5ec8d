//! `bpf_fib_lookup` against Linux: the same network as a FIB of ours and by ip(8).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod calls;
mod kernel;
mod machine;

use bpf::map::MapType;
use calls::{A, Call, SCRATCH, SIZE, compare, here, pair, program};
use kernel::KernelProgram;
use machine::TestMachine;

#[test]
fn routes_of_an_empty_namespace() {
    if !kernel::available() {
        return;
    }
    let mut params = vec![0u8; 64];
    params[0] = 2;
    params[8] = 1;
    params[32..36].copy_from_slice(&[10, 1, 2, 3]);
    let mut six = params.clone();
    six[0] = 10;
    let mut other = params.clone();
    other[0] = 3;
    let mut no_port = params.clone();
    no_port[8] = 99;
    kernel::in_new_namespace(move || {
        for content in [params, six, other, no_port] {
            for flags in [0, 1, 2, 4, 5, 63, 64, 1 << 32] {
                for size in [64, 63, 1, 65] {
                    let args = vec![A::Ctx, A::M(SCRATCH), A::N(size), A::N(flags)];
                    compare(&[0; 60], &content, &[(69, args)], &[]);
                }
            }
        }
    });
}

/// Neighbour discovery and the like reach a forwarder too; the kernel does not look further then.
#[test]
fn addresses_that_no_router_forwards() {
    if !kernel::available() {
        return;
    }
    kernel::in_new_namespace(move || {
        let addresses = [
            "2001:db8::1",
            "::",
            "::1",
            "::2",
            "fe7f::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff0e::1",
        ];
        for (src, dst) in addresses.iter().flat_map(|s| addresses.map(|d| (*s, d))) {
            for port in [1, 99] {
                let mut params = vec![0u8; 64];
                params[0] = 10;
                params[8] = port;
                let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
                params[16..32].copy_from_slice(&octets(src));
                params[32..48].copy_from_slice(&octets(dst));
                let args = vec![A::Ctx, A::M(SCRATCH), A::N(64), A::N(0)];
                compare(&[0; 60], &params, &[(69, args)], &[]);
            }
        }
    });
}

#[test]
fn routes() {
    if !kernel::available() {
        return;
    }
    if !std::process::Command::new("ip")
        .arg("-V")
        .output()
        .is_ok_and(|o| o.status.success())
    {
        println!("skipped: needs ip (iproute2)");
        return;
    }
    // The same network twice: by ip(8) in a namespace, and as a FIB of ours.
    let fib = r#"{
      "interfaces": [
        {"ifindex": 1, "mac": "00:00:00:00:00:00", "mtu": 65536, "forwarding": false},
        {"ifindex": 2, "mac": "02:00:00:00:00:0a"},
        {"ifindex": 3, "mac": "02:00:00:00:00:0b", "mtu": 1400},
        {"ifindex": 4, "mac": "02:00:00:00:00:0c", "forwarding": false}
      ],
      "routes": [
        {"to": "10.0.0.0/24", "ifindex": 2, "src": "10.0.0.1"},
        {"to": "10.0.0.1/32", "ifindex": 2, "type": "local"},
        {"to": "10.0.1.0/24", "ifindex": 3, "src": "10.0.1.1"},
        {"to": "10.0.1.1/32", "ifindex": 3, "type": "local"},
        {"to": "10.9.0.0/16", "ifindex": 2, "via": "10.0.0.2", "metric": 7, "src": "10.0.0.1"},
        {"to": "10.9.9.0/24", "ifindex": 3, "via": "10.0.1.2", "src": "10.0.1.1"},
        {"to": "10.9.8.0/24", "ifindex": 3, "via": "10.0.1.99", "src": "10.0.1.1"},
        {"to": "10.10.0.0/16", "type": "blackhole"},
        {"to": "10.11.0.0/16", "type": "unreachable"},
        {"to": "10.12.0.0/16", "type": "prohibit"},
        {"to": "10.13.0.0/16", "ifindex": 2, "via": "10.0.0.2", "table": 100, "src": "10.0.0.1"},
        {"to": "2001:db8:1::/64", "ifindex": 2, "metric": 256, "src": "2001:db8:1::1"},
        {"to": "2001:db8:1::1/128", "ifindex": 2, "type": "local"},
        {"to": "2001:db8:9::/48", "ifindex": 2, "via": "2001:db8:1::2", "src": "2001:db8:1::1"},
        {"to": "2001:db8:a::/48", "type": "blackhole"}
      ],
      "neighbours": [
        {"ip": "10.0.0.2", "ifindex": 2, "mac": "02:00:00:00:00:22"},
        {"ip": "10.0.0.7", "ifindex": 2, "mac": "02:00:00:00:00:27"},
        {"ip": "10.0.1.2", "ifindex": 3, "mac": "02:00:00:00:00:32"},
        {"ip": "2001:db8:1::2", "ifindex": 2, "mac": "02:00:00:00:00:66"}
      ]
    }"#;
    kernel::in_new_namespace(move || {
        kernel::ip_network(&[
            "link add p2 index 2 type veth peer name q2 index 12",
            "link set q2 up",
            "link add p3 index 3 type veth peer name q3 index 13",
            "link set q3 up",
            "link add p4 index 4 type veth peer name q4 index 14",
            "link set q4 up",
            "link set p2 address 02:00:00:00:00:0a up",
            "link set p3 address 02:00:00:00:00:0b mtu 1400 up",
            "link set p4 address 02:00:00:00:00:0c up",
            "addr add 10.0.0.1/24 dev p2",
            "addr add 10.0.1.1/24 dev p3",
            "addr add 2001:db8:1::1/64 dev p2 nodad",
            "route add 10.9.0.0/16 via 10.0.0.2 metric 7",
            "route add 10.9.9.0/24 via 10.0.1.2",
            "route add 10.9.8.0/24 via 10.0.1.99",
            "route add blackhole 10.10.0.0/16",
            "route add unreachable 10.11.0.0/16",
            "route add prohibit 10.12.0.0/16",
            "route add 10.13.0.0/16 via 10.0.0.2 table 100",
            "route add 2001:db8:9::/48 via 2001:db8:1::2",
            "route add blackhole 2001:db8:a::/48",
            "neigh add 10.0.0.2 lladdr 02:00:00:00:00:22 dev p2",
            "neigh add 10.0.0.7 lladdr 02:00:00:00:00:27 dev p2",
            "neigh add 10.0.1.2 lladdr 02:00:00:00:00:32 dev p3",
            "neigh add 2001:db8:1::2 lladdr 02:00:00:00:00:66 dev p2",
        ]);
        let fib = bpf::helper::Fib::from_json(fib).unwrap();
        let targets = [
            "10.0.0.7",
            "10.0.0.8",
            "10.0.0.1",
            "10.9.1.1",
            "10.9.9.1",
            "10.9.8.1",
            "10.10.1.1",
            "10.11.1.1",
            "10.12.1.1",
            "10.13.1.1",
            "10.200.1.1",
            "2001:db8:1::2",
            "2001:db8:1::1",
            "2001:db8:1::3",
            "2001:db8:9::1",
            "2001:db8:a::1",
            "2001:db8:b::1",
            "fe80::2",
            "ff02::1",
            "::1",
        ];
        let mut seen = std::collections::BTreeSet::new();
        for target in targets {
            for (ifindex, length) in [
                (2, 0),
                (2, 1401),
                (2, 1500),
                (2, 1501),
                (4, 0),
                (9, 0),
                (1, 0),
            ] {
                for flags in [0u64, 1, 4, 5, 16, 20, 9, 13] {
                    let mut params = vec![0u8; 64];
                    params[6..8].copy_from_slice(&u16::to_le_bytes(length));
                    params[8] = ifindex;
                    match target.parse().unwrap() {
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
                    let args = vec![A::Ctx, A::M(SCRATCH), A::N(64), A::N(flags)];
                    let calls = [(69, args)];
                    let what = format!("{target} ifindex {ifindex} length {length} flags {flags}");
                    let result = compare_with_fib(&params, &calls, &fib, &what);
                    seen.insert(result);
                }
            }
        }
        for result in [0, 1, 2, 3, 4, 5, 7, 8, -19] {
            assert!(seen.contains(&result), "{result} is not among {seen:?}");
        }
    });
}

/// Like `compare`, with routes; says what differs in the parameters.
fn compare_with_fib(params: &[u8], calls: &[Call], fib: &bpf::helper::Fib, what: &str) -> i64 {
    let mut machine = TestMachine::new(&[0; 60], SIZE);
    machine.environment.fib = Some(fib.clone());
    let at = SCRATCH as usize..SCRATCH as usize + 64;
    machine.memory[at.clone()].copy_from_slice(params);
    let memory = pair(MapType::Array, 4, SIZE as u32, 1);
    memory.theirs.update(&[0; 4], &machine.memory, 0).unwrap();
    let loaded = KernelProgram::load(&program(&memory.theirs, calls, &[])).unwrap();
    loaded.run(&[0; 60]).unwrap();
    let kernels = memory.theirs.lookup(&[0; 4]).unwrap();
    here(&mut machine, calls);
    let r0 = |bytes: &[u8]| i64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(r0(&machine.memory), r0(&kernels), "{what}");
    assert_eq!(machine.memory[at.clone()], kernels[at], "{what}");
    r0(&kernels)
}
