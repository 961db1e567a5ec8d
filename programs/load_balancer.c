// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * load_balancer: spreads the traffic of virtual addresses over real servers.
 *
 * A layer-4 balancer as it stands at the edge of a data centre. A packet to a
 * virtual service is given to a real server: the one its connection had before,
 * else the one that consistent hashing (a table in the manner of Maglev, filled
 * by the control plane) names. It is wrapped into IP-in-IP and sent back out; the
 * server unwraps it and answers the client directly.
 */
#include "checksum.h"
#include "hash.h"
#include "parse.h"

#define MAX_VIPS 16
#define MAX_REALS 256
#define RING_SIZE 251 /* slots a service, a prime as Maglev's permutations want */

#define MAX_FRAME 1514 /* a longer packet would not fit the link once wrapped */

struct vip_key {
	__be32 addr;
	__be16 port; /* 0: every port */
	__u8 protocol;
	__u8 pad;
};

#define VIP_NO_CONNECTIONS (1U << 0) /* the hash alone decides: DNS and the like */

struct vip {
	__u32 id; /* which part of the ring */
	__u32 flags;
};

struct real {
	__be32 addr; /* 0: no such server */
	__u8 mac[ETH_ALEN];
	__u8 pad[2];
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

/* Settings of this balancer, set before it is loaded. */
const volatile __be32 tunnel_source = bpf_htonl(0x0a000001); /* 10.0.0.1 */
const volatile __u32 hash_seed = 0x2545f491;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VIPS);
	__type(key, struct vip_key);
	__type(value, struct vip);
} vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_VIPS * RING_SIZE);
	__type(key, __u32);
	__type(value, __u32);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_REALS);
	__type(key, __u32);
	__type(value, struct real);
} reals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct flow);
	__type(value, __u32);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_REALS);
	__type(key, __u32);
	__type(value, struct counter);
} real_counters SEC(".maps");

static __always_inline const struct vip *find_vip(const struct flow *flow)
{
	struct vip_key key = {
		.addr = flow->daddr,
		.port = flow->dport,
		.protocol = flow->protocol,
	};
	const struct vip *vip = bpf_map_lookup_elem(&vips, &key);

	if (vip)
		return vip;
	key.port = 0;
	return bpf_map_lookup_elem(&vips, &key);
}

static __always_inline __u32 *ring_slot(const struct flow *flow, __u32 vip_id)
{
	__u32 ports = (__u32)flow->sport << 16 | flow->dport;
	__u32 hash = jhash3(flow->saddr, flow->daddr, ports, hash_seed);
	__u32 slot = vip_id * RING_SIZE + hash % RING_SIZE;

	return bpf_map_lookup_elem(&ring, &slot);
}

/* The number of the server that the packet goes to, or NULL. A SYN opens a new
 * connection, whatever the table holds of an older one with the same ports.
 */
static __always_inline __u32 *pick_real(const struct flow *flow, const struct vip *vip, int syn)
{
	__u32 *real;

	if (vip->flags & VIP_NO_CONNECTIONS)
		return ring_slot(flow, vip->id);
	if (!syn) {
		real = bpf_map_lookup_elem(&connections, flow);
		if (real)
			return real;
	}
	real = ring_slot(flow, vip->id);
	if (real)
		bpf_map_update_elem(&connections, flow, real, BPF_ANY);
	return real;
}

/* Puts an outer IPv4 header between Ethernet and the packet. */
static __always_inline int encapsulate(struct xdp_md *ctx, const struct real *real, __u16 inner_len,
				       __u8 tos)
{
	struct ethhdr *eth, *old_eth;
	void *data, *data_end;
	struct iphdr *ip;

	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct iphdr)))
		return XDP_DROP;

	data = xdp_ptr(ctx->data);
	data_end = xdp_ptr(ctx->data_end);
	eth = data;
	ip = data + sizeof(*eth);
	old_eth = data + sizeof(*ip);
	if ((void *)(old_eth + 1) > data_end || (void *)(ip + 1) > data_end)
		return XDP_DROP;

	/* The frame came to our address: that is the source of the new one. */
	__builtin_memcpy(eth->src, old_eth->dst, ETH_ALEN);
	__builtin_memcpy(eth->dst, real->mac, ETH_ALEN);
	eth->proto = bpf_htons(ETH_P_IP);

	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->tos = tos;
	ip->tot_len = bpf_htons(inner_len + sizeof(*ip));
	ip->id = 0;
	ip->frag_off = bpf_htons(IP_DF);
	ip->ttl = 64;
	ip->protocol = IPPROTO_IPIP;
	ip->saddr = tunnel_source;
	ip->daddr = real->addr;
	ipv4_set_checksum(ip);
	return XDP_TX;
}

SEC("xdp")
int load_balancer(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	__u64 bytes = c.end - c.pos;
	struct counter *counter;
	const struct vip *vip;
	struct ethhdr *eth;
	struct real *real;
	struct flow flow;
	__u32 *number, index;
	struct iphdr *ip;
	__u16 inner_len;
	int syn = 0;
	__u8 tos;

	eth = take(&c, struct ethhdr);
	if (!eth)
		return XDP_DROP;
	if (eth->proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	ip = take_ipv4(&c);
	if (!ip)
		return XDP_DROP;
	/* A fragment without ports cannot be told a server. */
	if (is_fragment(ip) || !take_flow(&c, ip, &flow))
		return XDP_PASS;
	inner_len = bpf_ntohs(ip->tot_len);
	tos = ip->tos;

	vip = find_vip(&flow);
	if (!vip)
		return XDP_PASS;

	if (flow.protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = take(&c, struct tcphdr);

		if (!tcp)
			return XDP_DROP;
		syn = (tcp->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	}
	/* The host answers with "fragmentation needed". */
	if (bytes + sizeof(struct iphdr) > MAX_FRAME)
		return XDP_PASS;

	number = pick_real(&flow, vip, syn);
	if (!number)
		return XDP_DROP;
	index = *number;
	real = bpf_map_lookup_elem(&reals, &index);
	if (!real || !real->addr)
		return XDP_DROP;
	counter = bpf_map_lookup_elem(&real_counters, &index);
	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
	return encapsulate(ctx, real, inner_len, tos);
}

char _license[] SEC("license") = "Dual MIT/GPL";
