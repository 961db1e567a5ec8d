//! What is known once all paths were followed: stack over all calls, and whether the program
//! can be attached.

use bpf::Hook;
use bpf::hook::{TcAttach, XdpAttach};
use isa::ebpf::{CallTarget, Insn};
use verifier::Summary;

use super::report::Refusal;
use super::{BUSY, Hooks, PACKET_SPLIT, PORT, STACK_TOO_LARGE};

/// Units in which frames lie in local memory, in bytes.
const FRAME_UNIT: u64 = 64;
/// What a called function's frame begins with: its return address.
const RETURN_BYTES: u64 = 4;
/// And r6 to r9, if it changes any of them.
const SAVED_BYTES: u64 = 32;

impl Hooks {
    /// The deepest chain of calls against the device's stack.
    pub(super) fn stack(&self, summary: &Summary<'_>) -> Option<Refusal> {
        let program = self.program.as_ref()?;
        let saves = self.saving_functions();
        let frame = |function: usize| {
            let own = summary.frames.get(function).copied().unwrap_or(0);
            let extra = match (function, saves.get(function)) {
                (0, _) => 0,
                (_, Some(true)) => RETURN_BYTES + SAVED_BYTES,
                _ => RETURN_BYTES,
            };
            (u64::from(own) + extra).next_multiple_of(FRAME_UNIT)
        };
        let calls = self.calls();
        // The deepest chain that ends in each function; calls nest at most eight deep.
        let mut above: Vec<Option<u64>> = vec![None; program.subprograms.len().max(1)];
        above[0] = Some(0);
        for _ in 0..above.len() {
            for &(caller, callee) in &calls {
                let deeper = above[caller].map(|bytes| bytes + frame(caller));
                above[callee] = above[callee].max(deeper);
            }
        }
        let ends = above.iter().enumerate();
        let deepest = ends.filter_map(|(function, above)| Some((*above)? + frame(function)));
        let used = deepest.max().unwrap_or(0);
        let has = u64::from(self.device.registers.stack_units) * FRAME_UNIT;
        (used > has).then(|| {
            Refusal::new(
                STACK_TOO_LARGE,
                "EOPNOTSUPP",
                format!("stack too large: program {used}B > FW stack {has}B"),
            )
            .subject("stack")
            .why(
                "each frame is rounded up to 64 bytes, a called function's holds 4 bytes of \
                 return address, and 32 bytes more if it changes r6 to r9",
            )
            .help("keep large local structures in a map, and inline functions (__always_inline)")
            .means(&["stack/too-deep"])
        })
    }

    /// For each function, whether it changes r6 to r9: whether any of its instructions names one
    /// of them as destination (the base of a store counts too).
    fn saving_functions(&self) -> Vec<bool> {
        let Some(program) = &self.program else {
            return Vec::new();
        };
        let mut saves = vec![false; program.subprograms.len()];
        for (pc, insn) in program.insns.iter().enumerate() {
            let base = match insn {
                Insn::Store { base, .. }
                | Insn::Atomic { base, .. }
                | Insn::StoreRelease { base, .. } => 1_u16 << base.number(),
                Insn::Branch { dst, .. } => 1 << dst.number(),
                _ => 0,
            };
            let names = insn.writes() | base;
            if names >> 6 & 0xf != 0
                && let Some(function) = program.subprogram_at(pc)
                && let Some(saves) = saves.get_mut(function)
            {
                *saves = true;
            }
        }
        saves
    }

    /// Which function calls which.
    fn calls(&self) -> Vec<(usize, usize)> {
        let Some(program) = &self.program else {
            return Vec::new();
        };
        let insns = program.insns.iter().enumerate();
        let calls = insns.filter(|(_, insn)| matches!(insn, Insn::Call(CallTarget::Local { .. })));
        calls
            .filter_map(|(pc, insn)| {
                let target = usize::try_from(insn.function_target(pc)?).ok()?;
                Some((program.subprogram_at(pc)?, program.subprogram_at(target)?))
            })
            .collect()
    }

