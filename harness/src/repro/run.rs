//! Repros of a run: the object as it is, and the fewest packets on which NIC and reference still
//! differ.

use std::sync::Arc;

use bpf::ProgramSet;
use caps::Caps;

use crate::error::Error;
use crate::report::run::Report;
use crate::seeds::Seeds;
use crate::shrink::fewest;
use crate::testbed::{FrameIn, Settings, Testbed};
use crate::trace::Trace;

/// A packet: arrival in nanoseconds since the epoch, and bytes.
pub type Packet = (u64, Vec<u8>);

/// A run that can be repeated with other packets.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The NIC.
    pub nic: &'a Arc<Caps>,
    /// How the testbed is set up.
    pub settings: &'a Settings,
    /// The object.
    pub set: &'a ProgramSet,
    /// The program that is run.
    pub entry: &'a str,
    /// Map contents before the first packet.
    pub seeds: Option<&'a Seeds>,
}

impl Run<'_> {
    /// Runs these packets; packet `trace` is recorded step by step.
    ///
    /// # Errors
    /// As [`Testbed::load_with`].
    pub fn repeat(
        &self,
        packets: &[Packet],
        trace: Option<usize>,
    ) -> Result<(Report, Option<Trace>), Error> {
        let mut testbed = Testbed::new(Arc::clone(self.nic), self.settings.clone())?;
        testbed.load_with(self.set, self.entry, self.seeds)?;
        let mut traced = None;
        for (index, (arrival_ns, bytes)) in packets.iter().enumerate() {
            let frame = FrameIn {
                arrival_ns: *arrival_ns,
                port: 1,
                bytes,
            };
            if trace == Some(index) {
                traced = testbed.trace(frame, &mut |_| Ok(()))?;
            } else if testbed.push(frame) {
                testbed.flush(&mut |_| Ok(()))?;
            }
        }
        Ok((testbed.finish()?, traced))
    }

    /// The fewest of these packets on which NIC and reference still differ; `None` if they do not
    /// on all of them.
    pub fn fewest(&self, packets: Vec<Packet>) -> Option<Vec<Packet>> {
        let mut differs = |packets: &[Packet]| {
            let repeated = self.repeat(packets, None);
            repeated.is_ok_and(|(report, _)| report.disagrees())
        };
        if !differs(&packets) {
            return None;
        }
        // Most often the last alone is enough.
        match packets.last() {
            Some(last) if differs(std::slice::from_ref(last)) => Some(vec![last.clone()]),
            _ => Some(fewest(packets, &mut differs)),
        }
    }
}
