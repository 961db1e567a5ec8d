//! What surrounds a program: its hook's context, its maps and the helpers, as rules of the
//! verifier.
//!
//! Facts about a helper's arguments come from `bpf::helper`; what only a verifier needs of them
//! (which maps a helper works on, which helpers read the packet) is here.

use bpf::context::{self, FieldKind, SocketKind};
use bpf::helper::Prototype;
use bpf::map::{DataSection, MapDef, MapType};
use bpf::{Hook, Program};

use isa::ebpf::CallTarget;

use crate::declared::Declared;
use crate::domain::{Block, Kind, MapRef, Range, Value};

/// `bpf_map_lookup_elem`.
pub(crate) const MAP_LOOKUP: u32 = 1;
/// `bpf_map_update_elem`.
pub(crate) const MAP_UPDATE: u32 = 2;
/// `bpf_map_delete_elem`.
pub(crate) const MAP_DELETE: u32 = 3;
/// `bpf_tail_call`.
pub(crate) const TAIL_CALL: u32 = 12;

/// `bpf_snprintf`.
pub(crate) const SNPRINTF: u32 = 165;

/// `bpf_get_smp_processor_id`.
pub(crate) const GET_SMP_PROCESSOR_ID: u32 = 8;
/// Most CPUs (queues) that a program may run on. The kernel bounds the number by the CPUs of the
/// machine that it runs on; this is what distributions build it for.
pub(crate) const MAX_CPUS: u64 = 8192;

/// `bpf_spin_lock`.
pub(crate) const SPIN_LOCK: u32 = 93;
/// `bpf_spin_unlock`.
pub(crate) const SPIN_UNLOCK: u32 = 94;
/// `bpf_for_each_map_elem`.
pub(crate) const FOR_EACH: u32 = 164;
/// `bpf_timer_set_callback`.
pub(crate) const TIMER_SET_CALLBACK: u32 = 170;
/// `bpf_loop`.
pub(crate) const LOOP: u32 = 181;
/// `bpf_ringbuf_reserve_dynptr`.
pub(crate) const RINGBUF_RESERVE_DYNPTR: u32 = 198;
/// `bpf_dynptr_write`.
pub(crate) const DYNPTR_WRITE: u32 = 202;
/// `bpf_user_ringbuf_drain`.
pub(crate) const DRAIN: u32 = 209;

const REDIRECT_MAP: u32 = 51;
const MAP_PUSH: u32 = 87;
const MAP_POP: u32 = 88;
const MAP_PEEK: u32 = 89;
const LOOKUP_PERCPU: u32 = 195;

/// Helpers on a perf_event_array.
const PERF: [u32; 5] = [22, 25, 55, 111, 121];
/// Helpers on a ring buffer map.
const RINGBUF: [u32; 4] = [130, 131, 134, RINGBUF_RESERVE_DYNPTR];
/// Helpers on a cgroup_array.
const CGROUP: [u32; 2] = [33, 37];
/// Helpers on storage that is bound to sockets, to tasks, to cgroups.
const SK_STORAGE: [u32; 2] = [107, 108];
const TASK_STORAGE: [u32; 2] = [156, 157];
const CGRP_STORAGE: [u32; 2] = [210, 211];

/// `BPF_F_RDONLY_PROG`.
const READ_ONLY: u32 = 1 << 7;
/// `BPF_F_WRONLY_PROG`.
const WRITE_ONLY: u32 = 1 << 8;

/// A program and what surrounds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Platform<'a> {
    pub(crate) program: &'a Program,
    pub(crate) declared: &'a Declared<'a>,
    pub(crate) device_bound: bool,
}

