//! A run in which NIC and reference differ: the NIC's backend is wrong on purpose.

use std::sync::Arc;

use bpf::Hook;
use bpf::object::{LoadOptions, load};
use caps::Caps;
use harness::outside::Outside;
use harness::report::run::Report;
use harness::testbed::{FrameIn, Settings, Sink, Testbed};
use isa::ebpf::{AluOp, Insn, Operand, decode, encode};
use isa::{Image, Isa};
use jit_backends::ebpf::Ebpf;
use jit_backends::{Backend, Listing, Refusal};
use nic_model::Workers;
use verifier::Verified;

/// The identity backend, but 1 is returned where the program says 3.
struct Wrong;

impl Backend for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn isa(&self) -> Isa {
        Isa::Ebpf
    }

    fn translate(&self, program: &Verified, caps: &Caps) -> Result<Image, Refusal> {
        let mut image = Ebpf.translate(program, caps)?;
        let wrong = |insn| match insn {
            Insn::Alu {
                op: AluOp::Mov,
                width,
                dst,
                src: Operand::Imm(3),
            } => Insn::Alu {
                op: AluOp::Mov,
                width,
                dst,
                src: Operand::Imm(1),
            },
            other => other,
        };
        let insns: Vec<Insn> = decode(&image.code)
            .unwrap()
            .into_iter()
            .map(wrong)
            .collect();
        image.code = encode(&insns).unwrap();
        Ok(image)
    }

    fn disassemble(&self, image: &Image) -> Listing {
        Ebpf.disassemble(image)
    }
}

/// The verdict is the byte behind the Ethernet header, for 1, 2 and otherwise 3; the first byte is
/// set. Where `struct xdp_md` has data and data_end.
const BY_BYTE: &str = "\
    r2 = *(u32 *)(r1 + 0)\n\
    r3 = *(u32 *)(r1 + 4)\n\
    r4 = r2\n\
    r4 += 15\n\
    r0 = 1\n\
    if r4 > r3 goto out\n\
    r5 = *(u8 *)(r2 + 14)\n\
    r6 = 170\n\
    *(u8 *)(r2 + 0) = r6\n\
    r0 = 2\n\
    if r5 == 2 goto out\n\
    r0 = 1\n\
    if r5 == 1 goto out\n\
    r0 = 3\n\
    out:\n\
    exit\n";

/// Runs the program on frames of 60 bytes, a nanosecond apart, whose byte behind the header is
/// given.
pub(crate) fn run(hook: &Hook, bytes: &[u8], start_ns: u64, sink: &mut Sink<'_>) -> Report {
    let options = LoadOptions {
        hook: Some(hook.clone()),
        ..LoadOptions::default()
    };
    // Where `struct __sk_buff` has them.
    let text = match hook {
        Hook::Tc { .. } => BY_BYTE
            .replace("r1 + 0", "r1 + 76")
            .replace("r1 + 4", "r1 + 80"),
        _ => BY_BYTE.to_owned(),
    };
    let set = load("by_byte.bpf", text.as_bytes(), &options).unwrap();
    let settings = Settings {
        queues: Some(4),
        outside: Some(Outside {
            backend: Arc::new(Wrong),
            workers: Arc::new(Workers::default()),
        }),
        ..Settings::default()
    };
    let nic = Arc::new(caps::builtin("netdevsim").unwrap());
    let mut testbed = Testbed::new(nic, settings).unwrap();
    testbed.load(&set, &set.programs[0].name).unwrap();
    assert!(testbed.is_running(), "{:?}", testbed.decision());
    let frames: Vec<Vec<u8>> = bytes
        .iter()
        .map(|byte| {
            let mut frame = vec![0; 60];
            frame[14] = *byte;
            frame
        })
        .collect();
    let arriving = frames.iter().zip(0..).map(|(bytes, n)| FrameIn {
        arrival_ns: start_ns + n,
        port: 1,
        bytes,
    });
    testbed.feed(arriving, sink).unwrap();
    testbed.finish().unwrap()
}
