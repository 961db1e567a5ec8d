//! Comparing what the NIC did with what the reference did: typed, field by field.

use bpf::run::{Emitted, Event, EventKind, Outcome, RedirectTarget, TcAction, Trap, Verdict};
use bpf::skb::Skb;
use bpf::{Hook, context};
use cpu_reference::TOLD_BY_TEST_RUN;

/// One field in which two outcomes differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The engine stopped the program on one side only, or for different reasons.
    Trap {
        /// On the NIC.
        nic: Option<Trap>,
        /// On the reference.
        reference: Option<Trap>,
    },
    /// The verdicts differ.
    Verdict {
        /// On the NIC.
        nic: Verdict,
        /// On the reference.
        reference: Verdict,
    },
    /// The return codes differ: their lower 32 bits, all 64 without a hook.
    ReturnCode {
        /// On the NIC.
        nic: u64,
        /// On the reference.
        reference: u64,
    },
    /// The redirect targets differ.
    Redirect {
        /// On the NIC.
        nic: Option<RedirectTarget>,
        /// On the reference.
        reference: Option<RedirectTarget>,
    },
    /// The bytes from data to data_end differ.
    Frame {
        /// Offset of the first byte that differs; the shorter length if one is a prefix.
        first: usize,
        /// On the NIC.
        nic: Vec<u8>,
        /// On the reference.
        reference: Vec<u8>,
    },
    /// The bytes from data_meta to data differ.
    Meta {
        /// On the NIC.
        nic: Vec<u8>,
        /// On the reference.
        reference: Vec<u8>,
    },
    /// A number of a tc packet's context differs.
    Context {
        /// Its name in `struct __sk_buff`.
        name: &'static str,
        /// On the NIC: the 4 bytes that differ first.
        nic: u32,
        /// On the reference.
        reference: u32,
    },
    /// The copies that were sent differ.
    Emitted {
        /// On the NIC.
        nic: Vec<Emitted>,
        /// On the reference.
        reference: Vec<Emitted>,
    },
    /// The events handed to the host differ.
    Events {
        /// On the NIC.
        nic: Vec<(EventKind, Vec<u8>)>,
        /// On the reference.
        reference: Vec<(EventKind, Vec<u8>)>,
    },
}

impl Difference {
    /// Name of the field: `trap`, `verdict`, `r0`, `redirect`, `frame`, `meta`, `context`,
    /// `emitted` or `events`.
    pub const fn field(&self) -> &'static str {
        match self {
            Difference::Trap { .. } => "trap",
            Difference::Verdict { .. } => "verdict",
            Difference::ReturnCode { .. } => "r0",
            Difference::Redirect { .. } => "redirect",
            Difference::Frame { .. } => "frame",
            Difference::Meta { .. } => "meta",
            Difference::Context { .. } => "context",
            Difference::Emitted { .. } => "emitted",
            Difference::Events { .. } => "events",
        }
    }

    /// The field and, where they are short, both sides, in one line.
    pub fn brief(&self) -> String {
        let field = self.field();
        match self {
            Difference::Verdict { nic, reference } => {
                format!(
                    "{field} (NIC {}, reference {})",
                    nic.name(),
                    reference.name()
                )
            }
            Difference::ReturnCode { nic, reference } => {
                format!("{field} (NIC {nic:#x}, reference {reference:#x})")
            }
            Difference::Context {
                name,
                nic,
                reference,
            } => format!("{name} (NIC {nic:#x}, reference {reference:#x})"),
            Difference::Frame {
                first,
                nic,
                reference,
            } => format!(
                "{field} from byte {first} (NIC {} bytes, reference {})",
                nic.len(),
                reference.len()
            ),
            Difference::Trap { .. }
            | Difference::Redirect { .. }
            | Difference::Meta { .. }
            | Difference::Emitted { .. }
            | Difference::Events { .. } => field.to_owned(),
        }
    }
}

/// What a reference does not tell, or tells in another form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Not where a packet is redirected to.
    pub no_redirect: bool,
    /// Not what is printed.
    pub no_trace: bool,
    /// What goes to a perf event array is filled up to whole words.
    pub padded_perf: bool,
    /// Of a tc packet's context only the numbers in [`TOLD_BY_TEST_RUN`].
    pub part_of_context: bool,
    /// Not which copies of packets are sent.
    pub no_emitted: bool,
    /// In frames and metadata words may be addresses, which are left out.
    pub frame_addresses: bool,
    /// The same in what is handed to the host.
    pub event_addresses: bool,
    /// Events in the order of each map, but not in that between maps.
    pub by_map: bool,
}

impl Told {
    /// What a test run of the kernel tells.
    pub const KERNEL: Told = Told {
        no_redirect: true,
        no_trace: true,
        padded_perf: true,
        part_of_context: true,
        no_emitted: true,
        by_map: true,
        frame_addresses: false,
        event_addresses: false,
    };
}