impl<'a> Platform<'a> {
    /// The helper with this id, whether this hook may call it or not.
    pub(crate) fn helper(&self, id: u32) -> Option<&'static Prototype> {
        bpf::helper::prototype_on(&self.program.hook, id)
    }

    /// What a call calls, whether this hook may call it or not; `None` for functions of the
    /// program, and what is not known.
    pub(crate) fn called(&self, target: CallTarget) -> Option<&'static Prototype> {
        match target {
            CallTarget::Helper(id) => self.helper(id),
            CallTarget::Kfunc { id, module: 0 } => bpf::kfunc::prototype(id),
            CallTarget::Kfunc { .. } | CallTarget::Local { .. } | CallTarget::Reg(_) => None,
        }
    }

    /// The definition of a map; `None` if the program has no such map.
    pub(crate) fn map(&self, map: MapRef) -> Option<&'a MapDef> {
        let outer = self.program.maps.get(usize::from(map.index))?;
        if map.inner {
            outer.inner.as_deref()
        } else {
            Some(outer)
        }
    }

    /// The map's name, for messages.
    pub(crate) fn map_name(&self, map: MapRef) -> &'a str {
        self.map(map).map_or("?", |m| m.name.as_str())
    }

    /// Bytes of a value that a lookup in the map points to.
    pub(crate) fn value_size(&self, map: MapRef) -> u32 {
        match self.map(map) {
            // The pointer is to the socket's queue number.
            Some(def) if def.kind == MapType::Xskmap => 4,
            Some(def) => def.value_size,
            None => 0,
        }
    }

    /// Whether the program may read values of the map.
    pub(crate) fn can_read(&self, map: MapRef) -> bool {
        self.map(map).is_some_and(|m| m.flags & WRITE_ONLY == 0)
    }

    /// Whether the program may write values of the map.
    pub(crate) fn can_write(&self, map: MapRef) -> bool {
        self.map(map).is_some_and(|m| {
            m.flags & READ_ONLY == 0
                && m.data != Some(DataSection::Rodata)
                && !matches!(
                    m.kind,
                    MapType::Devmap | MapType::DevmapHash | MapType::Xskmap
                )
        })
    }

    /// The contents of a map that nobody can change any more.
    pub(crate) fn frozen(&self, map: MapRef) -> Option<&'a [u8]> {
        let def = self.map(map)?;
        if def.data == Some(DataSection::Rodata) && !map.inner {
            def.initial.as_deref()
        } else {
            None
        }
    }

    /// A number in a frozen map's value.
    pub(crate) fn frozen_number(&self, map: MapRef, offset: i64, size: u8) -> Option<u64> {
        let bytes = self.frozen(map)?;
        let start = usize::try_from(offset).ok()?;
        let part = bytes.get(start..start.checked_add(usize::from(size))?)?;
        Some(
            part.iter()
                .rev()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    }

    /// The value of r1 and r2 at entry.
    pub(crate) fn arguments(&self) -> [Value; 2] {
        match self.program.hook {
            Hook::Raw { memory_bytes } => [
                Value::pointer(Kind::Memory {
                    size: memory_bytes,
                    or_null: false,
                    block: Block::Plain,
                }),
                Value::constant(u64::from(memory_bytes)),
            ],
            Hook::Xdp { .. } | Hook::Tc { .. } => [Value::pointer(Kind::Ctx), Value::UNKNOWN],
        }
    }

    /// The kernel's own structure of a map, whose members programs may read.
    pub(crate) fn map_structure(&self, map: MapRef) -> Option<u32> {
        let name = crate::kernel::map_structure(self.map(map)?.kind);
        self.declared.kernel.named(name)
    }

    /// The kernel's own structure of the context.
    pub(crate) fn context_structure(&self) -> &'static str {
        match self.program.hook {
            Hook::Tc { .. } => "sk_buff",
            Hook::Xdp { .. } | Hook::Raw { .. } => "xdp_buff",
        }
    }

    /// What a load from the context gives, or `None` if it is not allowed.
    pub(crate) fn context_load(&self, offset: i64, size: u8, signed: bool) -> Option<Value> {
        let field = context::load(&self.program.hook, offset, size)?;
        match field.kind {
            FieldKind::Scalar => Some(Value::scalar(
                Range::UNKNOWN.zero_extend(8 * u32::from(size)),
            )),
            _ if signed => None,
            FieldKind::Data => Some(Value::pointer(Kind::Packet)),
            FieldKind::DataEnd => Some(Value::pointer(Kind::PacketEnd)),
            FieldKind::DataMeta => Some(Value::pointer(Kind::PacketMeta)),
            FieldKind::Socket => Some(Value::pointer(Kind::Socket {
                kind: SocketKind::Common,
                or_null: true,
            })),
        }
    }

    /// Whether a store to the context is allowed.
    pub(crate) fn context_store(&self, offset: i64, size: u8) -> bool {
        context::store(&self.program.hook, offset, size, self.device_bound).is_some()
    }
}

