//! [`Workers`]: the program that runs native images nobody vouches for, in processes of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What starts worker processes. A NIC that has it ([`Nic::with_workers`](crate::Nic::with_workers))
/// runs all its native images there: what crashes, never returns or writes where it must not is
/// then a trap of one packet and not the end of this process.
///
/// The program must answer [`Workers::ARGUMENT`] by calling
/// `nic_model::native::worker::serve`, as `nicbed` does.
#[derive(Debug)]
pub struct Workers {
    program: PathBuf,
    arguments: Vec<OsString>,
    /// Running programs that nobody asks just now.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    idle: std::sync::Mutex<Vec<crate::native::worker::Spawner>>,
}

impl Workers {
    /// The hidden command of `nicbed` that serves.
    pub const ARGUMENT: &'static str = "worker";

    /// `program` serves with the argument [`Workers::ARGUMENT`].
    pub fn new(program: impl Into<PathBuf>) -> Workers {
        Workers {
            program: program.into(),
            arguments: vec![Workers::ARGUMENT.into()],
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            idle: std::sync::Mutex::default(),
        }
    }

    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    pub(crate) fn idle(&self) -> std::sync::MutexGuard<'_, Vec<crate::native::worker::Spawner>> {
        self.idle
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its arguments.
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }
}

impl Default for Workers {
    /// `nicbed`, wherever PATH has it.
    fn default() -> Workers {
        Workers::new("nicbed")
    }
}
