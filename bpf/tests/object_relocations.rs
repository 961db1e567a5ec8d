//! RELA objects: their addends stand in the relocation instead of the instruction.
#![expect(
    clippy::unwrap_used,
    reason = "in a test a failed unwrap is the failure"
)]

use std::fs;
use std::path::Path;

use bpf::object::{LoadOptions, load};

fn object(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read(root.join("tests/objects").join(name)).unwrap()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Turns every REL section that applies to code or maps into RELA (ELF specification,
/// "Relocation"): the addend moves from the instruction, which is left with zeros.
fn to_rela(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let table = u64_at(bytes, 40) as usize;
    let count = u16::from_le_bytes([bytes[60], bytes[61]]) as usize;
    let mut changed = 0;
    for index in 0..count {
        let header = table + index * 64;
        if u32_at(bytes, header + 4) != 9 {
            continue;
        }
        let target = table + u32_at(bytes, header + 44) as usize * 64;
        let code = u64_at(bytes, target + 8) & 4 != 0;
        let allocated = u64_at(bytes, target + 8) & 2 != 0;
        if !allocated {
            continue;
        }
        let target_start = u64_at(bytes, target + 24) as usize;
        let start = u64_at(bytes, header + 24) as usize;
        let size = u64_at(bytes, header + 32) as usize;
        let mut entries = Vec::new();
        for entry in bytes[start..start + size].chunks(16) {
            let at = target_start + u64_at(entry, 0) as usize;
            let addend = if code {
                let imm = i64::from(u32_at(bytes, at + 4) as i32);
                out[at + 4..at + 8].fill(0);
                // A call counts instructions from the next one, the address counts bytes.
                if bytes[at] == 0x85 {
                    (imm + 1) * 8
                } else {
                    imm
                }
            } else {
                let addend = u64_at(bytes, at) as i64;
                out[at..at + 8].fill(0);
                addend
            };
            entries.extend_from_slice(entry);
            entries.extend_from_slice(&addend.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(8), 0);
        let place = out.len() as u64;
        out[header + 4..header + 8].copy_from_slice(&4_u32.to_le_bytes());
        out[header + 24..header + 32].copy_from_slice(&place.to_le_bytes());
        out[header + 32..header + 40].copy_from_slice(&(entries.len() as u64).to_le_bytes());
        out[header + 56..header + 64].copy_from_slice(&24_u64.to_le_bytes());
        out.extend(entries);
        changed += 1;
    }
    assert!(changed > 0);
    out
}

#[test]
fn rela_objects_link_like_rel_objects() {
    for name in [
        "subprograms.o",
        "variables.o",
        "variables_without_btf.o",
        "maps.o",
        "iproute2.o",
    ] {
        let bytes = object(name);
        let options = LoadOptions::default();
        let rel = load(name, &bytes, &options).unwrap();
        let rela = load(name, &to_rela(&bytes), &options).unwrap();
        assert_eq!(rel.maps, rela.maps, "{name}");
        assert_eq!(rel.programs.len(), rela.programs.len(), "{name}");
        for (rel, rela) in rel.programs.iter().zip(&rela.programs) {
            assert_eq!(rel.insns, rela.insns, "{name}: {}", rel.name);
        }
        assert!(rela.refused.is_empty(), "{name}: {:?}", rela.refused);
    }
}
