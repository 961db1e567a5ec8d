// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * router: forwards IPv4 and IPv6 by the kernel's routing table.
 *
 * A software router's fast path. The table and the neighbours are the kernel's,
 * asked with bpf_fib_lookup(); where it knows the way the hop count goes down, the
 * addresses of the next hop are written and the frame leaves through the port.
 * What needs more (options, errors to be sent, neighbours to be found, packets
 * for the router itself) goes to the kernel.
 */
#include "checksum.h"
#include "parse.h"

/* Answers of the lookup, counted by code; behind them what did not get that far. */
enum {
	STAT_LOOKUP = 0,
	STAT_HOP_LIMIT = 10,
	STAT_NO_PORT = 11,
	STAT_NOT_IP = 12,
	STATS,
};

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STATS);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

static __always_inline void count(__u32 stat)
{
	__u64 *packets = bpf_map_lookup_elem(&stats, &stat);

	if (packets)
		++*packets;
}

static __always_inline void decrease_ttl(struct iphdr *ip)
{
	__u16 *ttl = (void *)&ip->ttl; /* the word that the checksum sees */
	__u16 old = *ttl;

	ip->ttl--;
	csum_replace2(&ip->check, old, *ttl);
}

SEC("xdp")
int router(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	struct bpf_fib_lookup fib = {};
	struct ipv6hdr *ip6 = NULL;
	struct iphdr *ip = NULL;
	struct ethhdr *eth;
	long result;

	eth = take(&c, struct ethhdr);
	if (!eth)
		return XDP_DROP;

	if (eth->proto == bpf_htons(ETH_P_IP)) {
		ip = take(&c, struct iphdr);
		if (!ip)
			return XDP_DROP;
		if (ip->ihl != 5)
			return XDP_PASS;
		if (ip->ttl <= 1) {
			count(STAT_HOP_LIMIT);
			return XDP_PASS;
		}
		fib.family = AF_INET;
		fib.tos = ip->tos;
		fib.l4_protocol = ip->protocol;
		fib.tot_len = bpf_ntohs(ip->tot_len);
		fib.ipv4_src = ip->saddr;
		fib.ipv4_dst = ip->daddr;
	} else if (eth->proto == bpf_htons(ETH_P_IPV6)) {
		ip6 = take_ipv6(&c);
		if (!ip6)
			return XDP_DROP;
		if (ip6->hop_limit <= 1) {
			count(STAT_HOP_LIMIT);
			return XDP_PASS;
		}
		fib.family = AF_INET6;
		fib.flowinfo = ip6->flow & bpf_htonl(0x0fffffff);
		fib.l4_protocol = ip6->nexthdr;
		fib.tot_len = bpf_ntohs(ip6->payload_len) + sizeof(*ip6);
		__builtin_memcpy(fib.ipv6_src, &ip6->saddr, sizeof(ip6->saddr));
		__builtin_memcpy(fib.ipv6_dst, &ip6->daddr, sizeof(ip6->daddr));
	} else {
		count(STAT_NOT_IP);
		return XDP_PASS;
	}
	fib.ifindex = ctx->ingress_ifindex;

	result = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	count(STAT_LOOKUP + (__u32)result);
	switch (result) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		break;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return XDP_DROP;
	default:
		return XDP_PASS;
	}

	/* Before the packet is changed: is the port one that takes frames? */
	if (!bpf_map_lookup_elem(&ports, &fib.ifindex)) {
		count(STAT_NO_PORT);
		return XDP_PASS;
	}
	if (ip)
		decrease_ttl(ip);
	else if (ip6)
		ip6->hop_limit--;
	__builtin_memcpy(eth->dst, fib.dmac, ETH_ALEN);
	__builtin_memcpy(eth->src, fib.smac, ETH_ALEN);
	return bpf_redirect_map(&ports, fib.ifindex, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
