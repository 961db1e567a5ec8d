//! [`Look`]: what a program did with one packet that it had not done before, and what other
//! packets would make it do.

use bpf::generate::Random;
use bpf::trace::{Moment, Observer, Place, Region, Site};
use isa::ebpf::{CallTarget, Insn, Operand, Width};

/// How often packets are wished for at one instruction.
const WISHES: u8 = 4;
/// Bits that decide signs: of bytes, words, double words and quad words.
const SIGNS: [u32; 4] = [7, 15, 31, 63];

/// What a packet should be changed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The first number, where it came from the packet, should be the second.
    Number(u64, u64),
    /// The packet should be longer by so many bytes.
    Longer(i64),
}

/// A number that a program read from a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Its first byte, from the start of the packet's area.
    pub(super) from: i64,
    /// Its bytes: 1, 2, 4 or 8.
    pub(super) size: usize,
}

/// What a program did so far, by instruction.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Kinds of operands, a bit each, by pc.
    kinds: Vec<u64>,
    /// How often packets were wished for, by pc.
    wishes: Vec<u8>,
}

impl Seen {
    pub(super) fn new(insns: usize) -> Seen {
        Seen {
            kinds: vec![0; insns],
            wishes: vec![0; insns],
        }
    }
}

/// Looks at the run of one packet.
pub(super) struct Look<'a> {
    pub(super) insns: &'a [Insn],
    pub(super) sites: &'a [Site],
    pub(super) seen: &'a mut Seen,
    pub(super) random: &'a mut Random,
    /// Whether an instruction met operands of a kind that it had not met.
    pub(super) is_new: bool,
    /// What to change, each for an instruction that was not wished for often.
    pub(super) wishes: Vec<Wish>,
    /// What was read of the packet.
    pub(super) reads: Vec<Read>,
}

