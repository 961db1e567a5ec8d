//! Bytes, labels, relocations and the source map. What is emitted is decided in `lower`.

use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, VecAssembler};
use isa::x86_64::abi::CPU_STRIDE32;
use isa::{CodeRange, Relocation, RelocationKind, Symbol};

use super::abi::Hard;
use super::access::{self, Access};

/// Emits exactly one instruction into an [`Emitter`].
macro_rules! x64 {
    ($emitter:expr; $($insn:tt)*) => {{
        let emitter: &mut $crate::x86_64::emit::Emitter = $emitter;
        emitter.instructions += 1;
        ::dynasmrt::dynasm!(emitter.ops; .arch x64; $($insn)*);
    }};
}

pub(super) use x64;

/// An image in the making.
pub(super) struct Emitter {
    /// dynasmrt's assembler; instructions go in through `x64!`.
    pub(super) ops: VecAssembler<X64Relocation>,
    /// How many instructions were emitted.
    pub(super) instructions: usize,
    relocations: Vec<Relocation>,
    ranges: Vec<CodeRange>,
}

/// What [`Emitter::finish`] leaves.
pub(super) struct Emitted {
    pub(super) code: Vec<u8>,
    pub(super) relocations: Vec<Relocation>,
    pub(super) ranges: Vec<CodeRange>,
    pub(super) instructions: usize,
}

impl Emitter {
    pub(super) fn new(insns: usize) -> Emitter {
        Emitter {
            ops: VecAssembler::new_with_capacity(0, insns * 8, 0, 0, insns + 16, 0, insns),
            instructions: 0,
            relocations: Vec::new(),
            ranges: Vec::with_capacity(insns),
        }
    }

    /// Byte offset of what comes next.
    pub(super) fn offset(&self) -> usize {
        self.ops.offset().0
    }

    /// Ends the range of code before and says what the code from here on comes from; `None` is
    /// glue. Returns whether the range before holds any code.
    pub(super) fn begin(&mut self, pc: Option<usize>) -> bool {
        let at = self.offset();
        let held = self.close(at);
        self.ranges.push(CodeRange {
            start: at,
            end: at,
            lane: 0,
            pcs: pc.into_iter().collect(),
        });
        held
    }

    fn close(&mut self, at: usize) -> bool {
        let Some(last) = self.ranges.last_mut() else {
            return false;
        };
        last.end = at;
        let held = last.start < at;
        if !held {
            self.ranges.pop();
        }
        held
    }

    pub(super) fn new_label(&mut self) -> DynamicLabel {
        self.ops.new_dynamic_label()
    }

    /// Puts a label here.
    pub(super) fn bind(&mut self, label: DynamicLabel) {
        self.ops.dynamic_label(label);
    }

    /// `op reg, [base + disp]`, or with the operands the other way round, as `access` says.
    pub(super) fn access(&mut self, access: Access, reg: Hard, base: Hard, disp: i32) {
        self.instructions += 1;
        access::encode(&mut self.ops, access, reg, base, disp);
    }

    /// `op [base + disp], imm`, with the immediate's bytes as the instruction wants them.
    pub(super) fn access_imm(&mut self, access: Access, base: Hard, disp: i32, imm: &[u8]) {
        self.access(access, 0, base, disp);
        self.ops.extend(imm);
    }

    /// `mov dst, symbol`, filled at load.
    pub(super) fn load_symbol(&mut self, dst: Hard, symbol: Symbol) {
        x64!(self; mov Rq(dst), QWORD 0);
        self.relocations.push(Relocation {
            at: self.offset() - 8,
            kind: RelocationKind::Absolute64,
            symbol,
        });
    }

    /// `dst = dst * (bytes of one CPU's values)`, filled at load.
    pub(super) fn multiply_by_cpu_stride(&mut self, dst: Hard, map: usize) {
        x64!(self; imul Rq(dst), Rq(dst), DWORD 0);
        self.relocations.push(Relocation {
            at: self.offset() - 4,
            kind: RelocationKind::Target(CPU_STRIDE32),
            symbol: Symbol::MapValues { map, offset: 0 },
        });
    }

    /// `dst = value`, by the shortest move. Changes no flags.
    pub(super) fn load_constant(&mut self, dst: Hard, value: u64) {
        if let Ok(low) = u32::try_from(value) {
            x64!(self; mov Rd(dst), low as i32);
        } else if let Ok(signed) = i32::try_from(value as i64) {
            x64!(self; mov Rq(dst), DWORD signed);
        } else {
            x64!(self; mov Rq(dst), QWORD value as i64);
        }
    }

    /// The finished code, or `None` where a label was used but put nowhere.
    pub(super) fn finish(mut self) -> Option<Emitted> {
        let at = self.offset();
        self.close(at);
        let code = self.ops.finalize().ok()?;
        Some(Emitted {
            code,
            relocations: self.relocations,
            ranges: self.ranges,
            instructions: self.instructions,
        })
    }
}
