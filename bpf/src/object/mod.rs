//! Reading what people have into a [`ProgramSet`]: ELF objects as clang writes them, assembly
//! text, and raw instructions.
//!
//! Start with [`load`]. ELF goes through these steps, a file each: `elf` (sections, symbols),
//! `function` (which instructions belong to which symbol), `maps`, `globals` (variables and the
//! values that the user sets), `core_relocations`, `section` and `program` (which functions are programs, and of
//! which hook), `link` (the program as the kernel gets it). `text` and `raw` read the other
//! formats.
//!
//! An object that cannot be read is an [`ObjectError`]. A program that cannot be taken while
//! others can is listed in [`ProgramSet::refused`]. What is not judged here: whether a program
//! is safe, or what a NIC can do.
//!
//! ```
//! use bpf::object::{LoadOptions, load};
//!
//! let object = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/edge_policy.o"))?;
//! let options = LoadOptions {
//!     globals: vec![("min_ttl".into(), "5".into())],
//!     map_entries: vec![("port_packets".into(), 16)],
//!     ..LoadOptions::default()
//! };
//! let set = load("edge_policy.o", &object, &options)?;
//! let program = set.find("edge_policy").ok_or("no such program")?;
//! assert_eq!(program.hook, bpf::Hook::XDP);
//! let ports = set.maps.iter().find(|map| map.name == "port_packets").ok_or("no such map")?;
//! assert_eq!(ports.max_entries, 16);
//! // Every instruction knows its line of C.
//! assert!((0..program.insns.len()).all(|pc| program.source.place_at(pc).is_some()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(clippy::indexing_slicing)]

mod core_relocations;
mod elf;
mod error;
mod function;
mod globals;
mod link;
mod maps;
mod notes;
mod program;
mod raw;
mod section;
mod text;
mod types;
mod usage;

pub use error::{GlobalProblem, MapProblem, ObjectError, SectionProblem};
pub use usage::Usage;

use crate::Hook;
use crate::program::ProgramSet;
use notes::Notes;

/// What the user asks of a load.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions<'a> {
    /// The hook to take programs for, whatever their section says. Programs of a kind that is
    /// no packet hook, and functions in `.text`, are taken only if [`LoadOptions::program`]
    /// names them.
    pub hook: Option<Hook>,
    /// A function's symbol, or the name of a section with one function, that `hook` is meant
    /// for. Without `hook` it changes nothing.
    pub program: Option<String>,
    /// Values for global variables, NAME and VALUE; later ones win. NAME is a variable, or a
    /// path into one such as `config.limit` or `ports[2]`. VALUE is read by the variable's
    /// type: decimal or `0x` numbers, `true` or `false`, names of an enumeration, text for
    /// arrays of char, elements by comma for other arrays, and for any type `hex:` with all of
    /// its bytes in memory order.
    pub globals: Vec<(String, String)>,
    /// Numbers of entries for maps, by name.
    pub map_entries: Vec<(String, u32)>,
    /// Maps for raw instructions, in the order of their indices: NAME and
    /// `type,key,value,entries[,flags]` with sizes in bytes.
    pub raw_maps: Vec<(String, String)>,
    /// BTF of the kernel (or device) that CO-RE relocations are resolved against; without it
    /// they are resolved against the object's own types.
    pub btf: Option<&'a [u8]>,
    /// Number of queues; a `perf_event_array` of 0 entries gets one entry for each.
    pub queues: u32,
}

/// Reads an object. `name` is what the user calls it (a path); the format is told by content,
/// and where that says nothing by the name's extension: ELF by its magic, `.bpf` and `.s` are
/// assembly text, `.hex` and `.bin` raw instructions.
///
/// # Errors
/// [`ObjectError`] if the object cannot be read, holds no program, or has not what `options`
/// names. One program that cannot be taken is no error but listed in [`ProgramSet::refused`].
pub fn load(
    name: &str,
    bytes: &[u8],
    options: &LoadOptions<'_>,
) -> Result<ProgramSet, ObjectError> {
    let extension = name
        .rsplit(['/', '\\'])
        .next()
        .and_then(|file| file.rsplit_once('.'))
        .map_or("", |(_, extension)| extension);
    if bytes.starts_with(b"\x7fELF") {
        return program::load_elf(name, bytes, options);
    }
    match extension {
        "bpf" | "s" | "S" | "asm" => text::load(name, bytes, options),
        "hex" => raw::load_hex(name, bytes, options),
        "bin" | "raw" => raw::load(name, bytes, options),
        _ => Err(ObjectError::UnknownFormat {
            object: name.to_owned(),
            found: found(bytes),
        }),
    }
}

/// What unknown bytes start with, in words.
fn found(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the file is empty".to_owned();
    }
    let head: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("it starts with {}", head.join(" "))
}

/// The name without folders and extension.
fn stem(name: &str) -> &str {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    file.split_once('.').map_or(file, |(stem, _)| stem)
}
