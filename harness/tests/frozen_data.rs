//! A NIC refuses an image over other read-only data than it was verified with: what constants say
//! decided branches and bounds.

use std::sync::Arc;

use bpf::map::DataSection;
use bpf::object::{LoadOptions, load};
use bpf::run::Environment;
use jit_backends::Backend;
use nic_model::{LoadError, Nic};
use verifier::Options;

/// Loads the rate limiter's image over maps whose read-only data `change` has seen.
fn load_over(backend: &dyn Backend, nic: &str, change: fn(&mut Vec<u8>)) -> Result<(), LoadError> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/rate_limiter.o");
    let bytes = std::fs::read(path).expect("the object is there");
    let set = load(path, &bytes, &LoadOptions::default()).expect("it loads");
    let program = Arc::new(set.programs[0].clone());
    let verified = verifier::verify(Arc::clone(&program), Options::default()).expect("accepted");
    let caps = Arc::new(caps::builtin(nic).expect("a profile"));
    let image = backend.translate(&verified, &caps).expect("translated");
    let mut defs = program.maps.to_vec();
    let constants = defs
        .iter_mut()
        .find(|d| d.data == Some(DataSection::Rodata));
    change(
        constants
            .and_then(|d| d.initial.as_mut())
            .expect("it has constants"),
    );
    let mut nic = Nic::new(caps, Arc::new(Environment::default()), 1);
    let maps = nic.create_maps(&defs)?;
    nic.load(&image, &program.hook, &maps).map(|_id| ())
}

#[test]
fn an_image_is_refused_over_other_constants() {
    let other = |bytes: &mut Vec<u8>| bytes[0] ^= 1;
    let refused = load_over(&jit_backends::ebpf::Ebpf, "netdevsim", other);
    let Err(LoadError::Frozen { map }) = refused else {
        unreachable!("{refused:?}");
    };
    assert!(map.contains("rodata"), "{map}");
    assert_eq!(
        load_over(&jit_backends::ebpf::Ebpf, "netdevsim", |_same| {}),
        Ok(())
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn native_images_too() {
    let other = |bytes: &mut Vec<u8>| bytes[0] ^= 1;
    let refused = load_over(&jit_backends::x86_64::X86_64, "x86-dpu", other);
    assert!(
        matches!(refused, Err(LoadError::Frozen { .. })),
        "{refused:?}"
    );
}