/// All fields in which two outcomes of one packet differ; empty if they agree.
pub fn outcomes(nic: &Outcome<'_>, reference: &Outcome<'_>, told: Told) -> Vec<Difference> {
    let mut differences = Vec::new();
    // Engines see different addresses, so traps agree if both sides trapped.
    if nic.trap.is_some() != reference.trap.is_some() {
        differences.push(Difference::Trap {
            nic: nic.trap.cloned(),
            reference: reference.trap.cloned(),
        });
    }
    if !same_verdict(nic, reference) {
        differences.push(Difference::Verdict {
            nic: nic.verdict,
            reference: reference.verdict,
        });
    }
    if let (Some(ours), Some(theirs)) = (return_code(nic), return_code(reference))
        && ours != theirs
    {
        differences.push(Difference::ReturnCode {
            nic: ours,
            reference: theirs,
        });
    }
    if nic.redirect != reference.redirect && !told.no_redirect {
        differences.push(Difference::Redirect {
            nic: nic.redirect,
            reference: reference.redirect,
        });
    }
    if !alike(nic.frame, reference.frame, told.frame_addresses) {
        differences.push(Difference::Frame {
            first: first_difference(nic.frame, reference.frame),
            nic: nic.frame.to_vec(),
            reference: reference.frame.to_vec(),
        });
    }
    if !alike(nic.meta, reference.meta, told.frame_addresses) {
        differences.push(Difference::Meta {
            nic: nic.meta.to_vec(),
            reference: reference.meta.to_vec(),
        });
    }
    if let (Some(ours), Some(theirs)) = (nic.context, reference.context) {
        differences.extend(contexts(ours, theirs, told.part_of_context));
    }
    if nic.emitted != reference.emitted && !told.no_emitted {
        differences.push(Difference::Emitted {
            nic: nic.emitted.to_vec(),
            reference: reference.emitted.to_vec(),
        });
    }
    differences
}

/// The first number in which two contexts differ; with `told` of those that a test run tells.
fn contexts(nic: &Skb, reference: &Skb, told: bool) -> Option<Difference> {
    let pairs = nic.words.iter().zip(&reference.words).enumerate();
    let mut differing = pairs.filter(|(_, (a, b))| a != b);
    let (word, (nic, reference)) =
        differing.find(|(word, _)| !told || TOLD_BY_TEST_RUN.contains(word))?;
    let field = context::field_at(&Hook::TC, 4 * word as i64)?;
    Some(Difference::Context {
        name: field.name,
        nic: *nic,
        reference: *reference,
    })
}

/// Compares the events of one packet; `None` if they agree.
pub fn events(nic: &[Event], reference: &[Event], told: Told) -> Option<Difference> {
    let strip = |events: &[Event]| -> Vec<Handed> {
        let mut events: Vec<Handed> = events
            .iter()
            .filter(|e| !(told.no_trace && e.kind == EventKind::Trace))
            .map(|e| (e.kind, e.bytes.clone()))
            .collect();
        if told.by_map {
            events.sort_by_key(|(kind, _)| match kind {
                EventKind::Trace => (0, 0),
                EventKind::Perf { map } => (1, *map),
                EventKind::Ringbuf { map } => (2, *map),
            });
        }
        events
    };
    let (nic, reference) = (strip(nic), strip(reference));
    let alike = |((kind, a), (other, b)): (&Handed, &Handed)| {
        let padded = told.padded_perf && matches!(kind, EventKind::Perf { .. });
        let b = match b.get(..a.len()) {
            Some(start) if padded && b.len() == perf_bytes(a.len()) => start,
            _ => b,
        };
        kind == other && alike(a, b, told.event_addresses)
    };
    let same = nic.len() == reference.len() && nic.iter().zip(&reference).all(alike);
    (!same).then_some(Difference::Events { nic, reference })
}

/// Whether bytes are equal, with `addresses` but for words in which the kernel has an address.
pub(crate) fn alike(nic: &[u8], kernel: &[u8], addresses: bool) -> bool {
    if !addresses || nic.len() != kernel.len() {
        return nic == kernel;
    }
    let mut at = 0;
    while at < kernel.len() {
        if nic[at] == kernel[at] {
            at += 1;
            continue;
        }
        let starts = at.saturating_sub(7)..=at;
        let mut words = starts.filter_map(|start| Some((start, *kernel[start..].first_chunk()?)));
        match words.find(|(_, word)| is_address(u64::from_le_bytes(*word))) {
            Some((start, _)) => at = start + 8,
            None => return false,
        }
    }
    true
}

/// Whether a number is an address of the kernel's data on a 64-bit machine: in the upper half, and
/// not among the last 4 GiB, where small negative numbers are too.
const fn is_address(word: u64) -> bool {
    word >> 47 == 0x1_ffff && word >> 32 != 0xffff_ffff
}

/// What was handed to the host: the way and the bytes.
type Handed = (EventKind, Vec<u8>);

/// Bytes that a perf event of so many has on the kernel: with its length of 4 bytes it fills words
/// of 8.
const fn perf_bytes(bytes: usize) -> usize {
    (bytes + 4).next_multiple_of(8) - 4
}

