//! [`Trial`]: one program and the packets it is run on, the same on every side; and the
//! [`Mismatch`] where two sides part.
//!
//! What fuzzing, shrinking and repros have in common. Packets are numbered from 0, one queue
//! processes them in order, and the maps start as the program's definitions say.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use bpf::Program;
use bpf::map::MapSet;
use bpf::run::{Arrival, Batch, Environment, XDP_HEADROOM, XDP_MAX_LINEAR};
use isa::Image;
use isa::ebpf::Insn;
use serde_json::{Value, json};
use verifier::Verified;
use verifier::facts::RegKind;

use crate::compare::{self, Difference, Told};
use crate::mapdiff::{self, MapDifference, hex};
use crate::replay::lanes::events_of;
use crate::report::Style;
use crate::report::run::{difference_json, difference_text};
use crate::side::{Loaded, NotTaken, Side};
use crate::trace::{Part, Recorded, Trace, Traced, sites};

/// Arrival of the first packet, in nanoseconds since the epoch.
const START_NS: u64 = 1_000_000_000;
/// Between two packets, in nanoseconds.
const GAP_NS: u64 = 1_000;

/// One program and the packets it is run on.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The program.
    pub program: Arc<Program>,
    /// The packets, in order; the memory of a program without hook.
    pub frames: Vec<Vec<u8>>,
    /// Seed of the random numbers that the program asks for.
    pub seed: u64,
}

/// What a side made of a trial.
#[derive(Debug)]
pub struct Ran {
    batch: Batch,
    loaded: Loaded,
}

impl Ran {
    /// The maps afterwards.
    pub fn maps(&self) -> &MapSet {
        self.loaded.maps()
    }

    /// The NIC's code.
    pub fn image(&self) -> Option<&Arc<Image>> {
        self.loaded.image()
    }

    /// The packets afterwards.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }
}

/// Where two sides part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The first packet whose outcomes differ, and in what; `None` if all agree.
    pub packet: Option<(usize, Vec<Difference>)>,
    /// Elements of maps that differ after the last packet.
    pub maps: Vec<MapDifference>,
}

impl Mismatch {
    /// What differs, in one word: a field of the outcome, or `maps`.
    pub fn field(&self) -> &'static str {
        let first = self.packet.as_ref().and_then(|(_, all)| all.first());
        first.map_or("maps", Difference::field)
    }

    /// As text, field by field.
    pub fn write_text(&self, t: &mut String, style: Style) {
        if let Some((index, differences)) = &self.packet {
            let _ = writeln!(t, "  packet     {index}");
            for difference in differences {
                difference_text(t, difference, style);
            }
        }
        for map in &self.maps {
            let side =
                |value: &Option<Vec<u8>>| value.as_deref().map_or_else(|| "absent".to_owned(), hex);
            let _ = writeln!(
                t,
                "  map        {}[{}]: nic {}, reference {}",
                map.map,
                hex(&map.key),
                side(&map.nic),
                side(&map.reference)
            );
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let differences = |(_, all): &(usize, Vec<Difference>)| -> Vec<Value> {
            all.iter().map(difference_json).collect()
        };
        let map = |map: &MapDifference| {
            json!({
                "map": map.map,
                "key": hex(&map.key),
                "nic": map.nic.as_deref().map(hex),
                "reference": map.reference.as_deref().map(hex),
            })
        };
        json!({
            "packet": self.packet.as_ref().map(|(index, _)| index),
            "differences": self.packet.as_ref().map(differences).unwrap_or_default(),
            "maps": self.maps.iter().map(map).collect::<Vec<_>>(),
        })
    }
}

impl Trial {
    /// What surrounds the program.
    pub fn environment(&self) -> Arc<Environment> {
        Arc::new(Environment {
            seed: self.seed,
            ports: vec![1],
            ..Environment::default()
        })
    }

    /// The packets, with the room that a test run of the kernel gives.
    pub fn batch(&self) -> Batch {
        self.part(0..self.frames.len())
    }