    /// The checks of attaching, in the driver's order.
    pub(super) fn attachable(&self) -> Vec<Refusal> {
        let Some(hook) = self.hook() else {
            return Vec::new();
        };
        let mut refusals = Vec::new();
        if !self.device.is_capable {
            let refusal = match hook {
                Hook::Tc { .. } => Refusal::new(
                    PORT,
                    "EOPNOTSUPP",
                    "NFP firmware does not support eBPF offload",
                ),
                _ => Refusal::silent(PORT, "EINVAL", "the port does not offload eBPF"),
            };
            refusals.push(
                refusal
                    .subject(&*self.device.name)
                    .why(
                        "a port counts as capable if its register CAP has bit 27 and its register \
                         BPF_ABI says the version that firmware and driver agree on (2 or 3)",
                    )
                    .help("load firmware with eBPF into the card")
                    .means(&["hook/not-on-nic"]),
            );
        }
        refusals.extend(unattachable(hook));
        refusals.extend(self.busy(hook));
        refusals.extend(self.split());
        refusals
    }

    /// One program at a time.
    fn busy(&self, hook: &Hook) -> Option<Refusal> {
        let running = self.loaded.attached.as_ref()?;
        let refusal = if running.name() != hook.name() {
            Refusal::silent(BUSY, "EBUSY", "a program of the other hook is offloaded")
                .why("the card runs one program, of XDP or of tc")
                .help("detach the other first")
        } else if self.device.registers.bpf_cap & caps::record::nfp::BPF_CAP_RELOAD == 0 {
            Refusal::new(BUSY, "EBUSY", "FW does not support live reload")
                .why("the port's register BPF_CAP says that a running program cannot be replaced")
                .help("detach the running program first")
        } else {
            return None;
        };
        Some(refusal.subject(&*self.device.name))
    }

    /// The bytes that programs reach against the split of frames.
    fn split(&self) -> Option<Refusal> {
        // The largest offset of a byte that an access may touch.
        let largest = self.packet_end?.saturating_sub(1);
        let window = self.device.window_bytes;
        if self.device.punts || window >= largest.min(self.device.mtu) {
            return None;
        }
        Some(
            Refusal::new(
                PACKET_SPLIT,
                "EOPNOTSUPP",
                "BPF offload not supported with potential packet access beyond HW packet split boundary",
            )
            .subject("packet")
            .why(format!(
                "the program may touch byte {largest}, frames may carry {} bytes (the MTU), and bytes from {window} on are not in the card's fast packet memory",
                self.device.mtu
            ))
            .help("compare variable offsets with a smaller bound before the access, or lower the port's MTU")
            .means(&["packet/window"]),
        )
    }
}

/// What can only be attached on the host.
fn unattachable(hook: &Hook) -> Option<Refusal> {
    let (errno, text, why, help) = match hook {
        Hook::Xdp {
            attach: XdpAttach::Devmap | XdpAttach::Cpumap,
            ..
        } => (
            "EINVAL",
            "",
            "a program in a devmap or cpumap runs on the host's way of a frame",
            "attach it to a port: SEC(\"xdp\")",
        ),
        Hook::Xdp { frags: true, .. } => (
            "EINVAL",
            "",
            "the kernel does not offload programs for frames in several buffers",
            "leave out the suffix: SEC(\"xdp\")",
        ),
        Hook::Tc {
            attach: TcAttach::Action,
        } => (
            "EOPNOTSUPP",
            "only offload of BPF classifiers supported",
            "only classifiers of a clsact qdisc are offloaded",
            "make it a classifier with direct action: SEC(\"tc\")",
        ),
        Hook::Tc {
            attach:
                TcAttach::TcxIngress
                | TcAttach::TcxEgress
                | TcAttach::NetkitPrimary
                | TcAttach::NetkitPeer,
        } => (
            "EINVAL",
            "",
            "links of tcx and netkit stay on the host: the driver hears only of clsact filters",
            "make it a classifier with direct action: SEC(\"tc\")",
        ),
        _ => return None,
    };
    let refusal = if text.is_empty() {
        Refusal::silent(PORT, errno, "a program of this kind is not offloaded")
    } else {
        Refusal::new(PORT, errno, text)
    };
    Some(refusal.subject(hook.name()).why(why).help(help))
}
