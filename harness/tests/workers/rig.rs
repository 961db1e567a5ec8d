//! Images of bytes written by hand, run in worker processes.

use std::sync::{Arc, OnceLock};

use bpf::Hook;
use bpf::map::{MapDef, MapType};
use bpf::run::{Arrival, Batch, Environment};
use isa::{CodeRange, Image, Isa, Relocation, RelocationKind, Resources, Symbol};
use nic_model::{Nic, Workers};

/// `mov eax, 2; ret`.
pub(crate) const PASS: &[u8] = &[0xb8, 2, 0, 0, 0, 0xc3];

/// The program `nicbed`, as the workspace built it.
pub(crate) fn workers() -> Arc<Workers> {
    static WORKERS: OnceLock<Arc<Workers>> = OnceLock::new();
    Arc::clone(WORKERS.get_or_init(|| Arc::new(Workers::new(env!("CARGO_BIN_EXE_nicbed")))))
}

/// An image of this code; each instruction of the eBPF program it claims to come from takes one
/// byte, so that a pc is an offset.
pub(crate) fn image(code: &[u8], relocations: &[(usize, Symbol)]) -> Image {
    Image {
        isa: Isa::X86_64,
        code: code.to_vec(),
        instructions: 0,
        relocations: relocations
            .iter()
            .map(|(at, symbol)| Relocation {
                at: *at,
                kind: RelocationKind::Absolute64,
                symbol: *symbol,
            })
            .collect(),
        entry: 0,
        resources: Resources::default(),
        source_map: (0..code.len())
            .map(|at| CodeRange {
                start: at,
                end: at + 1,
                lane: 0,
                pcs: vec![at],
            })
            .collect(),
        removed: Vec::new(),
        notes: Vec::new(),
    }
}

/// Two array maps of one value of 8 bytes.
pub(crate) fn maps() -> Vec<MapDef> {
    ["first", "second"]
        .map(|name| MapDef {
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            ..MapDef::new(name, MapType::Array)
        })
        .to_vec()
}

/// A NIC whose native images run in workers.
pub(crate) fn nic(queues: u32) -> Nic {
    let caps = Arc::new(caps::builtin("x86-dpu").expect("a profile"));
    Nic::new(caps, Arc::new(Environment::default()), queues).with_workers(workers())
}

/// A batch of frames of 64 bytes on queue 0, whose first byte is the frame's number.
pub(crate) fn frames(count: u8) -> Batch {
    let mut batch = Batch::new();
    for number in 0..count {
        let arrival = Arrival {
            number: u64::from(number),
            arrival_ns: 0,
            port: 1,
            queue: 0,
        };
        let mut bytes = [0; 64];
        bytes[0] = number;
        batch.push(arrival, &bytes, 64, 0);
    }
    batch
}

/// Runs frames through an image on a NIC with [`maps`].
pub(crate) fn run(image: &Image, batch: &mut Batch) -> Nic {
    let mut nic = nic(1);
    let ids = nic.create_maps(&maps()).expect("maps");
    let program = nic
        .load(image, &Hook::XDP, &ids)
        .expect("an image that loads");
    nic.queues(program)[0].process(batch);
    nic
}
