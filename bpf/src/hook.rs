//! Where a program is attached, which decides its context, helpers and verdicts.

use std::fmt;

/// The hook a program is written for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// eXpress Data Path: before the network stack.
    Xdp {
        /// What the program is attached to.
        attach: XdpAttach,
        /// Whether the program accepts frames in several buffers (`xdp.frags`).
        frags: bool,
    },
    /// Traffic control classifier (`BPF_PROG_TYPE_SCHED_CLS`).
    Tc {
        /// How the program is attached.
        attach: TcAttach,
    },
    /// No hook: r1 is the address of a memory block, r2 its length in bytes, and the result is
    /// all 64 bits of r0. For conformance cases and tests.
    Raw {
        /// Length of the block in bytes.
        memory_bytes: u32,
    },
}

/// What an XDP program is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdpAttach {
    /// A network device.
    Device,
    /// An entry of a devmap (`xdp/devmap`).
    Devmap,
    /// An entry of a cpumap (`xdp/cpumap`).
    Cpumap,
}

/// How a tc program is attached. All of them see the same context and helpers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcAttach {
    /// As a classifier whose return code is a verdict (direct action).
    Classifier,
    /// As an action (`BPF_PROG_TYPE_SCHED_ACT`).
    Action,
    /// By a tcx link, where packets come in.
    TcxIngress,
    /// By a tcx link, where packets go out.
    TcxEgress,
    /// By a netkit link, on the primary device.
    NetkitPrimary,
    /// By a netkit link, on the peer device.
    NetkitPeer,
}

impl Hook {
    /// The usual XDP hook: a device, linear frames.
    pub const XDP: Hook = Hook::Xdp {
        attach: XdpAttach::Device,
        frags: false,
    };

    /// The usual tc hook: a direct-action classifier.
    pub const TC: Hook = Hook::Tc {
        attach: TcAttach::Classifier,
    };

    /// The name used in reports and by `--hook`: `xdp`, `tc` or `raw`.
    pub const fn name(&self) -> &'static str {
        match self {
            Hook::Xdp { .. } => "xdp",
            Hook::Tc { .. } => "tc",
            Hook::Raw { .. } => "raw",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