impl Observer for Look<'_> {
    fn before(&mut self, moment: &dyn Moment) {
        let pc = moment.pc();
        let (Some(insn), Some(site)) = (self.insns.get(pc), self.sites.get(pc)) else {
            return;
        };
        // Of programs that run together the first is looked at.
        if moment.program() != 0 {
            return;
        }
        let registers = moment.registers();
        let number = |index: usize| {
            let is_number = site.registers[index] == Region::Number;
            is_number.then_some(registers[index])
        };
        match *insn {
            Insn::Branch {
                width, dst, src, ..
            } => {
                let left = registers[dst.index()];
                let right = match src {
                    Operand::Imm(imm) => i64::from(imm) as u64,
                    Operand::Reg(reg) => registers[reg.index()],
                };
                let regions = match src {
                    Operand::Imm(_) => (site.registers[dst.index()], Region::Number),
                    Operand::Reg(reg) => (site.registers[dst.index()], site.registers[reg.index()]),
                };
                self.meet(pc, relation(width, left, right));
                match regions {
                    (Region::Packet, Region::Packet) => self.length(pc, left, right),
                    (Region::Number, Region::Number) => self.branch(pc, left, right, src),
                    _ => {}
                }
            }
            Insn::Alu { dst, src, .. } => {
                if let Some(value) = number(dst.index()) {
                    self.operand(pc, value, 0);
                }
                if let Operand::Reg(reg) = src
                    && let Some(value) = number(reg.index())
                {
                    self.operand(pc, value, 1);
                }
            }
            Insn::MovSx { src: reg, .. }
            | Insn::Neg { dst: reg, .. }
            | Insn::Swap { dst: reg, .. }
            | Insn::Store {
                src: Operand::Reg(reg),
                ..
            }
            | Insn::Atomic { src: reg, .. } => {
                if let Some(value) = number(reg.index()) {
                    self.operand(pc, value, 0);
                }
            }
            Insn::Load {
                base, offset, size, ..
            } => {
                let address = registers[base.index()].wrapping_add(i64::from(offset) as u64);
                self.read(moment, site.registers[base.index()], address, size.bytes());
            }
            Insn::Call(CallTarget::Helper(_)) => {
                for argument in 1..=5 {
                    if let Some(value) = number(argument) {
                        self.operand(pc, value, argument as u32 - 1);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Look<'_> {
    /// The instruction met something of these kinds.
    fn meet(&mut self, pc: usize, kinds: u64) {
        let seen = &mut self.seen.kinds[pc];
        self.is_new |= kinds & !*seen != 0;
        *seen |= kinds;
    }

    fn read(&mut self, moment: &dyn Moment, region: Region, address: u64, size: u8) {
        if region == Region::Packet
            && let Some(Place::Packet { offset }) = moment.resolve(region, address)
        {
            self.reads.push(Read {
                from: offset,
                size: usize::from(size),
            });
        }
    }

    /// Whether to wish for packets at an instruction: not at one that had its share, but for some.
    fn wishes_at(&mut self, pc: usize) -> bool {
        let wishes = &mut self.seen.wishes[pc];
        let few = *wishes < WISHES;
        *wishes = wishes.saturating_add(1);
        few || self.random.below(64) == 0
    }

    /// Equality, the numbers next to it, and the other order of signed or shorter numbers.
    fn branch(&mut self, pc: usize, left: u64, right: u64, src: Operand) {
        if !self.wishes_at(pc) {
            return;
        }
        let towards = |from: u64, to: u64| {
            let others = [0, 1, u64::MAX].map(|near| to.wrapping_add(near));
            let signs = [to ^ 1 << 31, to ^ 1 << 63, to ^ 1 << 32, to << 32 >> 32];
            let all = others.into_iter().chain(signs);
            all.map(move |to| Wish::Number(from, to))
        };
        self.wishes.extend(towards(left, right));
        if let Operand::Reg(_) = src {
            self.wishes.extend(towards(right, left));
        }
    }

    /// Packets that end where a check of their length changes its mind.
    fn length(&mut self, pc: usize, left: u64, right: u64) {
        if !self.wishes_at(pc) {
            return;
        }
        let longer = left.wrapping_sub(right) as i64;
        for near in -1..=1 {
            // Either side may be the packet's end.
            self.wishes.push(Wish::Longer(longer.wrapping_add(near)));
            self.wishes.push(Wish::Longer(near.wrapping_sub(longer)));
        }
    }

    /// Another sign at some width, or an edge.
    fn operand(&mut self, pc: usize, value: u64, place: u32) {
        self.meet(pc, shape(value) << (12 * place));
        if self.wishes_at(pc) {
            let sign = self.random.choose(&SIGNS);
            self.wishes.push(Wish::Number(value, value ^ 1 << sign));
            let edge = self.random.operand();
            self.wishes.push(Wish::Number(value, edge));
        }
    }
}

/// How two numbers compare, signed and unsigned, in both widths, as a bit each.
fn relation(width: Width, left: u64, right: u64) -> u64 {
    let bits = |left: u64, right: u64, signed: std::cmp::Ordering| {
        let order = match left.cmp(&right) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => 2,
            std::cmp::Ordering::Greater => 3,
        };
        let other = u32::from(signed != left.cmp(&right));
        let near = match left.wrapping_sub(right) {
            1 => 1 << 5,
            u64::MAX => 1 << 6,
            _ => 0,
        };
        1u64 << (order + other) | near
    };
    let whole = bits(left, right, (left as i64).cmp(&(right as i64)));
    let (low, other) = (left as u32, right as u32);
    let half = bits(
        u64::from(low),
        u64::from(other),
        (low as i32).cmp(&(other as i32)),
    );
    let common = u64::from(left & right != 0);
    // What the other width would have made of it.
    let differs = u64::from(whole != half);
    let own = match width {
        Width::W32 => half,
        Width::W64 => whole,
    };
    own | differs << 7 | (1 << (8 + common))
}

/// What kind of number it is, as one of 12 bits.
fn shape(value: u64) -> u64 {
    let kind = match value {
        0 => 0,
        1 => 1,
        2..=0x7f => 2,
        0x80..=0xff => 3,
        0x100..=0x7fff => 4,
        0x8000..=0xffff => 5,
        0x1_0000..=0x7fff_ffff => 6,
        0x8000_0000..=0xffff_ffff => 7,
        u64::MAX => 8,
        0xffff_ffff_8000_0000.. => 9,
        _ if value as i64 >= 0 => 10,
        _ => 11,
    };
    1 << kind
}
