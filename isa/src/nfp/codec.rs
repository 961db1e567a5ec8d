//! Instructions to words and back.

use super::form::{self, Field, Form};
use super::insn::{
    ALU_OPS, AddressMode, AluOp, COMMANDS, CONDITIONS, Command, Condition, ContextSwap, Insn,
    MulSize, MulStep, SHF_OPS, ShfOp, Shift, Width,
};
use super::operand::{
    Operand, OperandError, Place, Sources, from_restricted, from_unrestricted, restricted,
    unrestricted,
};

/// Why a word is no instruction that eBPF images use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Bits above the instruction are set: relocation kind or error-correcting bits.
    #[error("bits above the instruction are set; take relocation kind and ECC off first")]
    High,
    /// No form has these fixed bits.
    #[error("no instruction form has these bits")]
    NoForm,
    /// A form that is known to exist, with fields that are not.
    #[error("{0} is a form that eBPF images do not use")]
    Unused(&'static str),
    /// Bits that the form does not use are set.
    #[error("{form}: bits {bits:#x} are not used and must be 0")]
    Reserved {
        /// The form.
        form: &'static str,
        /// The bits that are set.
        bits: u64,
    },
    /// A field holds a number without a meaning.
    #[error("{form}: field {field} holds {value:#x}, which means nothing")]
    Field {
        /// The form.
        form: &'static str,
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// The fields have a meaning each, but no encoder writes them together.
    #[error("{form}: the fields contradict each other; the same instruction is {canonical:#x}")]
    Contradiction {
        /// The form.
        form: &'static str,
        /// How the decoded instruction is encoded.
        canonical: u64,
    },
}

/// A word in the making.
struct Writer(u64);

impl Writer {
    fn new(form: &Form) -> Writer {
        Writer(form.value)
    }

    fn put(&mut self, field: Field, value: u64) -> &mut Writer {
        self.0 = field.set(self.0, value);
        self
    }

    fn flag(&mut self, field: Field, on: bool) -> &mut Writer {
        self.put(field, u64::from(on))
    }

    /// 10-bit sources.
    fn wide_sources(&mut self, src: Sources) -> Result<&mut Writer, OperandError> {
        let a = unrestricted(src.a, Place::A)?;
        let b = unrestricted(src.b, Place::B)?;
        Ok(self
            .put(form::A10, a)
            .put(form::B10, b)
            .flag(form::SRC_LM, extended(src.a, src.b)))
    }

    /// 8-bit sources; `wide` if the form has the extra bit of an immediate.
    fn narrow_sources(&mut self, src: Sources, wide: bool) -> Result<&mut Writer, OperandError> {
        let (a, a_high) = restricted(src.a, Place::A, wide)?;
        let (b, b_high) = restricted(src.b, Place::B, wide)?;
        self.put(form::A8, a)
            .put(form::B8, b)
            .flag(form::SRC_LM, extended(src.a, src.b));
        if wide {
            self.flag(form::I8, a_high || b_high);
        }
        Ok(self)
    }

    fn banks(&mut self, dst: Operand, bank_b: Field) -> &mut Writer {
        self.flag(bank_b, matches!(dst, Operand::B(_)))
            .flag(form::WR_AB, matches!(dst, Operand::Both(_)))
            .flag(form::DST_LM, dst.extended() == Some(true))
    }

    fn shift(&mut self, shift: Shift) -> Result<&mut Writer, OperandError> {
        let (direction, amount) = shift.codes()?;
        Ok(self.put(form::SC, direction).put(form::SHIFT32, amount))
    }

    fn jump(&mut self, defer: u8, target: u16) -> Result<&mut Writer, OperandError> {
        defers(defer)?;
        if target > MAX_TARGET {
            return Err(OperandError::TooLarge {
                what: "branch address",
                value: u64::from(target),
                max: u64::from(MAX_TARGET),
            });
        }
        Ok(self
            .put(form::DEFER, u64::from(defer))
            .put(form::ADDR_LO, u64::from(target))
            .put(form::ADDR_HI, u64::from(target >> 13)))
    }
}

/// The largest branch address.
const MAX_TARGET: u16 = 0x3fff;

fn defers(defer: u8) -> Result<u64, OperandError> {
    small("deferred instructions", defer, 3)
}

fn small(what: &'static str, value: u8, max: u8) -> Result<u64, OperandError> {
    if value > max {
        return Err(OperandError::TooLarge {
            what,
            value: u64::from(value),
            max: u64::from(max),
        });
    }
    Ok(u64::from(value))
}

fn extended(a: Operand, b: Operand) -> bool {
    a.extended() == Some(true) || b.extended() == Some(true)
}

/// The word of an instruction, without relocation kind and error-correcting bits.
///
/// # Errors
/// An operand or number does not fit its field.
pub fn encode(insn: &Insn) -> Result<u64, OperandError> {
    let mut word;
    match *insn {
        Insn::Alu { op, dst, src } => {
            word = Writer::new(&form::ALU);
            word.wide_sources(src)?
                .put(form::DST10, unrestricted(dst, Place::Destination)?)
                .flag(form::SW30, src.swap)
                .put(form::OP35, code_of(&ALU_OPS, op))
                .banks(dst, form::DST_AB36);
        }
        Insn::Shf {
            op,
            shift,
            dst,
            src,
        } => {
            word = Writer::new(&form::SHF);
            word.narrow_sources(src, true)?
                .put(form::DST8, restricted(dst, Place::Destination, false)?.0)
                .flag(form::SW19, src.swap)
                .put(form::OP3, code_of(&SHF_OPS, op))
                .shift(shift)?
                .banks(dst, form::DST_AB36);
        }
        Insn::LdField {
            clear,
            mask,
            shift,
            both,
            src,
        } => {
            word = Writer::new(&form::LD_FIELD);
            word.narrow_sources(src, true)?
                .flag(form::SW19, src.swap)
                .flag(form::ZF, clear)
                .put(form::BMASK, small("byte mask", mask, 15)?)
                .shift(shift)?
                .flag(form::WR_AB, both)
                .flag(form::DST_LM, src.left().extended() == Some(true));
        }
        Insn::Immed {
            dst,
            value,
            width,
            invert,
            shift,
        } => {
            word = Writer::new(&form::IMMED);
            let low = 0x300 | u64::from(value & 0xff);
            let code = unrestricted(dst, Place::Destination)?;
            let (a, b) = if matches!(dst, Operand::B(_)) {
                (low, code)
            } else {
                (code, low)
            };
            word.put(form::A10, a)
                .put(form::B10, b)
                .put(form::IMM, u64::from(value >> 8))
                .put(form::WIDTH, width as u64)
                .flag(form::INV, invert)
                .put(form::SHIFT34, small("shift in bytes", shift, 2)?)
                .flag(form::WR_AB, matches!(dst, Operand::Both(_)))
                .flag(form::SRC_LM, dst.extended() == Some(true))
                .flag(form::DST_LM, dst.extended() == Some(true));
        }
        Insn::Mul { size, step, src } => {
            word = Writer::new(&form::MUL_STEP);
            let step = match step {
                MulStep::Step(n) if (1..=4).contains(&n) => u64::from(n) - 1,
                MulStep::Step(n) => small("multiplication step", n, 4).map(|_| 0)?,
                MulStep::Last => LAST,
                MulStep::LastHigh => LAST_HIGH,
            };
            word.wide_sources(src)?
                .flag(form::SW30, src.swap)
                .put(form::TYPE, size as u64)
                .put(form::STEP, step);
        }
        Insn::MulLast { size, high, dst } => {
            word = Writer::new(&form::MUL_STEP);
            word.put(form::A10, unrestricted(dst, Place::Destination)?)
                .put(form::TYPE, size as u64)
                .put(form::STEP, if high { LAST_HIGH } else { LAST })
                .banks(dst, form::DST_AB23);
        }
        Insn::Br {
            condition,
            defer,
            target,
        } => {
            word = Writer::new(&form::BR);
            word.put(form::MASK, code_of(&CONDITIONS, condition))
                .flag(form::EV_PIP, condition != Condition::Always)
                .put(form::CSS, CONDITION_SOURCE)
                .jump(defer, target)?;
        }
        Insn::BrBit {
            src,
            bit,
            set,
            defer,
            target,
        } => {
            word = Writer::new(&form::BR_BIT);
            small("bit", bit, 31)?;
            word.narrow_sources(Sources::new(src, Operand::Imm(bit + 1))?, false)?
                .flag(form::BV, set)
                .jump(defer, target)?;
        }
        Insn::Rtn { src, defer } => {
            word = Writer::new(&form::RTN);
            word.wide_sources(Sources::new(src, Operand::Imm(0))?)?
                .put(form::DEFER, defers(defer)?);
        }
        Insn::CsrRead { address } => {
            word = Writer::new(&form::LOCAL_CSR);
            word.put(form::CSR, csr(address)?);
        }
        Insn::CsrWrite { address, src } => {
            word = Writer::new(&form::LOCAL_CSR);
            let src = match src {
                Operand::Imm(_) => Sources {
                    a: src,
                    b: src,
                    swap: false,
                },
                _ => Sources::new(src, Operand::Imm(0))?,
            };
            word.wide_sources(src)?
                .flag(form::WRITE, true)
                .put(form::CSR, csr(address)?);
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
            word = Writer::new(&form::CMD);
            let (token, target) = COMMANDS
                .iter()
                .find(|row| row.0 == command)
                .map_or((0, 0), |row| (row.1, row.2));
            let (a, _) = restricted(src.a, Place::A, false)?;
            let (b, _) = restricted(src.b, Place::B, false)?;
            word.put(form::A8, a)
                .put(form::B8, b)
                .put(form::CTX, swap as u64)
                .put(form::TOKEN, token)
                .put(form::TGT_CMD, target)
                .put(form::XFER, small("transfer register", xfer, 31)?)
                .put(form::CNT, small("count", count, 7)?)
                .flag(form::SIG, swap != ContextSwap::None)
                .flag(form::INDIR, indirect)
                .put(form::MODE, mode_code(mode));
        }
    }
    Ok(word.0)
}

const LAST: u64 = 4;
const LAST_HIGH: u64 = 5;
const CONDITION_SOURCE: u64 = 2;

fn csr(address: u16) -> Result<u64, OperandError> {
    let max = 0x7ff * 4;
    if address > max || !address.is_multiple_of(4) {
        return Err(OperandError::TooLarge {
            what: "CSR address (a multiple of 4)",
            value: u64::from(address),
            max: u64::from(max),
        });
    }
    Ok(u64::from(address / 4))
}

fn mode_code(mode: AddressMode) -> u64 {
    match mode {
        AddressMode::Bits40AB => 0,
        AddressMode::Bits40BA => 1,
        AddressMode::Bits32 => 4,
    }
}

fn code_of<T: Copy + PartialEq, const N: usize>(table: &[(T, u64, &str); N], of: T) -> u64 {
    table.iter().find(|row| row.0 == of).map_or(0, |row| row.1)
}

/// A word being read.
struct Reader {
    word: u64,
    form: &'static Form,
}

impl Reader {
    fn get(&self, field: Field) -> u64 {
        field.get(self.word)
    }

    fn is(&self, field: Field) -> bool {
        self.get(field) != 0
    }

    fn error(&self, field: Field) -> DecodeError {
        DecodeError::Field {
            form: self.form.name,
            field: field.name,
            value: self.get(field),
        }
    }

    fn lookup<T: Copy, const N: usize>(
        &self,
        field: Field,
        table: &[(T, u64, &str); N],
    ) -> Result<T, DecodeError> {
        let code = self.get(field);
        table
            .iter()
            .find(|row| row.1 == code)
            .map(|row| row.0)
            .ok_or_else(|| self.error(field))
    }

    fn wide(&self, field: Field, place: Place) -> Result<Operand, DecodeError> {
        let lm = if place == Place::Destination {
            form::DST_LM
        } else {
            form::SRC_LM
        };
        from_unrestricted(self.get(field), place, self.is(lm)).ok_or_else(|| self.error(field))
    }

    fn wide_sources(&self, swap: bool) -> Result<Sources, DecodeError> {
        Ok(Sources {
            a: self.wide(form::A10, Place::A)?,
            b: self.wide(form::B10, Place::B)?,
            swap,
        })
    }

    fn narrow_sources(&self, swap: bool, wide: bool) -> Result<Sources, DecodeError> {
        let high = wide && self.is(form::I8);
        let lm = self.form.fields.contains(&form::SRC_LM) && self.is(form::SRC_LM);
        let read = |field: Field, place| {
            from_restricted(self.get(field), place, lm, high).ok_or_else(|| self.error(field))
        };
        Ok(Sources {
            a: read(form::A8, Place::A)?,
            b: read(form::B8, Place::B)?,
            swap,
        })
    }

    /// Settles the bank of a destination that is a GPR.
    fn banked(&self, dst: Operand, bank_b: Field) -> Operand {
        match dst {
            Operand::Both(n) if self.is(form::WR_AB) => Operand::Both(n),
            Operand::Both(n) if self.is(bank_b) => Operand::B(n),
            Operand::Both(n) => Operand::A(n),
            dst => dst,
        }
    }

    fn shift(&self) -> Shift {
        Shift::from_codes(self.get(form::SC), self.get(form::SHIFT32))
    }

    fn defer(&self) -> u8 {
        self.get(form::DEFER) as u8
    }

    fn target(&self) -> u16 {
        (self.get(form::ADDR_LO) | self.get(form::ADDR_HI) << 13) as u16
    }

    /// The one of two fields that is not an immediate.
    fn single(&self, src: Sources) -> Result<(Operand, u8), DecodeError> {
        match (src.a, src.b) {
            (Operand::Imm(_), Operand::Imm(_)) => Err(self.error(form::A10)),
            (Operand::Imm(v), other) | (other, Operand::Imm(v)) => Ok((other, v)),
            _ => Err(self.error(form::B10)),
        }
    }
}

/// The instruction of a word without relocation kind and error-correcting bits.
///
/// Accepts what [`encode()`] can produce and nothing else, so that encoding the result gives the
/// word again.
///
/// # Errors
/// The word is none of these.
pub fn decode(word: u64) -> Result<Insn, DecodeError> {
    if word >> form::WORD_BITS != 0 {
        return Err(DecodeError::High);
    }
    let form = form::form_of(word).ok_or(DecodeError::NoForm)?;
    if form.fields.is_empty() {
        return Err(DecodeError::Unused(form.name));
    }
    let bits = word & form.reserved();
    if bits != 0 {
        return Err(DecodeError::Reserved {
            form: form.name,
            bits,
        });
    }
    let reader = Reader { word, form };
    let insn = match form.name {
        "alu" => alu(&reader)?,
        "alu_shf" => shf(&reader)?,
        "ld_field" => Insn::LdField {
            clear: reader.is(form::ZF),
            mask: reader.get(form::BMASK) as u8,
            shift: reader.shift(),
            both: reader.is(form::WR_AB),
            src: reader.narrow_sources(reader.is(form::SW19), true)?,
        },
        "immed" => immed(&reader)?,
        "mul_step" => mul(&reader)?,
        "br" => Insn::Br {
            condition: reader.lookup(form::MASK, &CONDITIONS)?,
            defer: reader.defer(),
            target: reader.target(),
        },
        "br_bit" => {
            let (src, place) = reader.single(reader.narrow_sources(false, false)?)?;
            Insn::BrBit {
                src,
                bit: place.checked_sub(1).ok_or_else(|| reader.error(form::B8))?,
                set: reader.is(form::BV),
                defer: reader.defer(),
                target: reader.target(),
            }
        }
        "rtn" => Insn::Rtn {
            src: reader.single(reader.wide_sources(false)?)?.0,
            defer: reader.defer(),
        },
        "local_csr" => local_csr(&reader)?,
        _ => cmd(&reader)?,
    };
    match encode(&insn) {
        Ok(canonical) if canonical == word => Ok(insn),
        Ok(canonical) => Err(DecodeError::Contradiction {
            form: form.name,
            canonical,
        }),
        Err(_) => Err(DecodeError::Contradiction {
            form: form.name,
            canonical: 0,
        }),
    }
}

fn alu(reader: &Reader) -> Result<Insn, DecodeError> {
    let dst = reader.wide(form::DST10, Place::Destination)?;
    Ok(Insn::Alu {
        op: reader.lookup::<AluOp, 12>(form::OP35, &ALU_OPS)?,
        dst: reader.banked(dst, form::DST_AB36),
        src: reader.wide_sources(reader.is(form::SW30))?,
    })
}

fn shf(reader: &Reader) -> Result<Insn, DecodeError> {
    let dst = from_restricted(
        reader.get(form::DST8),
        Place::Destination,
        reader.is(form::DST_LM),
        false,
    )
    .ok_or_else(|| reader.error(form::DST8))?;
    Ok(Insn::Shf {
        op: reader.lookup::<ShfOp, 4>(form::OP3, &SHF_OPS)?,
        shift: reader.shift(),
        dst: reader.banked(dst, form::DST_AB36),
        src: reader.narrow_sources(reader.is(form::SW19), true)?,
    })
}

fn immed(reader: &Reader) -> Result<Insn, DecodeError> {
    const IMMEDIATE: u64 = 0x300;
    let (a, b) = (reader.get(form::A10), reader.get(form::B10));
    let (dst, low) = if b >= IMMEDIATE {
        (reader.wide(form::A10, Place::Destination)?, b)
    } else {
        (reader.wide(form::B10, Place::B)?, a)
    };
    let dst = match dst {
        Operand::Both(n) if !reader.is(form::WR_AB) => Operand::A(n),
        dst => dst,
    };
    Ok(Insn::Immed {
        dst,
        value: (reader.get(form::IMM) << 8 | low & 0xff) as u16,
        width: match reader.get(form::WIDTH) {
            0 => Width::All,
            1 => Width::Byte,
            2 => Width::Word,
            _ => return Err(reader.error(form::WIDTH)),
        },
        invert: reader.is(form::INV),
        shift: reader.get(form::SHIFT34) as u8,
    })
}

fn mul(reader: &Reader) -> Result<Insn, DecodeError> {
    let size = match reader.get(form::TYPE) {
        0 => MulSize::Start,
        1 => MulSize::M24x8,
        2 => MulSize::M16x16,
        _ => MulSize::M32x32,
    };
    Ok(match reader.get(form::STEP) {
        step @ 0..=3 => Insn::Mul {
            size,
            step: MulStep::Step(step as u8 + 1),
            src: reader.wide_sources(reader.is(form::SW30))?,
        },
        step @ (LAST | LAST_HIGH) => {
            let dst = reader.wide(form::A10, Place::Destination)?;
            Insn::MulLast {
                size,
                high: step == LAST_HIGH,
                dst: reader.banked(dst, form::DST_AB23),
            }
        }
        _ => return Err(reader.error(form::STEP)),
    })
}

fn local_csr(reader: &Reader) -> Result<Insn, DecodeError> {
    let address = reader.get(form::CSR) as u16 * 4;
    if !reader.is(form::WRITE) {
        return Ok(Insn::CsrRead { address });
    }
    let src = reader.wide_sources(false)?;
    let src = match (src.a, src.b) {
        (Operand::Imm(_), Operand::Imm(_)) => src.a,
        _ => reader.single(src)?.0,
    };
    Ok(Insn::CsrWrite { address, src })
}

fn cmd(reader: &Reader) -> Result<Insn, DecodeError> {
    let (token, target) = (reader.get(form::TOKEN), reader.get(form::TGT_CMD));
    let command: Command = COMMANDS
        .iter()
        .find(|row| row.1 == token && row.2 == target)
        .map(|row| row.0)
        .ok_or_else(|| reader.error(form::TGT_CMD))?;
    Ok(Insn::Cmd {
        command,
        xfer: reader.get(form::XFER) as u8,
        count: reader.get(form::CNT) as u8,
        src: Sources {
            a: from_restricted(reader.get(form::A8), Place::A, false, false)
                .ok_or_else(|| reader.error(form::A8))?,
            b: from_restricted(reader.get(form::B8), Place::B, false, false)
                .ok_or_else(|| reader.error(form::B8))?,
            swap: false,
        },
        mode: match reader.get(form::MODE) {
            0 => AddressMode::Bits40AB,
            1 => AddressMode::Bits40BA,
            4 => AddressMode::Bits32,
            _ => return Err(reader.error(form::MODE)),
        },
        swap: match reader.get(form::CTX) {
            0 => ContextSwap::Swap,
            1 => ContextSwap::SwapDefer1,
            2 => ContextSwap::SwapDefer2,
            _ => ContextSwap::None,
        },
        indirect: reader.is(form::INDIR),
    })
}
