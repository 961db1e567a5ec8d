//! The kernel's and LLVM's text of an instruction, printed.

use super::insn::{
    AluOp, AtomicOp, CallTarget, Cond, Insn, MemSize, Operand, PacketBase, Reg, SwapKind, Wide,
    Width,
};
use std::borrow::Cow;
use std::fmt;

/// Names for what instructions refer to by number, and back.
///
/// Every method may know nothing (the default): printing then shows numbers, and reading takes
/// only numbers and labels.
pub trait Symbols {
    /// The name of the helper with this id, as `call` shows it.
    fn helper_name(&self, id: u32) -> Option<Cow<'_, str>> {
        let _ = id;
        None
    }

    /// The id of the helper with this name.
    fn helper_id(&self, name: &str) -> Option<u32> {
        let _ = name;
        None
    }

    /// The name of the kernel function with this BTF id.
    fn kfunc_name(&self, id: i32, module: i16) -> Option<Cow<'_, str>> {
        let _ = (id, module);
        None
    }

    /// The id of the kernel function with this name.
    fn kfunc_id(&self, name: &str) -> Option<i32> {
        let _ = name;
        None
    }

    /// The name of the map with this index in the program's map list.
    fn map_name(&self, index: u32) -> Option<Cow<'_, str>> {
        let _ = index;
        None
    }

    /// The label at a pc, as jumps show it.
    fn label(&self, pc: usize) -> Option<Cow<'_, str>> {
        let _ = pc;
        None
    }

    /// The name of the function that starts at a pc, as calls show it; [`Symbols::label`] unless
    /// told otherwise.
    fn function(&self, pc: usize) -> Option<Cow<'_, str>> {
        self.label(pc)
    }
}

/// Knows no name.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSymbols;

impl Symbols for NoSymbols {}

/// An instruction with what it takes to print it; made by [`Insn::display`].
#[derive(Clone, Copy)]
pub struct InsnText<'a> {
    insn: &'a Insn,
    pc: usize,
    symbols: &'a dyn Symbols,
}

impl fmt::Debug for InsnText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InsnText({self})")
    }
}

impl Insn {
    /// The instruction at `pc` as text, with names where `symbols` has them:
    /// `if r1 > 7 goto L3`, `call bpf_map_lookup_elem`, `r1 = map[counter] ll`.
    pub fn display<'a>(&'a self, pc: usize, symbols: &'a dyn Symbols) -> InsnText<'a> {
        InsnText {
            insn: self,
            pc,
            symbols,
        }
    }
}

/// Without names: `if r1 > 7 goto +3`, `call 1`, `r1 = map[idx:0] ll`.
impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.display(0, &NoSymbols).fmt(f)
    }
}

/// `B`, `H`, `W` or `DW` as in the RFC's opcode names.
impl fmt::Display for MemSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MemSize::B => "B",
            MemSize::H => "H",
            MemSize::W => "W",
            MemSize::DW => "DW",
        })
    }
}

impl AluOp {
    /// The assignment operator of the text: `+=`, `s/=`, `=`.
    pub const fn operator(self) -> &'static str {
        match self {
            AluOp::Add => "+=",
            AluOp::Sub => "-=",
            AluOp::Mul => "*=",
            AluOp::Div => "/=",
            AluOp::Sdiv => "s/=",
            AluOp::Mod => "%=",
            AluOp::Smod => "s%=",
            AluOp::Or => "|=",
            AluOp::And => "&=",
            AluOp::Xor => "^=",
            AluOp::Mov => "=",
            AluOp::Lsh => "<<=",
            AluOp::Rsh => ">>=",
            AluOp::Arsh => "s>>=",
        }
    }

    /// All, in order.
    pub const ALL: [AluOp; 14] = [
        AluOp::Add,
        AluOp::Sub,
        AluOp::Mul,
        AluOp::Div,
        AluOp::Sdiv,
        AluOp::Mod,
        AluOp::Smod,
        AluOp::Or,
        AluOp::And,
        AluOp::Xor,
        AluOp::Mov,
        AluOp::Lsh,
        AluOp::Rsh,
        AluOp::Arsh,
    ];
}

impl Cond {
    /// The operator of the text: `==`, `s<`, `&`.
    pub const fn operator(self) -> &'static str {
        match self {
            Cond::Eq => "==",
            Cond::Ne => "!=",
            Cond::Gt => ">",
            Cond::Ge => ">=",
            Cond::Lt => "<",
            Cond::Le => "<=",
            Cond::Sgt => "s>",
            Cond::Sge => "s>=",
            Cond::Slt => "s<",
            Cond::Sle => "s<=",
            Cond::Set => "&",
        }
    }

    /// All, in order.
    pub const ALL: [Cond; 11] = [
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
}

