//! The legacy loads from a packet (RFC 9669 §5.4), as the engines of this crate do them.

use bpf::skb::Skb;

/// From here on offsets count from the network header (`SKF_NET_OFF` in `linux/filter.h`).
const NETWORK: i32 = -0x10_0000;
/// From here on from the link header (`SKF_LL_OFF`).
const LINK: i32 = -0x20_0000;

/// The number of `size` bytes in network order at a signed offset of the packet that lies
/// between the borders `data` and `end` of its area; `None` outside. Below 0 there are the
/// headers of a tc packet, in its linear part.
pub(crate) fn legacy_load(
    area: &[u8],
    (data, end): (u32, u32),
    skb: Option<&Skb>,
    offset: i32,
    size: u32,
) -> Option<u64> {
    let (from, limit) = match (offset, skb) {
        (0.., _) => (offset, end),
        (NETWORK.., Some(skb)) => {
            let network = i32::try_from(skb.network).ok()?;
            ((offset - NETWORK).checked_add(network)?, data + skb.linear)
        }
        (LINK.., Some(skb)) => (offset - LINK, data + skb.linear),
        _ => return None,
    };
    let start = data.checked_add(u32::try_from(from).ok()?)?;
    let stop = start.checked_add(size)?;
    if stop > limit {
        return None;
    }
    let bytes = area.get(start as usize..stop as usize)?;
    let append = |value, byte: &u8| value << 8 | u64::from(*byte);
    Some(bytes.iter().fold(0, append))
}
