//! The table of all instructions: the only place that knows opcode numbers.
//!
//! One row is one instruction as a device or a compiler counts them: an opcode byte, plus the
//! values of other fields where those pick the operation (`sdiv` is `div` with offset 1). From
//! the rows derive decoding, encoding, the conformance suite's mnemonics and the names that NIC
//! profiles use. How a row's operands become an [`Insn`] is [`super::form`].

use super::form::Form::{
    self, Alu, Atomic, Branch, CallHelper, CallKfunc, CallLocal, CallReg, Exit, Jump, Load,
    LoadAcquire, MayGoto, MovSx, Neg, PacketAbs, PacketInd, Store, StoreRelease, Swap, Tail,
    Unencodable, Wide,
};
use super::form::Source::{Imm, Reg};
use super::form::WideKind;
use super::insn::MemSize::{B, DW, H, W};
use super::insn::Width::{W32, W64};
use super::insn::{AluOp, AtomicOp, Cond, Insn, SwapKind};
use std::fmt;

/// A conformance group of RFC 9669 §2.4, without the groups it includes: an instruction of
/// `base32` is in `base64` too, see [`Group::includes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// 32-bit base instructions.
    Base32,
    /// 64-bit base instructions.
    Base64,
    /// 32-bit multiplication, division and remainder.
    Divmul32,
    /// 64-bit multiplication, division and remainder.
    Divmul64,
    /// 32-bit atomics. Linux's 8- and 16-bit load-acquire and store-release, which the RFC does
    /// not have, are counted here.
    Atomic32,
    /// 64-bit atomics.
    Atomic64,
    /// Calls of the address in a register. Not in the RFC's final list of groups; clang emits
    /// the instruction below `-O1`, and no Linux version accepts it.
    Callx,
    /// Legacy packet loads.
    Packet,
}

impl Group {
    /// All, in order.
    pub const ALL: [Group; 8] = [
        Group::Base32,
        Group::Base64,
        Group::Divmul32,
        Group::Divmul64,
        Group::Atomic32,
        Group::Atomic64,
        Group::Callx,
        Group::Packet,
    ];

    /// The label of the RFC, as profiles write it: `base32`, `divmul64`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Group::Base32 => "base32",
            Group::Base64 => "base64",
            Group::Divmul32 => "divmul32",
            Group::Divmul64 => "divmul64",
            Group::Atomic32 => "atomic32",
            Group::Atomic64 => "atomic64",
            Group::Callx => "callx",
            Group::Packet => "packet",
        }
    }

    /// The group with this label, or `None`.
    pub fn from_name(name: &str) -> Option<Group> {
        Group::ALL.into_iter().find(|group| group.name() == name)
    }

    /// Whether support of `self` means support of `other` (RFC 9669 §2.4): a group includes
    /// itself, and a 64-bit group the 32-bit one of its kind.
    pub fn includes(self, other: Group) -> bool {
        self == other
            || matches!(
                (self, other),
                (Group::Base64, Group::Base32)
                    | (Group::Divmul64, Group::Divmul32)
                    | (Group::Atomic64, Group::Atomic32)
            )
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The lowest clang `-mcpu` whose generated code contains the instruction. (Linux itself has
/// executed the 32-bit ALU class since 3.18; clang uses it from v3.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CpuVersion {
    /// The base set.
    V1,
    /// + jumps on less than.
    V2,
    /// + 32-bit arithmetic and jumps, atomics beyond plain addition.
    V3,
    /// + sign extension, signed division, unconditional swap, `gotol`, store of an immediate.
    V4,
    /// In no version that clang 19 knows: load-acquire and store-release (Linux 6.15) and
    /// `may_goto` (Linux 6.9, from inline assembly).
    Later,
}

impl CpuVersion {
    /// All, ascending.
    pub const ALL: [CpuVersion; 5] = [
        CpuVersion::V1,
        CpuVersion::V2,
        CpuVersion::V3,
        CpuVersion::V4,
        CpuVersion::Later,
    ];

    /// `v1` to `v4`, or `later`.
    pub const fn name(self) -> &'static str {
        match self {
            CpuVersion::V1 => "v1",
            CpuVersion::V2 => "v2",
            CpuVersion::V3 => "v3",
            CpuVersion::V4 => "v4",
            CpuVersion::Later => "later",
        }
    }

    /// The version with this name, or `None`.
    pub fn from_name(name: &str) -> Option<CpuVersion> {
        CpuVersion::ALL
            .into_iter()
            .find(|version| version.name() == name)
    }
}

