//! What generated programs are run on: [`Packets`] knows the constants of a program, [`Aimed`]
//! looks at what the program does with them too.

mod aimed;
mod look;

pub use aimed::Aimed;
pub(crate) use aimed::{ROOM, arrival_ns};

use bpf::generate::{EDGES, RAW_BYTES, Random};
use bpf::{Hook, Program};
use isa::ebpf::{AluOp, Insn, Operand};
use pcaps::generate::{Generator, Mix, Spec};

/// Longest frame: what matters lies at its beginning, and long ones cost time.
const LONGEST: usize = 256;
/// Shortest frame that a program sees.
const SHORTEST: usize = 14;
/// Longest frame of numbers, unless the program asks for a longer one.
const NUMBERS: u64 = 160;
/// An Ethernet type that stands for no protocol: local experimental 1 of IEEE 802.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];
/// Sizes of what programs read.
const SIZES: [usize; 4] = [1, 2, 4, 8];

/// Packets (memories, for a program without hook) that follow from a program and a seed, one
/// after the other: of real protocols, of numbers at the edges of their ranges, and of numbers and
/// lengths at which the program itself changes its mind. An instruction sees the edges of its
/// operands by way of the packet they come from.
#[derive(Debug)]
pub struct Packets {
    random: Random,
    /// None for a program without hook.
    real: Option<Generator>,
    is_raw: bool,
    is_tc: bool,
    /// Constants of the program.
    constants: Vec<u64>,
    /// What it adds, to a pointer perhaps: lengths that it may ask for, in bytes.
    lengths: Vec<usize>,
    number: usize,
}

impl Packets {
    /// Packets for a program.
    pub fn new(program: &Program, seed: u64) -> Packets {
        let is_raw = matches!(program.hook, Hook::Raw { .. });
        let mut spec = Spec::new(Mix::All, u64::MAX);
        spec.seed = seed;
        spec.flows = 4;
        let mut packets = Packets {
            random: Random::new(seed),
            real: if is_raw {
                None
            } else {
                Generator::new(spec).ok()
            },
            is_raw,
            is_tc: matches!(program.hook, Hook::Tc { .. }),
            constants: Vec::new(),
            lengths: Vec::new(),
            number: 0,
        };
        for insn in program.insns.iter() {
            packets.learn(insn);
        }
        packets
    }

    fn learn(&mut self, insn: &Insn) {
        let constant = match insn {
            Insn::Alu {
                src: Operand::Imm(constant),
                ..
            }
            | Insn::Branch {
                src: Operand::Imm(constant),
                ..
            } => i64::from(*constant),
            _ => return,
        };
        self.constants.push(constant as u64);
        if let Insn::Alu { op: AluOp::Add, .. } = insn
            && let Ok(length @ SHORTEST..=LONGEST) = usize::try_from(constant)
        {
            self.lengths.push(length);
        }
    }

    /// The next packet.
    pub fn packet(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.random.percent(30)
            && let Some(real) = &mut self.real
        {
            real.next_into(&mut bytes);
            bytes.truncate(LONGEST);
            bytes.resize(bytes.len().max(SHORTEST), 0);
        } else {
            self.numbers(&mut bytes);
        }
        if self.random.percent(50) {
            let constant = self.constant();
            self.put(&mut bytes, constant);
        }
        self.number += 1;
        self.complete(&mut bytes);
        bytes
    }

    /// Makes a packet one that the program can see: no tc program sees an IP header cut short.
    fn complete(&self, bytes: &mut [u8]) {
        if self.is_tc
            && !bpf::skb::complete(bytes)
            && let Some(ethertype) = bytes.get_mut(12..14)
        {
            ethertype.copy_from_slice(&EXPERIMENTAL);
        }
    }

    /// A frame, or a memory, of numbers: in some the same throughout, or nearly, so that
    /// comparisons meet equality.
    fn numbers(&mut self, bytes: &mut Vec<u8>) {
        let len = self.length();
        let (word, shape) = (self.random.operand(), self.random.below(6));
        while bytes.len() < len {
            let word = match shape {
                0 => word,
                1 => self.near(word),
                2 => (word & 0xff) * 0x0101_0101_0101_0101,
                3 => self.constant(),
                _ => self.random.operand(),
            };
            bytes.extend(word.to_le_bytes());
        }
        bytes.truncate(len);
        if !self.is_raw && len > SHORTEST && self.random.percent(30) {
            // IPv4, so that parsers go on.
            bytes[12..14].copy_from_slice(&[0x08, 0x00]);
        }
        let edge = EDGES[self.number % EDGES.len()];
        self.put(bytes, edge);
    }

    fn length(&mut self) -> usize {
        if self.is_raw {
            return RAW_BYTES as usize;
        }
        let any = SHORTEST + self.random.below(NUMBERS - SHORTEST as u64) as usize;
        match self.random.choose_from(&self.lengths) {
            // One less is too short, one more is enough as well.
            Some(length) if self.random.percent(50) => {
                (length + self.random.below(3) as usize - 1).clamp(SHORTEST, LONGEST)
            }
            _ => any,
        }
    }

    /// A number that the program has as a constant, or one next to it, in either byte order.
    fn constant(&mut self) -> u64 {
        let Some(constant) = self.random.choose_from(&self.constants) else {
            return self.random.operand();
        };
        let near = self.near(constant);
        match self.random.below(6) {
            0 => u64::from((near as u16).swap_bytes()),
            1 => u64::from((near as u32).swap_bytes()),
            _ => near,
        }
    }

    /// A number, or one next to it.
    fn near(&mut self, number: u64) -> u64 {
        number.wrapping_add(self.random.below(3)).wrapping_sub(1)
    }

    /// Puts a number of some size at some place.
    fn put(&mut self, bytes: &mut [u8], number: u64) {
        let size = self.random.choose(&SIZES);
        let at = self.random.below((bytes.len() - size) as u64 + 1) as usize;
        bytes[at..at + size].copy_from_slice(&number.to_le_bytes()[..size]);
    }
}
