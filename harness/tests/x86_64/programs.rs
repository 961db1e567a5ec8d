//! Every program of `programs/` on generated traffic: native code and the interpreter leave the
//! same verdicts, packets, maps and events.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpf::map::{MapSet, Placement};
use bpf::object::{LoadOptions, load};
use bpf::run::{Arrival, Batch, Environment, Verdict, XdpAction};
use bpf::{Program, ProgramSet};
use cpu_reference::{Interp, Reference, Setup};
use harness::seeds::Seeds;
use nic_model::{Nic, ProgramId};
use pcaps::generate::{Generator, Mix, Spec};

use crate::rig::{check_image, listing, translate, trusted};

const QUEUES: u32 = 2;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join("programs")
}

/// Fills slots as the object and the seeds say.
fn prepare(maps: &MapSet, order: &[Arc<Program>], seeds: Option<&Seeds>) {
    let number = |name: &str| {
        order
            .iter()
            .position(|p| p.name == name)
            .map(|at| at as u32)
    };
    maps.fill_programs(number).unwrap();
    if let Some(seeds) = seeds {
        seeds.apply(maps, &number).unwrap();
    }
}

fn traffic(mix: Mix, first: u64, packets: u64) -> Batch {
    let mut batch = Batch::new();
    let mut generator = Generator::new(Spec {
        flows: 50,
        ..Spec::new(mix, packets)
    })
    .unwrap();
    let mut frame = Vec::new();
    let mut number = first;
    while let Some(stamp) = generator.next_into(&mut frame) {
        let arrival = Arrival {
            number,
            arrival_ns: 1_700_000_000_000_000_000 + number * 1000,
            port: 1 + (number % 3) as u32,
            queue: (number % u64::from(QUEUES)) as u32,
        };
        let _ = stamp;
        number += 1;
        if frame.len() >= 14 {
            batch.push(arrival, &frame, 256, 320);
        }
    }
    batch
}

fn compare(name: &str, set: &ProgramSet, entry: usize, verdicts: &mut BTreeSet<Verdict>) -> u64 {
    let mut order: Vec<Arc<Program>> = set.programs.iter().cloned().map(Arc::new).collect();
    order.swap(0, entry);
    let seeds = std::fs::read_to_string(root().join("seeds").join(format!("{name}.json")))
        .ok()
        .map(|text| Seeds::parse(name, &text).unwrap());
    let environment = Arc::new(Environment {
        seed: 3,
        ports: vec![1, 2, 3],
        ..Environment::default()
    });
    let caps = Arc::new(caps::builtin("x86-dpu").unwrap());

    let mut nic = Nic::new(caps, Arc::clone(&environment), QUEUES);
    let maps = nic.create_maps(&set.maps).unwrap();
    for program in &order {
        let image = translate(program).unwrap_or_else(|r| panic!("{}: {r}", program.name));
        check_image(program, &image);
        listing(&image);
        nic.load_trusted(&trusted(image), &program.hook, &maps)
            .unwrap();
    }
    prepare(nic.maps(), &order, seeds.as_ref());

    let reference_maps = MapSet::for_program_set(&set.maps, QUEUES, Placement::Private).unwrap();
    prepare(&reference_maps, &order, seeds.as_ref());
    let reference = Interp::new(Setup {
        programs: order.clone(),
        maps: reference_maps,
        environment,
    })
    .unwrap();

    let mut native = nic.arrival_order(ProgramId(0)).unwrap();
    let mut runner = reference.runner();
    let hook = &order[0].hook;
    let mut compared = 0;
    for mix in Mix::EVERY {
        let mut a = traffic(mix, compared, 300);
        let mut b = a.clone();
        native.process(&mut a);
        runner.process(&mut b);
        assert_eq!(b.traps, [], "{name}: the reference trapped");
        for index in 0..a.frames.len() {
            let (x, y) = (a.outcome(index, hook), b.outcome(index, hook));
            let context = format!("{name}/{}: packet {} of {mix}", order[0].name, x.packet);
            assert_eq!(x.trap, None, "{context}");
            assert_eq!(
                x.r0.map(|r0| r0 as u32),
                y.r0.map(|r0| r0 as u32),
                "{context}"
            );
            assert_eq!(x.frame, y.frame, "{context}");
            assert_eq!(x.meta, y.meta, "{context}");
            assert_eq!(x.redirect, y.redirect, "{context}");
            verdicts.insert(x.verdict);
            compared += 1;
        }
        assert_eq!(a.events, b.events, "{name}: events of {mix}");
    }
    for (id, map) in nic.maps().iter().enumerate() {
        let other = reference.maps().get(id).unwrap();
        let (mut keys, mut others) = (map.host_keys(), other.host_keys());
        keys.sort();
        others.sort();
        assert_eq!(keys, others, "{name}: keys of {}", map.def().name);
        for key in keys {
            assert_eq!(
                map.host_lookup(&key),
                other.host_lookup(&key),
                "{name}: {}",
                map.def().name
            );
        }
    }
    compared
}

#[test]
fn native_code_and_interpreter_agree_on_every_program() {
    let mut names: Vec<PathBuf> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "o" || e == "bpf"))
        .collect();
    names.sort();
    assert!(names.len() > 14);
    let mut verdicts = BTreeSet::new();
    for path in names {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let object = std::fs::read(&path).unwrap();
        let options = LoadOptions {
            queues: QUEUES,
            ..LoadOptions::default()
        };
        let set = load(&path.to_string_lossy(), &object, &options)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(set.refused.is_empty(), "{name}: {:?}", set.refused);
        for entry in 0..set.programs.len() {
            let compared = compare(&name, &set, entry, &mut verdicts);
            assert!(compared > 3000, "{name}: {compared}");
        }
    }
    for action in [
        XdpAction::Drop,
        XdpAction::Pass,
        XdpAction::Tx,
        XdpAction::Redirect,
    ] {
        assert!(verdicts.contains(&Verdict::Xdp(action)), "{action:?}");
    }
}
