//! Whether memory may be accessed.

use bpf::btf::fields::SpecialKind;
use isa::ebpf::{Operand, Reg};

use super::{MAX_OFFSET, describe, kernel, local, object, pointer, register};
use crate::assertions::Touch;
use crate::domain::{Byte, Extent, FRAME_BYTES, Kind, MapRef, State, Tnum, Value};
use crate::platform::Platform;
use crate::report::{Problem, Rule};
use crate::transfer::Context;

/// A load, store or atomic of `size` bytes at `base + offset`.
pub(super) fn access(
    cx: &Context<'_>,
    state: &State,
    base: Reg,
    offset: i16,
    size: u8,
    touch: Touch,
) -> Result<(), Problem> {
    let platform = &cx.platform;
    let pointer = &state.top.regs[base.index()];
    let writes = matches!(touch, Touch::Store(_) | Touch::Release(_) | Touch::Atomic);
    let offset = i64::from(offset);
    let atomic = matches!(touch, Touch::Atomic | Touch::Acquire | Touch::Release(_));
    let no_atomics = pointer.kind.follows_packet()
        || matches!(
            pointer.kind,
            Kind::Ctx
                | Kind::Socket { .. }
                | Kind::Object { .. }
                | Kind::Kernel { .. }
                | Kind::Map { .. }
        );
    if atomic && no_atomics {
        return Err(Problem::new(
            Rule::AtomicTarget,
            format!(
                "atomic access through {base}, {}, is not allowed",
                describe(platform, pointer)
            ),
        )
        .why("atomics work on map values and the stack only")
        .help("use a plain load and store"));
    }
    let place = Place {
        platform,
        state,
        reg: base.index(),
        pointer,
        offset,
        size: u64::from(size),
    };
    if atomic && !matches!(pointer.kind, Kind::Stack { .. }) && pointer.kind.is_pointer() {
        place.aligned()?;
    }
    match pointer.kind {
        Kind::Ctx => place.context(writes, touch, size),
        Kind::Stack { .. } => place.stack_access(touch, size, writes),
        Kind::MapValue {
            map,
            or_null: false,
        } => {
            place.map_rights(map, !writes || atomic, writes)?;
            place.map_value(map)?;
            place.special_fields(map, Some((touch, size)))?;
            xskmap(platform, map, &place, writes)
        }
        Kind::Memory {
            size: length,
            or_null: false,
            block,
        } => {
            if writes && !block.is_writable() {
                return Err(place.read_only());
            }
            place.memory(length)
        }
        Kind::MapKey { .. } if writes => Err(place.read_only()),
        Kind::MapKey { map } => place.memory(platform.map(map).map_or(0, |m| m.key_size)),
        Kind::Packet | Kind::PacketMeta => place.packet(),
        Kind::Socket {
            kind,
            or_null: false,
        } => place.socket(kind, writes, size),
        Kind::Object {
            ty, or_null: false, ..
        } => local::access(&place, ty),
        Kind::Kernel {
            ty,
            trust,
            or_null: false,
        } => kernel::access(&place, (ty, trust), writes, size),
        Kind::Map {
            map,
            or_null: false,
        } => kernel::map(&place, map, writes, size),
        Kind::Scalar
        | Kind::Unknown
        | Kind::PacketEnd
        | Kind::Map { or_null: true, .. }
        | Kind::Function { .. }
        | Kind::Dynptr
        | Kind::MapValue { or_null: true, .. }
        | Kind::Memory { or_null: true, .. }
        | Kind::Socket { or_null: true, .. }
        | Kind::Object { or_null: true, .. }
        | Kind::Kernel { or_null: true, .. } => Err(place.unusable()),
    }
}

/// The socket that a lookup in an xskmap gives: only its queue number can be read.
fn xskmap(
    platform: &Platform<'_>,
    map: MapRef,
    place: &Place<'_>,
    writes: bool,
) -> Result<(), Problem> {
    let is_socket = platform
        .map(map)
        .is_some_and(|m| m.kind == bpf::map::MapType::Xskmap);
    if is_socket && (writes || place.size != 4) {
        return Err(Problem::new(
            Rule::WrongType,
            "only the queue number of an AF_XDP socket can be read, as 4 bytes",
        ));
    }
    Ok(())
}

/// Memory of `size` bytes that a register points to, at `offset`.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) platform: &'a Platform<'a>,
    pub(super) state: &'a State,
    pub(super) reg: usize,
    pub(super) pointer: &'a Value,
    pub(super) offset: i64,
    pub(super) size: u64,
}

