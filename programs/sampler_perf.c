// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * sampler_perf: sends the head of TCP packets that open or close a connection to a
 * perf event ring.
 *
 * The tcpdump of a card, and the form that older kernels and the NFP know: one
 * ring a CPU, the kernel itself appends the packet's first bytes to a record of
 * ours. The array has no size here; the loader gives it one slot a CPU.
 */
#include "parse.h"

#define SNAP_BYTES 128

struct record {
	__u64 time; /* ns since boot, suspended time included */
	__u32 length;
	__u16 captured;
	__u8 tcp_flags;
	__u8 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

SEC("xdp")
int sampler_perf(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	__u64 length = c.end - c.pos;
	struct record record = {};
	struct tcphdr *tcp;
	__u64 captured;
	__be16 proto;
	__u8 protocol;

	if (!take_eth(&c, &proto))
		return XDP_PASS;
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = take_ipv4(&c);

		if (!ip || is_later_fragment(ip))
			return XDP_PASS;
		protocol = ip->protocol;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = take_ipv6(&c);

		if (!ip6)
			return XDP_PASS;
		protocol = ip6->nexthdr;
	} else {
		return XDP_PASS;
	}
	if (protocol != IPPROTO_TCP)
		return XDP_PASS;
	tcp = take(&c, struct tcphdr);
	if (!tcp || !(tcp->flags & (TCP_SYN | TCP_FIN | TCP_RST)))
		return XDP_PASS;

	captured = length < SNAP_BYTES ? length : SNAP_BYTES;
	record.time = bpf_ktime_get_boot_ns();
	record.length = length;
	record.captured = captured;
	record.tcp_flags = tcp->flags;
	bpf_perf_event_output(ctx, &events, captured << 32 | BPF_F_CURRENT_CPU, &record,
			      sizeof(record));
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
