//! Going through the elements of a map, as `bpf_for_each_map_elem` does.

use super::runtime::Layout;
use super::{Map, MapType, ValueAt, index_of};

/// The elements of a map that are still to come.
///
/// Arrays are gone through by index. Of maps with free keys the keys are taken when it begins,
/// and come sorted by their bytes: a key that is deleted meanwhile is left out, one that is
/// inserted meanwhile does not come. (Linux goes by buckets, whose order it draws for each map.)
#[derive(Debug)]
pub struct Elements(Keys);

#[derive(Debug)]
enum Keys {
    Indices(std::ops::Range<u32>),
    Listed(std::vec::IntoIter<Vec<u8>>),
}

impl Map {
    /// All elements; `None` for types that programs cannot go through.
    pub fn elements(&self) -> Option<Elements> {
        let keys = match self.kind() {
            MapType::Array | MapType::PercpuArray => Keys::Indices(0..self.def().max_entries),
            MapType::Hash | MapType::PercpuHash | MapType::LruHash | MapType::LruPercpuHash => {
                Keys::Listed(self.host_keys().into_iter())
            }
            _ => return None,
        };
        Some(Elements(keys))
    }
}

impl Elements {
    /// The key and the place of the value that `cpu` has of the next element of `map`. It does
    /// not count as a use in an LRU map.
    pub fn next(&mut self, map: &Map, cpu: u32) -> Option<(Vec<u8>, ValueAt)> {
        match &mut self.0 {
            Keys::Indices(indices) => {
                let key = indices.next()?.to_le_bytes();
                let at = map.array()?.at(index_of(&key)?, cpu)?;
                Some((key.to_vec(), at))
            }
            Keys::Listed(keys) => keys.find_map(|key| {
                let Layout::Table(table) = &map.layout else {
                    return None;
                };
                let at = table.peek(map.memory(), &key, cpu)?;
                Some((key, at))
            }),
        }
    }
}
