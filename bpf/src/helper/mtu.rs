//! `bpf_check_mtu`.

use super::Machine;
use crate::map::Errno;
use crate::run::TrapCause;

/// Bytes of an Ethernet header, which an interface's MTU leaves out.
const ETHERNET: i32 = 14;
/// `BPF_MTU_CHK_RET_FRAG_NEEDED`.
const FRAGMENT_NEEDED: u64 = 1;

/// `bpf_check_mtu(ctx, ifindex, mtu_len, len_diff, flags)` of XDP: whether the packet, `len_diff`
/// bytes longer, fits through an interface (0: that it came in by). A value other than 0 in
/// `*mtu_len` is taken for the packet's length without Ethernet header; the MTU is left there.
pub(super) fn check_mtu<M: Machine>(machine: &mut M, args: [u64; 5]) -> Result<u64, TrapCause> {
    let [_, ifindex, address, by, flags] = args;
    if flags != 0 {
        return Ok(Errno::Einval.to_r0());
    }
    let window = machine.window();
    let len = *window.end as i32 - *window.data as i32;
    let ifindex = match ifindex as u32 {
        0 => machine.port(),
        ifindex => ifindex,
    };
    let Some(mtu) = machine.environment().mtu(ifindex) else {
        return Ok(Errno::Enodev.to_r0());
    };
    let mut given = [0; 4];
    machine.read(address, &mut given)?;
    let len = match i32::from_le_bytes(given) {
        0 => len,
        given => given.wrapping_add(ETHERNET),
    };
    let fits = len.wrapping_add(by as i32) <= (mtu as i32).wrapping_add(ETHERNET);
    machine.write(address, &mtu.to_le_bytes())?;
    Ok(if fits { 0 } else { FRAGMENT_NEEDED })
}
