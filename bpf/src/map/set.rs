//! The maps of a running program set.

use std::sync::Arc;

use super::{Errno, Map, MapDef, MapError, MapId, MapType, Placement, SlotValue};

/// `BPF_F_INNER_MAP`: inner arrays may differ in their number of elements.
const INNER_MAP: u32 = 1 << 12;

/// The maps of a running program set, by id.
#[derive(Clone, Debug, Default)]
pub struct MapSet {
    maps: Vec<Arc<Map>>,
    /// The ring buffers among them.
    rings: Vec<MapId>,
}

/// Why the maps of a program set cannot be made or filled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// A map cannot be created.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A map-in-map whose inner maps nothing describes.
    #[error("map {name}: the object does not say what its inner maps are")]
    NoInner {
        /// Map name.
        name: String,
    },
    /// A slot names what does not exist.
    #[error("map {name}, slot {index}: there is no {what} `{target}`")]
    NoTarget {
        /// Map name.
        name: String,
        /// Index of the slot.
        index: u32,
        /// `map` or `program`.
        what: &'static str,
        /// What the slot names.
        target: String,
    },
    /// A slot of a map that takes something else, or an inner map of another shape.
    #[error("map {name}, slot {index}: `{target}` does not fit there ({errno})")]
    Slot {
        /// Map name.
        name: String,
        /// Index of the slot.
        index: u32,
        /// What the slot names.
        target: String,
        /// What Linux answers.
        errno: Errno,
    },
}

impl MapSet {
    /// A set without maps.
    pub fn new() -> MapSet {
        MapSet::default()
    }

    /// All maps of a program set, for `cpus` CPUs (queues): a map's id is its index in `defs`.
    /// Slots of maps-in-maps are filled as the object says; slots of programs are left to
    /// [`MapSet::fill_programs`].
    ///
    /// # Errors
    /// [`SetError`].
    pub fn for_program_set(
        defs: &[MapDef],
        cpus: u32,
        placement: Placement,
    ) -> Result<MapSet, SetError> {
        let mut set = MapSet::new();
        for def in defs {
            if matches!(def.kind, MapType::ArrayOfMaps | MapType::HashOfMaps) && def.inner.is_none()
            {
                return Err(SetError::NoInner {
                    name: def.name.clone(),
                });
            }
            set.push(Map::placed(def, cpus, placement)?);
        }
        for (id, def) in defs.iter().enumerate() {
            for slot in &def.slots {
                let SlotValue::Map(target) = &slot.value else {
                    continue;
                };
                let inner = set.by_name(target).ok_or_else(|| SetError::NoTarget {
                    name: def.name.clone(),
                    index: slot.index,
                    what: "map",
                    target: target.clone(),
                })?;
                set.put_inner(id, &slot.index.to_le_bytes(), inner, 0)
                    .map_err(|errno| SetError::Slot {
                        name: def.name.clone(),
                        index: slot.index,
                        target: target.clone(),
                        errno,
                    })?;
            }
        }
        Ok(set)
    }

    /// Fills the program slots that the object names; `resolve` gives the number by which a
    /// program is known to whoever runs tail calls, `None` for one that is not loaded since
    /// nothing reaches it: its slot stays empty.
    ///
    /// # Errors
    /// [`SetError::Slot`] for a slot outside its map.
    pub fn fill_programs(
        &self,
        mut resolve: impl FnMut(&str) -> Option<u32>,
    ) -> Result<(), SetError> {
        for map in &self.maps {
            let def = map.def();
            for slot in &def.slots {
                let SlotValue::Program(target) = &slot.value else {
                    continue;
                };
                let Some(number) = resolve(target) else {
                    continue;
                };
                map.host_update(&slot.index.to_le_bytes(), &number.to_le_bytes(), 0)
                    .map_err(|errno| SetError::Slot {
                        name: def.name.clone(),
                        index: slot.index,
                        target: target.clone(),
                        errno,
                    })?;
            }
        }
        Ok(())
    }

    /// Adds a map; its id is the number of maps there were.
    pub fn push(&mut self, map: Map) -> MapId {
        let id = self.maps.len();
        if map.kind() == MapType::Ringbuf {
            self.rings.push(id);
        }
        self.maps.push(Arc::new(map));
        id
    }

