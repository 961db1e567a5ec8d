//! Loading: an image's words relocated, their error-correcting bits checked, decoded into steps.

use std::sync::Arc;

use bpf::Hook;
use bpf::map::{MapId, MapSet};
use bpf::run::Environment;
use caps::record::nfp::Record;
use isa::Image;
use isa::nfp::abi::{self, DeviceWord, FRAME_UNIT};
use isa::nfp::{DecodeError, LinkError, Place, decode, link, unseal};

use super::firmware::Helper;
use super::memory::WordUse;
use super::step::{self, Access, Compiled, Step};
use crate::{LoadError, ProgramId, Resolver};

/// An image made ready.
pub(crate) struct Loaded {
    pub(super) steps: Vec<Step>,
    /// Where each branch goes.
    pub(super) targets: Vec<Destination>,
    pub(super) accesses: Vec<Access>,
    /// Index of the first step.
    pub(super) entry: usize,
    pub(super) card: Card,
    pub(super) hook: Hook,
    pub(super) id: ProgramId,
    pub(super) maps: MapSet,
    pub(super) environment: Arc<Environment>,
    /// For each map of the NIC, which words of its values programs add to.
    pub(super) words: Vec<WordUse>,
    /// The ranges of the source map: first step, and the eBPF instruction it came from, if any.
    pub(super) ranges: Vec<(usize, Option<usize>)>,
    /// First step and frame depth of each function, ascending.
    pub(super) frames: Vec<(usize, u32)>,
}

/// What of the card's facts running needs.
#[derive(Clone, Debug)]
pub(super) struct Card {
    /// Code-store addresses: of the image, and of the end of programs.
    start: u32,
    done: u32,
    /// Addresses of the helpers that the firmware has.
    helpers: Vec<(u32, Helper)>,
    /// Bytes of stack.
    pub(super) stack_bytes: u32,
    /// Offset in its buffer of a packet as it arrives.
    pub(super) packet_offset: u32,
    /// Bytes of the buffer, behind which a packet is in another memory.
    pub(super) buffer_bytes: u32,
}

/// What lies at a code-store address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// A step of the image.
    Code(usize),
    /// The end: the packet's fate is in A0.
    Done,
    /// A routine of the firmware.
    Helper(Helper),
}

impl Card {
    /// What the device's own record says, and where the model puts packets.
    fn new(resolver: &Resolver<'_>) -> Result<Card, LoadError> {
        let record =
            Record::decode(&resolver.caps.to_record()).map_err(|_e| LoadError::Malformed {
                offset: 0,
                what: "the NIC's record is not one of this card",
            })?;
        let helper = |helper: Helper| {
            let functions = record.firmware.as_ref().map(|f| &f.functions)?;
            let address = *functions.get(&helper.id())?;
            (address != 0).then_some((address, helper))
        };
        let packet_offset = resolver.caps.packet().headroom.known();
        let packet_offset = packet_offset
            .and_then(|n| u32::try_from(n).ok())
            .map_or(DEFAULT_OFFSET, |n| n.min(LARGEST_OFFSET));
        let registers = record.registers;
        Ok(Card {
            start: u32::from(registers.start_insns),
            done: u32::from(registers.done_insns),
            helpers: Helper::ALL.into_iter().filter_map(helper).collect(),
            stack_bytes: u32::from(registers.stack_units) * FRAME_UNIT,
            packet_offset,
            buffer_bytes: packet_offset + u32::from(registers.split_units) * 64 + LONGEST_READ,
        })
    }
}

/// Where a packet begins in its buffer if the profile does not say.
const DEFAULT_OFFSET: u32 = 128;
/// The packet pointer has 16 bits of offset.
const LARGEST_OFFSET: u32 = 0x8000;
/// Bytes behind the split that do not fault: a read that begins before it may go on.
const LONGEST_READ: u32 = 64;

/// Makes an image ready.
pub(super) fn load(image: &Image, resolver: &Resolver<'_>) -> Result<Loaded, LoadError> {
    if let Hook::Raw { .. } = resolver.hook {
        return Err(LoadError::Malformed {
            offset: 0,
            what: "this card runs programs on packets only, and this one has no hook",
        });
    }
    let card = Card::new(resolver)?;
    let instructions = (image.code.len() / 8) as u64;
    let within = |what, needs: u64, has: Option<u64>| match has {
        Some(has) if needs > has => Err(LoadError::TooLarge { what, needs, has }),
        _ => Ok(()),
    };
    let length = resolver.caps.image_length();
    within(
        "code store",
        instructions,
        length.and_then(|limit| limit.value.known()),
    )?;
    within(
        "stack",
        image.resources.stack_bytes as u64,
        Some(u64::from(card.stack_bytes)),
    )?;
    within(
        "maps with a device id",
        resolver.map_set.len() as u64,
        Some(super::memory::MOST_MAPS as u64),
    )?;
    if !image.entry.is_multiple_of(8) || image.entry >= image.code.len() {
        return Err(LoadError::Malformed {
            offset: image.entry,
            what: "the entry is no instruction",
        });
    }
    let words = place(image, resolver, &card)?;
    let mut loaded = Loaded {
        steps: Vec::with_capacity(words.len()),
        targets: Vec::new(),
        accesses: Vec::new(),
        entry: image.entry / 8,
        card,
        hook: resolver.hook.clone(),
        id: resolver.id,
        maps: resolver.map_set.clone(),
        environment: Arc::clone(resolver.environment),
        words: vec![WordUse::default(); resolver.map_set.len()],
        ranges: ranges(image),
        frames: Vec::new(),
    };
    loaded.tell(image, resolver.maps);
    loaded.decode(&words)?;
    Ok(loaded)
}

