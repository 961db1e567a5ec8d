//! Helpers: what programs may call, in two parts that share nothing but ids.
//!
//! [`prototype`] gives what the verifier and the capability checks read: id, name, argument and
//! return types, hooks. [`call`] runs the bodies, written once over the small [`Machine`] trait
//! for the reference and for the engines. Bodies behave as Linux 6.18 does for a test run in an
//! empty network namespace; `tests/helpers_vs_kernel.rs` asks it.
//!
//! Bodies trust their arguments' types as the verifier proved them; an address or a map handle
//! that is none all the same gives a [`TrapCause`].

pub mod callback;
mod conversions;
mod csum;
mod dynptr;
mod event;
mod fib;
mod format;
mod iterator;
mod lock;
mod machine;
mod map;
mod mtu;
mod names;
mod packet;
mod prototype;
mod redirect;
mod routes;
mod skb;
mod syncookie;
mod table;
mod text;
mod time;

pub use conversions::valid_format;
pub use machine::{Machine, Window};
pub use map::tail_call_target;
pub use names::{HelperNames, id_by_name, name};
pub use prototype::{Arg, Graph, Hold, Kept, LocalArg, LocalReturn, Prototype, Return};
pub use routes::{Fib, FibError, Interface, Route, RouteKind};
pub use table::{PROTOTYPES, prototype, prototype_on};
pub use time::{RANDOM_STEPS, jiffies64, random, random_state};

use crate::kfunc;
use crate::map::Errno;
use crate::run::TrapCause;

/// Most tail calls in a row in one packet's run (`MAX_TAIL_CALL_CNT`); the next one falls
/// through.
pub const MAX_TAIL_CALLS: u32 = 33;

/// Runs helper `id` with the registers r1 to r5, and gives r0.
///
/// `bpf_tail_call` is not here, since it does not return: engines jump themselves, to what
/// [`tail_call_target`] says.
///
/// # Errors
/// [`TrapCause::BadHelper`] if the helper has no body; what the machine's memory and maps give
/// for addresses and handles that are none.
#[inline]
pub fn call<M: Machine>(id: u32, machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    match id {
        1 => map::lookup(machine, args),
        2 => map::update(machine, args),
        3 => map::delete(machine, args),
        5 | 125 | 160 | 208 => Ok(machine.now_ns()),
        6 => event::trace_printk(machine, args),
        7 => Ok(u64::from(machine.random())),
        8 => Ok(u64::from(machine.cpu())),
        23 if machine.skb().is_some() => Ok(skb::redirect(machine, args)),
        23 => Ok(redirect::redirect(machine, args)),
        25 => event::perf_event_output(machine, args),
        28 => csum::csum_diff(machine, args),
        // All CPUs of a NIC are near its memory; an empty network namespace has no socket to be
        // found and so none to be released.
        42 | 84 | 85 | 86 | 99 => Ok(0),
        44 => Ok(packet::adjust_head(machine, args)),
        51 => redirect::redirect_map(machine, args),
        54 => Ok(packet::adjust_meta(machine, args)),
        65 => Ok(packet::adjust_tail(machine, args)),
        69 => fib::fib_lookup(machine, args),
        87 => map::push(machine, args),
        88 => map::take(machine, args, true),
        89 => map::take(machine, args, false),
        93 => Ok(lock::lock(machine, args)),
        94 => Ok(lock::unlock(machine, args)),
        // Cookies are for sockets of TCP that listen, and here is none.
        100 | 110 => Ok(Errno::Einval.to_r0()),
        105 => text::strto(machine, args, true),
        106 => text::strto(machine, args, false),
        118 => Ok(jiffies64(machine.now_ns())),
        130 => event::ringbuf_output(machine, args),
        131 => event::ringbuf_reserve(machine, args),
        132 => event::ringbuf_finish(machine, args, false),
        133 => event::ringbuf_finish(machine, args, true),
        134 => event::ringbuf_query(machine, args),
        163 => mtu::check_mtu(machine, args),
        165 => text::snprintf(machine, args),
        177 => event::trace_vprintk(machine, args),
        182 => text::strncmp(machine, args),
        188 => Ok(packet::buff_len(machine)),
        189 => packet::load_bytes(machine, args),
        190 => packet::store_bytes(machine, args),
        195 => map::lookup_percpu(machine, args),
        197 => dynptr::from_mem(machine, args),
        198 => dynptr::reserve(machine, args),
        199 => dynptr::finish(machine, args, false),
        200 => dynptr::finish(machine, args, true),
        201 => dynptr::read(machine, args),
        202 => dynptr::write(machine, args),
        203 => dynptr::data(machine, args),
        204 => syncookie::generate(machine, args, syncookie::V4),
        205 => syncookie::generate(machine, args, syncookie::V6),
        206 => syncookie::check(machine, args, syncookie::V4),
        207 => syncookie::check(machine, args, syncookie::V6),
        kfunc::BASE.. => kernel_function(id, machine, args),
        id => skb::call(id, machine, args).unwrap_or(Err(TrapCause::BadHelper { id })),
    }
}

/// Whether what is called by this id (see [`kfunc::callee`]) has a body here; without one, no engine
/// of nicbed can run it.
pub fn has_body(id: u32) -> bool {
    match id {
        kfunc::BASE.. => matches!(
            id,
            kfunc::ITER_NUM_NEW..=kfunc::PREEMPT_ENABLE
                | kfunc::LOCAL_IRQ_SAVE..=kfunc::DYNPTR_CLONE
                | kfunc::DYNPTR_FROM_SKB_META
        ),
        id => prototype(id).is_some_and(|p| p.modelled),
    }
}

/// Runs the kernel function with this [`Prototype::id`].
fn kernel_function<M: Machine>(id: u32, machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    match id {
        kfunc::ITER_NUM_NEW => iterator::new(machine, args),
        kfunc::ITER_NUM_NEXT => iterator::next(machine, args),
        kfunc::ITER_NUM_DESTROY => iterator::destroy(machine, args),
        kfunc::DYNPTR_FROM_SKB | kfunc::DYNPTR_FROM_XDP => {
            dynptr::from_packet(machine, args, false)
        }
        kfunc::DYNPTR_FROM_SKB_META => dynptr::from_packet(machine, args, true),
        kfunc::DYNPTR_SLICE => dynptr::slice(machine, args, false),
        kfunc::DYNPTR_SLICE_RDWR => dynptr::slice(machine, args, true),
        kfunc::DYNPTR_ADJUST => dynptr::adjust(machine, args),
        kfunc::DYNPTR_IS_NULL => dynptr::is_null(machine, args),
        kfunc::DYNPTR_IS_RDONLY => dynptr::is_read_only(machine, args),
        kfunc::DYNPTR_SIZE => dynptr::size(machine, args),
        kfunc::DYNPTR_CLONE => dynptr::clone(machine, args),
        // Nothing interrupts a packet's run, and what it uses goes away after it.
        kfunc::RCU_READ_LOCK
        | kfunc::RCU_READ_UNLOCK
        | kfunc::PREEMPT_DISABLE
        | kfunc::PREEMPT_ENABLE
        | kfunc::LOCAL_IRQ_SAVE
        | kfunc::LOCAL_IRQ_RESTORE => Ok(0),
        id => Err(TrapCause::BadHelper { id }),
    }
}
