// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * classifier: tells DNS and QUIC apart by looking into UDP, with tail calls.
 *
 * A front end that grows by stages: the entry finds the UDP payload, notes where it
 * is in a per-CPU scratch cell and jumps to the stage of its port. "dns" reads the
 * question and drops what is only good for amplification; "quic" reads the
 * connection id and drops Initial packets shorter than RFC 9000 allows. The slot of
 * the third stage is left empty: that jump falls through to the code behind it.
 */
#include "parse.h"

#define PORT_DNS 53
#define PORT_HTTPS 443
#define PORT_NTP 123

enum stage {
	STAGE_DNS,
	STAGE_QUIC,
	STAGE_NTP, /* not written yet */
	STAGES,
};

enum class {
	CLASS_OTHER,
	CLASS_DNS_QUERY,
	CLASS_DNS_RESPONSE,
	CLASS_DNS_ANY,
	CLASS_DNS_MALFORMED,
	CLASS_QUIC_INITIAL,
	CLASS_QUIC_LONG,
	CLASS_QUIC_SHORT,
	CLASS_QUIC_BAD_INITIAL,
	CLASS_NTP,
	CLASSES,
};

int dns(struct xdp_md *ctx);
int quic(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, STAGES);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} stages SEC(".maps") = {
	.values = {
		[STAGE_DNS] = &dns,
		[STAGE_QUIC] = &quic,
	},
};

/* What the entry leaves for the stage behind it. */
struct scratch {
	__u32 payload; /* offset from the start of the frame */
	__u32 length;  /* of the payload, as UDP says */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CLASSES);
	__type(key, __u32);
	__type(value, __u64);
} classes SEC(".maps");

/* Packets by the first byte of the connection id, which servers use to route. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} connection_ids SEC(".maps");

static __always_inline void bump(void *map, __u32 index)
{
	__u64 *packets = bpf_map_lookup_elem(map, &index);

	if (packets)
		++*packets;
}

static __always_inline int finish(enum class class, int verdict)
{
	bump(&classes, class);
	return verdict;
}

/* The cursor at the payload that the entry found. */
static __always_inline int resume(struct xdp_md *ctx, struct cursor *c, __u32 *length)
{
	__u32 zero = 0;
	struct scratch *found = bpf_map_lookup_elem(&scratch, &zero);
	__u32 payload;

	if (!found)
		return 0;
	payload = found->payload;
	if (payload > 256)
		return 0;
	*c = cursor_start(ctx);
	c->pos += payload;
	*length = found->length;
	return 1;
}

struct dnshdr {
	__be16 id;
	__be16 flags; /* bit 15: response */
	__be16 questions;
	__be16 answers;
	__be16 authorities;
	__be16 additionals;
};

#define DNS_RESPONSE 0x8000
#define DNS_TYPE_ANY 255
#define DNS_MAX_LABELS 16

SEC("xdp")
int dns(struct xdp_md *ctx)
{
	struct dnshdr *header;
	struct cursor c;
	__u32 length;
	__be16 *type;

	if (!resume(ctx, &c, &length))
		return finish(CLASS_OTHER, XDP_PASS);
	header = take(&c, struct dnshdr);
	if (!header)
		return finish(CLASS_DNS_MALFORMED, XDP_DROP);
	if (header->flags & bpf_htons(DNS_RESPONSE))
		return finish(CLASS_DNS_RESPONSE, XDP_PASS);
	if (header->questions != bpf_htons(1))
		return finish(CLASS_DNS_MALFORMED, XDP_DROP);

	/* The name: labels of up to 63 bytes, ended by an empty one. */
	for (int i = 0; i < DNS_MAX_LABELS; i++) {
		__u8 *label = take(&c, __u8);
		__u8 len;

		if (!label)
			return finish(CLASS_DNS_MALFORMED, XDP_DROP);
		len = *label;
		if (len > 63)
			return finish(CLASS_DNS_MALFORMED, XDP_DROP);
		if (len == 0) {
			type = take(&c, __be16);
			if (!type)
				return finish(CLASS_DNS_MALFORMED, XDP_DROP);
			if (*type == bpf_htons(DNS_TYPE_ANY))
				return finish(CLASS_DNS_ANY, XDP_DROP);
			return finish(CLASS_DNS_QUERY, XDP_PASS);
		}
		c.pos += len;
	}
	/* More labels than this stage reads: the server decides. */
	return finish(CLASS_DNS_QUERY, XDP_PASS);
}

