//! Comparing what the NIC did with what the reference did: typed, field by field.

use bpf::run::{Event, EventKind, Outcome, RedirectTarget, Trap, Verdict};

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
    /// The events handed to the host differ.
    Events {
        /// On the NIC.
        nic: Vec<(EventKind, Vec<u8>)>,
        /// On the reference.
        reference: Vec<(EventKind, Vec<u8>)>,
    },
}

impl Difference {
    /// Name of the field: `trap`, `verdict`, `r0`, `redirect`, `frame`, `meta` or `events`.
    pub const fn field(&self) -> &'static str {
        match self {
            Difference::Trap { .. } => "trap",
            Difference::Verdict { .. } => "verdict",
            Difference::ReturnCode { .. } => "r0",
            Difference::Redirect { .. } => "redirect",
            Difference::Frame { .. } => "frame",
            Difference::Meta { .. } => "meta",
            Difference::Events { .. } => "events",
        }
    }
}

/// Fields that a reference cannot tell, and that are therefore not compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// Where a packet is redirected to.
    pub redirect: bool,
    /// What is handed to the host.
    pub events: bool,
}

impl Untold {
    /// What a test run of the kernel does not tell: it returns the code and the frame alone.
    pub const KERNEL: Untold = Untold {
        redirect: true,
        events: true,
    };

    /// Names of the fields, as in reports.
    pub fn names(self) -> Vec<&'static str> {
        let fields = [(self.redirect, "redirect"), (self.events, "events")];
        fields
            .iter()
            .filter(|(untold, _)| *untold)
            .map(|(_, name)| *name)
            .collect()
    }
}

/// All fields in which two outcomes of one packet differ; empty if they agree.
pub fn outcomes(nic: &Outcome<'_>, reference: &Outcome<'_>, untold: Untold) -> Vec<Difference> {
    let mut differences = Vec::new();
    // Engines see different addresses, so traps agree if both sides trapped.
    if nic.trap.is_some() != reference.trap.is_some() {
        differences.push(Difference::Trap {
            nic: nic.trap.cloned(),
            reference: reference.trap.cloned(),
        });
    }
    if nic.verdict != reference.verdict {
        differences.push(Difference::Verdict {
            nic: nic.verdict,
            reference: reference.verdict,
        });
    }
    if return_code(nic) != return_code(reference) {
        differences.push(Difference::ReturnCode {
            nic: return_code(nic),
            reference: return_code(reference),
        });
    }
    if nic.redirect != reference.redirect && !untold.redirect {
        differences.push(Difference::Redirect {
            nic: nic.redirect,
            reference: reference.redirect,
        });
    }
    if nic.frame != reference.frame {
        differences.push(Difference::Frame {
            first: first_difference(nic.frame, reference.frame),
            nic: nic.frame.to_vec(),
            reference: reference.frame.to_vec(),
        });
    }
    if nic.meta != reference.meta {
        differences.push(Difference::Meta {
            nic: nic.meta.to_vec(),
            reference: reference.meta.to_vec(),
        });
    }
    differences
}

/// Compares the events of one packet; `None` if they agree.
pub fn events(nic: &[Event], reference: &[Event]) -> Option<Difference> {
    let strip = |events: &[Event]| -> Vec<(EventKind, Vec<u8>)> {
        events.iter().map(|e| (e.kind, e.bytes.clone())).collect()
    };
    let same = nic.len() == reference.len()
        && nic
            .iter()
            .zip(reference)
            .all(|(a, b)| a.kind == b.kind && a.bytes == b.bytes);
    (!same).then(|| Difference::Events {
        nic: strip(nic),
        reference: strip(reference),
    })
}

/// What of r0 counts: a return code has 32 bits, a result without a hook 64.
pub(crate) fn return_code(outcome: &Outcome<'_>) -> u64 {
    if outcome.verdict == Verdict::Raw {
        outcome.r0
    } else {
        outcome.r0 & 0xffff_ffff
    }
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
            r0: 2,
            frame,
            meta: &[],
            redirect: None,
            trap: None,
            cost: Cost::default(),
        }
    }

    #[test]
    fn the_first_differing_byte_is_named() {
        let differences = outcomes(
            &outcome(&[1, 2, 3]),
            &outcome(&[1, 9, 3]),
            Untold::default(),
        );
        assert!(matches!(
            differences[..],
            [Difference::Frame { first: 1, .. }]
        ));
        let differences = outcomes(&outcome(&[1, 2]), &outcome(&[1, 2, 3]), Untold::default());
        assert!(matches!(
            differences[..],
            [Difference::Frame { first: 2, .. }]
        ));
    }

    #[test]
    fn the_upper_half_of_an_xdp_return_code_does_not_count() {
        let mut other = outcome(&[1]);
        other.r0 = 0xdead_0000_0002;
        assert!(outcomes(&outcome(&[1]), &other, Untold::default()).is_empty());
        other.r0 = 3;
        assert_eq!(outcomes(&outcome(&[1]), &other, Untold::default()).len(), 1);
    }

    #[test]
    fn cost_does_not_count() {
        let mut other = outcome(&[1]);
        other.cost.cycles = 7;
        assert!(outcomes(&outcome(&[1]), &other, Untold::default()).is_empty());
    }
}
