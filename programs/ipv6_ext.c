// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * ipv6_ext: walks the extension headers of IPv6 and drops the harmful ones.
 *
 * A border filter after RFC 7045 and RFC 8200: routing headers of type 0 are
 * deprecated (RFC 5095), hop-by-hop options stand first or not at all, a first
 * fragment holds the whole header chain (RFC 7112), and a chain has an end. The
 * walk is a bounded loop; a small table counts what the chains are made of, by
 * source network to show who sends them.
 */
#include "parse.h"

#define MAX_HEADERS 8

enum verdict_reason {
	REASON_TRANSPORT, /* chain ends in a transport or in nothing: pass */
	REASON_LATER_FRAGMENT,
	REASON_OPAQUE, /* ESP: nothing more to be read */
	REASON_TRUNCATED,
	REASON_TOO_LONG,
	REASON_ROUTING_0,
	REASON_HOP_BY_HOP_LATE,
	REASON_SPLIT_CHAIN, /* first fragment without its transport header */
	REASONS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} reasons SEC(".maps");

/* Packets that carried at least one extension header, by /32 of the source. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} senders SEC(".maps");

/* Extension headers by their number. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} headers SEC(".maps");

static __always_inline void bump(void *map, __u32 key)
{
	__u64 *packets = bpf_map_lookup_elem(map, &key);
	__u64 one = 1;

	if (packets)
		++*packets;
	else
		bpf_map_update_elem(map, &key, &one, BPF_NOEXIST);
}

static __always_inline enum verdict_reason walk(struct cursor *c, __u8 nexthdr)
{
	int fragmented = 0;

	for (int i = 0; i < MAX_HEADERS; i++) {
		struct ipv6_frag *frag;
		struct ipv6_ext *ext;

		switch (nexthdr) {
		case IPPROTO_HOPOPTS:
			if (i > 0)
				return REASON_HOP_BY_HOP_LATE;
			break;
		case IPPROTO_ROUTING:
		case IPPROTO_FRAGMENT:
		case IPPROTO_AH:
		case IPPROTO_DSTOPTS:
			break;
		case IPPROTO_ESP:
			return REASON_OPAQUE;
		case IPPROTO_TCP:
			if (fragmented && c->pos + sizeof(struct tcphdr) > c->end)
				return REASON_SPLIT_CHAIN;
			return REASON_TRANSPORT;
		case IPPROTO_UDP:
		case IPPROTO_ICMPV6:
			if (fragmented && c->pos + sizeof(struct udphdr) > c->end)
				return REASON_SPLIT_CHAIN;
			return REASON_TRANSPORT;
		default:
			return REASON_TRANSPORT;
		}

		/* All of these are at least 8 bytes long. */
		ext = take(c, struct ipv6_ext);
		if (!ext)
			return fragmented ? REASON_SPLIT_CHAIN : REASON_TRUNCATED;
		bump(&headers, nexthdr);
		if (nexthdr == IPPROTO_FRAGMENT) {
			frag = (void *)ext;
			if (frag->frag_off & bpf_htons(0xfff8))
				return REASON_LATER_FRAGMENT;
			fragmented = 1;
		} else if (nexthdr == IPPROTO_AH) {
			c->pos = (void *)ext + (ext->len + 2) * 4; /* RFC 4302: words of 4 */
		} else {
			/* Byte 2 of a routing header is its type. */
			if (nexthdr == IPPROTO_ROUTING && ext->data[0] == 0)
				return REASON_ROUTING_0;
			c->pos = (void *)ext + (ext->len + 1) * 8;
		}
		nexthdr = ext->nexthdr;
	}
	return REASON_TOO_LONG;
}

static __always_inline int is_extension(__u8 nexthdr)
{
	return nexthdr == IPPROTO_HOPOPTS || nexthdr == IPPROTO_ROUTING ||
	       nexthdr == IPPROTO_FRAGMENT || nexthdr == IPPROTO_AH || nexthdr == IPPROTO_DSTOPTS;
}

SEC("xdp")
int ipv6_ext(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	enum verdict_reason reason;
	struct ipv6hdr *ip6;
	__be16 proto;

	if (!take_eth(&c, &proto))
		return XDP_DROP;
	if (proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	ip6 = take_ipv6(&c);
	if (!ip6)
		return XDP_DROP;

	if (is_extension(ip6->nexthdr))
		bump(&senders, ip6->saddr.word[0]);
	reason = walk(&c, ip6->nexthdr);
	bump(&reasons, reason);
	return reason <= REASON_OPAQUE ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "Dual MIT/GPL";
