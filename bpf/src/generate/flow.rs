//! Which pieces there are, and those that branch and loop.

use isa::ebpf::{AluOp, Cond, Insn, Operand, Reg, Width};

use super::builder::{Builder, Holds};

/// Conditions of branches.
pub const CONDITIONS: [Cond; 11] = [
    Cond::Eq,
    Cond::Ne,
    Cond::Gt,
    Cond::Ge,
    Cond::Lt,
    Cond::Le,
    Cond::Sgt,
    Cond::Sge,
    Cond::Slt,
    Cond::Sle,
    Cond::Set,
];

/// Blocks within blocks, at most.
const DEEPEST: u32 = 3;
/// Turns of a loop, at most.
const TURNS: u64 = 6;

impl Builder<'_> {
    /// So many pieces, one after the other.
    pub(super) fn pieces(&mut self, count: u64) {
        for _ in 0..count {
            self.piece();
        }
    }

    fn piece(&mut self) {
        let nests = self.depth < DEEPEST;
        match self.random.below(100) {
            30..=34 => self.edges(),
            35..=46 => self.access(),
            47..=52 => self.index(),
            53..=62 => self.stack(),
            63..=69 => self.atomic(),
            70..=80 if nests => self.branch(),
            81..=84 if nests && !self.in_loop => self.turns(),
            85..=89 => self.packet_piece(),
            90..=94 if nests => self.map_piece(),
            95..=97 => self.helper(),
            98..=99 if !self.in_loop => self.function_call(),
            // 0 to 29, and what does not fit in here.
            _ => self.compute(),
        }
    }

    /// A block that is entered on a condition, and now and then another that is entered on the
    /// opposite.
    fn branch(&mut self) {
        let cond = self.random.choose(&CONDITIONS);
        let width = self.width();
        let dst = self.number();
        let src = if self.random.percent(45) {
            Operand::Reg(self.number())
        } else {
            Operand::Imm(self.random.immediate())
        };
        let from = self.push(Insn::Branch {
            cond,
            width,
            dst,
            src,
            offset: 0,
        });
        let before = self.state.clone();
        let pieces = 1 + self.random.below(3);
        self.block(pieces);
        if self.random.percent(35) {
            let long = self.random.percent(30);
            let skip = self.push(Insn::Jump { offset: 0, long });
            self.land(from);
            let other = std::mem::replace(&mut self.state, before);
            let pieces = 1 + self.random.below(2);
            self.block(pieces);
            self.land(skip);
            self.state.join(&other);
        } else {
            self.land(from);
            self.state.join(&before);
        }
    }

    /// Pieces in a block of their own.
    pub(super) fn block(&mut self, pieces: u64) {
        self.depth += 1;
        self.pieces(pieces);
        self.depth -= 1;
    }

    /// A loop of a constant number of turns.
    fn turns(&mut self) {
        let kept = [Reg::R6, Reg::R7, Reg::R8, Reg::R9];
        let free: Vec<Reg> = kept
            .into_iter()
            .filter(|r| matches!(self.holds(*r), Holds::Number | Holds::Nothing))
            .collect();
        let Some(counter) = self.random.choose_from(&free) else {
            return;
        };
        // What a call in the loop clobbers must not be a pointer in the next turn.
        for reg in Reg::all().take(6) {
            if !matches!(self.holds(reg), Holds::Number | Holds::Nothing) {
                self.constant(reg);
            }
        }
        self.alu(AluOp::Mov, counter, Operand::Imm(0));
        self.set(counter, Holds::Counter);
        let before = self.state.clone();
        let may_goto = self.spec.may_goto && self.random.percent(15);
        let head = self.insns.len();
        let leave = may_goto.then(|| self.push(Insn::MayGoto { offset: 0 }));
        self.in_loop = true;
        self.depth += 2;
        let pieces = 1 + self.random.below(2);
        self.pieces(pieces);
        self.depth -= 2;
        self.in_loop = false;
        // The next turn finds what the first found.
        for reg in Reg::all().take(10) {
            let found = before.regs[reg.index()];
            if found == Holds::Number && self.holds(reg) != Holds::Number {
                self.constant(reg);
            }
        }
        self.alu(AluOp::Add, counter, Operand::Imm(1));
        let width = self.random.choose(&[Width::W32, Width::W64]);
        let turns = 1 + self.random.below(TURNS) as i32;
        let offset = head as i64 - self.insns.len() as i64 - 1;
        let cond = self.random.choose(&[Cond::Lt, Cond::Slt, Cond::Ne]);
        self.push(Insn::Branch {
            cond,
            width,
            dst: counter,
            src: Operand::Imm(turns),
            offset: offset as i16,
        });
        if let Some(leave) = leave {
            self.land(leave);
        }
        self.state.join(&before);
        self.set(counter, Holds::Number);
    }
}
