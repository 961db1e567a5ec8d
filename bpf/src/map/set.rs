//! The maps of a running program set.

use std::sync::Arc;

use super::{Map, MapId};

/// The maps of a running program set, by id.
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