impl SwapKind {
    /// The prefix of the text: `le`, `be`, `bswap`.
    pub const fn prefix(self) -> &'static str {
        match self {
            SwapKind::ToLe => "le",
            SwapKind::ToBe => "be",
            SwapKind::Bswap => "bswap",
        }
    }
}

impl Width {
    /// The register's letter: `w` for 32 bits, `r` for 64.
    pub const fn letter(self) -> char {
        match self {
            Width::W32 => 'w',
            Width::W64 => 'r',
        }
    }
}

/// `r3`, or `w3` for the lower half.
struct Named(Width, Reg);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.letter(), self.1.number())
    }
}

/// A register or a number.
struct Second(Width, Operand);

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Operand::Reg(reg) => Named(self.0, reg).fmt(f),
            Operand::Imm(imm) => imm.fmt(f),
        }
    }
}

/// `r1 + 4` or `r10 - 8`.
struct Address(Reg, i16);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.1 < 0 { '-' } else { '+' };
        write!(f, "{} {sign} {}", self.0, self.1.unsigned_abs())
    }
}

/// `u32` or `s16`.
struct Type(MemSize, bool);

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            if self.1 { 's' } else { 'u' },
            self.0.bytes() * 8
        )
    }
}

/// The width of the registers of an access that LLVM shows by the access's width.
const fn access_width(size: MemSize) -> Width {
    match size {
        MemSize::DW => Width::W64,
        MemSize::B | MemSize::H | MemSize::W => Width::W32,
    }
}

impl InsnText<'_> {
    /// A label, or the offset with its sign.
    fn target(&self, f: &mut fmt::Formatter<'_>, offset: i32) -> fmt::Result {
        match self.resolve(offset).and_then(|pc| self.symbols.label(pc)) {
            Some(label) => f.write_str(&label),
            None => write!(f, "{offset:+}"),
        }
    }

    /// The pc an offset of this instruction means, if there can be one.
    fn resolve(&self, offset: i32) -> Option<usize> {
        self.pc.checked_add(1)?.checked_add_signed(offset as isize)
    }

    fn wide(&self, f: &mut fmt::Formatter<'_>, value: Wide) -> fmt::Result {
        let offset_in_value = match value {
            Wide::Value(value) => return write!(f, "{value:#x}"),
            Wide::BtfId { id, module: 0 } => return write!(f, "btf[id:{id}]"),
            Wide::BtfId { id, module } => return write!(f, "btf[id:{id},fd:{module}]"),
            Wide::Function { offset } => {
                return match self
                    .resolve(offset)
                    .and_then(|pc| self.symbols.function(pc))
                {
                    Some(name) => f.write_str(&name),
                    None => write!(f, "subprog[{offset:+}]"),
                };
            }
            Wide::MapFd(fd) => return write!(f, "map[fd:{fd}]"),
            Wide::MapFdValue { fd, offset } => {
                write!(f, "map[fd:{fd}]")?;
                offset
            }
            Wide::Map(index) => return self.map(f, index),
            Wide::MapValue { map, offset } => {
                self.map(f, map)?;
                offset
            }
        };
        write!(f, "[0]+{offset_in_value}")
    }

    fn map(&self, f: &mut fmt::Formatter<'_>, index: u32) -> fmt::Result {
        match self.symbols.map_name(index) {
            Some(name) => write!(f, "map[{name}]"),
            None => write!(f, "map[idx:{index}]"),
        }
    }

    fn call(&self, f: &mut fmt::Formatter<'_>, target: CallTarget) -> fmt::Result {
        match target {
            CallTarget::Helper(id) => match self.symbols.helper_name(id) {
                Some(name) => write!(f, "call {name}"),
                None => write!(f, "call {}", id as i32),
            },
            CallTarget::Local { offset } => {
                match self
                    .resolve(offset)
                    .and_then(|pc| self.symbols.function(pc))
                {
                    Some(name) => write!(f, "call {name}"),
                    None => write!(f, "call pc{offset:+}"),
                }
            }
            CallTarget::Kfunc { id, module } => match self.symbols.kfunc_name(id, module) {
                Some(name) => write!(f, "call kfunc[{name}]"),
                None if module == 0 => write!(f, "call kfunc[id:{id}]"),
                None => write!(f, "call kfunc[id:{id},module:{module}]"),
            },
            CallTarget::Reg(reg) => write!(f, "callx {reg}"),
        }
    }
}

