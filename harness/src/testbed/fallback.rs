//! Falling back to the host in the midst of a run, and offloading again.

use std::sync::Arc;

use bpf::Program;
use bpf::finding::{Finding, Severity, Stage};
use bpf::map::{MapSet, Placement};
use cpu_reference::Reference;

use super::start::{Running, StartError};
use super::{OnMismatch, Sink, Testbed};
use crate::error::Error;

impl Running {
    /// The maps of whoever runs the program: the NIC, or after a fallback the host.
    pub(super) fn live_maps(&self) -> &MapSet {
        match &self.fallback {
            Some(host) => host.maps(),
            None => self.nic.maps(),
        }
    }
}

impl Testbed {
    /// The program leaves the NIC: what was pushed before still runs there, then the contents of
    /// its maps move to the host, whose engine runs all frames from now on. Without effect if no
    /// program runs, or the host runs it already.
    ///
    /// # Errors
    /// The first error of `sink`; and if there is no memory for the host's maps.
    pub fn fall_back(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.flush(sink)?;
        self.move_to_host()
    }

    pub(super) fn move_to_host(&mut self) -> Result<(), Error> {
        let defs = match &self.running {
            Some(running) if running.fallback.is_none() => Arc::clone(&running.maps),
            _ => return Ok(()),
        };
        let programs: Vec<Arc<Program>> = self
            .assessments
            .iter()
            .map(|a| Arc::clone(&a.program))
            .collect();
        let maps = MapSet::for_program_set(&defs, self.queues, Placement::Private)
            .map_err(|e| Error::input(e.to_string()))?;
        let host = self.host(&programs, maps).map_err(|error| match error {
            StartError::Stop(error) => error,
            StartError::Load(finding) => Error::input(finding.message),
        })?;
        if let Some(running) = &mut self.running {
            host.maps().copy_from(running.nic.maps());
            running.lanes.fall_back(Some(&|| host.runner()));
            running.fallback = Some(host);
        }
        self.counts.fell_back.get_or_insert(self.next_packet);
        Ok(())
    }

    /// The program returns to the NIC, and the contents of the host's maps with it. Without effect
    /// if it is there.
    ///
    /// # Errors
    /// The first error of `sink`.
    pub fn offload_again(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.flush(sink)?;
        if let Some(running) = &mut self.running
            && let Some(host) = running.fallback.take()
        {
            running.nic.maps().copy_from(host.maps());
            running.lanes.fall_back(None);
        }
        Ok(())
    }

    /// Takes the program off the NIC if the last chunk calls for it.
    pub(super) fn quarantine(&mut self) -> Result<(), Error> {
        let wanted = self.settings.on_mismatch == OnMismatch::FallBack;
        if wanted && self.counts.mismatched > 0 && !self.counts.quarantined {
            self.counts.quarantined = true;
            self.move_to_host()?;
        }
        Ok(())
    }

    /// What the host did in the NIC's place.
    pub(super) fn host_findings(&self) -> Vec<Finding> {
        let counts = &self.counts;
        let note = |rule, message: String| {
            Finding::new(
                rule,
                Severity::Note,
                Stage::Performance,
                self.caps.name.clone(),
                message,
            )
        };
        let ran: u64 = counts.verdicts.values().sum();
        let share = |part: u64| part as f64 * 100.0 / ran.max(1) as f64;
        let punted = (counts.punted > 0).then(|| {
            note(
                "performance/punted",
                format!(
                    "{} hands {} of {ran} packets ({:.1} %) to the host",
                    self.caps.name,
                    counts.punted,
                    share(counts.punted)
                ),
            )
            .why(
                "frames longer than `packet.window_bytes` are punted, says the profile's \
                 `packet.beyond_window`; the host runs the program on them over the NIC's maps",
            )
            .help("the host pays for each of them as without offload; --min-mpps sets a bar")
        });
        let fell_back = counts.fell_back.map(|packet| {
            note(
                "performance/fell-back",
                format!(
                    "the host ran {} of {ran} packets ({:.1} %) after a fallback before packet \
                     {packet}",
                    counts.on_host,
                    share(counts.on_host)
                ),
            )
            .why(if counts.quarantined {
                "a packet differed from the reference, and --on-mismatch fall-back takes the \
                 program off the NIC then, with the maps as it left them"
            } else {
                "--fall-back asked for it"
            })
            .help("--on-mismatch report lets the NIC go on, to see every packet that differs")
        });
        punted.into_iter().chain(fell_back).collect()
    }
}
