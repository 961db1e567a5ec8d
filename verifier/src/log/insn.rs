//! An instruction as the kernel's log writes it: opcode in brackets, spaces and `goto pc+1` as
//! there.

use bpf::Program;
use isa::ebpf::{
    AtomicOp, CallTarget, Insn, MemSize, Operand, PacketBase, Reg, SwapKind, Wide, Width, encode,
};

/// `(61) r2 = *(u32 *)(r1 +0)`; a map or function by its name, where the kernel has an address.
pub(crate) fn text(program: &Program, pc: usize) -> String {
    let insn = &program.insns[pc];
    let bytes = match insn {
        Insn::LoadWide { .. } => encode(&[*insn, Insn::WideTail]),
        _ => encode(&[*insn]),
    };
    let opcode = bytes.ok().and_then(|b| b.first().copied()).unwrap_or(0);
    format!("({opcode:02x}) {}", operation(program, pc, insn))
}

fn named(width: Width, reg: Reg) -> String {
    format!("{}{}", width.letter(), reg.number())
}

fn second(width: Width, operand: Operand) -> String {
    match operand {
        Operand::Reg(reg) => named(width, reg),
        Operand::Imm(imm) => imm.to_string(),
    }
}

fn place(size: MemSize, signed: bool, base: Reg, offset: i16) -> String {
    let letter = if signed { 's' } else { 'u' };
    format!("({letter}{} *)({base} {offset:+})", 8 * size.bytes())
}

fn operation(program: &Program, pc: usize, insn: &Insn) -> String {
    match *insn {
        Insn::Alu {
            op,
            width,
            dst,
            src,
        } => format!(
            "{} {} {}",
            named(width, dst),
            op.operator(),
            second(width, src)
        ),
        Insn::Neg { width, dst } => format!("{0} = -{0}", named(width, dst)),
        Insn::MovSx {
            width,
            dst,
            src,
            bits,
        } => format!("{} = (s{bits}){}", named(width, dst), named(width, src)),
        Insn::Swap { kind, bits, dst } => {
            let kind = match kind {
                SwapKind::ToLe => "le",
                SwapKind::ToBe => "be",
                SwapKind::Bswap => "bswap",
            };
            format!("{dst} = {kind}{bits} {dst}")
        }
        Insn::LoadWide { dst, value } => format!("{dst} = {}", wide(program, pc, value)),
        Insn::WideTail => String::new(),
        Insn::Load {
            size,
            signed,
            dst,
            base,
            offset,
        } => format!("{dst} = *{}", place(size, signed, base, offset)),
        Insn::LoadAcquire {
            size,
            dst,
            base,
            offset,
        } => format!("{dst} = load_acquire({})", place(size, false, base, offset)),
        Insn::Store {
            size,
            base,
            offset,
            src,
        } => format!(
            "*{} = {}",
            place(size, false, base, offset),
            second(Width::W64, src)
        ),
        Insn::StoreRelease {
            size,
            base,
            offset,
            src,
        } => format!("store_release({}, {src})", place(size, false, base, offset)),
        Insn::Atomic {
            op,
            size,
            base,
            offset,
            src,
        } => atomic(op, size, &place(size, false, base, offset), src),
        Insn::LoadPacket { size, base, offset } => {
            let at = match base {
                PacketBase::Abs => offset.to_string(),
                PacketBase::Ind(reg) => format!("{reg} + {offset}"),
            };
            format!("r0 = *(u{} *)skb[{at}]", 8 * size.bytes())
        }
        Insn::Branch {
            cond,
            width,
            dst,
            src,
            offset,
        } => {
            let src = match src {
                Operand::Reg(reg) => named(width, reg),
                Operand::Imm(imm) => format!("{imm:#x}"),
            };
            format!(
                "if {} {} {src} goto pc{offset:+}",
                named(width, dst),
                cond.operator()
            )
        }
        Insn::Jump { offset, .. } => format!("goto pc{offset:+}"),
        Insn::MayGoto { offset } => format!("may_goto pc{offset:+}"),
        Insn::Call(target) => match target {
            CallTarget::Helper(id) => {
                format!("call {}#{id}", bpf::helper::name(id).unwrap_or("unknown"))
            }
            CallTarget::Local { offset } => format!("call pc{offset:+}"),
            CallTarget::Kfunc { id, .. } => format!("call kernel-function#{id}"),
            CallTarget::Reg(reg) => format!("callx {reg}"),
        },
        Insn::Exit => "exit".to_owned(),
    }
}

fn wide(program: &Program, pc: usize, value: Wide) -> String {
    let name = |map: u32| {
        program
            .maps
            .get(map as usize)
            .map_or("?", |def| def.name.as_str())
    };
    match value {
        Wide::Value(number) => format!("{number:#x}"),
        Wide::Map(map) => format!("map[{}]", name(map)),
        Wide::MapValue { map, offset } => format!("map[{}][0]+{offset}", name(map)),
        Wide::Function { offset } => {
            let at = (pc + 1).checked_add_signed(offset as isize);
            let function = at.and_then(|at| program.subprogram_at(at));
            let name = function.map_or("?", |n| program.subprograms[n].name.as_str());
            format!("func[{name}]")
        }
        Wide::MapFd(fd) | Wide::MapFdValue { fd, .. } => format!("map[fd:{fd}]"),
        Wide::BtfId { id, .. } => format!("btf[{id}]"),
    }
}

fn atomic(op: AtomicOp, size: MemSize, place: &str, src: Reg) -> String {
    let wide = if size == MemSize::DW { "64" } else { "" };
    match op {
        AtomicOp::Add => format!("lock *{place} += {src}"),
        AtomicOp::Or => format!("lock *{place} |= {src}"),
        AtomicOp::And => format!("lock *{place} &= {src}"),
        AtomicOp::Xor => format!("lock *{place} ^= {src}"),
        AtomicOp::FetchAdd => format!("{src} = atomic{wide}_fetch_add({place}, {src})"),
        AtomicOp::FetchOr => format!("{src} = atomic{wide}_fetch_or({place}, {src})"),
        AtomicOp::FetchAnd => format!("{src} = atomic{wide}_fetch_and({place}, {src})"),
        AtomicOp::FetchXor => format!("{src} = atomic{wide}_fetch_xor({place}, {src})"),
        AtomicOp::Xchg => format!("{src} = atomic{wide}_xchg({place}, {src})"),
        AtomicOp::Cmpxchg => format!("r0 = atomic{wide}_cmpxchg({place}, r0, {src})"),
    }
}
