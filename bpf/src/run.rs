//! What goes through an engine: frames in a batch, and what became of each.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::fault::{Area, Fault};
use crate::skb::Skb;

/// Bytes of headroom before a frame's data in an empty network namespace's test run.
pub const XDP_HEADROOM: usize = 256;
/// Bytes of the headroom that the kernel keeps for itself (`sizeof(struct xdp_frame)`): head
/// and metadata can take `XDP_HEADROOM - XDP_FRAME_SIZE` = 216.
pub const XDP_FRAME_SIZE: usize = 40;
/// Largest linear frame of a test run, in bytes.
pub const XDP_MAX_LINEAR: usize = 3520;
/// Smallest frame of a test run, in bytes (an Ethernet header).
pub const XDP_MIN_FRAME: usize = 14;
/// Largest metadata area, in bytes.
pub const XDP_MAX_META: usize = 255;

/// Frames that go through an engine together, and the memory they lie in.
///
/// Each frame owns an *area* of the memory: headroom, bytes, tailroom. A batch is reused: after
/// [`Batch::clear`] its allocations stay.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Memory of all areas.
    pub memory: Vec<u8>,
    /// The frames, in arrival order.
    pub frames: Vec<Frame>,
    /// Events that programs emitted, in order.
    pub events: Vec<Event>,
    /// Traps, in order of their frames: (index in `frames`, trap).
    pub traps: Vec<(usize, Trap)>,
    /// What tc packets have beside their bytes, one for each frame once they ran; else empty.
    pub skbs: Vec<Skb>,
    /// Copies of packets that programs sent, in order.
    pub emitted: Vec<Emitted>,
}

/// A copy of a packet that a program sent to a port (`bpf_clone_redirect`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emitted {
    /// Number of the packet.
    pub packet: u64,
    /// Port it went to.
    pub ifindex: u32,
    /// Whether it came in there instead of leaving by it.
    pub ingress: bool,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// One frame in a batch: before the run what the program is given, after it what it left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Frame {
    /// Number of the packet, counted from 0 over all captures.
    pub number: u64,
    /// Arrival in nanoseconds since the epoch, never decreasing.
    pub arrival_ns: u64,
    /// Port it came in on (ifindex, from 1).
    pub port: u32,
    /// Receive queue, from 0; also the CPU id.
    pub queue: u32,
    /// The frame's area in the batch's memory.
    pub area: Range<usize>,
    /// Start of the metadata, as an offset in the area; equals `data` where there is none.
    pub meta: u32,
    /// First byte, as an offset in the area.
    pub data: u32,
    /// Just past the last byte, as an offset in the area.
    pub end: u32,
    /// r0 at the exit of the entry function; the lower 32 bits are the return code. 0 after a
    /// trap.
    pub r0: u64,
    /// Whether the device told only what is to be done with the packet: `r0` is then a return
    /// code that means this, not the program's own.
    pub action_only: bool,
    /// Where a redirect helper pointed last, if one did.
    pub redirect: Option<RedirectTarget>,
    /// What the run cost.
    pub cost: Cost,
    /// Whether the program trapped (the trap is in [`Batch::traps`]).
    pub trapped: bool,
}

/// Target of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RedirectTarget {
    /// A port (`bpf_redirect`, or a slot of a devmap resolved by `bpf_redirect_map`'s user).
    Ifindex {
        /// Interface index.
        ifindex: u32,
    },
    /// A slot of a devmap, cpumap or xskmap.
    Map {
        /// Index in the program's map list.
        map: usize,
        /// Key in that map.
        key: u64,
    },
    /// A port, in another way than leaving by it (tc).
    Via {
        /// Interface index.
        ifindex: u32,
        /// Which way.
        via: Via,
    },
    /// Every port in a devmap (`BPF_F_BROADCAST`).
    All {
        /// Index in the program's map list.
        map: usize,
        /// Whether the port the packet came in on is left out (`BPF_F_EXCLUDE_INGRESS`).
        exclude_ingress: bool,
    },
}

/// How a tc redirect uses a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// The packet comes in there (`BPF_F_INGRESS`).
    Ingress,
    /// It comes in at the port's peer in another namespace (`bpf_redirect_peer`).
    Peer,
    /// It leaves with the link addresses that the neighbour table gives
    /// (`bpf_redirect_neigh`).
    Neighbour,
}

impl Via {
    /// Name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Via::Ingress => "ingress",
            Via::Peer => "peer",
            Via::Neighbour => "neighbour",
        }
    }
}

