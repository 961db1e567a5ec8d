//! Images of words and of instructions, and a card that runs them.

use std::sync::Arc;

use bpf::Hook;
use bpf::map::{MapDef, MapSet};
use bpf::run::{Arrival, Batch, Environment};
use isa::nfp::abi::link::NEXT_PACKET;
use isa::nfp::abi::{self, result};
use isa::nfp::{AluOp, Condition, Insn, Operand, Relocation, Shift, encode};
use isa::{CodeRange, Image, Isa, RelocationKind, Resources, Symbol};
use nic_model::{ArrivalOrder, LoadError, Nic};

/// A word as it is before it is loaded, and what it refers to.
pub(crate) type Word = (u64, Option<(u8, Symbol)>);

/// An instruction without relocation.
pub(crate) fn word(insn: Insn) -> Word {
    (encode(&insn).unwrap(), None)
}

/// A branch to another instruction of the image.
pub(crate) fn branch(condition: Condition, defer: u8, to: usize) -> Word {
    let insn = Insn::Br {
        condition,
        defer,
        target: 0,
    };
    let word = Relocation::Branch.mark(encode(&insn).unwrap());
    let kind = Relocation::Branch as u8;
    (word, Some((kind, Symbol::Code(to * 8))))
}

/// The jump to the end.
pub(crate) fn done(defer: u8) -> Word {
    let insn = Insn::Br {
        condition: Condition::Always,
        defer,
        target: 0,
    };
    let word = Relocation::NextPacket.mark(encode(&insn).unwrap());
    let kind = Relocation::NextPacket as u8;
    (word, Some((kind, Symbol::Runtime(NEXT_PACKET))))
}

/// Jumps to a helper, with two instructions behind.
pub(crate) fn helper(id: u32) -> Word {
    let insn = Insn::Br {
        condition: Condition::Always,
        defer: 2,
        target: 0,
    };
    let word = Relocation::Helper.mark(encode(&insn).unwrap());
    (word, Some((Relocation::Helper as u8, Symbol::Helper(id))))
}

/// The address of another instruction of the image.
pub(crate) fn address(dst: Operand, of: usize) -> Word {
    let word = Relocation::Immed.mark(encode(&immed(dst, 0)).unwrap());
    (word, Some((Relocation::Immed as u8, Symbol::Code(of * 8))))
}

pub(crate) fn alu(dst: Operand, left: Operand, op: AluOp, right: Operand) -> Insn {
    Insn::alu(dst, left, op, right).unwrap()
}

pub(crate) fn mov(dst: Operand, src: Operand) -> Insn {
    alu(dst, Operand::None, AluOp::Right, src)
}

pub(crate) fn immed(dst: Operand, value: u16) -> Insn {
    Insn::Immed {
        dst,
        value,
        width: isa::nfp::Width::All,
        invert: false,
        shift: 0,
    }
}

/// Both banks of a register.
pub(crate) const fn both(n: u8) -> Operand {
    Operand::Both(n)
}

pub(crate) const fn lm(index: u8, offset: u8) -> Operand {
    Operand::Lm { index, offset }
}

/// Passes the packet.
pub(crate) fn pass() -> Vec<Word> {
    let action = result::XDP >> (8 * 2) & 0xff;
    vec![
        done(2),
        word(mov(Operand::A(0), Operand::Imm(0))),
        word(
            Insn::ld_field(
                Operand::A(0),
                0b1100,
                Operand::Imm(action as u8),
                Shift::Left(16),
                false,
            )
            .unwrap(),
        ),
    ]
}

/// Writes a register to this byte of the packet, which must have 4 bytes there.
pub(crate) fn show(register: u8, at: u8) -> Vec<Word> {
    vec![
        word(mov(Operand::Xfer(0), Operand::A(register))),
        word(mov(Operand::A(30), lm(1, abi::vector::PACKET))),
        word(Insn::Cmd {
            command: isa::nfp::Command::Write8Swap,
            xfer: 0,
            count: 3,
            src: isa::nfp::Sources::new(Operand::A(30), Operand::Imm(at)).unwrap(),
            mode: isa::nfp::AddressMode::Bits32,
            swap: isa::nfp::ContextSwap::Swap,
            indirect: false,
        }),
    ]
}

pub(crate) fn image(words: &[Word]) -> Image {
    let relocations = words.iter().enumerate().filter_map(|(i, (_, at))| {
        at.map(|(kind, symbol)| isa::Relocation {
            at: i * 8,
            kind: RelocationKind::Target(kind),
            symbol,
        })
    });
    Image {
        isa: Isa::Nfp,
        code: words.iter().flat_map(|(w, _)| w.to_le_bytes()).collect(),
        instructions: words.len(),
        relocations: relocations.collect(),
        entry: 0,
        resources: Resources::default(),
        source_map: vec![CodeRange {
            start: 0,
            end: words.len() * 8,
            lane: 0,
            pcs: vec![0],
        }],
        removed: Vec::new(),
        notes: Vec::new(),
    }
}

/// A card with a program.
pub(crate) struct Card {
    pub(crate) maps: MapSet,
    all: ArrivalOrder,
}

pub(crate) fn load(image: &Image, maps: &[MapDef], hook: &Hook) -> Result<Card, LoadError> {
    let caps = Arc::new(caps::builtin("agilio-cx").unwrap());
    let environment = Arc::new(Environment {
        seed: 7,
        ..Environment::default()
    });
    let mut nic = Nic::new(caps, environment, 1);
    let ids = nic.create_maps(maps)?;
    let id = nic.load(image, hook, &ids)?;
    Ok(Card {
        maps: nic.maps().clone(),
        all: nic.arrival_order(id).unwrap(),
    })
}

impl Card {
    /// Runs the program on packets, each with 128 bytes before it.
    pub(crate) fn run(&mut self, packets: &[&[u8]]) -> Batch {
        let mut batch = Batch::new();
        for (packet, number) in packets.iter().zip(0..) {
            let arrival = Arrival {
                number,
                arrival_ns: number,
                port: 1,
                queue: 0,
            };
            batch.push(arrival, packet, 128, 0);
        }
        self.all.process(&mut batch);
        batch
    }
}

/// Runs hand-written code on one packet of 64 zero bytes; gives the packet it left.
pub(crate) fn run(words: &[Word]) -> Batch {
    load(&image(words), &[], &Hook::XDP)
        .unwrap()
        .run(&[&[0; 64]])
}

/// The register that hand-written code leaves in `register`.
pub(crate) fn computed(words: &[Insn], register: u8) -> u32 {
    let mut all: Vec<Word> = words.iter().map(|insn| word(*insn)).collect();
    all.extend(show(register, 0));
    all.extend(pass());
    let batch = run(&all);
    assert_eq!(batch.traps, []);
    u32::from_le_bytes(*batch.bytes(0).first_chunk().unwrap())
}
