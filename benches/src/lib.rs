//! What the benches share: programs of `programs/` ready to run, and frames to run them on.
//!
//! `cargo bench -p benches` runs all. Times are wall clock on a shared machine: compare rows of
//! one run with each other, not with figures from elsewhere.
#![deny(unsafe_code)]

#[cfg(all(feature = "peers", target_arch = "x86_64", target_os = "linux"))]
pub mod peers;

use std::sync::Arc;

use bpf::map::{MapSet, Placement};
use bpf::object::{self, LoadOptions};
use bpf::run::{Arrival, Batch, Environment};
use bpf::{Program, ProgramSet};
use cpu_reference::Setup;
use harness::seeds::Seeds;
use nic_model::{Nic, ProgramId};
use pcaps::generate::{Generator, Mix, Spec};
use verifier::Verified;

/// Frames in a batch: more than a level-1 cache holds, fewer than a level-2 cache.
pub const FRAMES: usize = 1024;

/// A program of `programs/` by name, with its seeds.
#[derive(Debug)]
pub struct Subject {
    /// Name of the object without extension.
    pub name: &'static str,
    /// What was loaded.
    pub set: ProgramSet,
    /// Map contents to begin with.
    pub seeds: Option<Seeds>,
}

/// The programs measured: from nothing to maps, checksums and encapsulation.
pub const PROGRAMS: [&str; 6] = [
    "drop",
    "parse_ports",
    "counters",
    "icmp_echo",
    "firewall",
    "load_balancer",
];

impl Subject {
    /// Loads `programs/NAME.o` and `programs/seeds/NAME.json`.
    ///
    /// # Panics
    /// If the tree does not hold them: there is nothing to measure then.
    #[expect(
        clippy::panic,
        reason = "a bench without its program has nothing to do"
    )]
    pub fn new(name: &'static str) -> Subject {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs");
        let path = format!("{folder}/{name}.o");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let options = LoadOptions {
            queues: 1,
            ..LoadOptions::default()
        };
        let set = object::load(&path, &bytes, &options).unwrap_or_else(|e| panic!("{e}"));
        let seeds = std::fs::read_to_string(format!("{folder}/seeds/{name}.json"))
            .ok()
            .map(|text| Seeds::parse(name, &text).unwrap_or_else(|e| panic!("{e}")));
        Subject { name, set, seeds }
    }

    /// Its first program.
    pub fn program(&self) -> Arc<Program> {
        Arc::new(self.set.programs[0].clone())
    }

    /// Proved safe.
    ///
    /// # Panics
    /// If it is not.
    #[expect(
        clippy::panic,
        reason = "a bench without its program has nothing to do"
    )]
    pub fn verified(&self) -> Verified {
        harness::pipeline::verify(&self.program()).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    fn fill(&self, maps: &MapSet) {
        if let Some(seeds) = &self.seeds {
            let _ = seeds.apply(maps, &|_| None);
        }
    }

    /// What a reference is built from.
    ///
    /// # Panics
    /// If there is no memory for the maps.
    #[expect(clippy::panic, reason = "a bench without its maps has nothing to do")]
    pub fn setup(&self) -> Setup {
        let maps = MapSet::for_program_set(&self.set.maps, 1, Placement::Private)
            .unwrap_or_else(|e| panic!("{}: {e}", self.name));
        self.fill(&maps);
        Setup {
            programs: vec![self.program()],
            maps,
            environment: Arc::new(Environment::default()),
        }
    }

    /// A NIC of this profile with the program loaded, and its only queue.
    ///
    /// # Panics
    /// If the NIC does not take it.
    #[expect(clippy::panic, reason = "a bench without its NIC has nothing to do")]
    #[expect(
        unsafe_code,
        reason = "native code runs only if somebody vouches for it"
    )]
    pub fn queue(&self, nic: &str) -> nic_model::Queue {
        let caps = Arc::new(caps::builtin(nic).unwrap_or_else(|e| panic!("{e}")));
        let backend = jit_backends::by_name(&caps.backend).unwrap_or_else(|| panic!("{nic}"));
        let image = backend
            .translate(&self.verified(), &caps)
            .unwrap_or_else(|e| panic!("{e}"));
        let mut nic = Nic::new(Arc::clone(&caps), Arc::new(Environment::default()), 1);
        let maps = nic
            .create_maps(&self.set.maps)
            .unwrap_or_else(|e| panic!("{e}"));
        self.fill(nic.maps());
        // SAFETY: a built-in backend made the image of a verified program in the lines above.
        let image = unsafe { image.trust() };
        let id: ProgramId = nic
            .load_trusted(&image, &self.set.programs[0].hook, &maps)
            .unwrap_or_else(|e| panic!("{e}"));
        nic.queues(id).remove(0)
    }
}

/// A batch of generated 64-byte UDP frames of 64 flows, with room before each.
///
/// # Panics
/// Never: the specification is a constant.
pub fn frames() -> Batch {
    let mut spec = Spec::new(Mix::Udp, FRAMES as u64);
    spec.flows = 64;
    let mut batch = Batch::new();
    let Ok(mut generator) = Generator::new(spec) else {
        return batch;
    };
    let mut bytes = Vec::new();
    let mut number = 0;
    while let Some(stamp) = generator.next_into(&mut bytes) {
        let arrival = Arrival {
            number,
            arrival_ns: stamp.time_ns,
            port: 1,
            queue: 0,
        };
        batch.push(arrival, &bytes, 256, 0);
        number += 1;
    }
    batch
}