impl std::fmt::Display for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What the run of one packet cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Executed eBPF or device instructions; 0 where the engine does not count.
    pub instructions: u64,
    /// Cycles of the NIC's core; 0 where the profile gives no costs.
    pub cycles: u64,
    /// Accesses to packet memory.
    pub packet_accesses: u64,
    /// Accesses to map memory.
    pub map_accesses: u64,
}

/// Something a program handed to the host beside the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Number of the packet.
    pub packet: u64,
    /// Which way it went.
    pub kind: EventKind,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Way of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// `bpf_perf_event_output` to the map with this index.
    Perf {
        /// Index in the program's map list.
        map: usize,
    },
    /// A ring buffer record in the map with this index.
    Ringbuf {
        /// Index in the program's map list.
        map: usize,
    },
    /// `bpf_trace_printk`.
    Trace,
}

/// What surrounds a program: the same for the NIC and the reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Seed of everything random: a packet's numbers derive from (seed, packet, call).
    pub seed: u64,
    /// Interface indices of the ports; an empty network namespace has only 1, and so has an
    /// empty list.
    pub ports: Vec<u32>,
    /// Routes and neighbours that `bpf_fib_lookup` finds; without them forwarding is off.
    pub fib: Option<crate::helper::Fib>,
    /// How many bytes of a tc packet are linear at entry, where not all of them are.
    #[serde(default)]
    pub linear: Option<u32>,
}

impl Environment {
    /// Whether there is a port with this interface index.
    pub fn has_port(&self, ifindex: u32) -> bool {
        match self.ports.as_slice() {
            [] => ifindex == 1,
            ports => ports.contains(&ifindex),
        }
    }

    /// The MTU of the interface with this index, if there is one: the FIB's where that lists it,
    /// else that of a new interface.
    pub fn mtu(&self, ifindex: u32) -> Option<u32> {
        /// Of the loopback interface, which is the first port.
        const LOOPBACK: u32 = 65_536;
        const ETHERNET: u32 = 1500;
        let listed = self.fib.as_ref().and_then(|fib| fib.mtu(ifindex));
        let new = if ifindex == 1 { LOOPBACK } else { ETHERNET };
        listed.or_else(|| self.has_port(ifindex).then_some(new))
    }

    /// Link address of a port, where it is known: the loopback port of an empty network
    /// namespace has all zeros.
    pub fn mac(&self, ifindex: u32) -> Option<[u8; 6]> {
        match &self.fib {
            Some(fib) => fib.mac(ifindex),
            None => (ifindex == 1).then_some([0; 6]),
        }
    }
}

/// Why an engine stopped a program that should not have done what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trap {
    /// Slot of the eBPF instruction, where the engine knows it.
    pub pc: Option<usize>,
    /// Byte offset in the image's code, where the engine runs an image.
    pub code_offset: Option<usize>,
    /// What happened.
    pub cause: TrapCause,
    /// What the machine held, where native code was stopped.
    pub fault: Option<Box<Fault>>,
}

/// What made an engine stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TrapCause {
    /// Memory access outside every region the program may touch.
    #[error("{} of {size} bytes at {address:#x} is outside every region", if *.write { "write" } else { "read" })]
    OutOfBounds {
        /// Address as the engine sees it.
        address: u64,
        /// Bytes.
        size: u32,
        /// Whether it was a write.
        write: bool,
    },
    /// Write to a region that is read-only.
    #[error("write of {size} bytes to read-only memory at {address:#x}")]
    ReadOnly {
        /// Address as the engine sees it.
        address: u64,
        /// Bytes.
        size: u32,
    },
    /// An instruction the engine does not have.
    #[error("the engine has no such instruction")]
    BadInstruction,
    /// A division by zero, on a NIC that stops there.
    #[error("division by zero, at which this NIC stops")]
    DivisionByZero,
    /// A jump to where no instruction is.
    #[error("jump to slot {target}, where no instruction is")]
    BadJump {
        /// Where it went.
        target: i64,
    },
    /// A result word with which the device does not know what to do.
    #[error("result word {word:#010x} names no action")]
    BadResult {
        /// The word.
        word: u32,
    },
    /// A helper the engine does not have.
    #[error("the engine has no helper {id}")]
    BadHelper {
        /// Helper id.
        id: u32,
    },
    /// A helper's argument names no map, or one of another kind.
    #[error("argument {value:#x} of a helper names no suitable map")]
    BadMap {
        /// The argument.
        value: u64,
    },
    /// More nested calls than the engine has frames.
    #[error("calls are nested deeper than {limit}")]
    CallDepth {
        /// How many frames there are.
        limit: u32,
    },
    /// The program ran longer than any verified program can.
    #[error("executed {limit} instructions without an end")]
    Fuel {
        /// The limit in instructions.
        limit: u64,
    },
    /// The kernel did not run the program on this frame.
    #[error("the kernel did not run the program (errno {errno})")]
    NotRun {
        /// Positive error number of bpf(2); 0 where there is none.
        errno: i32,
    },
    /// Native code made the processor stop it.
    #[error("native code crashed with {}", crate::fault::signal_name(*.signal))]
    Crash {
        /// Number of the signal.
        signal: i32,
    },
    /// Native code went on and on.
    #[error("native code did not return within {seconds} s")]
    NoReturn {
        /// Limit in seconds of processor time.
        seconds: u32,
    },
    /// Native code wrote outside what it was given.
    #[error("native code wrote past the end of {area}")]
    Overrun {
        /// Where.
        area: Area,
    },
    /// Native code called the system.
    #[error("native code made system call {number}")]
    SystemCall {
        /// Number of the call.
        number: i32,
    },
    /// The process that ran native code is gone, and left no word why.
    #[error("the worker process of native code died")]
    WorkerDied,
}

