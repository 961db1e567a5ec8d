//! Maps in the kernel: created after a [`MapSet`], seeded from it, and read back into it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bpf::map::{DataSection, Map, MapDef, MapId, MapSet, MapType};

use super::KernelError;
use super::channel::Channel;
use super::given::Given;
use super::sys::{self, Attr, Command};

/// `BPF_F_ZERO_SEED`.
const F_ZERO_SEED: u32 = 1 << 6;
/// `BPF_F_RDONLY_PROG`.
const F_RDONLY_PROG: u32 = 1 << 7;

/// `BPF_F_RDONLY | BPF_F_WRONLY`: what user space may do with the descriptor that it gets, which is
/// the reference's own and must be written and read.
const USER_RIGHTS: u32 = 0x8 | 0x10;

/// Slots of a perf event array that are filled at most.
const MOST_CHANNELS: u32 = 1024;

/// One map in the kernel, shaped after a map of ours.
#[derive(Debug)]
struct KernelMap {
    fd: OwnedFd,
    /// Bytes of a value as bpf(2) takes it.
    value_bytes: usize,
}

/// All maps in the kernel, by the ids of the set.
#[derive(Debug)]
pub(super) struct KernelMaps {
    maps: Vec<KernelMap>,
    /// What packets give in place of the machine.
    pub(super) given: Given,
    pub(super) channels: Vec<Channel>,
    /// Sockets and events that slots hold, kept open.
    sockets: Vec<OwnedFd>,
}

/// CPUs for which the kernel keeps values in a per-CPU map: found by looking how far it fills the
/// memory it is given for such a value.
fn possible_cpus() -> io::Result<usize> {
    const MOST: usize = 8192;
    let def = MapDef {
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        ..MapDef::new("", MapType::PercpuArray)
    };
    let probe = KernelMap {
        value_bytes: 8 * MOST,
        fd: create_sized(&def, None)?,
    };
    let mut value = vec![0xff; probe.value_bytes];
    let mut attr = probe.attr(&[0; 4]).output(16, &mut value);
    sys::bpf(Command::MapLookup, &mut attr)?;
    Ok(value.iter().take_while(|byte| **byte == 0).count() / 8)
}

pub(super) fn create_sized(def: &MapDef, inner: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    sys::bpf(Command::MapCreate, &mut creation(def, inner)).map(sys::owned)
}

/// Creates one map to verify against: with the types of key and value where the kernel takes
/// them, and global data seeded and, if read-only, frozen.
pub(super) fn create_alone(def: &MapDef, types: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let inner = def.inner.as_deref();
    let inner = inner.map(|inner| create_alone(inner, types)).transpose()?;
    let plain = creation(def, inner.as_ref()).name(28, &def.name);
    let fd = match types {
        // As libbpf does: again without types where the kernel refuses them.
        Some(types) if def.value_type != 0 => {
            sys::bpf(Command::MapCreate, &mut typed(plain, def, types))
                .or_else(|_refused| sys::bpf(Command::MapCreate, &mut plain.clone()))?
        }
        _ => sys::bpf(Command::MapCreate, &mut plain.clone())?,
    };
    let fd = sys::owned(fd);
    if let Some(initial) = &def.initial {
        let mut attr = Attr::new().fd(0, &fd).input(8, &[0; 4]).input(16, initial);
        sys::bpf(Command::MapUpdate, &mut attr)?;
    }
    if def.data == Some(DataSection::Rodata) {
        sys::bpf(Command::MapFreeze, &mut Attr::new().fd(0, &fd))?;
    }
    Ok(fd)
}

/// With the types of key and value.
fn typed(attr: Attr, def: &MapDef, types: &OwnedFd) -> Attr {
    let key = if def.data.is_some() { 0 } else { def.key_type };
    attr.fd(48, types).u32(52, key).u32(56, def.value_type)
}

fn creation(def: &MapDef, inner: Option<&OwnedFd>) -> Attr {
    let mut flags = def.flags & !USER_RIGHTS;
    if def.data == Some(DataSection::Rodata) {
        flags |= F_RDONLY_PROG;
    }
    if def.kind == MapType::BloomFilter {
        // Else the kernel draws a seed, and each run has other false positives.
        flags |= F_ZERO_SEED;
    }
    let mut attr = Attr::new()
        .u32(0, def.kind.number())
        .u32(4, def.key_size)
        .u32(8, def.value_size)
        .u32(12, def.max_entries)
        .u32(16, flags)
        .u64(64, def.extra);
    if let Some(inner) = inner {
        attr = attr.fd(20, inner);
    }
    attr
}

