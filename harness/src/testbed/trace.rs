//! Tracing one packet of a running testbed.

use std::sync::Arc;

use verifier::Verified;

use super::{FrameIn, Sink, Testbed};
use crate::error::Error;
use crate::replay::chunk::Chunk;
use crate::trace::{Part, Trace, Traced, sites};

impl Testbed {
    /// Processes one frame as [`Testbed::feed`] does, after all that were pushed before, and
    /// records both sides instruction by instruction. `None` if the program never sees the frame.
    ///
    /// # Errors
    /// The first error of `sink`.
    pub fn trace(
        &mut self,
        frame: FrameIn<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<Option<Trace>, Error> {
        self.flush(sink)?;
        let Some(arrival) = self.arrival(&frame) else {
            return Ok(None);
        };
        let verified: Vec<&Verified> = self
            .assessments
            .iter()
            .filter_map(|a| a.verified.as_deref())
            .collect();
        let sites = sites(&verified);
        let programs = self
            .assessments
            .iter()
            .map(|a| Part {
                program: Arc::clone(&a.program),
                image: a.image.clone(),
                backend: a.nic.backend.clone(),
            })
            .collect();
        let Some(running) = &mut self.running else {
            return Ok(None);
        };
        let mut chunk = Chunk::new();
        chunk.push(arrival, frame.bytes);
        let counts = &mut self.counts;
        let mut differences = Vec::new();
        let recorded = running.lanes.trace(&chunk, &sites, |packet| {
            counts.note(packet, false);
            differences = packet.differences.to_vec();
            sink(packet)
        })?;
        let packet = Traced {
            number: arrival.number,
            queue: arrival.queue,
            headroom: running.lanes.headroom(),
            frame: frame.bytes.to_vec(),
        };
        let mut trace = Trace::new(packet, programs, recorded);
        trace.differences = differences;
        if running.reference.is_none() {
            trace.silent[1] = Some("there is no reference".to_owned());
        }
        self.quarantine()?;
        Ok(Some(trace))
    }
}