/// What became of one packet, in the form that comparison and reports use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// Number of the packet.
    pub packet: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// r0 at exit, all 64 bits; `None` from a device that returns only an action code.
    pub r0: Option<u64>,
    /// The bytes from `data` to `data_end` that the program left.
    pub frame: &'a [u8],
    /// The bytes from `data_meta` to `data`.
    pub meta: &'a [u8],
    /// Where the packet is redirected to, if the verdict is a redirect.
    pub redirect: Option<RedirectTarget>,
    /// What the packet has beside its bytes (tc).
    pub context: Option<&'a Skb>,
    /// Copies of it that the program sent.
    pub emitted: &'a [Emitted],
    /// Why the engine stopped the program, if it did.
    pub trap: Option<&'a Trap>,
    /// What the run cost.
    pub cost: Cost,
}

/// What a program decided, by its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// XDP.
    Xdp(XdpAction),
    /// tc.
    Tc(TcAction),
    /// No hook: the result is r0.
    Raw,
}

/// XDP return codes (`enum xdp_action`); any other code aborts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the kernel's names, nothing to add")]
pub enum XdpAction {
    Aborted,
    Drop,
    Pass,
    Tx,
    Redirect,
}

/// tc return codes (`TC_ACT_*`); any other code is `Unspec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the kernel's names, nothing to add")]
pub enum TcAction {
    Unspec,
    Ok,
    Reclassify,
    Shot,
    Pipe,
    Stolen,
    Queued,
    Repeat,
    Redirect,
    Trap,
}

impl Verdict {
    /// A return code that means this verdict: the kernel's number of it, all ones for what is
    /// unspecified.
    pub const fn code(self) -> u64 {
        match self {
            Verdict::Xdp(action) => action as u64,
            Verdict::Tc(TcAction::Unspec) => u32::MAX as u64,
            // The others follow it in the order of their numbers, from 0.
            Verdict::Tc(action) => action as u64 - 1,
            Verdict::Raw => 0,
        }
    }

    /// The verdict that the return code of a program of `hook` means; a trap aborts.
    pub fn new(hook: &crate::Hook, r0: u64, trapped: bool) -> Verdict {
        match hook {
            crate::Hook::Xdp { .. } => Verdict::Xdp(match r0 as u32 {
                _ if trapped => XdpAction::Aborted,
                1 => XdpAction::Drop,
                2 => XdpAction::Pass,
                3 => XdpAction::Tx,
                4 => XdpAction::Redirect,
                _ => XdpAction::Aborted,
            }),
            crate::Hook::Tc { .. } => Verdict::Tc(match r0 as i32 {
                _ if trapped => TcAction::Shot,
                0 => TcAction::Ok,
                1 => TcAction::Reclassify,
                2 => TcAction::Shot,
                3 => TcAction::Pipe,
                4 => TcAction::Stolen,
                5 => TcAction::Queued,
                6 => TcAction::Repeat,
                7 => TcAction::Redirect,
                8 => TcAction::Trap,
                _ => TcAction::Unspec,
            }),
            crate::Hook::Raw { .. } => Verdict::Raw,
        }
    }

