//! Windows of the packet: loads through the same pointer read from transfer registers what the
//! first of them has fetched.

use isa::ebpf::{CallTarget, Insn};
use verifier::facts::Region;

use super::Window;
use crate::nfp::plan::Plan;
use crate::nfp::pointers::{Origin, Pointers};

/// Bytes of a window at most: the transfer registers of one command.
const WINDOW: i16 = 64;

/// A window that is still open.
struct Open {
    base: Option<Origin>,
    start: i16,
    end: i16,
    loads: Vec<usize>,
}

pub(super) fn run(plan: &mut Plan<'_>) {
    let pointers = Pointers::new(plan);
    let mut open: Option<Open> = None;
    for pc in 0..plan.steps.len() {
        if plan.steps[pc].target {
            close(plan, open.take());
        }
        let step = &plan.steps[pc];
        if !step.is_live() {
            continue;
        }
        let region = plan.facts(pc).access.map(|access| access.region);
        let (size, offset) = match step.insn {
            Insn::Load { size, offset, .. }
                if region == Some(Region::Packet) && step.copy.is_none() =>
            {
                (size, offset)
            }
            Insn::Load { .. }
            | Insn::LoadPacket { .. }
            | Insn::Call(CallTarget::Helper(_) | CallTarget::Local { .. }) => {
                close(plan, open.take());
                continue;
            }
            Insn::Store { .. } if region == Some(Region::Packet) => {
                close(plan, open.take());
                continue;
            }
            _ => continue,
        };
        let end = offset.saturating_add(i16::from(size.bytes()));
        let base = pointers.base(pc);
        if let Some(window) = &mut open
            && base.is_some()
            && window.base == base
        {
            let (start, end) = (window.start.min(offset), window.end.max(end));
            if i32::from(end) - i32::from(start) <= i32::from(WINDOW) {
                (window.start, window.end) = (start, end);
                window.loads.push(pc);
                continue;
            }
        }
        close(plan, open.take());
        open = Some(Open {
            base,
            start: offset,
            end,
            loads: vec![pc],
        });
    }
    close(plan, open);
}

fn close(plan: &mut Plan<'_>, open: Option<Open>) {
    let Some(open) = open else { return };
    for (index, pc) in open.loads.iter().enumerate() {
        plan.steps[*pc].window = Some(Window {
            start: open.start,
            end: open.end,
            first: index == 0,
        });
    }
}