impl fmt::Display for CpuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a row says of one field of the 8-byte slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Must hold this value: it selects the operation, or is reserved (0).
    Is(i32),
    /// An operand: a register number, an offset or an immediate.
    Operand,
}

impl Field {
    /// Whether the field of an encoded instruction may hold this value.
    pub const fn admits(self, value: i32) -> bool {
        match self {
            Field::Is(expected) => expected == value,
            Field::Operand => true,
        }
    }
}

/// One instruction of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    mnemonic: &'static str,
    suite: Option<&'static str>,
    opcode: u8,
    dst: Field,
    src: Field,
    offset: Field,
    imm: Field,
    group: Group,
    cpu: CpuVersion,
    pub(super) form: Form,
}

impl Row {
    /// The stable name, unique in the table, that profiles use: `add64_imm`, `ldxw`, `jeq32_reg`.
    pub const fn mnemonic(&self) -> &'static str {
        self.mnemonic
    }

    /// The mnemonic in the conformance suite's assembly (`add`, `mov32`, `lock fetch add`), which
    /// does not tell immediate from register; `None` where the suite has none.
    pub const fn suite(&self) -> Option<&'static str> {
        self.suite
    }

    /// The opcode byte.
    pub const fn opcode(&self) -> u8 {
        self.opcode
    }

    /// What the destination register field (low nibble of byte 1) holds.
    pub const fn dst(&self) -> Field {
        self.dst
    }

    /// What the source register field (high nibble of byte 1) holds.
    pub const fn src(&self) -> Field {
        self.src
    }

    /// What the 16-bit offset field (bytes 2 and 3) holds.
    pub const fn offset(&self) -> Field {
        self.offset
    }

    /// What the 32-bit immediate (bytes 4 to 7) holds.
    pub const fn imm(&self) -> Field {
        self.imm
    }

    /// The conformance group.
    pub const fn group(&self) -> Group {
        self.group
    }

    /// The lowest CPU version.
    pub const fn cpu(&self) -> CpuVersion {
        self.cpu
    }

    /// The row with this mnemonic, or `None`.
    pub fn by_mnemonic(mnemonic: &str) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.mnemonic == mnemonic)
    }

    /// The row's number in [`table`], a dense index for per-row arrays. The two rows that are
    /// not in the table have numbers past its end, below [`Row::COUNT`].
    pub fn index(&self) -> usize {
        ROW_OF[self.form.key()] as usize
    }

    /// One more than the largest [`Row::index`].
    pub const COUNT: usize = TABLE.len() + 2;
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mnemonic)
    }
}

/// All instructions, in an order that stays.
pub fn table() -> &'static [Row] {
    TABLE
}

impl Insn {
    /// The instruction's row, by a single table look-up.
    ///
    /// [`Insn::WideTail`] has a row of its own that is not in [`table`]: `lddw_tail`, opcode 0.
    /// So has a value that no bytes stand for, such as a swap of 24 bits: `unencodable`. Decoding
    /// never yields the latter.
    pub fn row(&self) -> &'static Row {
        row_of(self.form())
    }
}

/// The row of a form.
pub(super) fn row_of(form: Form) -> &'static Row {
    let index = ROW_OF[form.key()] as usize;
    match index.checked_sub(TABLE.len()) {
        None => &TABLE[index],
        Some(0) => &TAIL,
        Some(_) => &UNENCODABLE,
    }
}

/// The rows with this opcode byte, in table order.
pub(super) fn rows_of(opcode: u8) -> impl Iterator<Item = &'static Row> + Clone {
    OPCODE_ROWS[opcode as usize]
        .iter()
        .take_while(|&&index| index != NONE)
        .map(|&index| &TABLE[index as usize])
}

/// Marks an unused place in [`OPCODE_ROWS`] and [`ROW_OF`].
const NONE: u8 = u8::MAX;

/// Most rows that share an opcode byte: the ten atomics, load-acquire and store-release.
const MOST_ROWS: usize = 12;

/// Row number of each form; [`TAIL`] and [`UNENCODABLE`] follow the table's.
static ROW_OF: [u8; Form::KEYS] = {
    let mut rows = [(TABLE.len() + 1) as u8; Form::KEYS];
    rows[Tail.key()] = TABLE.len() as u8;
    let mut index = 0;
    while index < TABLE.len() {
        let key = TABLE[index].form.key();
        assert!(rows[key] as usize > TABLE.len(), "two rows of one form");
        rows[key] = index as u8;
        index += 1;
    }
    rows
};