    /// The kernel's name, for example `XDP_PASS`; `RAW` where there is no hook.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Xdp(XdpAction::Aborted) => "XDP_ABORTED",
            Verdict::Xdp(XdpAction::Drop) => "XDP_DROP",
            Verdict::Xdp(XdpAction::Pass) => "XDP_PASS",
            Verdict::Xdp(XdpAction::Tx) => "XDP_TX",
            Verdict::Xdp(XdpAction::Redirect) => "XDP_REDIRECT",
            Verdict::Tc(TcAction::Unspec) => "TC_ACT_UNSPEC",
            Verdict::Tc(TcAction::Ok) => "TC_ACT_OK",
            Verdict::Tc(TcAction::Reclassify) => "TC_ACT_RECLASSIFY",
            Verdict::Tc(TcAction::Shot) => "TC_ACT_SHOT",
            Verdict::Tc(TcAction::Pipe) => "TC_ACT_PIPE",
            Verdict::Tc(TcAction::Stolen) => "TC_ACT_STOLEN",
            Verdict::Tc(TcAction::Queued) => "TC_ACT_QUEUED",
            Verdict::Tc(TcAction::Repeat) => "TC_ACT_REPEAT",
            Verdict::Tc(TcAction::Redirect) => "TC_ACT_REDIRECT",
            Verdict::Tc(TcAction::Trap) => "TC_ACT_TRAP",
            Verdict::Raw => "RAW",
        }
    }
}

/// How a packet comes in: everything a frame has beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Number of the packet, counted from 0 over all captures.
    pub number: u64,
    /// Arrival in nanoseconds since the epoch.
    pub arrival_ns: u64,
    /// Port (ifindex, from 1).
    pub port: u32,
    /// Receive queue, from 0.
    pub queue: u32,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Forgets the frames; allocations stay.
    pub fn clear(&mut self) {
        self.memory.clear();
        self.frames.clear();
        self.events.clear();
        self.traps.clear();
        self.skbs.clear();
        self.emitted.clear();
    }

    /// Fills [`Batch::skbs`] for a program of `hook`, as packets arrive.
    pub fn arrive(&mut self, hook: &crate::Hook, environment: &Environment) {
        self.skbs.clear();
        if matches!(hook, crate::Hook::Tc { .. }) {
            let mut skbs = std::mem::take(&mut self.skbs);
            let arrived = self.frames.iter().enumerate();
            skbs.extend(arrived.map(|(i, f)| Skb::arrived(f, self.bytes(i), environment)));
            self.skbs = skbs;
        }
    }

    /// Adds a frame with `headroom` bytes before and `tailroom` bytes after `bytes`, all
    /// further bytes zero. The area starts at a multiple of 8.
    pub fn push(&mut self, arrival: Arrival, bytes: &[u8], headroom: usize, tailroom: usize) {
        let start = self.memory.len().next_multiple_of(8);
        let end = start + headroom + bytes.len() + tailroom;
        self.memory.resize(start + headroom, 0);
        self.memory.extend_from_slice(bytes);
        self.memory.resize(end, 0);
        let data = headroom as u32;
        self.frames.push(Frame {
            number: arrival.number,
            arrival_ns: arrival.arrival_ns,
            port: arrival.port,
            queue: arrival.queue,
            area: start..end,
            meta: data,
            data,
            end: data + bytes.len() as u32,
            r0: 0,
            action_only: false,
            redirect: None,
            cost: Cost::default(),
            trapped: false,
        });
    }

    /// The bytes from `data` to `data_end` of frame `index`, as they are now.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn bytes(&self, index: usize) -> &[u8] {
        let frame = &self.frames[index];
        let start = frame.area.start;
        &self.memory[start + frame.data as usize..start + frame.end as usize]
    }

    /// The copies that were sent of a packet: they lie in ascending order of their packets.
    fn emitted_of(&self, packet: u64) -> &[Emitted] {
        let start = self.emitted.partition_point(|e| e.packet < packet);
        let end = self.emitted.partition_point(|e| e.packet <= packet);
        &self.emitted[start..end]
    }

    /// Why the engine stopped the program on frame `index`, if it did.
    fn trap(&self, index: usize) -> Option<&Trap> {
        let at = self
            .traps
            .binary_search_by_key(&index, |(frame, _)| *frame)
            .ok()?;
        Some(&self.traps[at].1)
    }

    /// What became of frame `index` under a program of `hook`.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn outcome(&self, index: usize, hook: &crate::Hook) -> Outcome<'_> {
        let frame = &self.frames[index];
        let start = frame.area.start;
        let verdict = Verdict::new(hook, frame.r0, frame.trapped);
        let redirects = matches!(
            verdict,
            Verdict::Xdp(XdpAction::Redirect) | Verdict::Tc(TcAction::Redirect)
        );
        Outcome {
            packet: frame.number,
            verdict,
            r0: (!frame.action_only).then_some(frame.r0),
            frame: self.bytes(index),
            meta: &self.memory[start + frame.meta as usize..start + frame.data as usize],
            redirect: frame.redirect.filter(|_| redirects),
            context: self.skbs.get(index),
            emitted: self.emitted_of(frame.number),
            trap: if frame.trapped {
                self.trap(index)
            } else {
                None
            },
            cost: frame.cost,
        }
    }
}