/// Links the image to where this card puts it.
fn place(image: &Image, resolver: &Resolver<'_>, card: &Card) -> Result<Vec<u64>, LoadError> {
    let helper = |id: u32| {
        let known = card.helpers.iter().find(|(_, helper)| helper.id() == id);
        known.map(|(address, _)| *address)
    };
    let map = |index: usize| {
        let id = *resolver.maps.get(index)?;
        resolver.map_set.get(id)?;
        Some(u64::from(abi::link::FIRST_MAP_ID) + id as u64)
    };
    let place = Place {
        start: card.start as u16,
        done: card.done as u16,
        helper: &helper,
        map: &map,
    };
    link(image, &place).map_err(|error| {
        let (word, what) = match error {
            LinkError::Torn => (0, "the code ends within a word"),
            LinkError::Kind { word } => (word, "its relocation kind means nothing here"),
            LinkError::Unknown { word, what } => (word, what),
            LinkError::TooLarge { word, .. } => (word, "an address does not fit the word"),
        };
        LoadError::Malformed {
            offset: word * 8,
            what,
        }
    })
}

/// Which steps begin an eBPF instruction, or glue.
fn ranges(image: &Image) -> Vec<(usize, Option<usize>)> {
    let ranges = image.source_map.iter();
    ranges
        .map(|range| (range.start / 8, range.pcs.first().copied()))
        .collect()
}

/// The driver's id of a map, as the NIC's.
pub(super) fn map_of_device(id: u32) -> Option<MapId> {
    Some(id.checked_sub(u32::from(abi::link::FIRST_MAP_ID))? as usize)
}

impl Loaded {
    /// Takes in what the image tells beside its code.
    fn tell(&mut self, image: &Image, maps: &[MapId]) {
        for word in &image.resources.device {
            match DeviceWord::decode(*word) {
                Some(DeviceWord::Frame { at, depth }) => {
                    self.frames.push((at as usize, u32::from(depth)));
                }
                Some(DeviceWord::Atomic { map, group, words }) => {
                    let id = maps.get(usize::from(map));
                    if let Some(used) = id.and_then(|id| self.words.get_mut(*id)) {
                        used.mark(group, words);
                    }
                }
                None => {}
            }
        }
        self.frames.sort_unstable();
    }

    fn decode(&mut self, words: &[u64]) -> Result<(), LoadError> {
        let mut registers = Vec::new();
        for (index, sealed) in words.iter().enumerate() {
            let malformed = |what| LoadError::Malformed {
                offset: index * 8,
                what,
            };
            let word = unseal(*sealed).ok_or(malformed("its error-correcting bits are wrong"))?;
            let insn = decode(word).map_err(|error| malformed(why(&error)))?;
            let compiled = step::compile(&insn).ok_or(malformed(
                "it names a register, command or step that programs do not have",
            ))?;
            let step = match compiled {
                Compiled::Step(step) => step,
                Compiled::Command(step, access) => {
                    self.accesses.push(access);
                    Step {
                        value: self.accesses.len() as u32 - 1,
                        ..step
                    }
                }
                Compiled::Branch(step, target) => {
                    let destination = self
                        .destination_in(u32::from(target), words.len())
                        .ok_or(malformed("it branches to where nothing is"))?;
                    self.targets.push(destination);
                    Step {
                        value: self.targets.len() as u32 - 1,
                        ..step
                    }
                }
                Compiled::Register(address) if address == abi::csr::PSEUDO_RANDOM => {
                    registers.push(index);
                    step::nothing()
                }
                Compiled::Register(_) => {
                    return Err(malformed("programs do not read this register"));
                }
            };
            self.steps.push(step);
        }
        for index in registers {
            let next = self.steps.get(index + 1).and_then(step::random);
            self.steps[index] = next.ok_or(LoadError::Malformed {
                offset: index * 8,
                what: "no immed follows that delivers what it reads",
            })?;
        }
        Ok(())
    }

    fn destination_in(&self, address: u32, steps: usize) -> Option<Destination> {
        if let Some(index) = address.checked_sub(self.card.start)
            && (index as usize) < steps
        {
            return Some(Destination::Code(index as usize));
        }
        if address == self.card.done {
            return Some(Destination::Done);
        }
        let helpers = &self.card.helpers;
        let helper = helpers.iter().find(|(at, _)| *at == address);
        helper.map(|(_, helper)| Destination::Helper(*helper))
    }

    /// What lies at a code-store address.
    pub(super) fn destination(&self, address: u32) -> Option<Destination> {
        self.destination_in(address, self.steps.len())
    }

    /// The eBPF instruction that a step belongs to.
    pub(super) fn pc(&self, step: usize) -> Option<usize> {
        let after = self.ranges.partition_point(|(start, _)| *start <= step);
        self.ranges[after.checked_sub(1)?].1
    }
}

fn why(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::High => "bits above the instruction are set",
        DecodeError::NoForm => "no instruction has these bits",
        DecodeError::Unused(_) => "programs do not use this form of instruction",
        DecodeError::Reserved { .. } => "bits that its form does not use are set",
        DecodeError::Field { .. } => "a field of it holds what means nothing",
        DecodeError::Contradiction { .. } => "its fields contradict each other",
    }
}