/// Row numbers by opcode byte, [`NONE`] after the last.
static OPCODE_ROWS: [[u8; MOST_ROWS]; 256] = {
    let mut rows = [[NONE; MOST_ROWS]; 256];
    let mut index = 0;
    while index < TABLE.len() {
        let of = &mut rows[TABLE[index].opcode as usize];
        let mut place = 0;
        while of[place] != NONE {
            place += 1;
        }
        of[place] = index as u8;
        index += 1;
    }
    rows
};

/// The second slot of a two-slot load.
static TAIL: Row = Row {
    mnemonic: "lddw_tail",
    suite: None,
    opcode: 0,
    dst: Field::Is(0),
    src: Field::Is(0),
    offset: Field::Is(0),
    imm: Field::Operand,
    group: Group::Base64,
    cpu: CpuVersion::V1,
    form: Tail,
};

/// What has no encoding.
static UNENCODABLE: Row = Row {
    mnemonic: "unencodable",
    form: Unencodable,
    ..TAIL
};

/// One field of a row: `reg` and `val` are operands, a number is required.
macro_rules! field {
    (reg) => {
        Field::Operand
    };
    (val) => {
        Field::Operand
    };
    ($value:literal) => {
        Field::Is($value)
    };
}

/// The suite's mnemonic; `-` stands for none.
const fn suite(name: &'static str) -> Option<&'static str> {
    if name.as_bytes()[0] == b'-' {
        None
    } else {
        Some(name)
    }
}

/// Rows: mnemonic, the suite's mnemonic, opcode, `[dst src offset imm]`, group, version, form.
macro_rules! rows {
    ($($name:ident $suite:literal $code:literal [$dst:tt $src:tt $off:tt $imm:tt]
       $group:ident $cpu:ident $form:expr;)*) => {
        const TABLE: &[Row] = &[$(Row {
            mnemonic: stringify!($name),
            suite: suite($suite),
            opcode: $code,
            dst: field!($dst),
            src: field!($src),
            offset: field!($off),
            imm: field!($imm),
            group: Group::$group,
            cpu: CpuVersion::$cpu,
            form: $form,
        }),*];
    };
}

rows! {
    // 64-bit arithmetic: RFC 9669 §4.1, class ALU64.
    add64_imm          "add"                  0x07 [reg 0   0   val  ] Base64   V1    Alu(AluOp::Add, W64, Imm);
    add64_reg          "add"                  0x0f [reg reg 0   0    ] Base64   V1    Alu(AluOp::Add, W64, Reg);
    sub64_imm          "sub"                  0x17 [reg 0   0   val  ] Base64   V1    Alu(AluOp::Sub, W64, Imm);
    sub64_reg          "sub"                  0x1f [reg reg 0   0    ] Base64   V1    Alu(AluOp::Sub, W64, Reg);
    mul64_imm          "mul"                  0x27 [reg 0   0   val  ] Divmul64 V1    Alu(AluOp::Mul, W64, Imm);
    mul64_reg          "mul"                  0x2f [reg reg 0   0    ] Divmul64 V1    Alu(AluOp::Mul, W64, Reg);
    div64_imm          "div"                  0x37 [reg 0   0   val  ] Divmul64 V1    Alu(AluOp::Div, W64, Imm);
    div64_reg          "div"                  0x3f [reg reg 0   0    ] Divmul64 V1    Alu(AluOp::Div, W64, Reg);
    sdiv64_imm         "sdiv"                 0x37 [reg 0   1   val  ] Divmul64 V4    Alu(AluOp::Sdiv, W64, Imm);
    sdiv64_reg         "sdiv"                 0x3f [reg reg 1   0    ] Divmul64 V4    Alu(AluOp::Sdiv, W64, Reg);
    mod64_imm          "mod"                  0x97 [reg 0   0   val  ] Divmul64 V1    Alu(AluOp::Mod, W64, Imm);
    mod64_reg          "mod"                  0x9f [reg reg 0   0    ] Divmul64 V1    Alu(AluOp::Mod, W64, Reg);
    smod64_imm         "smod"                 0x97 [reg 0   1   val  ] Divmul64 V4    Alu(AluOp::Smod, W64, Imm);
    smod64_reg         "smod"                 0x9f [reg reg 1   0    ] Divmul64 V4    Alu(AluOp::Smod, W64, Reg);
    or64_imm           "or"                   0x47 [reg 0   0   val  ] Base64   V1    Alu(AluOp::Or, W64, Imm);
    or64_reg           "or"                   0x4f [reg reg 0   0    ] Base64   V1    Alu(AluOp::Or, W64, Reg);
    and64_imm          "and"                  0x57 [reg 0   0   val  ] Base64   V1    Alu(AluOp::And, W64, Imm);
    and64_reg          "and"                  0x5f [reg reg 0   0    ] Base64   V1    Alu(AluOp::And, W64, Reg);
    xor64_imm          "xor"                  0xa7 [reg 0   0   val  ] Base64   V1    Alu(AluOp::Xor, W64, Imm);
    xor64_reg          "xor"                  0xaf [reg reg 0   0    ] Base64   V1    Alu(AluOp::Xor, W64, Reg);
    mov64_imm          "mov"                  0xb7 [reg 0   0   val  ] Base64   V1    Alu(AluOp::Mov, W64, Imm);
    mov64_reg          "mov"                  0xbf [reg reg 0   0    ] Base64   V1    Alu(AluOp::Mov, W64, Reg);
    lsh64_imm          "lsh"                  0x67 [reg 0   0   val  ] Base64   V1    Alu(AluOp::Lsh, W64, Imm);
    lsh64_reg          "lsh"                  0x6f [reg reg 0   0    ] Base64   V1    Alu(AluOp::Lsh, W64, Reg);
    rsh64_imm          "rsh"                  0x77 [reg 0   0   val  ] Base64   V1    Alu(AluOp::Rsh, W64, Imm);
    rsh64_reg          "rsh"                  0x7f [reg reg 0   0    ] Base64   V1    Alu(AluOp::Rsh, W64, Reg);
    arsh64_imm         "arsh"                 0xc7 [reg 0   0   val  ] Base64   V1    Alu(AluOp::Arsh, W64, Imm);
    arsh64_reg         "arsh"                 0xcf [reg reg 0   0    ] Base64   V1    Alu(AluOp::Arsh, W64, Reg);
    neg64              "neg"                  0x87 [reg 0   0   0    ] Base64   V1    Neg(W64);
    movsx8_64          "movsx864"             0xbf [reg reg 8   0    ] Base64   V4    MovSx(W64, 8);
    movsx16_64         "movsx1664"            0xbf [reg reg 16  0    ] Base64   V4    MovSx(W64, 16);
    movsx32_64         "movsx3264"            0xbf [reg reg 32  0    ] Base64   V4    MovSx(W64, 32);
    // 32-bit arithmetic: RFC 9669 §4.1, class ALU.
    add32_imm          "add32"                0x04 [reg 0   0   val  ] Base32   V3    Alu(AluOp::Add, W32, Imm);
    add32_reg          "add32"                0x0c [reg reg 0   0    ] Base32   V3    Alu(AluOp::Add, W32, Reg);
    sub32_imm          "sub32"                0x14 [reg 0   0   val  ] Base32   V3    Alu(AluOp::Sub, W32, Imm);
    sub32_reg          "sub32"                0x1c [reg reg 0   0    ] Base32   V3    Alu(AluOp::Sub, W32, Reg);
    mul32_imm          "mul32"                0x24 [reg 0   0   val  ] Divmul32 V3    Alu(AluOp::Mul, W32, Imm);
    mul32_reg          "mul32"                0x2c [reg reg 0   0    ] Divmul32 V3    Alu(AluOp::Mul, W32, Reg);
    div32_imm          "div32"                0x34 [reg 0   0   val  ] Divmul32 V3    Alu(AluOp::Div, W32, Imm);
    div32_reg          "div32"                0x3c [reg reg 0   0    ] Divmul32 V3    Alu(AluOp::Div, W32, Reg);
    sdiv32_imm         "sdiv32"               0x34 [reg 0   1   val  ] Divmul32 V4    Alu(AluOp::Sdiv, W32, Imm);
    sdiv32_reg         "sdiv32"               0x3c [reg reg 1   0    ] Divmul32 V4    Alu(AluOp::Sdiv, W32, Reg);
    mod32_imm          "mod32"                0x94 [reg 0   0   val  ] Divmul32 V3    Alu(AluOp::Mod, W32, Imm);
    mod32_reg          "mod32"                0x9c [reg reg 0   0    ] Divmul32 V3    Alu(AluOp::Mod, W32, Reg);
    smod32_imm         "smod32"               0x94 [reg 0   1   val  ] Divmul32 V4    Alu(AluOp::Smod, W32, Imm);
    smod32_reg         "smod32"               0x9c [reg reg 1   0    ] Divmul32 V4    Alu(AluOp::Smod, W32, Reg);
    or32_imm           "or32"                 0x44 [reg 0   0   val  ] Base32   V3    Alu(AluOp::Or, W32, Imm);
    or32_reg           "or32"                 0x4c [reg reg 0   0    ] Base32   V3    Alu(AluOp::Or, W32, Reg);
    and32_imm          "and32"                0x54 [reg 0   0   val  ] Base32   V3    Alu(AluOp::And, W32, Imm);
    and32_reg          "and32"                0x5c [reg reg 0   0    ] Base32   V3    Alu(AluOp::And, W32, Reg);
    xor32_imm          "xor32"                0xa4 [reg 0   0   val  ] Base32   V3    Alu(AluOp::Xor, W32, Imm);
    xor32_reg          "xor32"                0xac [reg reg 0   0    ] Base32   V3    Alu(AluOp::Xor, W32, Reg);
    mov32_imm          "mov32"                0xb4 [reg 0   0   val  ] Base32   V3    Alu(AluOp::Mov, W32, Imm);
    mov32_reg          "mov32"                0xbc [reg reg 0   0    ] Base32   V3    Alu(AluOp::Mov, W32, Reg);
    lsh32_imm          "lsh32"                0x64 [reg 0   0   val  ] Base32   V3    Alu(AluOp::Lsh, W32, Imm);
    lsh32_reg          "lsh32"                0x6c [reg reg 0   0    ] Base32   V3    Alu(AluOp::Lsh, W32, Reg);
    rsh32_imm          "rsh32"                0x74 [reg 0   0   val  ] Base32   V3    Alu(AluOp::Rsh, W32, Imm);
    rsh32_reg          "rsh32"                0x7c [reg reg 0   0    ] Base32   V3    Alu(AluOp::Rsh, W32, Reg);
    arsh32_imm         "arsh32"               0xc4 [reg 0   0   val  ] Base32   V3    Alu(AluOp::Arsh, W32, Imm);
    arsh32_reg         "arsh32"               0xcc [reg reg 0   0    ] Base32   V3    Alu(AluOp::Arsh, W32, Reg);
    neg32              "neg32"                0x84 [reg 0   0   0    ] Base32   V3    Neg(W32);
    movsx8_32          "movsx832"             0xbc [reg reg 8   0    ] Base32   V4    MovSx(W32, 8);
    movsx16_32         "movsx1632"            0xbc [reg reg 16  0    ] Base32   V4    MovSx(W32, 16);
    // Byte order: RFC 9669 §4.2.
    le16               "le16"                 0xd4 [reg 0   0   16   ] Base32   V1    Swap(SwapKind::ToLe, 16);
    le32               "le32"                 0xd4 [reg 0   0   32   ] Base32   V1    Swap(SwapKind::ToLe, 32);
    le64               "le64"                 0xd4 [reg 0   0   64   ] Base64   V1    Swap(SwapKind::ToLe, 64);
    be16               "be16"                 0xdc [reg 0   0   16   ] Base32   V1    Swap(SwapKind::ToBe, 16);
    be32               "be32"                 0xdc [reg 0   0   32   ] Base32   V1    Swap(SwapKind::ToBe, 32);
    be64               "be64"                 0xdc [reg 0   0   64   ] Base64   V1    Swap(SwapKind::ToBe, 64);
    bswap16            "bswap16"              0xd7 [reg 0   0   16   ] Base32   V4    Swap(SwapKind::Bswap, 16);
    bswap32            "bswap32"              0xd7 [reg 0   0   32   ] Base32   V4    Swap(SwapKind::Bswap, 32);
    bswap64            "bswap64"              0xd7 [reg 0   0   64   ] Base64   V4    Swap(SwapKind::Bswap, 64);
    // Two-slot loads: RFC 9669 §5.4. The second slot is all zero but for its immediate.
    lddw               "lddw"                 0x18 [reg 0   0   val  ] Base64   V1    Wide(WideKind::Value);
    lddw_map_fd        "-"                    0x18 [reg 1   0   val  ] Base64   V1    Wide(WideKind::MapFd);
    lddw_map_fd_value  "-"                    0x18 [reg 2   0   val  ] Base64   V1    Wide(WideKind::MapFdValue);
    lddw_btf_id        "-"                    0x18 [reg 3   0   val  ] Base64   V1    Wide(WideKind::BtfId);
    lddw_function      "-"                    0x18 [reg 4   0   val  ] Base64   V1    Wide(WideKind::Function);
    lddw_map           "-"                    0x18 [reg 5   0   val  ] Base64   V1    Wide(WideKind::Map);
    lddw_map_value     "-"                    0x18 [reg 6   0   val  ] Base64   V1    Wide(WideKind::MapValue);
    // Loads and stores: RFC 9669 §5.1, §5.2.
    ldxb               "ldxb"                 0x71 [reg reg val 0    ] Base32   V1    Load(B, false);
    ldxh               "ldxh"                 0x69 [reg reg val 0    ] Base32   V1    Load(H, false);
    ldxw               "ldxw"                 0x61 [reg reg val 0    ] Base32   V1    Load(W, false);
    ldxdw              "ldxdw"                0x79 [reg reg val 0    ] Base64   V1    Load(DW, false);
    ldxsb              "ldxsb"                0x91 [reg reg val 0    ] Base32   V4    Load(B, true);
    ldxsh              "ldxsh"                0x89 [reg reg val 0    ] Base32   V4    Load(H, true);
    ldxsw              "ldxsw"                0x81 [reg reg val 0    ] Base32   V4    Load(W, true);
    stb                "stb"                  0x72 [reg 0   val val  ] Base32   V4    Store(B, Imm);
    sth                "sth"                  0x6a [reg 0   val val  ] Base32   V4    Store(H, Imm);
    stw                "stw"                  0x62 [reg 0   val val  ] Base32   V4    Store(W, Imm);
    stdw               "stdw"                 0x7a [reg 0   val val  ] Base64   V4    Store(DW, Imm);
    stxb               "stxb"                 0x73 [reg reg val 0    ] Base32   V1    Store(B, Reg);
    stxh               "stxh"                 0x6b [reg reg val 0    ] Base32   V1    Store(H, Reg);
    stxw               "stxw"                 0x63 [reg reg val 0    ] Base32   V1    Store(W, Reg);
    stxdw              "stxdw"                0x7b [reg reg val 0    ] Base64   V1    Store(DW, Reg);
    // Atomics: RFC 9669 §5.3.
    atomic64_add       "lock add"             0xdb [reg reg val 0x0  ] Atomic64 V1    Atomic(AtomicOp::Add, DW);
    atomic64_or        "lock or"              0xdb [reg reg val 0x40 ] Atomic64 V3    Atomic(AtomicOp::Or, DW);
    atomic64_and       "lock and"             0xdb [reg reg val 0x50 ] Atomic64 V3    Atomic(AtomicOp::And, DW);
    atomic64_xor       "lock xor"             0xdb [reg reg val 0xa0 ] Atomic64 V3    Atomic(AtomicOp::Xor, DW);
    atomic64_fetch_add "lock fetch add"       0xdb [reg reg val 0x1  ] Atomic64 V3    Atomic(AtomicOp::FetchAdd, DW);
    atomic64_fetch_or  "lock fetch or"        0xdb [reg reg val 0x41 ] Atomic64 V3    Atomic(AtomicOp::FetchOr, DW);
    atomic64_fetch_and "lock fetch and"       0xdb [reg reg val 0x51 ] Atomic64 V3    Atomic(AtomicOp::FetchAnd, DW);
    atomic64_fetch_xor "lock fetch xor"       0xdb [reg reg val 0xa1 ] Atomic64 V3    Atomic(AtomicOp::FetchXor, DW);
    atomic64_xchg      "lock xchg"            0xdb [reg reg val 0xe1 ] Atomic64 V3    Atomic(AtomicOp::Xchg, DW);
    atomic64_cmpxchg   "lock cmpxchg"         0xdb [reg reg val 0xf1 ] Atomic64 V3    Atomic(AtomicOp::Cmpxchg, DW);
    atomic32_add       "lock add32"           0xc3 [reg reg val 0x0  ] Atomic32 V1    Atomic(AtomicOp::Add, W);
    atomic32_or        "lock or32"            0xc3 [reg reg val 0x40 ] Atomic32 V3    Atomic(AtomicOp::Or, W);
    atomic32_and       "lock and32"           0xc3 [reg reg val 0x50 ] Atomic32 V3    Atomic(AtomicOp::And, W);
    atomic32_xor       "lock xor32"           0xc3 [reg reg val 0xa0 ] Atomic32 V3    Atomic(AtomicOp::Xor, W);
    atomic32_fetch_add "lock fetch add32"     0xc3 [reg reg val 0x1  ] Atomic32 V3    Atomic(AtomicOp::FetchAdd, W);
    atomic32_fetch_or  "lock fetch or32"      0xc3 [reg reg val 0x41 ] Atomic32 V3    Atomic(AtomicOp::FetchOr, W);
    atomic32_fetch_and "lock fetch and32"     0xc3 [reg reg val 0x51 ] Atomic32 V3    Atomic(AtomicOp::FetchAnd, W);
    atomic32_fetch_xor "lock fetch xor32"     0xc3 [reg reg val 0xa1 ] Atomic32 V3    Atomic(AtomicOp::FetchXor, W);
    atomic32_xchg      "lock xchg32"          0xc3 [reg reg val 0xe1 ] Atomic32 V3    Atomic(AtomicOp::Xchg, W);
    atomic32_cmpxchg   "lock cmpxchg32"       0xc3 [reg reg val 0xf1 ] Atomic32 V3    Atomic(AtomicOp::Cmpxchg, W);
    // Load-acquire and store-release: Linux 6.15 (kernel documentation, BPF ISA, atomic operations).
    load_acquire8      "-"                    0xd3 [reg reg val 0x100] Atomic32 Later LoadAcquire(B);
    load_acquire16     "-"                    0xcb [reg reg val 0x100] Atomic32 Later LoadAcquire(H);
    load_acquire32     "-"                    0xc3 [reg reg val 0x100] Atomic32 Later LoadAcquire(W);
    load_acquire64     "-"                    0xdb [reg reg val 0x100] Atomic64 Later LoadAcquire(DW);
    store_release8     "-"                    0xd3 [reg reg val 0x110] Atomic32 Later StoreRelease(B);
    store_release16    "-"                    0xcb [reg reg val 0x110] Atomic32 Later StoreRelease(H);
    store_release32    "-"                    0xc3 [reg reg val 0x110] Atomic32 Later StoreRelease(W);
    store_release64    "-"                    0xdb [reg reg val 0x110] Atomic64 Later StoreRelease(DW);
    // Legacy packet access: RFC 9669 §5.5.
    ldabsb             "ldabsb"               0x30 [0   0   0   val  ] Packet   V1    PacketAbs(B);
    ldabsh             "ldabsh"               0x28 [0   0   0   val  ] Packet   V1    PacketAbs(H);
    ldabsw             "ldabsw"               0x20 [0   0   0   val  ] Packet   V1    PacketAbs(W);
    ldindb             "ldindb"               0x50 [0   reg 0   val  ] Packet   V1    PacketInd(B);
    ldindh             "ldindh"               0x48 [0   reg 0   val  ] Packet   V1    PacketInd(H);
    ldindw             "ldindw"               0x40 [0   reg 0   val  ] Packet   V1    PacketInd(W);
    // Jumps: RFC 9669 §4.3, class JMP (64-bit comparison) and JMP32.
    ja                 "ja"                   0x05 [0   0   val 0    ] Base32   V1    Jump(false);
    ja32               "ja32"                 0x06 [0   0   0   val  ] Base32   V4    Jump(true);
    jeq64_imm          "jeq"                  0x15 [reg 0   val val  ] Base64   V1    Branch(Cond::Eq, W64, Imm);
    jeq64_reg          "jeq"                  0x1d [reg reg val 0    ] Base64   V1    Branch(Cond::Eq, W64, Reg);
    jne64_imm          "jne"                  0x55 [reg 0   val val  ] Base64   V1    Branch(Cond::Ne, W64, Imm);
    jne64_reg          "jne"                  0x5d [reg reg val 0    ] Base64   V1    Branch(Cond::Ne, W64, Reg);
    jgt64_imm          "jgt"                  0x25 [reg 0   val val  ] Base64   V1    Branch(Cond::Gt, W64, Imm);
    jgt64_reg          "jgt"                  0x2d [reg reg val 0    ] Base64   V1    Branch(Cond::Gt, W64, Reg);
    jge64_imm          "jge"                  0x35 [reg 0   val val  ] Base64   V1    Branch(Cond::Ge, W64, Imm);
    jge64_reg          "jge"                  0x3d [reg reg val 0    ] Base64   V1    Branch(Cond::Ge, W64, Reg);
    jlt64_imm          "jlt"                  0xa5 [reg 0   val val  ] Base64   V2    Branch(Cond::Lt, W64, Imm);
    jlt64_reg          "jlt"                  0xad [reg reg val 0    ] Base64   V2    Branch(Cond::Lt, W64, Reg);
    jle64_imm          "jle"                  0xb5 [reg 0   val val  ] Base64   V2    Branch(Cond::Le, W64, Imm);
    jle64_reg          "jle"                  0xbd [reg reg val 0    ] Base64   V2    Branch(Cond::Le, W64, Reg);
    jsgt64_imm         "jsgt"                 0x65 [reg 0   val val  ] Base64   V1    Branch(Cond::Sgt, W64, Imm);
    jsgt64_reg         "jsgt"                 0x6d [reg reg val 0    ] Base64   V1    Branch(Cond::Sgt, W64, Reg);
    jsge64_imm         "jsge"                 0x75 [reg 0   val val  ] Base64   V1    Branch(Cond::Sge, W64, Imm);
    jsge64_reg         "jsge"                 0x7d [reg reg val 0    ] Base64   V1    Branch(Cond::Sge, W64, Reg);
    jslt64_imm         "jslt"                 0xc5 [reg 0   val val  ] Base64   V2    Branch(Cond::Slt, W64, Imm);
    jslt64_reg         "jslt"                 0xcd [reg reg val 0    ] Base64   V2    Branch(Cond::Slt, W64, Reg);
    jsle64_imm         "jsle"                 0xd5 [reg 0   val val  ] Base64   V2    Branch(Cond::Sle, W64, Imm);
    jsle64_reg         "jsle"                 0xdd [reg reg val 0    ] Base64   V2    Branch(Cond::Sle, W64, Reg);
    jset64_imm         "jset"                 0x45 [reg 0   val val  ] Base64   V1    Branch(Cond::Set, W64, Imm);
    jset64_reg         "jset"                 0x4d [reg reg val 0    ] Base64   V1    Branch(Cond::Set, W64, Reg);
    jeq32_imm          "jeq32"                0x16 [reg 0   val val  ] Base32   V3    Branch(Cond::Eq, W32, Imm);
    jeq32_reg          "jeq32"                0x1e [reg reg val 0    ] Base32   V3    Branch(Cond::Eq, W32, Reg);
    jne32_imm          "jne32"                0x56 [reg 0   val val  ] Base32   V3    Branch(Cond::Ne, W32, Imm);
    jne32_reg          "jne32"                0x5e [reg reg val 0    ] Base32   V3    Branch(Cond::Ne, W32, Reg);
    jgt32_imm          "jgt32"                0x26 [reg 0   val val  ] Base32   V3    Branch(Cond::Gt, W32, Imm);
    jgt32_reg          "jgt32"                0x2e [reg reg val 0    ] Base32   V3    Branch(Cond::Gt, W32, Reg);
    jge32_imm          "jge32"                0x36 [reg 0   val val  ] Base32   V3    Branch(Cond::Ge, W32, Imm);
    jge32_reg          "jge32"                0x3e [reg reg val 0    ] Base32   V3    Branch(Cond::Ge, W32, Reg);
    jlt32_imm          "jlt32"                0xa6 [reg 0   val val  ] Base32   V3    Branch(Cond::Lt, W32, Imm);
    jlt32_reg          "jlt32"                0xae [reg reg val 0    ] Base32   V3    Branch(Cond::Lt, W32, Reg);
    jle32_imm          "jle32"                0xb6 [reg 0   val val  ] Base32   V3    Branch(Cond::Le, W32, Imm);
    jle32_reg          "jle32"                0xbe [reg reg val 0    ] Base32   V3    Branch(Cond::Le, W32, Reg);
    jsgt32_imm         "jsgt32"               0x66 [reg 0   val val  ] Base32   V3    Branch(Cond::Sgt, W32, Imm);
    jsgt32_reg         "jsgt32"               0x6e [reg reg val 0    ] Base32   V3    Branch(Cond::Sgt, W32, Reg);
    jsge32_imm         "jsge32"               0x76 [reg 0   val val  ] Base32   V3    Branch(Cond::Sge, W32, Imm);
    jsge32_reg         "jsge32"               0x7e [reg reg val 0    ] Base32   V3    Branch(Cond::Sge, W32, Reg);
    jslt32_imm         "jslt32"               0xc6 [reg 0   val val  ] Base32   V3    Branch(Cond::Slt, W32, Imm);
    jslt32_reg         "jslt32"               0xce [reg reg val 0    ] Base32   V3    Branch(Cond::Slt, W32, Reg);
    jsle32_imm         "jsle32"               0xd6 [reg 0   val val  ] Base32   V3    Branch(Cond::Sle, W32, Imm);
    jsle32_reg         "jsle32"               0xde [reg reg val 0    ] Base32   V3    Branch(Cond::Sle, W32, Reg);
    jset32_imm         "jset32"               0x46 [reg 0   val val  ] Base32   V3    Branch(Cond::Set, W32, Imm);
    jset32_reg         "jset32"               0x4e [reg reg val 0    ] Base32   V3    Branch(Cond::Set, W32, Reg);
    may_goto           "-"                    0xe5 [0   0   val 0    ] Base32   Later MayGoto;
    // Calls: RFC 9669 §4.3.1, §4.3.2.
    call_helper        "call"                 0x85 [0   0   0   val  ] Base32   V1    CallHelper;
    call_local         "call local"           0x85 [0   1   0   val  ] Base32   V1    CallLocal;
    call_kfunc         "-"                    0x85 [0   2   val val  ] Base32   V1    CallKfunc;
    callx              "callx"                0x8d [reg 0   0   0    ] Callx    V1    CallReg;
    exit               "exit"                 0x95 [0   0   0   0    ] Base32   V1    Exit;
}
