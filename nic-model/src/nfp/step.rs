//! [`Step`]: an instruction as it is executed, decoded once while an image is loaded.
//!
//! Registers, transfer registers and every 8-bit immediate are *cells* of one array, so that an
//! operand is an index and reading one asks nothing. Local memory has an address that only running
//! tells; it is copied through a cell of its own.

use isa::nfp::{
    AddressMode, AluOp, Command, Condition, ContextSwap, Insn, MulSize, MulStep, Operand, ShfOp,
    Shift, Sources, Width,
};

/// How many cells there are: a power of 2.
pub(super) const CELLS: usize = 512;
/// GPR 0 of bank A.
pub(super) const A: u16 = 0;
/// GPR 0 of bank B.
pub(super) const B: u16 = 32;
/// Transfer-in register 0.
pub(super) const XFER_IN: u16 = 64;
/// Transfer-out register 0.
pub(super) const XFER_OUT: u16 = 96;
/// What was read from local memory.
pub(super) const LOCAL_IN: u16 = 128;
/// What goes to local memory.
pub(super) const LOCAL_OUT: u16 = 129;
/// Where results go that nobody wants.
const SINK: u16 = 130;
/// Cells that a run starts with as 0; behind them only constants.
pub(super) const VOLATILE: usize = 131;
/// The immediate 0.
const IMMEDIATES: u16 = 256;

/// The cells as a run finds them: zero, and the immediates.
pub(super) fn fresh_cells() -> [u32; CELLS] {
    std::array::from_fn(|cell| (cell as u32).saturating_sub(u32::from(IMMEDIATES)))
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Alu(AluOp),
    Shf(ShfOp),
    /// `value` is the mask of bits that come from the right operand; `flag` clears the others.
    LdField,
    /// `value`, already shifted and inverted.
    Immed,
    /// The same for the bits of [`Step::part`] alone.
    ImmedPart,
    MulStart,
    /// Byte `amount` of the multiplier.
    MulStep,
    MulLow,
    MulHigh,
    /// Delivers a random number to the destination, and takes the place of the next step too.
    Random,
    /// Sets the address register of LM index `amount`.
    SetLocal,
    /// A memory command: `value` is its place in the image's list.
    Command,
    /// From here on a step cannot stand in a defer slot. `value` is the target.
    Branch(Condition),
    /// Branches if bit `amount` is `flag`.
    BranchBit,
    /// To the address in the left operand.
    Return,
}

/// An instruction ready to be executed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) op: Op,
    /// How the right operand is shifted.
    pub(super) shift: Shift,
    pub(super) amount: u8,
    /// Deferred instructions of a branch.
    pub(super) defer: u8,
    pub(super) flag: bool,
    /// Which word of local memory is copied to [`LOCAL_IN`] before, and from [`LOCAL_OUT`] after.
    pub(super) local_in: Option<Local>,
    pub(super) local_out: Option<Local>,
    /// Cells of the operands.
    pub(super) left: u16,
    pub(super) right: u16,
    /// The operand of the A field, whose value later steps shift by.
    pub(super) a: u16,
    /// Both cells that the result goes to.
    pub(super) dst: [u16; 2],
    pub(super) value: u32,
}

impl Step {
    const fn new(op: Op) -> Step {
        Step {
            op,
            shift: Shift::None,
            amount: 0,
            defer: 0,
            flag: false,
            local_in: None,
            local_out: None,
            left: SINK,
            right: SINK,
            a: SINK,
            dst: [SINK; 2],
            value: 0,
        }
    }

    /// Bits that an [`Op::ImmedPart`] replaces.
    pub(super) const fn part(&self) -> u32 {
        let width = if self.flag { 0xff } else { 0xffff };
        width << (8 * self.amount)
    }
}

/// A word of local memory, by an index register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    /// Which index register.
    pub(super) index: u8,
    /// Words, OR-ed into the address.
    pub(super) offset: u8,
    /// Bytes by which the register moves afterwards.
    pub(super) moves: i8,
}

impl Local {
    const fn of(operand: Operand) -> Option<Local> {
        let (index, offset, moves) = match operand {
            Operand::Lm { index, offset } => (index, offset, 0),
            Operand::LmIncrement(index) => (index, 0, 4),
            Operand::LmDecrement(index) => (index, 0, -4),
            _ => return None,
        };
        Some(Local {
            index,
            offset,
            moves,
        })
    }
}

/// A memory command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) command: Command,
    /// First transfer register.
    pub(super) xfer: u16,
    /// Length minus one.
    pub(super) count: u32,
    pub(super) mode: AddressMode,
    /// The thread sleeps until it is done.
    pub(super) sleeps: bool,
    /// The length or the data come from the previous result.
    pub(super) indirect: bool,
}

/// What stands in a step besides what it does.
pub(super) enum Compiled {
    /// Nothing.
    Step(Step),
    /// A command's access.
    Command(Step, Access),
    /// A branch to this address.
    Branch(Step, u16),
    /// A read of a register, which the next instruction delivers.
    Register(u16),
}

fn source(operand: Operand) -> Option<u16> {
    Some(match operand {
        Operand::A(n) | Operand::Both(n) => A + u16::from(n & 31),
        Operand::B(n) => B + u16::from(n & 31),
        Operand::Xfer(n) => XFER_IN + u16::from(n & 31),
        Operand::Lm { .. } | Operand::LmIncrement(_) | Operand::LmDecrement(_) => LOCAL_IN,
        Operand::Imm(value) => IMMEDIATES + u16::from(value),
        Operand::None => SINK,
        Operand::Neighbour(_) => return None,
    })
}

