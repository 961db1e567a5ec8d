//! The forms of an instruction word: which bits are fixed, and where each field lies.
//!
//! A word is 45 bits wide (44:0) before the error-correcting bits. Facts: `nfp-drv-kmods`
//! 7728618f3622, `src/nfp_asm.h`. Encoder and decoder both read this table, and nothing else
//! knows a bit position.

/// Bits that an instruction may use: 44 down to 0.
pub const WORD_BITS: u32 = 45;

/// A run of bits of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name that manuals and errors use.
    pub name: &'static str,
    /// Lowest bit.
    pub low: u32,
    /// Width in bits.
    pub width: u32,
}

impl Field {
    const fn new(name: &'static str, high: u32, low: u32) -> Field {
        Field {
            name,
            low,
            width: high - low + 1,
        }
    }

    /// The bits of the word that the field covers.
    pub const fn mask(self) -> u64 {
        ((1 << self.width) - 1) << self.low
    }

    /// The field's value in a word.
    pub const fn get(self, word: u64) -> u64 {
        (word & self.mask()) >> self.low
    }

    /// The word with the field set; bits of `value` beyond the width are cut off.
    pub const fn set(self, word: u64, value: u64) -> u64 {
        word & !self.mask() | (value << self.low) & self.mask()
    }
}

/// A form: the instructions that share a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its name.
    pub name: &'static str,
    /// Bits that tell this form from the others.
    pub mask: u64,
    /// What these bits hold.
    pub value: u64,
    /// The fields, lowest bit first as far as the manual has them so.
    pub fields: &'static [Field],
}

impl Form {
    const fn new(
        name: &'static str,
        (high, low): (u32, u32),
        value: u64,
        fields: &'static [Field],
    ) -> Form {
        let fixed = Field::new("fixed", high, low);
        Form {
            name,
            mask: fixed.mask(),
            value: value << low,
            fields,
        }
    }

    const fn with(self, bit: u32) -> Form {
        Form {
            mask: self.mask | 1 << bit,
            value: self.value | 1 << bit,
            ..self
        }
    }

    /// Bits that neither tell the form nor belong to a field.
    pub fn reserved(&self) -> u64 {
        let used = self
            .fields
            .iter()
            .fold(self.mask, |used, field| used | field.mask());
        ((1 << WORD_BITS) - 1) & !used
    }
}

/// First source, unrestricted (10 bits): bank A where it is a GPR.
pub const A10: Field = Field::new("A", 9, 0);
/// Second source, unrestricted: bank B where it is a GPR.
pub const B10: Field = Field::new("B", 19, 10);
/// Destination, unrestricted.
pub const DST10: Field = Field::new("DST", 29, 20);
/// First source, restricted (8 bits).
pub const A8: Field = Field::new("A", 7, 0);
/// Second source, restricted.
pub const B8: Field = Field::new("B", 17, 10);
/// Destination, restricted.
pub const DST8: Field = Field::new("DST", 27, 20);
/// Direction of a shift.
pub const SC: Field = Field::new("SC", 9, 8);
/// Bit 7 of a restricted immediate.
pub const I8: Field = Field::new("I8", 18, 18);
/// alu, mul_step: the left operand is in the B field.
pub const SW30: Field = Field::new("SW", 30, 30);
/// shf, ld_field: the same.
pub const SW19: Field = Field::new("SW", 19, 19);
/// ld_field: bytes that are not loaded become zero.
pub const ZF: Field = Field::new("ZF", 20, 20);
/// ld_field: which bytes are loaded, bit 0 the lowest.
pub const BMASK: Field = Field::new("BMASK", 27, 24);
/// Amount of a shift.
pub const SHIFT32: Field = Field::new("SHIFT", 32, 28);
/// alu: operation.
pub const OP35: Field = Field::new("OP", 35, 31);
/// shf: operation.
pub const OP3: Field = Field::new("OP", 35, 33);
/// The destination GPR is in bank B.
pub const DST_AB36: Field = Field::new("DST_AB", 36, 36);
/// mul_step: the same.
pub const DST_AB23: Field = Field::new("DST_AB", 23, 23);
/// The destination GPR is written in both banks.
pub const WR_AB: Field = Field::new("WR_AB", 41, 41);
/// LM operands among the sources mean LM2 and LM3.
pub const SRC_LM: Field = Field::new("SRC_LM", 42, 42);
/// An LM destination means LM2 or LM3.
pub const DST_LM: Field = Field::new("DST_LM", 43, 43);
/// br: condition.
pub const MASK: Field = Field::new("MASK", 4, 0);
/// br: 0 unconditional, 1 conditional.
pub const EV_PIP: Field = Field::new("EV_PIP", 9, 8);
/// br: source of the condition, always 2.
pub const CSS: Field = Field::new("CSS", 17, 14);
/// Instructions executed after a branch before it takes place.
pub const DEFER: Field = Field::new("DEFER", 21, 20);
/// Branch address, low 13 bits.
pub const ADDR_LO: Field = Field::new("ADDR_LO", 34, 22);
/// Branch address, bit 13.
pub const ADDR_HI: Field = Field::new("ADDR_HI", 40, 40);
/// br_bit: branch if the bit is set.
pub const BV: Field = Field::new("BV", 18, 18);
/// rtn: upper bits of an immediate; 0 here.
pub const IMM_HI: Field = Field::new("IMM_HI", 30, 22);
/// immed: bits 15:8 of the value.
pub const IMM: Field = Field::new("IMM", 27, 20);
/// immed: which part of the destination is written.
pub const WIDTH: Field = Field::new("WIDTH", 30, 29);
/// immed: the shifted value is inverted.
pub const INV: Field = Field::new("INV", 31, 31);
/// immed: shift in bytes.
pub const SHIFT34: Field = Field::new("SHIFT", 34, 33);
/// mul_step: which step.
pub const STEP: Field = Field::new("STEP", 22, 20);
/// mul_step: size of the operands.
pub const TYPE: Field = Field::new("TYPE", 32, 31);
/// local_csr: write rather than read.
pub const WRITE: Field = Field::new("WRITE", 21, 21);
/// local_csr: byte address divided by 4.
pub const CSR: Field = Field::new("ADDR", 32, 22);
/// cmd: whether the thread sleeps until the command is done.
pub const CTX: Field = Field::new("CTX", 9, 8);
/// cmd: variant of the command.
pub const TOKEN: Field = Field::new("TOKEN", 19, 18);
/// cmd: first transfer register.
pub const XFER: Field = Field::new("XFER", 24, 20);
/// cmd: length minus one, in the command's unit.
pub const CNT: Field = Field::new("CNT", 27, 25);
/// cmd: signal raised when done.
pub const SIG: Field = Field::new("SIG", 31, 28);
/// cmd: target and command.
pub const TGT_CMD: Field = Field::new("TGT_CMD", 38, 32);
/// cmd: length or data come from the previous ALU result.
pub const INDIR: Field = Field::new("INDIR", 41, 41);
/// cmd: how the address is made of the two operands.
pub const MODE: Field = Field::new("MODE", 44, 42);

