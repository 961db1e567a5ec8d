//! The instructions: RFC 9669, as this device does them.

use bpf::helper;
use bpf::helper::callback::{self, Callback, Turn, calls_back};
use bpf::kfunc;
use bpf::run::TrapCause;
use bpf::skb::Stored;
use isa::ebpf::{
    AluOp, AtomicOp, CallTarget, Cond, Insn, MemSize, Operand, PacketBase, Reg, SwapKind, Wide,
    Width,
};

use super::address::{self, STACK};
use super::machine::{FRAME_BYTES, Run};
use super::trace::Watch;
use super::{FUEL, Loaded, MAX_FRAMES};
use crate::ProgramId;
use crate::legacy::legacy_load;

/// Id of `bpf_tail_call`.
const TAIL_CALL: u32 = 12;

/// Iterations that `may_goto` grants (Linux 6.18: `BPF_MAX_LOOPS`).
const MAY_GOTO_BUDGET: u32 = 8 * 1024 * 1024;

/// The functions that are running.
#[derive(Default)]
pub(super) struct Calls<'p> {
    /// What the callers left behind, innermost last.
    callers: Vec<Caller<'p>>,
    /// The frames of all that are running, each 0 when its function is entered.
    pub(super) stack: Vec<u8>,
}

/// What a function leaves behind while it calls another.
struct Caller<'p> {
    program: &'p Loaded,
    pc: usize,
    saved: [u64; 4],
    /// The helper that calls, if it is not the program itself.
    callback: Option<Box<Callback>>,
}

impl<'p> Calls<'p> {
    /// Begins a run: the entry function alone is running.
    fn start(&mut self) {
        self.callers.clear();
        self.stack.clear();
        self.stack.resize(FRAME_BYTES, 0);
    }

    /// Enters a function; false if no more can be running.
    fn enter(&mut self, caller: Caller<'p>) -> bool {
        let running = self.callers.len() + 1;
        if running >= MAX_FRAMES {
            return false;
        }
        self.callers.push(caller);
        self.stack.resize((running + 1) * FRAME_BYTES, 0);
        true
    }

    /// Leaves a function; `None` from the entry function.
    fn leave(&mut self) -> Option<Caller<'p>> {
        let caller = self.callers.pop()?;
        self.stack.truncate(self.stack.len() - FRAME_BYTES);
        Some(caller)
    }

    /// Bytes of the key that a helper handed to a function, `offset` bytes into the keys' region.
    pub(super) fn key(&self, offset: u32, size: usize) -> Option<&[u8]> {
        let offset = offset.wrapping_sub(address::BASE);
        let callers = (offset / address::KEY_STRIDE) as usize;
        let callback = self.callers.get(callers)?.callback.as_ref()?;
        let at = (offset % address::KEY_STRIDE) as usize;
        callback.key().get(at..at.saturating_add(size))
    }

    /// r10 of the function that runs.
    fn frame_pointer(&self) -> u64 {
        address::at(STACK, self.stack.len() as u32)
    }
}

/// A trap and the slot where it happened.
type At = (usize, TrapCause);

impl Run<'_, '_> {
    /// The call handler of hBPF's recorded test runs (tests of hBPF 23cccc7): a call that it does
    /// not have stops the core. Its random numbers come from a shift register of 31 bits.
    fn handle(&mut self, id: u32, arguments: [u64; 5]) -> Result<u64, TrapCause> {
        let [r1, r2, r3, r4, r5] = arguments;
        match id {
            0 => Ok([r1, r2, r3, r4]
                .into_iter()
                .fold(0, |bytes, r| bytes << 8 | r & 0xff)
                << 8
                | r5),
            7 => Ok(u64::from(helper::Machine::random(self) >> 1)),
            id => Err(TrapCause::BadHelper { id }),
        }
    }

