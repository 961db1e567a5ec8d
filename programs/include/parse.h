/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Walking through a packet with a cursor: each step checks that the header is
 * there, returns it and moves behind it, or returns NULL.
 */
#ifndef NICBED_PARSE_H
#define NICBED_PARSE_H

#include "packet.h"

/* Tags that are skipped in front of the network header: one of the customer, one
 * of the provider.
 */
#define MAX_VLAN_TAGS 2

struct cursor {
	void *pos;
	void *end;
};

static __always_inline struct cursor cursor_start(struct xdp_md *ctx)
{
	return (struct cursor){ .pos = xdp_ptr(ctx->data), .end = xdp_ptr(ctx->data_end) };
}

/* The next header of the type, or NULL where the packet ends within it. */
#define take(c, type)                              \
	({                                         \
		type *hdr_ = (c)->pos;             \
		if ((void *)(hdr_ + 1) > (c)->end) \
			hdr_ = NULL;               \
		else                               \
			(c)->pos = hdr_ + 1;       \
		hdr_;                              \
	})

static __always_inline int is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* The Ethernet header; *proto is the type behind all VLAN tags, 0 where a tag is
 * cut off.
 */
static __always_inline struct ethhdr *take_eth(struct cursor *c, __be16 *proto)
{
	struct ethhdr *eth = take(c, struct ethhdr);

	if (!eth)
		return NULL;
	*proto = eth->proto;
#pragma unroll
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		struct vlanhdr *vlan;

		if (!is_vlan(*proto))
			break;
		vlan = take(c, struct vlanhdr);
		*proto = vlan ? vlan->proto : 0;
	}
	return eth;
}

/* The IPv4 header; the cursor moves behind its options. */
static __always_inline struct iphdr *take_ipv4(struct cursor *c)
{
	struct iphdr *ip = take(c, struct iphdr);

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return NULL;
	c->pos = (void *)ip + ip->ihl * 4;
	return ip;
}

static __always_inline struct ipv6hdr *take_ipv6(struct cursor *c)
{
	return take(c, struct ipv6hdr);
}

/* A fragment other than the first has no transport header. */
static __always_inline int is_later_fragment(const struct iphdr *ip)
{
	return (ip->frag_off & bpf_htons(IP_OFFSET)) != 0;
}

static __always_inline int is_fragment(const struct iphdr *ip)
{
	return (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET)) != 0;
}

/* The 5-tuple of IPv4, as it serves as a key: all bytes are set. */
struct flow {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u8 protocol;
	__u8 pad[3];
};

/* The ports of TCP and UDP, which begin alike. */
struct ports {
	__be16 source;
	__be16 dest;
};

/* Fills the flow from the network header and the ports behind it. Returns 0 where
 * the transport has no ports or is cut off; they are then 0.
 */
static __always_inline int take_flow(struct cursor *c, const struct iphdr *ip, struct flow *flow)
{
	struct ports *ports;

	__builtin_memset(flow, 0, sizeof(*flow));
	flow->saddr = ip->saddr;
	flow->daddr = ip->daddr;
	flow->protocol = ip->protocol;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return 0;
	if (is_later_fragment(ip))
		return 0;
	ports = c->pos;
	if ((void *)(ports + 1) > c->end)
		return 0;
	flow->sport = ports->source;
	flow->dport = ports->dest;
	return 1;
}

static __always_inline void swap_eth(struct ethhdr *eth)
{
	__u8 tmp[ETH_ALEN];

	__builtin_memcpy(tmp, eth->dst, ETH_ALEN);
	__builtin_memcpy(eth->dst, eth->src, ETH_ALEN);
	__builtin_memcpy(eth->src, tmp, ETH_ALEN);
}

#endif /* NICBED_PARSE_H */
