//! Exploring schedules of the loaded programs.

use std::sync::Arc;

use bpf::Program;
use bpf::run::Arrival;
use cpu_reference::Interp;
use verifier::Verified;

use super::start::StartError;
use super::{FrameIn, Testbed};
use crate::error::Error;
use crate::races::{self, MOST_PACKETS, Packet, Races};
use crate::seeds::Seeds;

impl Testbed {
    /// Explores what happens where queues run in parallel ([`races`]), with maps as `seeds` fill
    /// them and the first [`MOST_PACKETS`] of these frames. Nothing of what runs is touched.
    ///
    /// # Errors
    /// If nothing was loaded that the verifier accepts, or there is no memory for the maps.
    pub fn races<'f>(
        &self,
        seeds: Option<&Seeds>,
        frames: impl IntoIterator<Item = FrameIn<'f>>,
    ) -> Result<Races, Error> {
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
        let (Some(entry), true) = (programs.first(), verified.len() == programs.len()) else {
            return Err(Error::usage(
                "no program is loaded whose schedules could be explored",
            ));
        };
        let stop = |error: StartError| match error {
            StartError::Stop(error) => error,
            StartError::Load(finding) => Error::input(finding.message),
        };
        let interp = Interp::new(self.setup(&programs, seeds).map_err(stop)?)
            .map_err(|e| Error::usage(format!("the schedules cannot be explored: {e}")))?;
        let room = self.room(&programs);
        let mut last_ns = 0;
        let mut packets = Vec::new();
        for (number, frame) in frames.into_iter().take(MOST_PACKETS).enumerate() {
            last_ns = frame.arrival_ns.max(last_ns);
            if self.not_run(&frame).is_some() {
                continue;
            }
            packets.push(Packet {
                arrival: Arrival {
                    number: number as u64,
                    arrival_ns: last_ns,
                    port: frame.port,
                    queue: self.rss.queue(frame.bytes),
                },
                bytes: frame.bytes.to_vec(),
                room: (room.headroom, room.tail(frame.bytes.len())),
            });
        }
        races::explore(&verified, &entry.hook, &interp, &packets)
            .map_err(|e| Error::input(e.to_string()))
    }
}