    /// Runs from the entry to the end, and gives r0.
    pub(super) fn execute<W: Watch>(&mut self, watch: &mut W) -> Result<u64, At> {
        self.calls.start();
        let mut pc = 0;
        let mut tail_calls = 0;
        let mut may_goto = MAY_GOTO_BUDGET;
        let (r1, r2) = self.arguments();
        self.registers[1] = r1;
        self.registers[2] = r2;
        self.registers[10] = self.calls.frame_pointer();
        self.cost.cycles += u64::from(self.program.start);
        loop {
            let program: &Loaded = self.program;
            let Some(insn) = program.insns.get(pc) else {
                return Err((pc, TrapCause::BadJump { target: pc as i64 }));
            };
            if W::LOOKS {
                watch.before(self, pc);
            }
            self.cost.instructions += 1;
            self.cost.cycles += u64::from(program.cycles[pc]);
            if self.cost.instructions > FUEL {
                return Err((pc, TrapCause::Fuel { limit: FUEL }));
            }
            let trap = |cause| (pc, cause);
            let mut next = pc + insn.slots();
            match *insn {
                Insn::Alu {
                    op,
                    width,
                    dst,
                    src,
                } => {
                    let (a, b) = (self.get(dst), self.operand(src));
                    if let Some(cycles) = program.halting_division
                        && is_division(op)
                        && (b == 0 || width == Width::W32 && b as u32 == 0)
                    {
                        self.cost.cycles += u64::from(cycles);
                        self.cost.cycles -= u64::from(program.cycles[pc]);
                        return Err(trap(TrapCause::DivisionByZero));
                    }
                    let value = match width {
                        Width::W64 => alu64(op, a, b),
                        Width::W32 => u64::from(alu32(op, a as u32, b as u32)),
                    };
                    self.set(dst, value);
                }
                Insn::Neg { width, dst } => {
                    let a = self.get(dst);
                    self.set(
                        dst,
                        match width {
                            Width::W64 => a.wrapping_neg(),
                            Width::W32 => u64::from((a as u32).wrapping_neg()),
                        },
                    );
                }
                Insn::MovSx {
                    width,
                    dst,
                    src,
                    bits,
                } => {
                    let shift = 64 - u32::from(bits);
                    let value = (self.get(src) << shift) as i64 >> shift;
                    self.set(
                        dst,
                        match width {
                            Width::W64 => value as u64,
                            Width::W32 => u64::from(value as u32),
                        },
                    );
                }
                Insn::Swap { kind, bits, dst } => {
                    let value = self.get(dst);
                    let swapped = value.swap_bytes() >> (64 - u32::from(bits));
                    let kept = if bits == 64 {
                        value
                    } else {
                        value & ((1 << bits) - 1)
                    };
                    self.set(
                        dst,
                        match kind {
                            SwapKind::ToLe => kept,
                            SwapKind::ToBe | SwapKind::Bswap => swapped,
                        },
                    );
                }
                Insn::LoadWide { dst, value } => {
                    let value = match value {
                        Wide::Value(value) => value,
                        Wide::Function { offset } => address::function(jump(pc, offset)),
                        // Relocated while loading; what is left names nothing on this device.
                        Wide::Map(_)
                        | Wide::MapValue { .. }
                        | Wide::MapFd(_)
                        | Wide::MapFdValue { .. }
                        | Wide::BtfId { .. } => return Err(trap(TrapCause::BadInstruction)),
                    };
                    self.set(dst, value);
                }
                Insn::WideTail | Insn::Call(CallTarget::Reg(_)) => {
                    return Err(trap(TrapCause::BadInstruction));
                }
                Insn::Load {
                    size,
                    signed,
                    dst,
                    base,
                    offset,
                } => {
                    let bytes = size.bytes() as usize;
                    let value = self.load(self.address(base, offset), bytes).map_err(trap)?;
                    self.set(
                        dst,
                        if signed {
                            sign_extend(value, size)
                        } else {
                            value
                        },
                    );
                }
                Insn::LoadAcquire {
                    size,
                    dst,
                    base,
                    offset,
                } => {
                    let bytes = size.bytes() as usize;
                    let value = self.load(self.address(base, offset), bytes).map_err(trap)?;
                    self.set(dst, value);
                }
                Insn::Store {
                    size,
                    base,
                    offset,
                    src,
                } => {
                    let value = match src {
                        Operand::Reg(register) => Stored::Register(self.get(register)),
                        Operand::Imm(value) => Stored::Immediate(value),
                    };
                    let bytes = size.bytes() as usize;
                    self.store(self.address(base, offset), bytes, value)
                        .map_err(trap)?;
                }
                Insn::StoreRelease {
                    size,
                    base,
                    offset,
                    src,
                } => {
                    let value = Stored::Register(self.get(src));
                    let bytes = size.bytes() as usize;
                    self.store(self.address(base, offset), bytes, value)
                        .map_err(trap)?;
                }
                Insn::Atomic {
                    op,
                    size,
                    base,
                    offset,
                    src,
                } => {
                    self.atomic(op, size, base, offset, src).map_err(trap)?;
                }
                Insn::LoadPacket { size, base, offset } => {
                    let loaded = self.load_packet(size, base, offset);
                    self.registers[0] = loaded.unwrap_or(0);
                    if loaded.is_none() {
                        // The function that loads returns 0.
                        match self.leave().map_err(trap)? {
                            Some(caller) => next = caller,
                            None => return Ok(0),
                        }
                    }
                }
                Insn::Jump { offset, .. } => next = jump(pc, offset),
                Insn::Branch {
                    cond,
                    width,
                    dst,
                    src,
                    offset,
                } => {
                    let (a, b) = (self.get(dst), self.operand(src));
                    if holds(cond, width, a, b) {
                        next = jump(pc, i32::from(offset));
                        self.cost.cycles += u64::from(program.branch_taken);
                        self.cost.cycles -= u64::from(program.cycles[pc]);
                    }
                }
                Insn::MayGoto { offset } => {
                    if may_goto == 0 {
                        next = jump(pc, i32::from(offset));
                    } else {
                        may_goto -= 1;
                    }
                }
                Insn::Call(CallTarget::Helper(TAIL_CALL)) => {
                    match self.tail_call(&mut tail_calls).map_err(trap)? {
                        None => self.registers[0] = u64::MAX,
                        // In a function the target takes the function's place: it returns
                        // to the function's caller.
                        Some(()) => next = 0,
                    }
                }
                Insn::Call(target @ (CallTarget::Helper(_) | CallTarget::Kfunc { .. })) => {
                    let id = kfunc::callee(target).ok_or(trap(TrapCause::BadInstruction))?;
                    let [_, r1, r2, r3, r4, r5, ..] = self.registers;
                    let args = [r1, r2, r3, r4, r5];
                    if program.has_handler {
                        self.registers[0] = self.handle(id, args).map_err(trap)?;
                    } else if calls_back(id) {
                        let callback = callback::begin(id, self, args).map_err(trap)?;
                        next = self.turn(Box::new(callback), None, next).map_err(trap)?;
                    } else {
                        self.registers[0] = helper::call(id, self, args).map_err(trap)?;
                    }
                }
                Insn::Call(CallTarget::Local { offset }) => {
                    self.enter(next, None).map_err(trap)?;
                    next = jump(pc, offset);
                }
                Insn::Exit => match self.leave().map_err(trap)? {
                    Some(caller) => next = caller,
                    None => return Ok(self.registers[0]),
                },
            }
            pc = next;
        }
    }

