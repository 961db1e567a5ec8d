//! The NFP's record: control registers and TLV blob.

use crate::profile::Caps;

/// Whether a record of this format says the fact with this key (`*` for a helper's name).
pub(crate) fn declares(key: &str) -> bool {
    matches!(
        key,
        "hooks"
            | "helpers"
            | "helper.*.code_address"
            | "image.length"
            | "stack.bytes"
            | "packet.window_bytes"
            | "ctx.xdp_write"
            | "map.types"
            | "map.count"
            | "map.total_entries"
            | "map.key_bytes"
            | "map.value_bytes"
            | "map.pair_bytes"
    ) || key.starts_with("nfp.")
}

/// Whether registers and blob can say what the profile says; else the key and why not.
pub(crate) fn expressible(caps: &Caps) -> Result<(), (&'static str, &'static str)> {
    let _ = caps;
    Ok(())
}