fn create(def: &MapDef, inner: Option<&OwnedFd>, types: Option<&OwnedFd>) -> io::Result<KernelMap> {
    let mut value_bytes = def.value_size as usize;
    if def.kind.is_percpu() {
        value_bytes = value_bytes.next_multiple_of(8) * possible_cpus()?;
    }
    let mut attr = creation(def, inner);
    if let (Some(types), false) = (types, def.special.is_empty()) {
        // What of a value only its type tells.
        attr = typed(attr, def, types);
    }
    let fd = sys::owned(sys::bpf(Command::MapCreate, &mut attr)?);
    Ok(KernelMap { fd, value_bytes })
}

impl KernelMap {
    fn attr(&self, key: &[u8]) -> Attr {
        let attr = Attr::new().fd(0, &self.fd);
        if key.is_empty() {
            attr
        } else {
            attr.input(8, key)
        }
    }

    fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        sys::bpf(Command::MapUpdate, &mut self.attr(key).input(16, value)).map(drop)
    }

    fn lookup(&self, command: Command, key: &[u8]) -> io::Result<Vec<u8>> {
        let mut value = vec![0; self.value_bytes.max(8)];
        sys::bpf(command, &mut self.attr(key).output(16, &mut value))?;
        value.truncate(self.value_bytes);
        Ok(value)
    }

    /// All keys.
    fn keys(&self, key_size: usize) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut next = vec![0; key_size];
        loop {
            let last = keys.last().map_or(&[][..], |k| k);
            let mut attr = self.attr(last).output(16, &mut next);
            if sys::bpf(Command::MapNextKey, &mut attr).is_err() {
                return keys;
            }
            keys.push(next.clone());
        }
    }
}

/// A host value of ours as bpf(2) takes it: per-CPU values for as many CPUs as the kernel has.
fn resized(value: &[u8], bytes: usize) -> Vec<u8> {
    let mut value = value.to_vec();
    value.resize(bytes, 0);
    value
}

impl KernelMaps {
    /// Creates and seeds maps like those of the set, whose types are these, and opens the channels of `cpus`.
    pub(super) fn new(
        set: &MapSet,
        types: Option<&OwnedFd>,
        cpus: usize,
    ) -> Result<KernelMaps, KernelError> {
        let failed = |map: &Map, error| KernelError::Map {
            name: map.def().name.clone(),
            error,
        };
        let mut maps: Vec<KernelMap> = Vec::new();
        for map in set.iter() {
            let template = match &map.def().inner {
                Some(inner) => Some(create(inner, None, types).map_err(|e| failed(map, e))?),
                None => None,
            };
            let template = template.as_ref().map(|t| &t.fd);
            maps.push(create(map.def(), template, types).map_err(|e| failed(map, e))?);
        }
        let given = Given::new().map_err(|error| KernelError::Map {
            name: "of what packets give".into(),
            error,
        })?;
        let mut kernel = KernelMaps {
            maps,
            given,
            channels: Vec::new(),
            sockets: Vec::new(),
        };
        for (id, map) in set.iter().enumerate() {
            kernel.open(id, map, cpus).map_err(|e| failed(map, e))?;
            kernel.seed(id, map).map_err(|e| failed(map, e))?;
        }
        // As on NICs, whose host looks at rings after each packet.
        let is_ring = |channel: &Channel| matches!(channel, Channel::Ring { .. });
        kernel.channels.sort_by_key(is_ring);
        Ok(kernel)
    }

    /// How many maps of the set there are; this is the id of the map of given values.
    pub(super) fn len(&self) -> usize {
        self.maps.len()
    }

    /// The descriptor of a map.
    pub(super) fn fd(&self, map: MapId) -> Option<&OwnedFd> {
        if map == self.maps.len() {
            return Some(&self.given.fd);
        }
        self.maps.get(map).map(|map| &map.fd)
    }