impl Step {
    /// Puts the sources in; `None` for one that this card's programs do not have.
    fn sources(&mut self, src: Sources) -> Option<()> {
        self.left = source(src.left())?;
        self.right = source(src.right())?;
        self.a = source(src.a)?;
        self.local_in = Local::of(src.a).or(Local::of(src.b));
        Some(())
    }

    fn source(&mut self, src: Operand) -> Option<()> {
        self.left = source(src)?;
        self.local_in = Local::of(src);
        Some(())
    }

    fn destination(&mut self, dst: Operand) -> Option<()> {
        self.dst = match dst {
            Operand::Both(n) => [A + u16::from(n & 31), B + u16::from(n & 31)],
            Operand::Xfer(n) => [XFER_OUT + u16::from(n & 31); 2],
            Operand::Lm { .. } | Operand::LmIncrement(_) | Operand::LmDecrement(_) => {
                [LOCAL_OUT; 2]
            }
            Operand::Imm(_) => return None,
            other => [source(other)?; 2],
        };
        self.local_out = Local::of(dst);
        Some(())
    }
}

/// The step of an instruction; `None` if it names what this engine does not have.
pub(super) fn compile(insn: &Insn) -> Option<Compiled> {
    let step = match *insn {
        Insn::Alu { op, dst, src } => {
            let mut step = Step::new(Op::Alu(op));
            step.sources(src)?;
            step.destination(dst)?;
            step
        }
        Insn::Shf {
            op,
            shift,
            dst,
            src,
        } => {
            let mut step = Step::new(Op::Shf(op));
            step.sources(src)?;
            step.destination(dst)?;
            step.shift = shift;
            step
        }
        Insn::LdField {
            clear,
            mask,
            shift,
            src,
            ..
        } => {
            let mut step = Step::new(Op::LdField);
            step.sources(src)?;
            step.destination(insn.dst().unwrap_or(Operand::None))?;
            step.shift = shift;
            step.flag = clear;
            step.value = (0..4)
                .filter(|byte| mask >> byte & 1 == 1)
                .fold(0, |bits, byte| bits | 0xff << (8 * byte));
            step
        }
        Insn::Immed {
            dst,
            value,
            width,
            invert,
            shift,
        } => {
            let shifted = u32::from(value) << (8 * shift);
            let mut step = Step::new(if width == Width::All {
                Op::Immed
            } else {
                Op::ImmedPart
            });
            step.destination(dst)?;
            step.value = if invert { !shifted } else { shifted };
            step.amount = shift;
            step.flag = width == Width::Byte;
            if width != Width::All {
                step.source(dst)?;
            }
            step
        }
        Insn::Mul { size, step, src } => multiply(size, step, src)?,
        Insn::MulLast { high, dst, .. } => {
            let mut step = Step::new(if high { Op::MulHigh } else { Op::MulLow });
            step.destination(dst)?;
            step
        }
        Insn::Br {
            condition,
            defer,
            target,
        } => {
            let mut step = Step::new(Op::Branch(condition));
            step.defer = defer;
            return Some(Compiled::Branch(step, target));
        }
        Insn::BrBit {
            src,
            bit,
            set,
            defer,
            target,
        } => {
            let mut step = Step::new(Op::BranchBit);
            step.source(src)?;
            step.amount = bit;
            step.flag = set;
            step.defer = defer;
            return Some(Compiled::Branch(step, target));
        }
        Insn::Rtn { src, defer } => {
            let mut step = Step::new(Op::Return);
            step.source(src)?;
            step.defer = defer;
            step
        }
        Insn::CsrRead { address } => return Some(Compiled::Register(address)),
        Insn::CsrWrite { address, src } => {
            let index = isa::nfp::abi::csr::LM.iter().position(|a| *a == address)?;
            let mut step = Step::new(Op::SetLocal);
            step.source(src)?;
            step.amount = index as u8;
            step
        }
        Insn::Cmd {
            command,
            xfer,
            count,
            src,
            mode,
            swap,
            indirect,
        } => {
            if matches!(
                command,
                Command::Read32 | Command::Read32Le | Command::ReadLe | Command::ReadSwapLe
            ) {
                return None;
            }
            let mut step = Step::new(Op::Command);
            step.sources(src)?;
            // Which operand is which is the address mode's, not the swap's.
            step.left = source(src.a)?;
            step.right = source(src.b)?;
            step.defer = match swap {
                ContextSwap::Swap | ContextSwap::None => 0,
                ContextSwap::SwapDefer1 => 1,
                ContextSwap::SwapDefer2 => 2,
            };
            let access = Access {
                command,
                xfer: u16::from(xfer),
                count: u32::from(count),
                mode,
                sleeps: swap != ContextSwap::None,
                indirect,
            };
            return Some(Compiled::Command(step, access));
        }
    };
    Some(Compiled::Step(step))
}

fn multiply(size: MulSize, step: MulStep, src: Sources) -> Option<Step> {
    let byte = match (size, step) {
        (MulSize::Start, _) => {
            let mut start = Step::new(Op::MulStart);
            start.sources(src)?;
            return Some(start);
        }
        (_, MulStep::Step(n)) => n.checked_sub(1)?,
        (_, MulStep::Last | MulStep::LastHigh) => return None,
    };
    let mut next = Step::new(Op::MulStep);
    next.sources(src)?;
    next.amount = byte;
    next.value = match size {
        MulSize::M16x16 => 0xffff,
        MulSize::M24x8 => 0xff_ffff,
        MulSize::Start | MulSize::M32x32 => u32::MAX,
    };
    Some(next)
}

/// A step that delivers a random number where `next`, an `immed`, would put its constant.
pub(super) fn random(next: &Step) -> Option<Step> {
    (next.op == Op::Immed).then_some(Step {
        op: Op::Random,
        ..*next
    })
}

/// A step without effect.
pub(super) fn nothing() -> Step {
    Step::new(Op::Immed)
}