/// What of r0 counts: a return code has 32 bits, a result without a hook 64. `None` where a
/// device tells only an action.
pub(crate) fn return_code(outcome: &Outcome<'_>) -> Option<u64> {
    let bits = if outcome.verdict == Verdict::Raw {
        u64::MAX
    } else {
        0xffff_ffff
    };
    outcome.r0.map(|r0| r0 & bits)
}

/// Whether verdicts say the same. A device that tells only an action does not tell apart who took
/// a packet without counting it.
fn same_verdict(nic: &Outcome<'_>, reference: &Outcome<'_>) -> bool {
    let taken = |verdict| matches!(verdict, Verdict::Tc(TcAction::Stolen | TcAction::Queued));
    nic.verdict == reference.verdict
        || (nic.r0.is_none() && taken(nic.verdict) && taken(reference.verdict))
}

fn first_difference(a: &[u8], b: &[u8]) -> usize {
    a.iter()
        .zip(b)
        .position(|(x, y)| x != y)
        .unwrap_or(a.len().min(b.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpf::run::{Cost, XdpAction};

    fn outcome(frame: &[u8]) -> Outcome<'_> {
        Outcome {
            packet: 0,
            verdict: Verdict::Xdp(XdpAction::Pass),
            r0: Some(2),
            frame,
            meta: &[],
            redirect: None,
            context: None,
            emitted: &[],
            trap: None,
            cost: Cost::default(),
        }
    }

    #[test]
    fn the_first_differing_byte_is_named() {
        let differences = outcomes(&outcome(&[1, 2, 3]), &outcome(&[1, 9, 3]), Told::default());
        assert!(matches!(
            differences[..],
            [Difference::Frame { first: 1, .. }]
        ));
        let differences = outcomes(&outcome(&[1, 2]), &outcome(&[1, 2, 3]), Told::default());
        assert!(matches!(
            differences[..],
            [Difference::Frame { first: 2, .. }]
        ));
    }

    #[test]
    fn the_upper_half_of_an_xdp_return_code_does_not_count() {
        let mut other = outcome(&[1]);
        other.r0 = Some(0xdead_0000_0002);
        assert!(outcomes(&outcome(&[1]), &other, Told::default()).is_empty());
        other.r0 = Some(3);
        assert_eq!(outcomes(&outcome(&[1]), &other, Told::default()).len(), 1);
    }

    #[test]
    fn addresses_of_the_kernel_are_left_out_and_nothing_else() {
        let word = |n: u64| n.to_le_bytes();
        let address = word(0xffff_8881_0234_5678);
        let bytes = |first: [u8; 8], then: u8| [&[1, 2][..], &first, &[then]].concat();
        let kernel = bytes(address, 3);
        assert!(alike(&bytes(word(0x7f00_1234), 3), &kernel, true));
        assert!(!alike(&bytes(word(0x7f00_1234), 3), &kernel, false));
        assert!(!alike(&bytes(word(0x7f00_1234), 4), &kernel, true));
        let negative = bytes(word(-5_i64 as u64), 3);
        assert!(!alike(&bytes(word(5), 3), &negative, true));
        assert!(!alike(&[1], &[1, 2], true));
    }

    #[test]
    fn perf_events_of_the_kernel_are_padded() {
        let event = |kind, bytes: &[u8]| Event {
            packet: 0,
            kind,
            bytes: bytes.to_vec(),
        };
        let perf = |bytes: &[u8]| [event(EventKind::Perf { map: 0 }, bytes)];
        let ring = |bytes: &[u8]| [event(EventKind::Ringbuf { map: 0 }, bytes)];
        let same = |nic: &[Event], kernel: &[Event]| events(nic, kernel, Told::KERNEL).is_none();
        assert!(same(&perf(&[1, 2]), &perf(&[1, 2, 9, 9])));
        assert!(same(&perf(&[1, 2, 3, 4]), &perf(&[1, 2, 3, 4])));
        assert!(!same(&perf(&[1, 2]), &perf(&[1, 3, 9, 9])));
        assert!(!same(&perf(&[1, 2]), &perf(&[1, 2, 9])));
        assert!(!same(&ring(&[1, 2]), &ring(&[1, 2, 9, 9])));
        assert!(same(&[event(EventKind::Trace, &[7])], &[]));
        // Each map has its own order.
        let (a, b) = (ring(&[1]), [event(EventKind::Ringbuf { map: 1 }, &[2])]);
        let both = |x: &[Event; 1], y: &[Event; 1]| [x[0].clone(), y[0].clone()];
        assert!(same(&both(&a, &b), &both(&b, &a)));
        assert!(!same(&both(&a, &ring(&[3])), &both(&ring(&[3]), &a)));
    }

    #[test]
    fn cost_does_not_count() {
        let mut other = outcome(&[1]);
        other.cost.cycles = 7;
        assert!(outcomes(&outcome(&[1]), &other, Told::default()).is_empty());
    }
}