    /// Enters a function, which returns to the slot `next`.
    fn enter(&mut self, next: usize, callback: Option<Box<Callback>>) -> Result<(), TrapCause> {
        let [.., r6, r7, r8, r9, _] = self.registers;
        let caller = Caller {
            program: self.program,
            pc: next,
            saved: [r6, r7, r8, r9],
            callback,
        };
        if !self.calls.enter(caller) {
            let limit = MAX_FRAMES as u32;
            return Err(TrapCause::CallDepth { limit });
        }
        self.registers[10] = self.calls.frame_pointer();
        Ok(())
    }

    /// What a helper that calls functions does next, with r0 of the call before: the slot at which
    /// the run goes on. The helper's own call goes on at `next`.
    fn turn(
        &mut self,
        mut callback: Box<Callback>,
        result: Option<u64>,
        next: usize,
    ) -> Result<usize, TrapCause> {
        let key = address::key(self.calls.callers.len());
        match callback.turn(self, result, key)? {
            Turn::Call(args) => {
                let target = callback.function;
                let slot = address::function_slot(target).ok_or(TrapCause::BadJump {
                    target: target as i64,
                })?;
                self.registers[1..6].copy_from_slice(&args);
                self.enter(next, Some(callback))?;
                Ok(slot)
            }
            Turn::Done(r0) => {
                self.registers[0] = r0;
                Ok(next)
            }
        }
    }

    /// Leaves a function: where the run goes on, `None` from the entry function.
    fn leave(&mut self) -> Result<Option<usize>, TrapCause> {
        let Some(caller) = self.calls.leave() else {
            return Ok(None);
        };
        self.program = caller.program;
        self.registers[6..10].copy_from_slice(&caller.saved);
        self.registers[10] = self.calls.frame_pointer();
        match caller.callback {
            None => Ok(Some(caller.pc)),
            Some(callback) => {
                let r0 = self.registers[0];
                self.turn(callback, Some(r0), caller.pc).map(Some)
            }
        }
    }

    fn get(&self, register: Reg) -> u64 {
        self.registers[register.index()]
    }

    fn set(&mut self, register: Reg, value: u64) {
        self.registers[register.index()] = value;
    }

