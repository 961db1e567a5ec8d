//! The tables of context fields against Linux's verifier: every offset, every width.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod kernel;

use bpf::context::{self, Field, FieldKind, SocketKind};
use bpf::hook::{Hook, TcAttach, XdpAttach};
use kernel::{KernelProgram, insn};

const RETURN_ZERO: [u64; 2] = [0xb7, 0x95];
/// Widths with the opcodes of load, sign-extending load, store of a register and of a constant.
const WIDTHS: [(u8, u8, Option<u8>, u8, u8); 4] = [
    (1, 0x71, Some(0x91), 0x73, 0x72),
    (2, 0x69, Some(0x89), 0x6b, 0x6a),
    (4, 0x61, Some(0x81), 0x63, 0x62),
    (8, 0x79, None, 0x7b, 0x7a),
];

/// Program type and expected attach type, with the hook they stand for.
fn hooks() -> Vec<(u32, u32, Hook)> {
    let xdp = |attach| Hook::Xdp {
        attach,
        frags: false,
    };
    let tc = |attach| Hook::Tc { attach };
    vec![
        (6, 37, xdp(XdpAttach::Device)),
        (6, 33, xdp(XdpAttach::Devmap)),
        (6, 35, xdp(XdpAttach::Cpumap)),
        (3, 0, Hook::TC),
        (4, 0, tc(TcAttach::Action)),
        (3, 46, tc(TcAttach::TcxIngress)),
        (3, 47, tc(TcAttach::TcxEgress)),
        (3, 54, tc(TcAttach::NetkitPrimary)),
        (3, 55, tc(TcAttach::NetkitPeer)),
    ]
}

struct Asked {
    kind: u32,
    attach: u32,
}

impl Asked {
    fn load(&self, slots: &[u64]) -> Result<(), String> {
        let mut slots = slots.to_vec();
        slots.extend(RETURN_ZERO);
        KernelProgram::load_attached(self.kind, self.attach, &slots, c"GPL")
            .map(|_| ())
            .map_err(|(_, log)| log)
    }

    /// What a load gives, in the words of the kernel's log; `None` if it is refused.
    fn loads(&self, opcode: u8, offset: i16) -> Option<String> {
        let load = insn(opcode, 2, 1, offset, 0);
        self.load(&[load]).ok()?;
        // Only numbers can be multiplied.
        let Err(log) = self.load(&[load, insn(0x27, 2, 0, 0, 2)]) else {
            return Some("number".to_owned());
        };
        let word = log
            .rsplit_once("R2=")
            .and_then(|(_, rest)| rest.split('(').next());
        Some(word.unwrap_or(&log).to_owned())
    }
}

fn word(field: &Field) -> &'static str {
    match field.kind {
        FieldKind::Scalar => "number",
        FieldKind::Data => "pkt",
        FieldKind::DataEnd => "pkt_end",
        FieldKind::DataMeta => "pkt_meta",
        FieldKind::Socket => "sock_common_or_null",
    }
}

#[test]
fn every_access_is_as_the_kernel_has_it() {
    if !kernel::available() {
        return;
    }
    for (kind, attach, hook) in hooks() {
        let asked = Asked { kind, attach };
        for offset in -8..208i16 {
            for (width, load, signed, store, constant) in WIDTHS {
                let at = format!("{hook:?}: {width} bytes at {offset}");
                let field = context::load(&hook, i64::from(offset), width);
                assert_eq!(
                    asked.loads(load, offset).as_deref(),
                    field.map(word),
                    "load of {at}"
                );
                if let Some(opcode) = signed {
                    let number = field.filter(|f| f.kind == FieldKind::Scalar);
                    let loads = asked.load(&[insn(opcode, 2, 1, offset, 0)]).is_ok();
                    assert_eq!(loads, number.is_some(), "signed load of {at}");
                }
                let stores = context::store(&hook, i64::from(offset), width, false).is_some();
                let by_register = [insn(0xb7, 2, 0, 0, 0), insn(store, 1, 2, offset, 0)];
                assert_eq!(asked.load(&by_register).is_ok(), stores, "store of {at}");
                let by_constant = [insn(constant, 1, 0, offset, 0)];
                assert_eq!(asked.load(&by_constant).is_ok(), stores, "store of {at}");
            }
        }
    }
}

#[test]
fn fields_are_in_order_and_apart() {
    for (_, _, hook) in hooks() {
        let fields = context::fields(&hook);
        for pair in fields.windows(2) {
            let end = pair[0].offset + u16::from(pair[0].size);
            assert!(end <= pair[1].offset, "{}", pair[1].name);
        }
        for field in fields {
            let last = i64::from(field.offset) + i64::from(field.size) - 1;
            assert_eq!(context::field_at(&hook, last), Some(field));
        }
    }
}

/// Programs that come to a socket of each kind in r1.
fn sockets() -> Vec<(SocketKind, Vec<u64>)> {
    let leave = [insn(0x55, 1, 0, 2, 0), 0xb7, 0x95];
    let mut common = vec![insn(0x79, 1, 1, 168, 0)];
    common.extend(leave);
    let by_helper = |id| {
        let mut slots = common.clone();
        slots.extend([insn(0x85, 0, 0, 0, id), insn(0xbf, 1, 0, 0, 0)]);
        slots.extend(leave);
        slots
    };
    vec![
        (SocketKind::Full, by_helper(95)),
        (SocketKind::Tcp, by_helper(96)),
        (SocketKind::Common, common),
    ]
}

#[test]
fn what_can_be_read_of_a_socket() {
    if !kernel::available() {
        return;
    }
    let asked = Asked { kind: 3, attach: 0 };
    for (kind, slots) in sockets() {
        for offset in -4..128i16 {
            for (width, load, _, store, _) in WIDTHS {
                let mut slots = slots.clone();
                slots.push(insn(load, 2, 1, offset, 0));
                let field = context::socket_load(kind, i64::from(offset), width);
                assert_eq!(
                    asked.load(&slots).is_ok(),
                    field.is_some(),
                    "{kind:?}: {width} bytes at {offset}"
                );
                slots.pop();
                slots.extend([insn(0xb7, 2, 0, 0, 0), insn(store, 1, 2, offset, 0)]);
                assert!(asked.load(&slots).is_err(), "store at {offset}");
            }
        }
    }
}
