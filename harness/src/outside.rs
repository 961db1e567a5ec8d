//! [`Outside`]: a backend that is not one of nicbed's own.

use std::fmt;
use std::sync::Arc;

use jit_backends::Backend;
use nic_model::Workers;

/// A backend to put in place of the one that the NIC's profile names. Nobody vouches for its
/// images, so native ones run in worker processes.
#[derive(Clone)]
pub struct Outside {
    /// The backend; its instruction set must have an engine.
    pub backend: Arc<dyn Backend>,
    /// What runs its native images.
    pub workers: Arc<Workers>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside")
            .field("backend", &self.backend.name())
            .field("workers", &self.workers.program())
            .finish()
    }
}
