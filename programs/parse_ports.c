// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * parse_ports: finds the destination port and acts on three of them.
 *
 * A stateless port filter as it stands in front of many servers: memcached over
 * UDP (11211) and telnet (23) never reach the host, the echo service (7) is
 * answered by sending the frame back, everything else passes. Up to two VLAN
 * tags, IPv4 with options, IPv6 without extension headers; fragments carry no
 * port and pass. No map, no helper: pure parsing.
 */
#include "packet.h"

#define PORT_ECHO 7
#define PORT_TELNET 23
#define PORT_MEMCACHED 11211

#define MAX_VLAN_TAGS 2

static __always_inline int is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* Sends the frame back to its sender. The sum over addresses and ports does not
 * depend on their order, so that no checksum changes.
 */
static __always_inline void swap_eth(struct ethhdr *eth)
{
	__u8 tmp[ETH_ALEN];

	__builtin_memcpy(tmp, eth->dst, ETH_ALEN);
	__builtin_memcpy(eth->dst, eth->src, ETH_ALEN);
	__builtin_memcpy(eth->src, tmp, ETH_ALEN);
}

static __always_inline int echo_udp(struct ethhdr *eth, struct iphdr *ip, struct ipv6hdr *ip6,
				    struct udphdr *udp)
{
	/* Two echo servers would play ping-pong for ever. */
	if (udp->source == bpf_htons(PORT_ECHO))
		return XDP_DROP;

	swap_eth(eth);
	if (ip) {
		__be32 addr = ip->saddr;

		ip->saddr = ip->daddr;
		ip->daddr = addr;
	} else if (ip6) {
		struct in6_addr addr = ip6->saddr;

		ip6->saddr = ip6->daddr;
		ip6->daddr = addr;
	}
	udp->dest = udp->source;
	udp->source = bpf_htons(PORT_ECHO);
	return XDP_TX;
}

SEC("xdp")
int parse_ports(struct xdp_md *ctx)
{
	void *data = xdp_ptr(ctx->data);
	void *data_end = xdp_ptr(ctx->data_end);
	struct ethhdr *eth = data;
	struct iphdr *ip = NULL;
	struct ipv6hdr *ip6 = NULL;
	__u8 protocol;
	__be16 proto;
	void *next;

	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	proto = eth->proto;
	next = eth + 1;

#pragma unroll
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		struct vlanhdr *vlan = next;

		if (!is_vlan(proto))
			break;
		if ((void *)(vlan + 1) > data_end)
			return XDP_DROP;
		proto = vlan->proto;
		next = vlan + 1;
	}

	if (proto == bpf_htons(ETH_P_IP)) {
		ip = next;
		if ((void *)(ip + 1) > data_end || ip->ihl < 5)
			return XDP_DROP;
		if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
			return XDP_PASS;
		protocol = ip->protocol;
		next += ip->ihl * 4;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		ip6 = next;
		if ((void *)(ip6 + 1) > data_end)
			return XDP_DROP;
		protocol = ip6->nexthdr;
		next = ip6 + 1;
	} else {
		return XDP_PASS;
	}

	if (protocol == IPPROTO_UDP) {
		struct udphdr *udp = next;

		if ((void *)(udp + 1) > data_end)
			return XDP_DROP;
		if (udp->dest == bpf_htons(PORT_MEMCACHED))
			return XDP_DROP;
		if (udp->dest == bpf_htons(PORT_ECHO))
			return echo_udp(eth, ip, ip6, udp);
	} else if (protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = next;

		if ((void *)(tcp + 1) > data_end)
			return XDP_DROP;
		if (tcp->dest == bpf_htons(PORT_TELNET))
			return XDP_DROP;
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
