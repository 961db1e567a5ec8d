// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * edge_policy: a filter whose features are switched on before it is loaded.
 *
 * One source for a fleet of machines with different policies. All settings are
 * constants in .rodata that the loader writes: the verifier sees their values and
 * takes away the branches of features that are off, so that a machine without IPv6
 * or logging does not pay for it. The defaults let everything sane pass.
 */
#include "parse.h"

#define MAX_PORTS 8

const volatile _Bool allow_ipv6 = 1;
const volatile _Bool drop_fragments = 0;
const volatile _Bool check_lengths = 1;
const volatile _Bool count_ports = 0;
const volatile __u8 min_ttl = 0;
const volatile __u32 open_port_count = 0; /* 0: all are open */
const volatile __u16 open_ports[MAX_PORTS] = {};
const volatile int default_verdict = XDP_PASS; /* of what is not IP */

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16);
	__type(value, __u64);
} port_packets SEC(".maps");

static __always_inline int is_open(__u16 port)
{
	if (!open_port_count)
		return 1;
	for (__u32 i = 0; i < MAX_PORTS && i < open_port_count; i++)
		if (open_ports[i] == port)
			return 1;
	return 0;
}

static __always_inline void count_port(__u16 port)
{
	__u64 *packets = bpf_map_lookup_elem(&port_packets, &port);
	__u64 one = 1;

	if (packets)
		++*packets;
	else
		bpf_map_update_elem(&port_packets, &port, &one, BPF_NOEXIST);
}

static __always_inline int filter_transport(struct cursor *c, __u8 protocol)
{
	struct ports *ports;
	__u16 port;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return XDP_PASS;
	ports = take(c, struct ports);
	if (!ports)
		return XDP_DROP;
	port = bpf_ntohs(ports->dest);
	if (count_ports)
		count_port(port);
	return is_open(port) ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int edge_policy(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	__be16 proto;

	if (!take_eth(&c, &proto))
		return XDP_DROP;

	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = take_ipv4(&c);

		if (!ip)
			return XDP_DROP;
		if (check_lengths && (void *)ip + bpf_ntohs(ip->tot_len) > c.end)
			return XDP_DROP;
		if (ip->ttl < min_ttl)
			return XDP_DROP;
		if (drop_fragments && is_fragment(ip))
			return XDP_DROP;
		if (is_later_fragment(ip))
			return XDP_PASS;
		return filter_transport(&c, ip->protocol);
	}
	if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6;

		if (!allow_ipv6)
			return XDP_DROP;
		ip6 = take_ipv6(&c);
		if (!ip6 || ip6->hop_limit < min_ttl)
			return XDP_DROP;
		if (drop_fragments && ip6->nexthdr == IPPROTO_FRAGMENT)
			return XDP_DROP;
		return filter_transport(&c, ip6->nexthdr);
	}
	return default_verdict;
}

char _license[] SEC("license") = "Dual MIT/GPL";
