//! The least BTF with which the kernel takes a program of several functions: without it Linux
//! refuses tail calls and legacy packet loads in functions.
//!
//! Every function is described as `static int f(void)`; of a static function Linux believes the
//! code, not the arguments.

use bpf::Program;

/// Bytes of a `struct bpf_func_info`.
pub(super) const FUNC_INFO_BYTES: u32 = 8;
/// Bytes of a `struct btf_header`.
const HEADER_BYTES: u32 = 24;
/// `BTF_KIND_INT`, `BTF_KIND_FUNC`, `BTF_KIND_FUNC_PROTO`.
const KIND_INT: u32 = 1;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
/// Signed, 32 bits.
const INT_ENCODING: u32 = 1 << 24 | 32;

/// The BTF of a program, and its function records.
pub(super) fn functions(program: &Program) -> (Vec<u8>, Vec<u8>) {
    let mut types = Vec::new();
    let mut strings = b"\0int\0".to_vec();
    let mut word = |value: u32| types.extend_from_slice(&value.to_le_bytes());
    // Type 1: int; type 2: int (void). Each type is name, kind with number of members, size or
    // type, and what its kind adds.
    for value in [1, KIND_INT << 24, 4, INT_ENCODING] {
        word(value);
    }
    for value in [0, KIND_FUNC_PROTO << 24, 1] {
        word(value);
    }
    let mut records = Vec::new();
    for (index, function) in program.subprograms.iter().enumerate() {
        for value in [strings.len() as u32, KIND_FUNC << 24, 2] {
            word(value);
        }
        strings.extend_from_slice(format!("f{index}\0").as_bytes());
        let type_id = 3 + index as u32;
        records.extend_from_slice(&(function.start as u32).to_le_bytes());
        records.extend_from_slice(&type_id.to_le_bytes());
    }
    // Magic with version 1 and no flags, then where types and strings lie behind the header.
    let header = [
        0x0001_eb9f,
        HEADER_BYTES,
        0,
        types.len() as u32,
        types.len() as u32,
        strings.len() as u32,
    ];
    let mut btf: Vec<u8> = header.iter().flat_map(|w: &u32| w.to_le_bytes()).collect();
    btf.extend_from_slice(&types);
    btf.extend_from_slice(&strings);
    (btf, records)
}