    fn operand(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Reg(register) => self.get(register),
            Operand::Imm(value) => i64::from(value) as u64,
        }
    }

    fn address(&self, base: Reg, offset: i16) -> u64 {
        self.get(base).wrapping_add(i64::from(offset) as u64)
    }

    /// Map values are shared with other queues, so there the operation is a real atomic; the
    /// stack is this run's own.
    fn atomic(
        &mut self,
        op: AtomicOp,
        size: MemSize,
        base: Reg,
        offset: i16,
        src: Reg,
    ) -> Result<(), TrapCause> {
        let address = self.address(base, offset);
        let bytes = size.bytes() as usize;
        let operand = self.get(src);
        let expected = self.registers[0];
        let narrow = |value: u64| {
            if bytes == 4 {
                value & 0xffff_ffff
            } else {
                value
            }
        };
        let apply = |old: u64| match op {
            AtomicOp::Add | AtomicOp::FetchAdd => old.wrapping_add(operand),
            AtomicOp::Or | AtomicOp::FetchOr => old | operand,
            AtomicOp::And | AtomicOp::FetchAnd => old & operand,
            AtomicOp::Xor | AtomicOp::FetchXor => old ^ operand,
            AtomicOp::Xchg => operand,
            AtomicOp::Cmpxchg if narrow(old) == narrow(expected) => operand,
            AtomicOp::Cmpxchg => old,
        };
        let old = if let Some(id) = address::value_map(address) {
            self.cost.map_accesses += 1;
            let outside = TrapCause::OutOfBounds {
                address,
                size: bytes as u32,
                write: true,
            };
            let at = address as u32 as usize;
            let map = self
                .program
                .maps
                .get(id)
                .filter(|m| m.holds(at, bytes))
                .ok_or(outside)?;
            if map.is_read_only() {
                return Err(TrapCause::ReadOnly {
                    address,
                    size: bytes as u32,
                });
            }
            map.memory().fetch_update(at, bytes, apply).ok_or(outside)?
        } else {
            let old = self.load(address, bytes)?;
            self.store(address, bytes, Stored::Register(apply(old)))?;
            old
        };
        if op == AtomicOp::Cmpxchg {
            self.registers[0] = narrow(old);
        } else if op.fetches() {
            self.set(src, narrow(old));
        }
        Ok(())
    }

    /// Big-endian load from the packet; `None` outside it.
    fn load_packet(&self, size: MemSize, base: PacketBase, offset: i32) -> Option<u64> {
        let offset = match base {
            PacketBase::Abs => offset,
            PacketBase::Ind(register) => offset.wrapping_add(self.get(register) as i32),
        };
        let borders = (self.frame.data, self.frame.end);
        let size = u32::from(size.bytes());
        legacy_load(&self.memory, borders, self.skb.as_deref(), offset, size)
    }

    /// Goes on in another program; `None` falls through.
    fn tail_call(&mut self, count: &mut u32) -> Result<Option<()>, TrapCause> {
        let (handle, index) = (self.registers[2], self.registers[3]);
        let Some(target) = helper::tail_call_target(self, handle, index)? else {
            return Ok(None);
        };
        if *count >= helper::MAX_TAIL_CALLS {
            return Ok(None);
        }
        let Some(linked) = self.programs.and_then(|p| p.get(ProgramId(target))) else {
            return Ok(None);
        };
        let Some(program) = linked.as_any().downcast_ref::<Loaded>() else {
            return Ok(None);
        };
        *count += 1;
        self.program = program;
        Ok(Some(()))
    }
}

/// `check_jumps` has proved that the target is an instruction.
fn jump(pc: usize, offset: i32) -> usize {
    (pc as i64 + 1 + i64::from(offset)) as usize
}

fn sign_extend(value: u64, size: MemSize) -> u64 {
    match size {
        MemSize::B => value as i8 as u64,
        MemSize::H => value as i16 as u64,
        MemSize::W => value as i32 as u64,
        MemSize::DW => value,
    }
}

fn is_division(op: AluOp) -> bool {
    matches!(op, AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod)
}

fn alu64(op: AluOp, a: u64, b: u64) -> u64 {
    let (sa, sb) = (a as i64, b as i64);
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => sa.wrapping_div(sb) as u64,
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Smod if b == 0 => a,
        AluOp::Smod => sa.wrapping_rem(sb) as u64,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Mov => b,
        AluOp::Lsh => a << (b & 63),
        AluOp::Rsh => a >> (b & 63),
        AluOp::Arsh => (sa >> (b & 63)) as u64,
    }
}

fn alu32(op: AluOp, a: u32, b: u32) -> u32 {
    let (sa, sb) = (a as i32, b as i32);
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => sa.wrapping_div(sb) as u32,
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Smod if b == 0 => a,
        AluOp::Smod => sa.wrapping_rem(sb) as u32,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Mov => b,
        AluOp::Lsh => a << (b & 31),
        AluOp::Rsh => a >> (b & 31),
        AluOp::Arsh => (sa >> (b & 31)) as u32,
    }
}

fn holds(cond: Cond, width: Width, a: u64, b: u64) -> bool {
    // Sign-extending the lower halves keeps both the signed and the unsigned order of equals in
    // width, so one comparison serves both.
    let (a, b) = match width {
        Width::W64 => (a, b),
        Width::W32 => (a as i32 as u64, b as i32 as u64),
    };
    let (sa, sb) = (a as i64, b as i64);
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Sgt => sa > sb,
        Cond::Sge => sa >= sb,
        Cond::Slt => sa < sb,
        Cond::Sle => sa <= sb,
        Cond::Set => a & b != 0,
    }
}