/// Whether a helper works on maps of this type.
pub(crate) fn map_suits(helper: u32, kind: MapType) -> bool {
    use MapType as M;
    let by_map = match kind {
        M::ProgArray => helper == TAIL_CALL,
        M::PerfEventArray => PERF.contains(&helper),
        M::Ringbuf => RINGBUF.contains(&helper),
        M::Devmap | M::DevmapHash | M::Xskmap => helper == REDIRECT_MAP || helper == MAP_LOOKUP,
        M::Cpumap => helper == REDIRECT_MAP,
        M::ArrayOfMaps | M::HashOfMaps => helper == MAP_LOOKUP,
        M::UserRingbuf => helper == DRAIN,
        M::Queue | M::Stack => matches!(helper, MAP_PUSH | MAP_POP | MAP_PEEK),
        M::BloomFilter => matches!(helper, MAP_PUSH | MAP_PEEK),
        M::Sockmap | M::Sockhash => matches!(helper, MAP_LOOKUP | MAP_UPDATE | MAP_DELETE),
        M::CgroupArray => CGROUP.contains(&helper),
        M::SkStorage => SK_STORAGE.contains(&helper),
        M::TaskStorage => TASK_STORAGE.contains(&helper),
        M::CgrpStorage => CGRP_STORAGE.contains(&helper),
        M::Hash
        | M::Array
        | M::PercpuHash
        | M::PercpuArray
        | M::LruHash
        | M::LruPercpuHash
        | M::LpmTrie => true,
        _ => false,
    };
    let by_helper = match helper {
        TAIL_CALL => kind == M::ProgArray,
        REDIRECT_MAP => matches!(kind, M::Devmap | M::DevmapHash | M::Cpumap | M::Xskmap),
        MAP_POP => matches!(kind, M::Queue | M::Stack),
        MAP_PUSH | MAP_PEEK => matches!(kind, M::Queue | M::Stack | M::BloomFilter),
        LOOKUP_PERCPU => kind.is_percpu(),
        DRAIN => kind == M::UserRingbuf,
        FOR_EACH => matches!(
            kind,
            M::Array | M::Hash | M::LruHash | M::PercpuArray | M::PercpuHash | M::LruPercpuHash
        ),
        _ if PERF.contains(&helper) => kind == M::PerfEventArray,
        _ if RINGBUF.contains(&helper) => kind == M::Ringbuf,
        _ if CGROUP.contains(&helper) => kind == M::CgroupArray,
        _ if SK_STORAGE.contains(&helper) => kind == M::SkStorage,
        _ if TASK_STORAGE.contains(&helper) => kind == M::TaskStorage,
        _ if CGRP_STORAGE.contains(&helper) => kind == M::CgrpStorage,
        _ => true,
    };
    by_map && by_helper
}

/// The argument (from 1) that is a function which the helper calls.
pub(crate) fn callback_argument(called: u32) -> Option<usize> {
    match called {
        FOR_EACH | LOOP | TIMER_SET_CALLBACK | DRAIN => Some(2),
        bpf::kfunc::RBTREE_ADD => Some(3),
        _ => None,
    }
}

/// Whether a call calls a function of the program back before it returns.
pub(crate) fn calls_back(called: u32) -> bool {
    called != TIMER_SET_CALLBACK && callback_argument(called).is_some()
}

/// Whether it may be called while a spin lock is held.
pub(crate) fn allowed_under_lock(called: u32) -> bool {
    use bpf::kfunc;
    matches!(
        called,
        SPIN_UNLOCK
            | kfunc::ITER_NUM_NEW
            | kfunc::ITER_NUM_NEXT
            | kfunc::ITER_NUM_DESTROY
            | kfunc::REFCOUNT_ACQUIRE
            | kfunc::LIST_PUSH_FRONT..=kfunc::RBTREE_RIGHT
    )
}

/// Whether a helper reads fields of the socket that it is given, as programs see them; others
/// take one that is seen as one of the kernel's too.
pub(crate) fn reads_socket(prototype: &Prototype) -> bool {
    use bpf::helper::Return;
    matches!(
        prototype.ret,
        Return::SocketOrNull(_) | Return::SameSocketOrNull(_)
    )
}

/// Whether a helper changes the map it is given.
pub(crate) fn writes_map(helper: u32) -> bool {
    matches!(helper, MAP_UPDATE | MAP_DELETE | MAP_PUSH | MAP_POP)
}

/// What a lookup in the map points to.
pub(crate) fn lookup_result(platform: &Platform<'_>, map: MapRef) -> Kind {
    match platform.map(map).map(|m| m.kind) {
        Some(MapType::ArrayOfMaps | MapType::HashOfMaps) => Kind::Map {
            map: MapRef {
                index: map.index,
                inner: true,
            },
            or_null: true,
        },
        Some(MapType::Sockmap | MapType::Sockhash) => Kind::Socket {
            kind: SocketKind::Full,
            or_null: true,
        },
        _ => Kind::MapValue { map, or_null: true },
    }
}

/// Whether the map's values are sockets: an update is given one.
pub(crate) fn holds_sockets(platform: &Platform<'_>, map: MapRef) -> bool {
    platform
        .map(map)
        .is_some_and(|m| matches!(m.kind, MapType::Sockmap | MapType::Sockhash))
}

/// Whether `bpf_map_peek_elem` reads the value it is given, rather than writing it.
pub(crate) fn is_asked(platform: &Platform<'_>, map: MapRef) -> bool {
    platform
        .map(map)
        .is_some_and(|m| m.kind == MapType::BloomFilter)
}

/// Whether a lookup with a key in range cannot fail.
pub(crate) fn always_found(platform: &Platform<'_>, map: MapRef, key: u64) -> bool {
    platform.map(map).is_some_and(|m| {
        matches!(m.kind, MapType::Array | MapType::PercpuArray) && key < u64::from(m.max_entries)
    })
}