    /// Listens where programs write to the host.
    fn open(&mut self, id: MapId, map: &Map, cpus: usize) -> io::Result<()> {
        let kernel = &self.maps[id];
        match map.kind() {
            MapType::Ringbuf => {
                let channel = Channel::ring(id, map.def(), &kernel.fd)?;
                self.channels.push(channel);
            }
            MapType::PerfEventArray => {
                let slots = map.def().max_entries.min(MOST_CHANNELS);
                for slot in 0..slots {
                    // Slots that no CPU has are filled too: a program that names one is told that
                    // it is another CPU's, not that nobody listens.
                    let channel = Channel::open((slot as usize).min(cpus - 1))?;
                    let fd = channel.as_raw_fd().to_le_bytes();
                    kernel.update(&slot.to_le_bytes(), &fd)?;
                    if (slot as usize) < cpus {
                        self.channels.push(Channel::perf(id, channel)?);
                    } else {
                        self.sockets.push(channel);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Copies a map's contents to the kernel. Program arrays are filled later.
    fn seed(&mut self, id: MapId, map: &Map) -> io::Result<()> {
        let kernel = &self.maps[id];
        match map.kind() {
            MapType::Ringbuf | MapType::PerfEventArray | MapType::ProgArray => {}
            MapType::Queue | MapType::Stack | MapType::BloomFilter => {
                if !map.is_told() {
                    return Err(io::Error::other(
                        "it took in more than max_entries values, and bits cannot be written",
                    ));
                }
                for value in map.host_values() {
                    kernel.update(&[], &value)?;
                }
            }
            MapType::Xskmap => {
                for key in map.host_keys() {
                    let socket = sys::xdp_socket()?;
                    kernel.update(&key, &socket.as_raw_fd().to_le_bytes())?;
                    self.sockets.push(socket);
                }
            }
            MapType::ArrayOfMaps | MapType::HashOfMaps => {
                for key in map.host_keys() {
                    let Some(inner) = map.inner(&key).and_then(|inner| self.fd(inner)) else {
                        continue;
                    };
                    kernel.update(&key, &inner.as_raw_fd().to_le_bytes())?;
                }
            }
            _ => {
                for key in map.host_keys() {
                    let Ok(value) = map.host_lookup(&key) else {
                        continue;
                    };
                    kernel.update(&key, &resized(&value, kernel.value_bytes))?;
                }
                if map.def().data == Some(DataSection::Rodata) {
                    sys::bpf(Command::MapFreeze, &mut Attr::new().fd(0, &kernel.fd))?;
                }
            }
        }
        Ok(())
    }

    /// Puts loaded programs into the slots of the program arrays.
    pub(super) fn fill_programs(&self, set: &MapSet, programs: &[OwnedFd]) -> io::Result<()> {
        for (map, kernel) in set.iter().zip(&self.maps) {
            if map.kind() != MapType::ProgArray {
                continue;
            }
            for index in 0..map.def().max_entries {
                let program = map.program(index).and_then(|n| programs.get(n as usize));
                if let Some(program) = program {
                    kernel.update(&index.to_le_bytes(), &program.as_raw_fd().to_le_bytes())?;
                }
            }
        }
        Ok(())
    }

    /// Makes the kernel's contents those of the set. Slots of programs stay.
    pub(super) fn write(&mut self, set: &MapSet) -> io::Result<()> {
        for (id, map) in set.iter().enumerate() {
            let kernel = &self.maps[id];
            match map.kind() {
                MapType::Ringbuf | MapType::PerfEventArray | MapType::ProgArray => continue,
                _ if map.def().data == Some(DataSection::Rodata) => continue,
                MapType::Queue | MapType::Stack => {
                    while kernel.lookup(Command::MapTake, &[]).is_ok() {}
                }
                // Values stay in it for good.
                MapType::BloomFilter => {}
                _ => {
                    let present: BTreeSet<Vec<u8>> = map.host_keys().into_iter().collect();
                    for key in kernel.keys(map.def().key_size as usize) {
                        if !present.contains(&key) {
                            // Arrays keep their elements, and slots may be empty.
                            let _ = sys::bpf(Command::MapDelete, &mut kernel.attr(&key));
                        }
                    }
                }
            }
            self.seed(id, map)?;
        }
        Ok(())
    }

    /// Makes the set's contents those of the kernel's maps. Slots of programs, inner maps,
    /// sockets and channels cannot be changed by programs and stay.
    pub(super) fn read_back(&self, set: &MapSet) -> io::Result<()> {
        for (map, kernel) in set.iter().zip(&self.maps) {
            match map.kind() {
                MapType::Ringbuf
                | MapType::PerfEventArray
                | MapType::ProgArray
                | MapType::Xskmap
                | MapType::ArrayOfMaps
                | MapType::HashOfMaps
                | MapType::Devmap
                | MapType::DevmapHash
                | MapType::Cpumap
                // It can only be asked about values.
                | MapType::BloomFilter => {}
                MapType::Queue | MapType::Stack => kernel.read_values(map)?,
                _ if map.def().data == Some(DataSection::Rodata) => {}
                _ => kernel.read_elements(map),
            }
        }
        Ok(())
    }
}

impl KernelMap {
    fn read_elements(&self, map: &Map) {
        let keys = self.keys(map.def().key_size as usize);
        let present: BTreeSet<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        for key in map.host_keys() {
            if !present.contains(key.as_slice()) {
                // Arrays keep their elements; all others have lost this one.
                let _ = map.host_delete(&key);
            }
        }
        for key in &keys {
            if let Ok(value) = self.lookup(Command::MapLookup, key) {
                let value = resized(&value, map.host_value_size());
                let _ = map.host_update(key, &value, 0);
            }
        }
    }

    /// Takes all values out of a queue or stack and puts them back.
    fn read_values(&self, map: &Map) -> io::Result<()> {
        let mut values = Vec::new();
        while let Ok(value) = self.lookup(Command::MapTake, &[]) {
            values.push(value);
        }
        if map.kind() == MapType::Stack {
            values.reverse();
        }
        while map.host_take(&[]).is_ok() {}
        for value in values {
            self.update(&[], &value)?;
            let _ = map.host_update(&[], &value, 0);
        }
        Ok(())
    }
}