impl Place<'_> {
    pub(super) fn fixed(&self) -> i64 {
        i64::from(self.pointer.off) + self.offset
    }

    /// Largest offset past what is accessed.
    fn end(&self) -> i64 {
        let size = i64::try_from(self.size).unwrap_or(i64::MAX);
        let umax = i64::try_from(self.pointer.range.umax).unwrap_or(i64::MAX);
        umax.saturating_add(self.fixed()).saturating_add(size)
    }

    fn touches(&self) -> String {
        let low = self.pointer.range.smin.saturating_add(self.fixed());
        let high = self.end();
        let what = if self.size == 1 { "byte" } else { "bytes" };
        if self.pointer.range.as_constant().is_some() {
            format!("{} {what} at offset {low}", self.size)
        } else {
            format!("{} {what} somewhere in offsets {low} to {high}", self.size)
        }
    }

    /// Atomics are aligned wherever they are.
    fn aligned(&self) -> Result<(), Problem> {
        let offset = self
            .pointer
            .range
            .bits
            .add(Tnum::constant(self.fixed() as u64));
        if u64::from(offset.alignment()) >= self.size {
            return Ok(());
        }
        Err(self
            .outside(
                Rule::Misaligned,
                format!("misaligned value access: {}", self.touches()),
            )
            .help("an atomic access is aligned to its size"))
    }

    /// No iterator or dynptr lies in the memory of a stack.
    fn no_object(&self, frame: u8) -> Result<(), Problem> {
        let stack = &self.state.frame(usize::from(frame)).stack;
        let low = self.pointer.min_offset().saturating_add(self.offset);
        let size = i64::try_from(self.size).unwrap_or(i64::MAX);
        let high = self.pointer.max_offset().saturating_add(self.offset);
        let bytes = low.max(i64::from(-FRAME_BYTES))..high.saturating_add(size).min(0);
        if bytes
            .clone()
            .any(|at| stack.byte(at as i32) == Byte::Object)
        {
            return Err(Problem::new(
                Rule::StackObject,
                format!("invalid access to stack R{}: {}", self.reg, self.touches()),
            )
            .why("an iterator or dynptr lies there; only its own functions may touch it"));
        }
        Ok(())
    }

    fn read_only(&self) -> Problem {
        let kind = self.pointer.kind.name();
        Problem::new(
            Rule::ReadOnly,
            format!("R{} cannot write into {kind}", self.reg),
        )
        .about(format!("r{}", self.reg))
        .why(self.known())
    }

    fn known(&self) -> String {
        register(self.platform, self.state, self.reg)
    }

    pub(super) fn unusable(&self) -> Problem {
        let r = self.reg;
        let kind = self.pointer.kind;
        if kind.or_null() {
            return Problem::new(
                Rule::NullPointer,
                format!("R{r} invalid mem access '{}': it may be null", kind.name()),
            )
            .about(format!("r{r}"))
            .why(self.known())
            .help(format!("compare r{r} with 0 and leave if it is"));
        }
        Problem::new(
            Rule::WrongType,
            format!("R{r} invalid mem access '{}'", kind.name()),
        )
        .about(format!("r{r}"))
        .why(self.known())
        .help(if kind == Kind::Scalar {
            "the address must come from the context, a map, or the stack; after \
             bpf_xdp_adjust_* or bpf_tail_call load packet pointers again"
        } else {
            ""
        })
    }

    /// Bounds of a region of `length` bytes.
    fn region(&self, rule: Rule, what: &str, length: u64) -> Result<(), Problem> {
        let r = &self.pointer.range;
        let reg = self.reg;
        let low = r.smin.saturating_add(self.fixed());
        if r.smin < 0 && (r.smin == i64::MIN || i32::try_from(low).is_err() || low < 0) || low < 0 {
            return Err(self
                .outside(
                    rule,
                    format!(
                        "R{reg} min value is negative: {} {what}, before its start",
                        self.touches()
                    ),
                )
                .help("use an unsigned index, or leave if it is below 0"));
        }
        if r.umax >= MAX_OFFSET as u64 {
            return Err(self
                .outside(
                    rule,
                    format!(
                        "R{reg} unbounded memory access {what}, {} is unbounded",
                        self.known()
                    ),
                )
                .help("compare the index with the size, or mask it, before the access"));
        }
        if self.end() as u64 > length {
            return Err(self
                .outside(
                    rule,
                    format!(
                        "invalid access {what}: {} of {length} bytes through r{reg}",
                        self.touches()
                    ),
                )
                .help("make the largest index fit"));
        }
        Ok(())
    }

    pub(super) fn outside(&self, rule: Rule, message: String) -> Problem {
        Problem::new(rule, message)
            .about(format!("r{}", self.reg))
            .why(self.known())
    }

    pub(super) fn map_rights(&self, map: MapRef, reads: bool, writes: bool) -> Result<(), Problem> {
        let name = self.platform.map_name(map);
        if writes && !self.platform.can_write(map) {
            return Err(Problem::new(
                Rule::ReadOnly,
                format!("write into map forbidden: `{name}` is read-only for programs"),
            )
            .about(name));
        }
        if reads && !self.platform.can_read(map) {
            return Err(Problem::new(
                Rule::ReadOnly,
                format!("read from map forbidden: `{name}` is write-only for programs"),
            )
            .about(name));
        }
        Ok(())
    }

    /// The memory is given to a helper or a function that reads or writes it.
    pub(super) fn given(&self, reads: bool, writes: bool) -> Result<(), Problem> {
        let kind = self.pointer.kind;
        match kind {
            Kind::Stack { frame } => {
                self.stack()?;
                self.no_object(frame)
            }
            Kind::Packet | Kind::PacketMeta => self.packet(),
            Kind::MapValue {
                map,
                or_null: false,
            } => {
                self.map_rights(map, reads, writes)?;
                self.map_value(map)?;
                self.special_fields(map, None)
            }
            Kind::Memory {
                size,
                or_null: false,
                block,
            } => {
                if writes && !block.is_writable() {
                    return Err(self.read_only());
                }
                self.memory(size)
            }
            Kind::MapKey { .. } if writes => Err(self.read_only()),
            Kind::MapKey { map } => self.memory(self.platform.map(map).map_or(0, |m| m.key_size)),
            _ if kind.or_null() => Err(self.unusable()),
            _ => Err(Problem::new(
                Rule::HelperArg,
                format!(
                    "R{} type={} expected=fp, pkt, pkt_meta, map_value, mem",
                    self.reg,
                    kind.name()
                ),
            )),
        }
    }

    /// Fields with functions of their own are not touched; a field that holds a pointer is in its
    /// own way. `direct` is what an instruction does, and its width; `None` for what a helper
    /// touches.
    fn special_fields(&self, map: MapRef, direct: Option<(Touch, u8)>) -> Result<(), Problem> {
        let low = self.pointer.range.smin.saturating_add(self.fixed());
        let high = self.end();
        for field in self.platform.declared.fields(map) {
            let start = i64::from(field.offset);
            if low >= start + i64::from(field.size) || high <= start {
                continue;
            }
            let name = field.kind.name();
            let what = match direct {
                Some((touch, size)) if field.kind == SpecialKind::KernelPointer => {
                    pointer::direct(self, field, touch, size)?;
                    continue;
                }
                Some(_) => "directly by load/store",
                None => "indirectly by helper",
            };
            return Err(self.outside(Rule::Lock, format!("{name} cannot be accessed {what}")));
        }
        Ok(())
    }

    pub(super) fn map_value(&self, map: MapRef) -> Result<(), Problem> {
        let what = format!("to a value of map `{}`", self.platform.map_name(map));
        let length = u64::from(self.platform.value_size(map));
        self.region(Rule::MapValueBounds, &what, length)
    }

    pub(super) fn memory(&self, length: u32) -> Result<(), Problem> {
        self.region(Rule::MemoryBounds, "to a memory block", u64::from(length))
    }

    pub(super) fn packet(&self) -> Result<(), Problem> {
        let reg = self.reg;
        let r = &self.pointer.range;
        let meta = self.pointer.kind == Kind::PacketMeta;
        let end = if meta { "data" } else { "data_end" };
        if r.smin < 0 {
            return Err(self
                .outside(
                    Rule::PacketBounds,
                    format!("R{reg} min value is negative: the access may lie before the packet"),
                )
                .help("use an unsigned index, or leave if it is below 0"));
        }
        let reached = match self.pointer.extent {
            Extent::Bytes(n) => i64::from(n),
            Extent::None | Extent::AtEnd | Extent::PastEnd => 0,
        };
        let low = self.fixed();
        let needed = low.saturating_add(i64::try_from(self.size).unwrap_or(i64::MAX));
        if low >= 0 && needed <= reached && self.pointer.extent != Extent::None {
            return Ok(());
        }
        if self.size == 0 && low >= 0 && low <= reached {
            return Ok(());
        }
        let place = if r.as_constant().is_some() {
            "the packet's start".to_owned()
        } else {
            format!("the pointer's variable base (0 to {})", r.umax)
        };
        let negative = low < 0;
        Err(self
            .outside(
                Rule::PacketBounds,
                format!(
                    "invalid access to packet: {} bytes at {low} from {place}, of which {reached} \
                     are proved to exist",
                    self.size
                ),
            )
            .help(if negative {
                "the offset is before the start; add to the pointer, or use the context's field"
                    .to_owned()
            } else {
                format!(
                    "compare r{reg} + {} with {end} before the access, and leave if it is greater",
                    needed - i64::from(self.pointer.off)
                )
            }))
    }

    /// Bounds of the frame; `what` tells who accesses it.
    pub(super) fn stack(&self) -> Result<(), Problem> {
        let reg = self.reg;
        let r = &self.pointer.range;
        if r.as_constant().is_none() && (r.smin <= -MAX_OFFSET || r.smax >= MAX_OFFSET) {
            return Err(self.outside(
                Rule::StackBounds,
                format!("invalid unbounded variable-offset access to stack R{reg}"),
            ));
        }
        let low = r.smin.saturating_add(self.fixed());
        let size = i64::try_from(self.size).unwrap_or(i64::MAX);
        let high = r.smax.saturating_add(self.fixed()).saturating_add(size);
        if low >= i64::from(-FRAME_BYTES) && high <= 0 && low < 0 {
            return Ok(());
        }
        Err(self
            .outside(
                Rule::StackBounds,
                format!(
                    "invalid access to stack R{reg}: {} of the frame pointer",
                    self.touches()
                ),
            )
            .help("a frame reaches from -512 to -1"))
    }

    fn stack_access(&self, touch: Touch, size: u8, writes: bool) -> Result<(), Problem> {
        let width = i64::from(size);
        let aligned = self.fixed().rem_euclid(width) == 0
            && (self.pointer.range.bits.max()).is_multiple_of(width as u64);
        if !aligned {
            return Err(self
                .outside(
                    Rule::Misaligned,
                    format!("misaligned stack access: {}", self.touches()),
                )
                .help("an access to the stack is aligned to its size"));
        }
        self.stack()?;
        let Kind::Stack { frame } = self.pointer.kind else {
            return Ok(());
        };
        let low = (self.pointer.range.smin + self.fixed()) as i32;
        let high = (self.pointer.range.smax + self.fixed() + width) as i32;
        if writes {
            object::overwrites(self.state, frame, low, high)?;
        }
        let exact = self.pointer.range.as_constant().is_some();
        let at = (self.pointer.min_offset() + self.offset) as i32;
        let stack = &self.state.frame(usize::from(frame)).stack;
        let reads = !matches!(touch, Touch::Store(_) | Touch::Release(_));
        if reads && (low..high).any(|at| stack.byte(at) == Byte::Object) {
            return Err(Problem::new(
                Rule::StackObject,
                format!("invalid read from stack: {}", self.touches()),
            )
            .why("an iterator or dynptr lies there; only its own functions may read it"));
        }
        if reads && exact && stack.splits_pointer(at, size) {
            return Err(Problem::new(
                Rule::StackSpill,
                format!("invalid size of register fill: {}", self.touches()),
            )
            .why("a pointer was stored there; it is loaded as a whole, 8 bytes"));
        }
        if !writes {
            return Ok(());
        }
        let stored = match touch {
            Touch::Store(Operand::Reg(reg)) | Touch::Release(reg) => {
                Some(&self.state.top.regs[reg.index()])
            }
            _ => None,
        };
        if let Some(value) = stored.filter(|v| v.kind.is_pointer() && exact) {
            if size != 8 {
                return Err(
                    Problem::new(Rule::StackSpill, "invalid size of register spill").why(format!(
                        "{} is stored in part",
                        describe(self.platform, value)
                    )),
                );
            }
            if matches!(value.kind, Kind::Stack { .. }) && usize::from(frame) != self.state.depth()
            {
                return Err(Problem::new(
                    Rule::StackSpill,
                    "cannot spill pointers to stack into stack frame of the caller",
                ));
            }
        }
        Ok(())
    }
}
