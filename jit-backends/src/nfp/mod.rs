//! Netronome NFP: the driver of the Agilio cards.
//!
//! `hooks` is what the driver checks while a program is verified.

mod hooks;

use caps::Caps;
use verifier::DeviceHooks;

use crate::Loaded;

/// The driver's own checks of one program, on a device with these capabilities that already
/// holds `loaded`. Every refusal carries the driver's words and errno
/// ([`bpf::finding::DriverAnswer`]).
pub fn driver_hooks(caps: &Caps, loaded: &Loaded) -> Box<dyn DeviceHooks> {
    Box::new(hooks::Hooks::new(caps, loaded))
}
