//! The loop over instructions.
//!
//! Jump targets were resolved when the code was prepared, so the index of the next cell needs no
//! check beyond that of the slice. Instructions are not counted one by one: between two taken
//! jumps the count is the distance of the indices, so a taken jump only shifts `origin`. The
//! limit is checked on backward jumps and calls, without which no run is long.

use bpf::helper::callback::{self, Callback, Turn};
use bpf::helper::{self, MAX_TAIL_CALLS};
use bpf::run::TrapCause;

use super::FUEL;
use super::alu;
use super::code::{Cell, Op};
use super::machine::{self, Packet};
use super::space::{self, FRAMES};
use super::trace::Watch;

/// Times a function's `may_goto`s fall through before they jump (`BPF_MAX_LOOPS` of Linux).
const MAY_GOTO_LOOPS: u32 = 8 * 1024 * 1024;

/// How a run ended.
pub(super) struct End {
    /// r0, or slot and cause of a trap.
    pub(super) result: Result<u64, (u32, TrapCause)>,
    /// Executed instructions, the trapping one included.
    pub(super) instructions: u64,
}

/// What a call saves.
#[derive(Debug)]
pub(super) struct Saved {
    /// r6 to r9.
    registers: [u64; 4],
    /// Cell after the call.
    next: usize,
    may_goto: u32,
    /// The helper that calls, if it is not the program itself.
    pub(super) callback: Option<Box<Callback>>,
}

