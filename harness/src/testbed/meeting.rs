//! Looking for the place where queues meet in a map first.

use std::sync::Arc;

use bpf::Program;
use verifier::Verified;

use super::Testbed;
use super::start::StartError;
use crate::error::Error;
use crate::replay::meeting::{self, MOST_CHUNKS, MOST_COPIED};

impl Testbed {
    /// Searches the chunk that is about to run, if order between queues matters and no earlier one
    /// had the answer.
    pub(super) fn look_for_meeting(&mut self) -> Result<(), Error> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let counts = &self.counts;
        let wanted = !running.reasons.is_empty()
            && self.queues > 1
            && counts.meeting.is_none()
            && counts.looked_at < MOST_CHUNKS;
        let maps = running.live_maps();
        let bytes: usize = maps.iter().map(|m| m.memory().len()).sum();
        if !wanted || bytes > MOST_COPIED {
            return Ok(());
        }
        let programs: Vec<Arc<Program>> = self
            .assessments
            .iter()
            .map(|a| Arc::clone(&a.program))
            .collect();
        let verified: Vec<&Verified> = self
            .assessments
            .iter()
            .filter_map(|a| a.verified.as_deref())
            .collect();
        let copy = maps.snapshot().map_err(|e| Error::input(e.to_string()))?;
        let interp = match self.host(&programs, copy) {
            Ok(interp) => interp,
            // A hook that interp does not have.
            Err(StartError::Stop(_) | StartError::Load(_)) => return Ok(()),
        };
        let found = meeting::search(&verified, &interp, &self.chunk, self.room(&programs));
        self.counts.looked_at += 1;
        self.counts.meeting = found;
        Ok(())
    }
}