    /// Puts map `inner` under `key` of the map-in-map `outer`, as bpf(2) does.
    ///
    /// # Errors
    /// EINVAL if either does not exist or `inner` has another shape than the map-in-map was made
    /// for; else as [`Map::host_update`].
    pub fn put_inner(
        &self,
        outer: MapId,
        key: &[u8],
        inner: MapId,
        flags: u64,
    ) -> Result<(), Errno> {
        let outer = self.get(outer).ok_or(Errno::Einval)?;
        let map = self.get(inner).ok_or(Errno::Einval)?;
        let shaped = outer
            .def()
            .inner
            .as_deref()
            .is_some_and(|shape| fits(shape, map.def()));
        if !matches!(outer.kind(), MapType::ArrayOfMaps | MapType::HashOfMaps) || !shaped {
            return Err(Errno::Einval);
        }
        outer.host_update(key, &(inner as u32).to_le_bytes(), flags)
    }

    /// The map with this id.
    #[inline]
    pub fn get(&self, id: MapId) -> Option<&Arc<Map>> {
        self.maps.get(id)
    }

    /// The id of the map with this name; the first if several have it.
    pub fn by_name(&self, name: &str) -> Option<MapId> {
        self.maps.iter().position(|map| map.def().name == name)
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

    /// Whether there are ring buffers, so that [`MapSet::drain_rings`] has something to do.
    pub fn has_rings(&self) -> bool {
        !self.rings.is_empty()
    }

    /// The host reads what `cpu` submitted to all ring buffers. Every engine calls this after
    /// each packet and makes an event of kind
    /// [`Ringbuf`](crate::run::EventKind::Ringbuf) of each record.
    pub fn drain_rings(&self, cpu: u32, mut each: impl FnMut(MapId, &[u8])) {
        for &id in &self.rings {
            if let Some(map) = self.maps.get(id) {
                map.drain(cpu, |bytes| each(id, bytes));
            }
        }
    }

    /// Begins a chunk of packets that queues work on side by side, for watched maps.
    pub fn begin_chunk(&self) {
        for map in &self.maps {
            map.begin_chunk();
        }
    }

    /// Whether some map is watched and does not rest: lookups then mark what they find.
    pub fn is_marking(&self) -> bool {
        self.maps.iter().any(|map| map.marking().is_some())
    }

    /// Watched maps mark nothing until the next chunk begins: for chunks that go in arrival order.
    pub fn pause_watch(&self) {
        for map in &self.maps {
            map.pause_watch();
        }
    }

    /// The maps on which what queues did since the chunk began may depend on the order between
    /// them: if there are any, the chunk must be redone in arrival order.
    pub fn conflicts(&self) -> Vec<MapId> {
        (0..self.maps.len())
            .filter(|id| self.maps[*id].conflicts())
            .collect()
    }

    /// Brings the uses of LRU maps since packet `first` into the order of their packets, at the
    /// end of a chunk that began with it and had no conflict.
    pub fn settle(&self, first: u64) {
        for map in &self.maps {
            map.settle(first);
        }
    }

    /// Makes the contents those of `other`, a copy of the same maps; gives whether it was one.
    /// Nothing else may use either meanwhile.
    pub fn copy_from(&self, other: &MapSet) -> bool {
        self.maps.len() == other.maps.len()
            && self
                .maps
                .iter()
                .zip(&other.maps)
                .all(|(to, from)| to.copy_from(from))
    }

    /// A copy of its own as of now, in private memory. Nothing else may use it meanwhile.
    ///
    /// # Errors
    /// [`MapError::OutOfMemory`].
    pub fn snapshot(&self) -> Result<MapSet, MapError> {
        let mut copy = MapSet::new();
        for map in &self.maps {
            copy.push(map.snapshot()?);
        }
        Ok(copy)
    }
}

/// Whether a map can stand where maps of `shape` are expected. Linux compares type, key, value
/// and flags, and for arrays the number of elements, since programs have the bound built in.
fn fits(shape: &MapDef, map: &MapDef) -> bool {
    let bound = matches!(shape.kind, MapType::Array) && shape.flags & INNER_MAP == 0;
    shape.kind == map.kind
        && shape.key_size == map.key_size
        && shape.value_size == map.value_size
        && shape.flags == map.flags
        && (!bound || shape.max_entries == map.max_entries)
}