/// Runs the entry program on a packet; `watch` looks at every instruction, if it looks at all.
#[expect(
    clippy::redundant_closure_call,
    reason = "the table below hands each operation to a macro as a closure"
)]
pub(super) fn run<W: Watch>(packet: &mut Packet<'_>, watch: &mut W) -> End {
    let shared = packet.shared;
    let code = &shared.code;
    let mut r = [0u64; 16];
    [r[1], r[2]] = machine::arguments(&shared.hook, packet.data, packet.end);
    r[10] = space::frame_pointer(0);
    packet.saved.clear();
    packet.clear_frame(0);

    let mut may_goto = MAY_GOTO_LOOPS;
    let mut tail_calls = 0;
    let cells = code.cells.as_slice();
    let mut pc = code.entries[0];
    // The cell index at which counting would have begun had no jump been taken.
    let mut origin = pc;

    let (result, pc) = loop {
        let cell = cells[pc];
        if W::LOOKS && cell.op != Op::Nowhere {
            watch.before(packet, &r, pc);
        }
        let Cell { offset, imm, .. } = cell;
        let d = usize::from(cell.dst & 15);
        let s = usize::from(cell.src & 15);

        /// Ends the run.
        macro_rules! trap {
            ($cause:expr) => {
                break (Err($cause), pc)
            };
        }
        /// Goes on at another cell.
        macro_rules! jump {
            ($target:expr) => {{
                let target: usize = $target;
                if target <= pc && (pc + 1).wrapping_sub(origin) as u64 > FUEL {
                    trap!(TrapCause::Fuel { limit: FUEL });
                }
                origin = origin.wrapping_add(target).wrapping_sub(pc + 1);
                pc = target;
                continue;
            }};
        }
        macro_rules! alu64 {
            (imm, $f:expr) => {{
                let f: fn(u64, u64) -> u64 = $f;
                r[d] = f(r[d], imm as u64);
            }};
            (reg, $f:expr) => {{
                let f: fn(u64, u64) -> u64 = $f;
                r[d] = f(r[d], r[s]);
            }};
        }
        macro_rules! alu32 {
            (imm, $f:expr) => {{
                let f: fn(u32, u32) -> u32 = $f;
                r[d] = u64::from(f(r[d] as u32, imm as u32));
            }};
            (reg, $f:expr) => {{
                let f: fn(u32, u32) -> u32 = $f;
                r[d] = u64::from(f(r[d] as u32, r[s] as u32));
            }};
        }
        macro_rules! branch {
            ($taken:expr) => {
                if $taken {
                    jump!(offset as usize);
                }
            };
        }
        macro_rules! branch64 {
            (imm, $f:expr) => {{
                let f: fn(u64, u64) -> bool = $f;
                branch!(f(r[d], imm as u64));
            }};
            (reg, $f:expr) => {{
                let f: fn(u64, u64) -> bool = $f;
                branch!(f(r[d], r[s]));
            }};
        }
        macro_rules! branch32 {
            (imm, $f:expr) => {{
                let f: fn(u32, u32) -> bool = $f;
                branch!(f(r[d] as u32, imm as u32));
            }};
            (reg, $f:expr) => {{
                let f: fn(u32, u32) -> bool = $f;
                branch!(f(r[d] as u32, r[s] as u32));
            }};
        }
        macro_rules! load {
            ($size:literal, $extend:expr) => {{
                let extend: fn(u64) -> u64 = $extend;
                let address = r[s].wrapping_add(offset as u64);
                match packet.load::<$size>(address) {
                    Some(value) => r[d] = extend(value),
                    None => trap!(packet.why_not(address, $size, false)),
                }
            }};
        }
        macro_rules! store {
            (imm, $size:literal) => {
                store!(store_immediate, $size, imm)
            };
            (reg, $size:literal) => {
                store!(store, $size, r[s])
            };
            ($store:ident, $size:literal, $value:expr) => {{
                let address = r[d].wrapping_add(offset as u64);
                if packet.$store::<$size>(address, $value).is_none() {
                    trap!(packet.why_not(address, $size, true));
                }
            }};
        }
        /// Runs an atomic operation and gives the old value.
        macro_rules! atomic {
            () => {{
                let address = r[d].wrapping_add(offset as u64);
                match packet.atomic(cell, address, r[s], r[0]) {
                    Some(old) => old,
                    None => trap!(packet.why_not(address, usize::from(cell.size), true)),
                }
            }};
        }
        /// Enters the function at a cell.
        macro_rules! enter {
            ($target:expr, $callback:expr, $next:expr) => {{
                if packet.depth + 1 == FRAMES {
                    let limit = FRAMES as u32;
                    trap!(TrapCause::CallDepth { limit });
                }
                if (pc + 1).wrapping_sub(origin) as u64 > FUEL {
                    trap!(TrapCause::Fuel { limit: FUEL });
                }
                packet.depth += 1;
                packet.saved.push(Saved {
                    registers: [r[6], r[7], r[8], r[9]],
                    next: $next,
                    may_goto,
                    callback: $callback,
                });
                may_goto = MAY_GOTO_LOOPS;
                r[10] = space::frame_pointer(packet.depth);
                packet.clear_frame(packet.depth);
                jump!($target);
            }};
        }
        /// What a helper that calls functions does next; with r0 of the call before.
        macro_rules! turn {
            ($callback:expr, $result:expr, $next:expr) => {{
                let mut callback: Box<Callback> = $callback;
                let key = space::key(packet.saved.len());
                match callback.turn(packet, $result, key) {
                    Err(cause) => trap!(cause),
                    Ok(Turn::Call(args)) => {
                        let Some(cell) = space::of_function(callback.function, cells.len()) else {
                            let target = callback.function as i64;
                            trap!(TrapCause::BadJump { target });
                        };
                        r[1..6].copy_from_slice(&args);
                        enter!(cell, Some(callback), $next);
                    }
                    Ok(Turn::Done(r0)) => {
                        r[0] = r0;
                        jump!($next);
                    }
                }
            }};
        }
        /// Leaves the function with r0.
        macro_rules! leave {
            () => {{
                let Some(caller) = packet.saved.pop() else {
                    break (Ok(r[0]), pc);
                };
                packet.depth -= 1;
                r[6..10].copy_from_slice(&caller.registers);
                r[10] = space::frame_pointer(packet.depth);
                may_goto = caller.may_goto;
                if let Some(callback) = caller.callback {
                    turn!(callback, Some(r[0]), caller.next);
                }
                jump!(caller.next);
            }};
        }

        match cell.op {
            Op::Add64Imm => alu64!(imm, u64::wrapping_add),
            Op::Add64Reg => alu64!(reg, u64::wrapping_add),
            Op::Add32Imm => alu32!(imm, u32::wrapping_add),
            Op::Add32Reg => alu32!(reg, u32::wrapping_add),
            Op::Sub64Imm => alu64!(imm, u64::wrapping_sub),
            Op::Sub64Reg => alu64!(reg, u64::wrapping_sub),
            Op::Sub32Imm => alu32!(imm, u32::wrapping_sub),
            Op::Sub32Reg => alu32!(reg, u32::wrapping_sub),
            Op::Mul64Imm => alu64!(imm, u64::wrapping_mul),
            Op::Mul64Reg => alu64!(reg, u64::wrapping_mul),
            Op::Mul32Imm => alu32!(imm, u32::wrapping_mul),
            Op::Mul32Reg => alu32!(reg, u32::wrapping_mul),
            Op::Div64Imm => alu64!(imm, alu::div64),
            Op::Div64Reg => alu64!(reg, alu::div64),
            Op::Div32Imm => alu32!(imm, alu::div32),
            Op::Div32Reg => alu32!(reg, alu::div32),
            Op::Sdiv64Imm => alu64!(imm, alu::sdiv64),
            Op::Sdiv64Reg => alu64!(reg, alu::sdiv64),
            Op::Sdiv32Imm => alu32!(imm, alu::sdiv32),
            Op::Sdiv32Reg => alu32!(reg, alu::sdiv32),
            Op::Mod64Imm => alu64!(imm, alu::mod64),
            Op::Mod64Reg => alu64!(reg, alu::mod64),
            Op::Mod32Imm => alu32!(imm, alu::mod32),
            Op::Mod32Reg => alu32!(reg, alu::mod32),
            Op::Smod64Imm => alu64!(imm, alu::smod64),
            Op::Smod64Reg => alu64!(reg, alu::smod64),
            Op::Smod32Imm => alu32!(imm, alu::smod32),
            Op::Smod32Reg => alu32!(reg, alu::smod32),
            Op::Or64Imm => alu64!(imm, |a, b| a | b),
            Op::Or64Reg => alu64!(reg, |a, b| a | b),
            Op::Or32Imm => alu32!(imm, |a, b| a | b),
            Op::Or32Reg => alu32!(reg, |a, b| a | b),
            Op::And64Imm => alu64!(imm, |a, b| a & b),
            Op::And64Reg => alu64!(reg, |a, b| a & b),
            Op::And32Imm => alu32!(imm, |a, b| a & b),
            Op::And32Reg => alu32!(reg, |a, b| a & b),
            Op::Xor64Imm => alu64!(imm, |a, b| a ^ b),
            Op::Xor64Reg => alu64!(reg, |a, b| a ^ b),
            Op::Xor32Imm => alu32!(imm, |a, b| a ^ b),
            Op::Xor32Reg => alu32!(reg, |a, b| a ^ b),
            Op::Mov64Imm => alu64!(imm, |_, b| b),
            Op::Mov64Reg => alu64!(reg, |_, b| b),
            Op::Mov32Imm => alu32!(imm, |_, b| b),
            Op::Mov32Reg => alu32!(reg, |_, b| b),
            // `wrapping_sh*` take the amount modulo the width.
            Op::Lsh64Imm => alu64!(imm, |a, b| a.wrapping_shl(b as u32)),
            Op::Lsh64Reg => alu64!(reg, |a, b| a.wrapping_shl(b as u32)),
            Op::Lsh32Imm => alu32!(imm, u32::wrapping_shl),
            Op::Lsh32Reg => alu32!(reg, u32::wrapping_shl),
            Op::Rsh64Imm => alu64!(imm, |a, b| a.wrapping_shr(b as u32)),
            Op::Rsh64Reg => alu64!(reg, |a, b| a.wrapping_shr(b as u32)),
            Op::Rsh32Imm => alu32!(imm, u32::wrapping_shr),
            Op::Rsh32Reg => alu32!(reg, u32::wrapping_shr),
            Op::Arsh64Imm => alu64!(imm, |a, b| (a as i64).wrapping_shr(b as u32) as u64),
            Op::Arsh64Reg => alu64!(reg, |a, b| (a as i64).wrapping_shr(b as u32) as u64),
            Op::Arsh32Imm => alu32!(imm, |a, b| (a as i32).wrapping_shr(b) as u32),
            Op::Arsh32Reg => alu32!(reg, |a, b| (a as i32).wrapping_shr(b) as u32),
            Op::Neg64 => r[d] = r[d].wrapping_neg(),
            Op::Neg32 => r[d] = u64::from((r[d] as u32).wrapping_neg()),
            Op::MovSx8 => r[d] = r[s] as i8 as u64,
            Op::MovSx16 => r[d] = r[s] as i16 as u64,
            Op::MovSx32 => r[d] = r[s] as i32 as u64,
            Op::MovSx8To32 => r[d] = u64::from(r[s] as i8 as u32),
            Op::MovSx16To32 => r[d] = u64::from(r[s] as i16 as u32),
            Op::ToLe => r[d] = alu::truncate(r[d], cell.size),
            Op::Swap => r[d] = alu::swap(r[d], cell.size),

            Op::Eq64Imm => branch64!(imm, |a, b| a == b),
            Op::Eq64Reg => branch64!(reg, |a, b| a == b),
            Op::Eq32Imm => branch32!(imm, |a, b| a == b),
            Op::Eq32Reg => branch32!(reg, |a, b| a == b),
            Op::Ne64Imm => branch64!(imm, |a, b| a != b),
            Op::Ne64Reg => branch64!(reg, |a, b| a != b),
            Op::Ne32Imm => branch32!(imm, |a, b| a != b),
            Op::Ne32Reg => branch32!(reg, |a, b| a != b),
            Op::Gt64Imm => branch64!(imm, |a, b| a > b),
            Op::Gt64Reg => branch64!(reg, |a, b| a > b),
            Op::Gt32Imm => branch32!(imm, |a, b| a > b),
            Op::Gt32Reg => branch32!(reg, |a, b| a > b),
            Op::Ge64Imm => branch64!(imm, |a, b| a >= b),
            Op::Ge64Reg => branch64!(reg, |a, b| a >= b),
            Op::Ge32Imm => branch32!(imm, |a, b| a >= b),
            Op::Ge32Reg => branch32!(reg, |a, b| a >= b),
            Op::Lt64Imm => branch64!(imm, |a, b| a < b),
            Op::Lt64Reg => branch64!(reg, |a, b| a < b),
            Op::Lt32Imm => branch32!(imm, |a, b| a < b),
            Op::Lt32Reg => branch32!(reg, |a, b| a < b),
            Op::Le64Imm => branch64!(imm, |a, b| a <= b),
            Op::Le64Reg => branch64!(reg, |a, b| a <= b),
            Op::Le32Imm => branch32!(imm, |a, b| a <= b),
            Op::Le32Reg => branch32!(reg, |a, b| a <= b),
            Op::Sgt64Imm => branch64!(imm, |a, b| a as i64 > b as i64),
            Op::Sgt64Reg => branch64!(reg, |a, b| a as i64 > b as i64),
            Op::Sgt32Imm => branch32!(imm, |a, b| a as i32 > b as i32),
            Op::Sgt32Reg => branch32!(reg, |a, b| a as i32 > b as i32),
            Op::Sge64Imm => branch64!(imm, |a, b| a as i64 >= b as i64),
            Op::Sge64Reg => branch64!(reg, |a, b| a as i64 >= b as i64),
            Op::Sge32Imm => branch32!(imm, |a, b| a as i32 >= b as i32),
            Op::Sge32Reg => branch32!(reg, |a, b| a as i32 >= b as i32),
            Op::Slt64Imm => branch64!(imm, |a, b| (a as i64) < b as i64),
            Op::Slt64Reg => branch64!(reg, |a, b| (a as i64) < b as i64),
            Op::Slt32Imm => branch32!(imm, |a, b| (a as i32) < b as i32),
            Op::Slt32Reg => branch32!(reg, |a, b| (a as i32) < b as i32),
            Op::Sle64Imm => branch64!(imm, |a, b| a as i64 <= b as i64),
            Op::Sle64Reg => branch64!(reg, |a, b| a as i64 <= b as i64),
            Op::Sle32Imm => branch32!(imm, |a, b| a as i32 <= b as i32),
            Op::Sle32Reg => branch32!(reg, |a, b| a as i32 <= b as i32),
            Op::Set64Imm => branch64!(imm, |a, b| a & b != 0),
            Op::Set64Reg => branch64!(reg, |a, b| a & b != 0),
            Op::Set32Imm => branch32!(imm, |a, b| a & b != 0),
            Op::Set32Reg => branch32!(reg, |a, b| a & b != 0),
            Op::Jump => jump!(offset as usize),
            Op::MayGoto => {
                if may_goto == 0 {
                    jump!(offset as usize);
                }
                may_goto -= 1;
            }

            Op::Load8 => load!(1, |value| value),
            Op::Load16 => load!(2, |value| value),
            Op::Load32 => load!(4, |value| value),
            Op::Load64 => load!(8, |value| value),
            Op::LoadSx8 => load!(1, |value| value as i8 as u64),
            Op::LoadSx16 => load!(2, |value| value as i16 as u64),
            Op::LoadSx32 => load!(4, |value| value as i32 as u64),
            Op::StoreReg8 => store!(reg, 1),
            Op::StoreReg16 => store!(reg, 2),
            Op::StoreReg32 => store!(reg, 4),
            Op::StoreReg64 => store!(reg, 8),
            Op::StoreImm8 => store!(imm, 1),
            Op::StoreImm16 => store!(imm, 2),
            Op::StoreImm32 => store!(imm, 4),
            Op::StoreImm64 => store!(imm, 8),
            Op::LoadAcquire => {
                let address = r[s].wrapping_add(offset as u64);
                match packet.load_acquire(address, cell.size) {
                    Some(value) => r[d] = value,
                    None => trap!(packet.why_not(address, usize::from(cell.size), false)),
                }
            }
            Op::StoreRelease => {
                let address = r[d].wrapping_add(offset as u64);
                if packet.store_release(address, cell.size, r[s]).is_none() {
                    trap!(packet.why_not(address, usize::from(cell.size), true));
                }
            }
            Op::AtomicAdd | Op::AtomicOr | Op::AtomicAnd | Op::AtomicXor => {
                atomic!();
            }
            Op::FetchAdd | Op::FetchOr | Op::FetchAnd | Op::FetchXor | Op::Xchg => {
                r[s] = atomic!();
            }
            Op::Cmpxchg => r[0] = atomic!(),
            Op::PacketAbs | Op::PacketInd => {
                let index = if cell.op == Op::PacketInd { r[s] } else { 0 };
                let found = packet.load_packet(index.wrapping_add(imm as u64), cell.size);
                r[0] = found.unwrap_or(0);
                if found.is_none() {
                    leave!();
                }
            }

            Op::Helper => {
                let args = [r[1], r[2], r[3], r[4], r[5]];
                match helper::call(imm as u32, packet, args) {
                    Ok(value) => r[0] = value,
                    Err(cause) => trap!(cause),
                }
            }
            Op::TailCall => match helper::tail_call_target(packet, r[2], r[3]) {
                Err(cause) => trap!(cause),
                Ok(Some(program)) if tail_calls < MAX_TAIL_CALLS => {
                    if let Some(&entry) = code.entries.get(program as usize) {
                        tail_calls += 1;
                        may_goto = MAY_GOTO_LOOPS;
                        jump!(entry);
                    }
                }
                Ok(_) => {}
            },
            Op::CallBack => {
                let args = [r[1], r[2], r[3], r[4], r[5]];
                match callback::begin(imm as u32, packet, args) {
                    Ok(callback) => turn!(Box::new(callback), None, pc + 1),
                    Err(cause) => trap!(cause),
                }
            }
            Op::Call => enter!(offset as usize, None, pc + 1),
            Op::Exit => leave!(),
            Op::Bad => trap!(TrapCause::BadInstruction),
            Op::Nowhere => {
                // Not an instruction: the jump before it is what failed.
                origin = origin.wrapping_add(1);
                trap!(TrapCause::BadJump { target: imm });
            }
        }
        pc += 1;
    };
    End {
        result: result.map_err(|cause| (code.slots[pc], cause)),
        instructions: (pc + 1).wrapping_sub(origin) as u64,
    }
}
