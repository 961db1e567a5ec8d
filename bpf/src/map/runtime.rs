//! A map at run time.

use std::sync::Arc;

use super::{MapDef, MapType, Memory};

/// Index of a map in a [`MapSet`]: the object's maps by their index in the program's map list,
/// then maps that only map-in-map slots name.
pub type MapId = usize;

/// The negative error numbers of Linux that maps and helpers give to programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the names of errno(3)")]
pub enum Errno {
    #[error("ENOENT")]
    Enoent,
    #[error("E2BIG")]
    E2big,
    #[error("ENOMEM")]
    Enomem,
    #[error("EBUSY")]
    Ebusy,
    #[error("EEXIST")]
    Eexist,
    #[error("EINVAL")]
    Einval,
    #[error("ENOSPC")]
    Enospc,
    #[error("EPERM")]
    Eperm,
    #[error("EFAULT")]
    Efault,
    #[error("EAGAIN")]
    Eagain,
    #[error("EOPNOTSUPP")]
    Eopnotsupp,
}

impl Errno {
    /// The number in asm-generic/errno.h, positive.
    pub const fn number(self) -> i64 {
        match self {
            Errno::Eperm => 1,
            Errno::Enoent => 2,
            Errno::E2big => 7,
            Errno::Eagain => 11,
            Errno::Enomem => 12,
            Errno::Efault => 14,
            Errno::Ebusy => 16,
            Errno::Eexist => 17,
            Errno::Einval => 22,
            Errno::Enospc => 28,
            Errno::Eopnotsupp => 95,
        }
    }

    /// What a program finds in r0.
    pub const fn to_r0(self) -> u64 {
        (-self.number()) as u64
    }
}

/// Why a map cannot be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The type is not modelled.
    #[error("map {name}: type {kind} is not modelled")]
    Type {
        /// Map name.
        name: String,
        /// Its type.
        kind: MapType,
    },
    /// A size outside what the kernel takes.
    #[error("map {name}: {what} is {value}, allowed is {allowed}")]
    Size {
        /// Map name.
        name: String,
        /// Which size.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What the kernel takes.
        allowed: &'static str,
    },
    /// More memory than the limit for one map.
    #[error("map {name} needs {bytes} bytes, more than the limit of {limit}")]
    Memory {
        /// Map name.
        name: String,
        /// Bytes it needs.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

/// Where a value lies: a byte offset in the memory of its map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueAt(pub usize);

/// One map at run time; shared by all queues.
#[derive(Debug)]
pub struct Map {
    def: MapDef,
    memory: Memory,
}

impl Map {
    /// A new map for `cpus` CPUs (queues).
    ///
    /// # Errors
    /// [`MapError`] if the type is not modelled or a size is outside what the kernel takes.
    pub fn new(def: &MapDef, cpus: u32) -> Result<Map, MapError> {
        let _ = cpus;
        if def.kind != MapType::Array {
            return Err(MapError::Type {
                name: def.name.clone(),
                kind: def.kind,
            });
        }
        let stride = def.value_size.next_multiple_of(8) as usize;
        Ok(Map {
            memory: Memory::new(stride * def.max_entries as usize),
            def: def.clone(),
        })
    }

    /// What the object declares of it.
    pub fn def(&self) -> &MapDef {
        &self.def
    }

    /// The bytes its state lies in.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Program side: where the value of `key` lies for `cpu`, if it is present.
    pub fn lookup(&self, key: &[u8], cpu: u32) -> Option<ValueAt> {
        let _ = cpu;
        let index = u32::from_le_bytes(key.try_into().ok()?);
        (index < self.def.max_entries)
            .then(|| ValueAt(self.def.value_size.next_multiple_of(8) as usize * index as usize))
    }
}

/// The maps of a running program set.
#[derive(Clone, Debug, Default)]
pub struct MapSet {
    maps: Vec<Arc<Map>>,
}

impl MapSet {
    /// A set without maps.
    pub fn new() -> MapSet {
        MapSet::default()
    }

    /// Adds a map; its id is the number of maps there were.
    pub fn push(&mut self, map: Map) -> MapId {
        self.maps.push(Arc::new(map));
        self.maps.len() - 1
    }

    /// The map with this id.
    pub fn get(&self, id: MapId) -> Option<&Arc<Map>> {
        self.maps.get(id)
    }

    /// All maps in order of id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Map>> {
        self.maps.iter()
    }

    /// How many maps there are.
    pub fn len(&self) -> usize {
        self.maps.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }
}
