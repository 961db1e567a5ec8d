//! What a section's name says of the programs in it.
//!
//! Names come from three traditions: libbpf's (`xdp`, `tcx/ingress`; docs.kernel.org,
//! "Program Types and ELF Sections"), the older samples' (`xdp1`, `xdp_prog0`: what counts is
//! how the name starts) and iproute2's (`classifier`, `prog`, `2/7`).

use crate::hook::{Hook, TcAttach, XdpAttach};

/// What a section's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// Programs of a packet hook.
    Packet(Hook),
    /// iproute2's `ID/SLOT`: the target of a tail call, in this slot of the `prog_array` with
    /// this id.
    TailCall { id: u32, slot: u32 },
    /// Programs of another kind, which no NIC runs.
    Other(&'static str),
    /// Functions that others call.
    Text,
    /// The name says nothing.
    Unknown,
}

const fn xdp(attach: XdpAttach, frags: bool) -> Hook {
    Hook::Xdp { attach, frags }
}

const fn tc(attach: TcAttach) -> Hook {
    Hook::Tc { attach }
}

/// Whole names and, followed by `/`, first parts of names.
const PACKET: [(&str, Hook); 38] = [
    ("xdp.frags/devmap", xdp(XdpAttach::Devmap, true)),
    ("xdp/devmap", xdp(XdpAttach::Devmap, false)),
    ("xdp_devmap", xdp(XdpAttach::Devmap, false)),
    ("xdp.frags/cpumap", xdp(XdpAttach::Cpumap, true)),
    ("xdp/cpumap", xdp(XdpAttach::Cpumap, false)),
    ("xdp_cpumap", xdp(XdpAttach::Cpumap, false)),
    ("xdp.frags", xdp(XdpAttach::Device, true)),
    ("xdp", Hook::XDP),
    ("prog", Hook::XDP),
    ("tcx/egress", tc(TcAttach::TcxEgress)),
    ("tcx", tc(TcAttach::TcxIngress)),
    ("tc/ingress", tc(TcAttach::TcxIngress)),
    ("tc/egress", tc(TcAttach::TcxEgress)),
    ("netkit/peer", tc(TcAttach::NetkitPeer)),
    ("netkit", tc(TcAttach::NetkitPrimary)),
    ("action", tc(TcAttach::Action)),
    ("act", tc(TcAttach::Action)),
    ("tc", Hook::TC),
    ("classifier", Hook::TC),
    ("cls", Hook::TC),
    ("ingress", Hook::TC),
    ("egress", Hook::TC),
    ("filter", Hook::TC),
    ("schedcls", Hook::TC),
    ("sched_cls", Hook::TC),
    ("from-container", Hook::TC),
    ("to-container", Hook::TC),
    ("from-netdev", Hook::TC),
    ("to-netdev", Hook::TC),
    ("from-host", Hook::TC),
    ("to-host", Hook::TC),
    ("from-overlay", Hook::TC),
    ("to-overlay", Hook::TC),
    ("from-wireguard", Hook::TC),
    ("to-wireguard", Hook::TC),
    ("from-network", Hook::TC),
    ("cls-ingress", Hook::TC),
    ("cls-egress", Hook::TC),
];

/// Starts of names that are taken when nothing else fits, longest first.
const PACKET_PREFIX: [(&str, Hook); 10] = [
    ("xdp.frags", xdp(XdpAttach::Device, true)),
    ("xdp", Hook::XDP),
    ("classifier", Hook::TC),
    ("cls", Hook::TC),
    ("action", tc(TcAttach::Action)),
    ("act_", tc(TcAttach::Action)),
    ("tc_", Hook::TC),
    ("tc-", Hook::TC),
    ("ingress", Hook::TC),
    ("egress", Hook::TC),
];

/// libbpf's other program types: whole names, first parts of names, and (with the name's rest
/// behind) old names. The second says what the program is.
const OTHER: [(&str, &str); 48] = [
    ("socket", "socket filter"),
    ("sk_reuseport", "socket selection"),
    ("kprobe", "kprobe"),
    ("kprobe.multi", "kprobe"),
    ("kprobe.session", "kprobe"),
    ("kretprobe", "kprobe"),
    ("kretprobe.multi", "kprobe"),
    ("uprobe", "uprobe"),
    ("uprobe.s", "uprobe"),
    ("uprobe.multi", "uprobe"),
    ("uprobe.multi.s", "uprobe"),
    ("uprobe.session", "uprobe"),
    ("uprobe.session.s", "uprobe"),
    ("uretprobe", "uprobe"),
    ("uretprobe.s", "uprobe"),
    ("uretprobe.multi", "uprobe"),
    ("uretprobe.multi.s", "uprobe"),
    ("ksyscall", "kprobe"),
    ("kretsyscall", "kprobe"),
    ("usdt", "uprobe"),
    ("usdt.s", "uprobe"),
    ("tracepoint", "tracepoint"),
    ("tp", "tracepoint"),
    ("raw_tracepoint", "raw tracepoint"),
    ("raw_tracepoint.w", "raw tracepoint"),
    ("raw_tp", "raw tracepoint"),
    ("raw_tp.w", "raw tracepoint"),
    ("tp_btf", "raw tracepoint"),
    ("fentry", "tracing"),
    ("fentry.s", "tracing"),
    ("fmod_ret", "tracing"),
    ("fmod_ret.s", "tracing"),
    ("fexit", "tracing"),
    ("fexit.s", "tracing"),
    ("iter", "iterator"),
    ("iter.s", "iterator"),
    ("freplace", "extension of another program"),
    ("lsm", "security module"),
    ("lsm.s", "security module"),
    ("lsm_cgroup", "security module"),
    ("syscall", "syscall"),
    ("perf_event", "perf event"),
    ("lirc_mode2", "infrared decoder"),
    ("flow_dissector", "flow dissector"),
    ("sk_lookup", "socket lookup"),
    ("sockops", "socket operations"),
    ("sk_msg", "socket message"),
    ("netfilter", "netfilter"),
];

