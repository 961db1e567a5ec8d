//! The maps of a running testbed: both sides at once.

use bpf::map::{Errno, Map, MapSet};
use cpu_reference::Reference;

use super::Testbed;
use super::start::Running;
use crate::error::Error;
use crate::seeds::Seeds;

/// Brings a reference to the contents that its maps were given.
pub(super) fn changed(reference: &dyn Reference) -> Result<(), Error> {
    let changed = reference.maps_changed();
    changed
        .map_err(|e| Error::environment(format!("maps of the {} reference: {e}", reference.name())))
}

impl Testbed {
    /// The NIC's maps, by index in the program's map list; after a fallback the host's, into which
    /// they were moved.
    pub fn nic_maps(&self) -> Option<&MapSet> {
        self.running.as_ref().map(Running::live_maps)
    }

    /// The reference's maps.
    pub fn reference_maps(&self) -> Option<&MapSet> {
        self.running.as_ref()?.reference.as_ref().map(|r| r.maps())
    }

    /// Applies a change to the maps of both sides.
    fn change_maps(
        &self,
        mut change: impl FnMut(&MapSet) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        change(running.live_maps())?;
        match &running.reference {
            Some(reference) => {
                change(reference.maps())?;
                changed(reference.as_ref())
            }
            None => Ok(()),
        }
    }

    /// The value of `key` in the NIC's map of this name, as the host reads it (per-CPU maps:
    /// the values of all queues, each rounded up to 8 bytes); `None` if it is not there.
    pub fn lookup(&self, map: &str, key: &[u8]) -> Option<Vec<u8>> {
        let maps = self.nic_maps()?;
        maps.get(maps.by_name(map)?)?.host_lookup(key).ok()
    }

    /// All keys and values of the NIC's map of this name, in a fixed order; empty if there is no
    /// such map.
    pub fn entries(&self, map: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = self
            .nic_maps()
            .and_then(|maps| maps.get(maps.by_name(map)?));
        let Some(map) = found else {
            return Vec::new();
        };
        let keys = map.host_keys().into_iter();
        keys.filter_map(|key| map.host_lookup(&key).ok().map(|value| (key, value)))
            .collect()
    }

    /// Sets the value of `key` in the map of this name, on both sides; `flags` are bpf(2)'s.
    ///
    /// # Errors
    /// If no program runs or it has no such map; and the map's own errno.
    pub fn update(&mut self, map: &str, key: &[u8], value: &[u8], flags: u64) -> Result<(), Error> {
        self.on_map(map, "update", &|map| map.host_update(key, value, flags))
    }

    /// Takes `key` out of the map of this name, on both sides.
    ///
    /// # Errors
    /// As [`Testbed::update`].
    pub fn delete(&mut self, map: &str, key: &[u8]) -> Result<(), Error> {
        self.on_map(map, "delete", &|map| map.host_delete(key))
    }

    fn on_map(
        &mut self,
        name: &str,
        what: &str,
        change: &dyn Fn(&Map) -> Result<(), Errno>,
    ) -> Result<(), Error> {
        if self.running.is_none() {
            return Err(Error::usage(format!(
                "map {name}: no program runs, so there are no maps"
            )));
        }
        self.change_maps(|maps| {
            let map = maps
                .by_name(name)
                .and_then(|id| maps.get(id))
                .ok_or_else(|| {
                    let names: Vec<&str> = maps.iter().map(|m| m.def().name.as_str()).collect();
                    Error::usage(format!("there is no map {name}"))
                        .help(format!("maps: {}", names.join(", ")))
                })?;
            change(map).map_err(|e| Error::input(format!("map {name}: {what}: {e}")))
        })
    }

    /// Applies seeds to the maps of both sides.
    ///
    /// # Errors
    /// If they do not fit the maps; the error names file, map and entry.
    pub fn apply(&mut self, seeds: &Seeds) -> Result<(), Error> {
        let id = |name: &str| self.program_id(name);
        self.change_maps(|maps| seeds.apply(maps, &id))
    }

    /// The id that a prog_array slot holds for a program of this name.
    pub fn program_id(&self, name: &str) -> Option<u32> {
        self.assessments
            .iter()
            .position(|a| a.program.name == name)
            .map(|i| i as u32)
    }
}
