//! Which sizes a map may have, as Linux 6.18 takes them.

use super::{MapDef, MapError, MapType};

fn size(def: &MapDef, what: &'static str, value: u32, allowed: &'static str) -> MapError {
    MapError::Size {
        name: def.name.clone(),
        what,
        value: u64::from(value),
        allowed,
    }
}

/// Refuses what the kernel would refuse to create.
pub(super) fn check(def: &MapDef) -> Result<(), MapError> {
    use MapType as T;
    let keyless = matches!(def.kind, T::Queue | T::Stack | T::Ringbuf);
    let indexed = matches!(
        def.kind,
        T::Array
            | T::PercpuArray
            | T::ProgArray
            | T::PerfEventArray
            | T::ArrayOfMaps
            | T::Devmap
            | T::DevmapHash
            | T::Cpumap
            | T::Xskmap
    );
    if def.max_entries == 0 {
        return Err(size(def, "max_entries", 0, "1 and more"));
    }
    if keyless && def.key_size != 0 {
        return Err(size(def, "key_size", def.key_size, "0"));
    }
    if indexed && def.key_size != 4 {
        return Err(size(def, "key_size", def.key_size, "4"));
    }
    if !keyless && def.key_size == 0 {
        return Err(size(def, "key_size", 0, "1 and more"));
    }
    let allowed = match def.kind {
        T::ProgArray | T::PerfEventArray | T::ArrayOfMaps | T::HashOfMaps | T::Xskmap => {
            (def.value_size == 4, "4")
        }
        T::Devmap | T::DevmapHash | T::Cpumap => (matches!(def.value_size, 4 | 8), "4 or 8"),
        T::Ringbuf => (def.value_size == 0, "0"),
        _ => (
            def.value_size > 0 && def.value_size <= i32::MAX as u32,
            "1 to 2147483647",
        ),
    };
    if !allowed.0 {
        return Err(size(def, "value_size", def.value_size, allowed.1));
    }
    Ok(())
}