/// alu.
pub const ALU: Form = Form::new(
    "alu",
    (39, 37),
    0b101,
    &[A10, B10, DST10, SW30, OP35, DST_AB36, WR_AB, SRC_LM, DST_LM],
);
/// alu with a shift.
pub const SHF: Form = Form::new(
    "alu_shf",
    (39, 37),
    0b100,
    &[
        A8, SC, B8, I8, SW19, DST8, SHIFT32, OP3, DST_AB36, WR_AB, SRC_LM, DST_LM,
    ],
);
/// ld_field.
pub const LD_FIELD: Form = Form::new(
    "ld_field",
    (39, 35),
    0b11000,
    &[
        A8, SC, B8, I8, SW19, ZF, BMASK, SHIFT32, WR_AB, SRC_LM, DST_LM,
    ],
);
/// Branch on a byte; known to exist, not used by eBPF images.
pub const BR_BYTE: Form = Form::new("br_byte", (39, 35), 0b11001, &[]);
/// Branch on a bit of a register.
pub const BR_BIT: Form = Form::new(
    "br_bit",
    (39, 35),
    0b11010,
    &[A8, B8, BV, DEFER, ADDR_LO, ADDR_HI, SRC_LM],
);
/// Branch, unconditional or on condition codes.
pub const BR: Form = Form::new(
    "br",
    (39, 35),
    0b11011,
    &[MASK, EV_PIP, CSS, DEFER, ADDR_LO, ADDR_HI],
)
.with(5);
/// Thread arbitration; known to exist, not used by eBPF images.
pub const CTX_ARB: Form = Form::new("ctx_arb", (39, 35), 0b11100, &[]);
/// Jump to the address in a register.
pub const RTN: Form = Form::new(
    "rtn",
    (39, 35),
    0b11101,
    &[A10, B10, DEFER, IMM_HI, SRC_LM, DST_LM],
);
/// Load of a constant.
pub const IMMED: Form = Form::new(
    "immed",
    (39, 35),
    0b11110,
    &[A10, B10, IMM, WIDTH, INV, SHIFT34, WR_AB, SRC_LM, DST_LM],
);
/// One step of a multiplication.
pub const MUL_STEP: Form = Form::new(
    "mul_step",
    (39, 34),
    0b11_1110,
    &[A10, B10, STEP, DST_AB23, SW30, TYPE, WR_AB, SRC_LM, DST_LM],
);
/// Access to a control and status register.
pub const LOCAL_CSR: Form = Form::new(
    "local_csr",
    (39, 34),
    0b11_1111,
    &[A10, B10, WRITE, CSR, SRC_LM, DST_LM],
);
/// Memory command.
pub const CMD: Form = Form::new(
    "cmd",
    (39, 39),
    0,
    &[A8, CTX, B8, TOKEN, XFER, CNT, SIG, TGT_CMD, INDIR, MODE],
);

/// Every form.
pub const FORMS: [Form; 12] = [
    ALU, SHF, LD_FIELD, BR_BYTE, BR_BIT, BR, CTX_ARB, RTN, IMMED, MUL_STEP, LOCAL_CSR, CMD,
];

/// The form of a word, if it has one.
pub fn form_of(word: u64) -> Option<&'static Form> {
    FORMS.iter().find(|form| word & form.mask == form.value)
}