/// Starts of names of other program types.
const OTHER_PREFIX: [(&str, &str); 8] = [
    ("cgroup", "cgroup"),
    ("sk_skb", "socket stream"),
    ("lwt_", "lightweight tunnel"),
    ("struct_ops", "kernel structure"),
    ("socket", "socket filter"),
    ("kprobe", "kprobe"),
    ("tracepoint", "tracepoint"),
    ("uprobe", "uprobe"),
];

/// What the section's name says. A leading `?` (libbpf: not loaded by default) is overlooked.
pub(super) fn hint(section: &str) -> Hint {
    let name = section.strip_prefix('?').unwrap_or(section);
    if name == ".text" {
        return Hint::Text;
    }
    if let Some(tail) = tail_call(name) {
        return tail;
    }
    let is = |known: &str| {
        name.strip_prefix(known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some((_, hook)) = PACKET.iter().find(|(known, _)| is(known)) {
        return Hint::Packet(hook.clone());
    }
    if let Some((_, kind)) = OTHER.iter().find(|(known, _)| is(known)) {
        return Hint::Other(kind);
    }
    if let Some((_, kind)) = OTHER_PREFIX.iter().find(|(p, _)| name.starts_with(p)) {
        return Hint::Other(kind);
    }
    if let Some((_, hook)) = PACKET_PREFIX.iter().find(|(p, _)| name.starts_with(p)) {
        return Hint::Packet(hook.clone());
    }
    Hint::Unknown
}

fn tail_call(name: &str) -> Option<Hint> {
    let (id, slot) = name.split_once('/')?;
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    Some(Hint::TailCall {
        id: number(id)?,
        slot: number(slot)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names as libbpf 1.x documents them, as samples/bpf and xdp-tutorial used them, and as
    /// iproute2's examples do.
    #[test]
    fn names_of_three_traditions_are_known() {
        let xdp_names = [
            "xdp",
            "?xdp",
            "xdp/sniff",
            "xdp1",
            "xdp_prog0",
            "xdp_tx_iptunnel",
            "xdp_stats1",
            "prog",
            "xdp_pass",
            "xdp/tail",
        ];
        for name in xdp_names {
            assert_eq!(hint(name), Hint::Packet(Hook::XDP), "{name}");
        }
        for name in [
            "tc",
            "classifier",
            "classifier/x",
            "cls_main",
            "ingress",
            "from-netdev",
        ] {
            assert_eq!(hint(name), Hint::Packet(Hook::TC), "{name}");
        }
        assert_eq!(
            hint("xdp.frags/cpumap"),
            Hint::Packet(xdp(XdpAttach::Cpumap, true))
        );
        assert_eq!(
            hint("xdp.frags"),
            Hint::Packet(xdp(XdpAttach::Device, true))
        );
        for (name, attach) in [
            ("tcx/egress", TcAttach::TcxEgress),
            ("tc/ingress", TcAttach::TcxIngress),
            ("netkit/peer", TcAttach::NetkitPeer),
            ("action", TcAttach::Action),
        ] {
            assert_eq!(hint(name), Hint::Packet(tc(attach)), "{name}");
        }
        assert_eq!(hint("2/7"), Hint::TailCall { id: 2, slot: 7 });
        assert_eq!(hint("0xff/0"), Hint::TailCall { id: 255, slot: 0 });
    }

    #[test]
    fn other_program_types_are_told_from_unknown_names() {
        for name in [
            "kprobe/sys_open",
            "fentry.s/f",
            "cgroup/connect4",
            "cgroup_skb/egress",
            "socket1",
        ] {
            assert!(matches!(hint(name), Hint::Other(_)), "{name}");
        }
        for name in ["my_section", "tcp_thing", "2/x", "init"] {
            assert_eq!(hint(name), Hint::Unknown, "{name}");
        }
        assert_eq!(hint(".text"), Hint::Text);
    }
}