/// Without the operation's `lock`, `atomic_fetch_...` and so on.
fn atomic(
    f: &mut fmt::Formatter<'_>,
    op: AtomicOp,
    size: MemSize,
    address: &Address,
    src: Reg,
) -> fmt::Result {
    let width = access_width(size);
    let ty = Type(size, false);
    let src = Named(width, src);
    let suffix = if size == MemSize::DW { "_64" } else { "32_32" };
    match op {
        AtomicOp::Add => write!(f, "lock *({ty} *)({address}) += {src}"),
        AtomicOp::Or => write!(f, "lock *({ty} *)({address}) |= {src}"),
        AtomicOp::And => write!(f, "lock *({ty} *)({address}) &= {src}"),
        AtomicOp::Xor => write!(f, "lock *({ty} *)({address}) ^= {src}"),
        AtomicOp::FetchAdd => write!(f, "{src} = atomic_fetch_add(({ty} *)({address}), {src})"),
        AtomicOp::FetchOr => write!(f, "{src} = atomic_fetch_or(({ty} *)({address}), {src})"),
        AtomicOp::FetchAnd => write!(f, "{src} = atomic_fetch_and(({ty} *)({address}), {src})"),
        AtomicOp::FetchXor => write!(f, "{src} = atomic_fetch_xor(({ty} *)({address}), {src})"),
        AtomicOp::Xchg => write!(f, "{src} = xchg{suffix}({address}, {src})"),
        AtomicOp::Cmpxchg => {
            let old = Named(width, Reg::R0);
            write!(f, "{old} = cmpxchg{suffix}({address}, {old}, {src})")
        }
    }
}

impl fmt::Display for InsnText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.insn {
            Insn::Alu {
                op,
                width,
                dst,
                src,
            } => {
                write!(
                    f,
                    "{} {} {}",
                    Named(width, dst),
                    op.operator(),
                    Second(width, src)
                )
            }
            Insn::Neg { width, dst } => {
                let reg = Named(width, dst);
                write!(f, "{reg} = -{reg}")
            }
            Insn::MovSx {
                width,
                dst,
                src,
                bits,
            } => {
                write!(f, "{} = (s{bits}){}", Named(width, dst), Named(width, src))
            }
            Insn::Swap { kind, bits, dst } => write!(f, "{dst} = {}{bits} {dst}", kind.prefix()),
            Insn::LoadWide { dst, value } => {
                write!(f, "{dst} = ")?;
                self.wide(f, value)?;
                f.write_str(" ll")
            }
            Insn::WideTail => f.write_str("(second slot)"),
            Insn::Load {
                size,
                signed,
                dst,
                base,
                offset,
            } => {
                write!(
                    f,
                    "{dst} = *({} *)({})",
                    Type(size, signed),
                    Address(base, offset)
                )
            }
            Insn::Store {
                size,
                base,
                offset,
                src,
            } => {
                let (ty, address) = (Type(size, false), Address(base, offset));
                write!(f, "*({ty} *)({address}) = {}", Second(Width::W64, src))
            }
            Insn::Atomic {
                op,
                size,
                base,
                offset,
                src,
            } => atomic(f, op, size, &Address(base, offset), src),
            Insn::LoadAcquire {
                size,
                dst,
                base,
                offset,
            } => {
                let (ty, address) = (Type(size, false), Address(base, offset));
                write!(
                    f,
                    "{} = load_acquire(({ty} *)({address}))",
                    Named(access_width(size), dst)
                )
            }
            Insn::StoreRelease {
                size,
                base,
                offset,
                src,
            } => {
                let (ty, address) = (Type(size, false), Address(base, offset));
                write!(
                    f,
                    "store_release(({ty} *)({address}), {})",
                    Named(access_width(size), src)
                )
            }
            Insn::LoadPacket {
                size,
                base: PacketBase::Abs,
                offset,
            } => {
                write!(f, "r0 = *({} *)skb[{offset}]", Type(size, false))
            }
            Insn::LoadPacket {
                size,
                base: PacketBase::Ind(reg),
                offset: 0,
            } => {
                write!(f, "r0 = *({} *)skb[{reg}]", Type(size, false))
            }
            Insn::LoadPacket {
                size,
                base: PacketBase::Ind(reg),
                offset,
            } => {
                let sign = if offset < 0 { '-' } else { '+' };
                let amount = offset.unsigned_abs();
                write!(
                    f,
                    "r0 = *({} *)skb[{reg} {sign} {amount}]",
                    Type(size, false)
                )
            }
            Insn::Jump { offset, long } => {
                f.write_str(if long { "gotol " } else { "goto " })?;
                self.target(f, offset)
            }
            Insn::Branch {
                cond,
                width,
                dst,
                src,
                offset,
            } => {
                let (first, second) = (Named(width, dst), Second(width, src));
                write!(f, "if {first} {} {second} goto ", cond.operator())?;
                self.target(f, offset.into())
            }
            Insn::MayGoto { offset } => {
                f.write_str("may_goto ")?;
                self.target(f, offset.into())
            }
            Insn::Call(target) => self.call(f, target),
            Insn::Exit => f.write_str("exit"),
        }
    }
}
