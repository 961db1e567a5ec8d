// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * metadata: parses once and leaves what it found in front of the packet.
 *
 * The first stage of a pipeline: tc, or a user-space program on AF_XDP, finds the
 * flow's hash, the offset of the payload and the traffic class in the metadata area
 * and need not parse again. Both sides agree on a magic number, since the area may
 * hold what somebody else left.
 */
#include "hash.h"
#include "parse.h"

#define META_MAGIC 0x6e69

enum traffic_class {
	CLASS_BULK,
	CLASS_INTERACTIVE,
	CLASS_CONTROL,
};

/* A multiple of 4 bytes, at most 32: the kernel asks for it. */
struct meta {
	__u32 hash;
	__u16 payload; /* offset from the start of the frame */
	__u8 class;
	__u8 protocol;
	__u16 magic;
	__u16 queue;
};

static __always_inline __u8 class_of(__u8 dscp)
{
	if (dscp >= 48) /* CS6, CS7: routing protocols */
		return CLASS_CONTROL;
	return dscp >= 32 ? CLASS_INTERACTIVE : CLASS_BULK;
}

static __always_inline void hash_flow(struct cursor *c, __be32 saddr, __be32 daddr,
				      struct meta *meta)
{
	__u32 both = 0;

	if (meta->protocol == IPPROTO_TCP || meta->protocol == IPPROTO_UDP) {
		struct ports *ports = c->pos;

		if ((void *)(ports + 1) <= c->end)
			both = (__u32)ports->source << 16 | ports->dest;
	}
	if (meta->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = take(c, struct tcphdr);

		if (tcp)
			c->pos = (void *)tcp + tcp->doff * 4;
	} else if (meta->protocol == IPPROTO_UDP) {
		take(c, struct udphdr);
	}
	meta->hash = jhash3(saddr, daddr, both, meta->protocol);
}

SEC("xdp")
int metadata(struct xdp_md *ctx)
{
	struct meta found = { .magic = META_MAGIC };
	struct meta *meta;
	struct cursor c;
	__be16 proto;

	/* Moves data_meta, so that packet pointers are only taken afterwards. */
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return XDP_PASS;

	c = cursor_start(ctx);
	meta = xdp_ptr(ctx->data_meta);
	if ((void *)(meta + 1) > xdp_ptr(ctx->data))
		return XDP_ABORTED;

	if (!take_eth(&c, &proto))
		return XDP_DROP;
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = take_ipv4(&c);

		if (!ip)
			return XDP_DROP;
		found.protocol = ip->protocol;
		found.class = class_of(ip->tos >> 2);
		if (!is_fragment(ip))
			hash_flow(&c, ip->saddr, ip->daddr, &found);
		else
			found.hash = jhash3(ip->saddr, ip->daddr, ip->id, ip->protocol);
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = take_ipv6(&c);
		__u32 flow;

		if (!ip6)
			return XDP_DROP;
		flow = bpf_ntohl(ip6->flow);
		found.protocol = ip6->nexthdr;
		found.class = class_of(flow >> 22 & 0x3f);
		hash_flow(&c, ip6->saddr.word[2] ^ ip6->saddr.word[3],
			  ip6->daddr.word[2] ^ ip6->daddr.word[3], &found);
	}
	found.payload = c.pos - xdp_ptr(ctx->data);
	found.queue = ctx->rx_queue_index;
	*meta = found;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
