//! The CPU references agree on the programs of `programs/`: interp, rbpf where it supports the
//! program, and the running kernel leave the same return codes, packets and maps.
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf::map::json::{self, MapsJson};
use bpf::map::{MapSet, MapType, Placement};
use bpf::object::{LoadOptions, load};
use bpf::run::{Arrival, Batch, Environment, XDP_HEADROOM, XDP_MAX_LINEAR, XDP_MIN_FRAME};
use bpf::{Program, ProgramSet};
use cpu_reference::{Interp, Kernel, Rbpf, Reference, Setup, Unsupported};

/// One whose CPU map names a CPU that not every machine has.
const NOT_ON_KERNEL: [&str; 1] = ["steer"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The capture's frames that a test run of the kernel takes.
fn frames() -> Result<Batch, Box<dyn Error>> {
    let mut reader = pcaps::read::CaptureReader::open(root().join("pcaps/data/all.pcap"))?;
    let mut batch = Batch::new();
    while let Some(record) = reader.next()? {
        let bytes = record.data;
        if (XDP_MIN_FRAME..=XDP_MAX_LINEAR).contains(&bytes.len()) {
            let arrival = Arrival {
                number: batch.frames.len() as u64,
                arrival_ns: 1_000_000_000,
                port: 1,
                queue: 0,
            };
            batch.push(arrival, bytes, XDP_HEADROOM, XDP_MAX_LINEAR - bytes.len());
        }
    }
    Ok(batch)
}

/// The programs that run together with `entry` first, and their maps with the seeds beside them.
fn setup(
    set: &ProgramSet,
    entry: &Program,
    seeds: Option<&MapsJson>,
) -> Result<Setup, Box<dyn Error>> {
    let others = set.programs.iter().filter(|p| p.name != entry.name);
    let programs: Vec<Arc<Program>> = std::iter::once(entry)
        .chain(others)
        .cloned()
        .map(Arc::new)
        .collect();
    let number = |name: &str| {
        let place = programs.iter().position(|p| p.name == name);
        place.map(|n| n as u32)
    };
    let maps = MapSet::for_program_set(&set.maps, 1, Placement::Private)?;
    maps.fill_programs(number)?;
    if let Some(seeds) = seeds {
        json::apply(&maps, &entry.globals, seeds, number)?;
    }
    Ok(Setup {
        programs: programs.clone(),
        maps,
        environment: Arc::new(Environment::default()),
    })
}

/// What a reference leaves of all frames, as lines that can be compared.
fn left(reference: &dyn Reference, frames: &Batch) -> Vec<String> {
    let mut batch = frames.clone();
    reference.runner().process(&mut batch);
    let mut lines: Vec<String> = batch.traps.iter().map(|trap| format!("{trap:?}")).collect();
    for (index, frame) in batch.frames.iter().enumerate() {
        lines.push(format!(
            "{index}: {:#x} {:02x?}",
            frame.r0 as u32,
            batch.bytes(index)
        ));
    }
    for map in reference.maps().iter() {
        let name = &map.def().name;
        match map.kind() {
            // What the host fills, and what is not kept.
            MapType::ProgArray
            | MapType::PerfEventArray
            | MapType::ArrayOfMaps
            | MapType::HashOfMaps
            | MapType::Xskmap
            | MapType::Ringbuf => {}
            _ => {
                for key in map.host_keys() {
                    let value = map.host_lookup(&key).unwrap_or_default();
                    lines.push(format!("{name}[{key:02x?}] = {value:02x?}"));
                }
                lines.extend(
                    map.host_values()
                        .iter()
                        .map(|v| format!("{name}: {v:02x?}")),
                );
            }
        }
    }
    lines
}

#[test]
fn references_agree_on_our_programs() -> Result<(), Box<dyn Error>> {
    let frames = frames()?;
    assert!(frames.frames.len() > 200);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root().join("programs"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|e| e == "o"));
    // What a tc program can see.
    let mut whole = frames.clone();
    let memory = &whole.memory;
    whole.frames.retain(|frame| {
        let area = memory.get(frame.area.clone()).unwrap_or_default();
        let bytes = area.get(frame.data as usize..frame.end as usize);
        bytes.is_some_and(bpf::skb::complete)
    });
    let (mut on_rbpf, mut on_kernel) = (0, 0);
    for path in &paths {
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let options = LoadOptions {
            queues: 1,
            ..LoadOptions::default()
        };
        let set = load(&path.display().to_string(), &std::fs::read(path)?, &options)?;
        let seeds = root().join("programs/seeds").join(format!("{stem}.json"));
        let seeds = match std::fs::read_to_string(&seeds) {
            // Constants keep the object's values; they would have to be set before loading.
            Ok(text) => Some(MapsJson {
                globals: BTreeMap::default(),
                ..MapsJson::from_json(&text)?
            }),
            Err(_) => None,
        };
        for entry in &set.programs {
            let what = format!("{stem}/{}", entry.name);
            let frames = match entry.hook {
                bpf::Hook::Tc { .. } => &whole,
                _ => &frames,
            };
            let make = || setup(&set, entry, seeds.as_ref());
            let expected = left(&Interp::new(make()?)?, frames);
            if Rbpf::supports(entry).is_ok() {
                on_rbpf += 1;
                assert_eq!(
                    left(&Rbpf::new(make()?)?, frames),
                    expected,
                    "{what} on rbpf"
                );
            }
            if NOT_ON_KERNEL.contains(&stem.as_str()) {
                continue;
            }
            match Kernel::new(make()?) {
                Ok(kernel) => {
                    on_kernel += 1;
                    assert_eq!(left(&kernel, frames), expected, "{what} on the kernel");
                }
                Err(Unsupported::Environment { needs, reason }) => {
                    assert!(
                        !is_required(needs),
                        "NICBED_REQUIRE names {needs}: {reason}"
                    );
                    println!("{what}: skipped: needs {needs} ({reason})");
                }
                Err(other) => return Err(other.into()),
            }
        }
    }
    println!(
        "{} objects, {on_rbpf} programs on rbpf, {on_kernel} on the kernel",
        paths.len()
    );
    assert!(on_rbpf > 0);
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment says which tools a run may not go without"
)]
fn is_required(what: &str) -> bool {
    std::env::var("NICBED_REQUIRE")
        .is_ok_and(|list| list.split(',').any(|item| item.trim() == what))
}