#define QUIC_LONG_HEADER 0x80
#define QUIC_LONG_TYPE 0x30 /* 0: Initial */
#define QUIC_MIN_INITIAL 1200

struct quic_long {
	__u8 first;
	__be32 version;
	__u8 dcid_len;
	__u8 dcid[1];
} __packed;

struct quic_short {
	__u8 first;
	__u8 dcid[1]; /* its length is known to the server alone */
};

SEC("xdp")
int quic(struct xdp_md *ctx)
{
	struct quic_short *brief;
	struct quic_long *full;
	struct cursor c;
	__u32 length;

	if (!resume(ctx, &c, &length))
		return finish(CLASS_OTHER, XDP_PASS);
	brief = c.pos;
	if ((void *)(brief + 1) > c.end)
		return finish(CLASS_OTHER, XDP_PASS);
	if (!(brief->first & QUIC_LONG_HEADER)) {
		bump(&connection_ids, brief->dcid[0]);
		return finish(CLASS_QUIC_SHORT, XDP_PASS);
	}
	full = take(&c, struct quic_long);
	if (!full)
		return finish(CLASS_QUIC_BAD_INITIAL, XDP_DROP);
	if (full->dcid_len)
		bump(&connection_ids, full->dcid[0]);
	if (full->version == bpf_htonl(1) && !(full->first & QUIC_LONG_TYPE)) {
		if (length < QUIC_MIN_INITIAL || full->dcid_len < 8)
			return finish(CLASS_QUIC_BAD_INITIAL, XDP_DROP);
		return finish(CLASS_QUIC_INITIAL, XDP_PASS);
	}
	return finish(CLASS_QUIC_LONG, XDP_PASS);
}

static __always_inline int is_port(const struct udphdr *udp, __u16 port)
{
	return udp->source == bpf_htons(port) || udp->dest == bpf_htons(port);
}

SEC("xdp")
int classifier(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	struct scratch *found;
	struct udphdr *udp;
	__u32 zero = 0;
	__be16 proto;
	__u8 protocol;

	if (!take_eth(&c, &proto))
		return XDP_DROP;
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = take_ipv4(&c);

		if (!ip)
			return XDP_DROP;
		if (is_later_fragment(ip))
			return finish(CLASS_OTHER, XDP_PASS);
		protocol = ip->protocol;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = take_ipv6(&c);

		if (!ip6)
			return XDP_DROP;
		protocol = ip6->nexthdr;
	} else {
		return finish(CLASS_OTHER, XDP_PASS);
	}
	if (protocol != IPPROTO_UDP)
		return finish(CLASS_OTHER, XDP_PASS);
	udp = take(&c, struct udphdr);
	if (!udp || bpf_ntohs(udp->len) < sizeof(*udp))
		return XDP_DROP;

	found = bpf_map_lookup_elem(&scratch, &zero);
	if (!found)
		return XDP_ABORTED;
	found->payload = (void *)(udp + 1) - xdp_ptr(ctx->data);
	found->length = bpf_ntohs(udp->len) - sizeof(*udp);

	if (is_port(udp, PORT_DNS)) {
		bpf_tail_call(ctx, &stages, STAGE_DNS);
	} else if (is_port(udp, PORT_HTTPS)) {
		bpf_tail_call(ctx, &stages, STAGE_QUIC);
	} else if (is_port(udp, PORT_NTP)) {
		bpf_tail_call(ctx, &stages, STAGE_NTP);
		return finish(CLASS_NTP, XDP_PASS);
	}
	return finish(CLASS_OTHER, XDP_PASS);
}

char _license[] SEC("license") = "Dual MIT/GPL";
