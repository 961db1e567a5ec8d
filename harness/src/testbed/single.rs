//! One frame by itself: in a queue that somebody chooses, looked at while it runs.

use bpf::trace::Observer;

use super::{FrameIn, Sink, Testbed};
use crate::error::Error;
use crate::replay::chunk::Chunk;

/// How one frame is run.
#[derive(Default)]
pub struct Single<'a> {
    /// Its receive queue, from 0; that which RSS chooses if `None`.
    pub queue: Option<u32>,
    /// Who looks at the program's run on it.
    pub observer: Option<&'a mut dyn Observer>,
}

impl std::fmt::Debug for Single<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let observed = self.observer.is_some();
        f.debug_struct("Single")
            .field("queue", &self.queue)
            .field("observed", &observed)
            .finish()
    }
}

impl Testbed {
    /// Processes one frame as [`Testbed::feed`] does, after all that were pushed before. Says
    /// whether the observer was shown the run: the reference's, or the NIC's if that cannot show
    /// it. `None` if the program never sees the frame.
    ///
    /// # Errors
    /// The first error of `sink`; and if there is no such queue.
    pub fn single(
        &mut self,
        frame: FrameIn<'_>,
        how: Single<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<Option<bool>, Error> {
        self.flush(sink)?;
        let Some(mut arrival) = self.arrival(&frame) else {
            return Ok(None);
        };
        if let Some(queue) = how.queue {
            if queue >= self.queues {
                let last = self.queues - 1;
                return Err(Error::input(format!(
                    "there is no queue {queue}; the last is {last}"
                )));
            }
            arrival.queue = queue;
        }
        let Some(observer) = how.observer else {
            self.chunk.push(arrival, frame.bytes);
            self.flush(sink)?;
            return Ok(Some(false));
        };
        let Some(running) = &mut self.running else {
            return Ok(None);
        };
        let mut chunk = Chunk::new();
        chunk.push(arrival, frame.bytes);
        let counts = &mut self.counts;
        let shown = running.lanes.watch(&chunk, observer, |packet| {
            counts.note(packet, false);
            sink(packet)
        })?;
        self.quarantine()?;
        Ok(Some(shown))
    }
}