    /// Some of the packets.
    fn part(&self, range: Range<usize>) -> Batch {
        let mut batch = Batch::new();
        let frames = (0..).zip(&self.frames).take(range.end).skip(range.start);
        for (number, frame) in frames {
            let arrival = Arrival {
                number,
                arrival_ns: START_NS + GAP_NS * number,
                port: 1,
                queue: 0,
            };
            let tailroom = XDP_MAX_LINEAR.saturating_sub(frame.len());
            batch.push(arrival, frame, XDP_HEADROOM, tailroom);
        }
        batch
    }

    /// Runs it on a side.
    ///
    /// # Errors
    /// If the side does not take the program.
    pub fn run(&self, verified: &Verified, side: &Side<'_>) -> Result<Ran, NotTaken> {
        let mut loaded = side.load(verified, &self.environment())?;
        let mut batch = self.batch();
        loaded.process(&mut batch);
        Ok(Ran { batch, loaded })
    }

    /// Where two sides part, if they do: the first packet, else the maps.
    pub fn compare(&self, nic: &Ran, reference: &Ran) -> Option<Mismatch> {
        let told = reference.loaded.told();
        let packet = (0..self.frames.len()).find_map(|index| {
            let differences = self.packet(index, nic, reference, told);
            (!differences.is_empty()).then_some((index, differences))
        });
        let maps = mapdiff::compare(&self.program.maps, nic.maps(), reference.maps());
        (packet.is_some() || !maps.is_empty()).then_some(Mismatch { packet, maps })
    }

    fn packet(&self, index: usize, nic: &Ran, reference: &Ran, told: Told) -> Vec<Difference> {
        let hook = &self.program.hook;
        let mut differences = compare::outcomes(
            &nic.batch.outcome(index, hook),
            &reference.batch.outcome(index, hook),
            told,
        );
        let number = index as u64;
        differences.extend(compare::events(
            events_of(&nic.batch.events, number),
            events_of(&reference.batch.events, number),
            told,
        ));
        differences
    }

    /// Packet `index` on both sides, instruction by instruction, after those before it.
    ///
    /// # Errors
    /// If a side does not take the program.
    pub fn trace(
        &self,
        index: usize,
        verified: &Verified,
        nic: &Side<'_>,
        reference: &Side<'_>,
    ) -> Result<Trace, NotTaken> {
        let sites = sites(&[verified]);
        let mut image = None;
        let mut record = |side: &Side<'_>| -> Result<Recorded, NotTaken> {
            let mut loaded = side.here().load(verified, &self.environment())?;
            loaded.process(&mut self.part(0..index));
            if let Some(made) = loaded.image() {
                image = Some(Arc::clone(made));
            }
            let mut batch = self.part(index..index + 1);
            Ok(Recorded::of(&sites, |recorder| {
                loaded.trace(&mut batch, recorder)
            }))
        };
        let recorded = [record(nic)?, record(reference)?];
        let part = Part {
            program: Arc::clone(&self.program),
            image,
            backend: nic.name().to_owned(),
        };
        let packet = Traced {
            number: index as u64,
            queue: 0,
            headroom: XDP_HEADROOM,
            frame: self.frames.get(index).cloned().unwrap_or_default(),
        };
        Ok(Trace::new(packet, vec![part], recorded))
    }

    /// Where two sides part; `None` if they agree, if one does not take the program, if it is not
    /// safe, or if it shows addresses, which differ from side to side.
    pub fn mismatch(&self, nic: &Side<'_>, reference: &Side<'_>) -> Option<Mismatch> {
        let verified = nic.verify(&self.program).ok()?;
        if shows_addresses(&verified) {
            return None;
        }
        let ran = self.run(&verified, nic).ok()?;
        let referred = self.run(&verified, reference).ok()?;
        self.compare(&ran, &referred)
    }
}

/// Whether a program may put an address where others than it see it: in memory, or in r0 at its
/// end.
fn shows_addresses(verified: &Verified) -> bool {
    let insns = verified.program().insns.iter().enumerate();
    let mut reached = insns.filter(|(pc, _)| verified.facts(*pc).reachable);
    let entry = verified.program().subprograms.first();
    let ends = |pc: usize| entry.is_none_or(|entry| pc < entry.end);
    reached.any(|(pc, insn)| {
        let facts = verified.facts(pc);
        let returns = matches!(insn, Insn::Exit) && ends(pc);
        facts.leaks_pointer || (returns && facts.registers[0].kind != RegKind::Scalar)
    })
}
