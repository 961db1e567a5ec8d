// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * l4_balancer: spreads TCP and UDP of virtual services over real servers, on the card.
 *
 * What load_balancer does, in what a card has: no table of connections (there is no
 * update on the card), so that the hash alone chooses; a ring of a power of two, since
 * there is no remainder; counters that the atomic engine adds to and only the host
 * reads; settings in an array instead of global variables. The packet is wrapped into
 * IP-in-IP by one bpf_xdp_adjust_head of a constant, and leaves where it came in.
 */
#include "checksum.h"
#include "hash.h"
#include "parse.h"

#define RING_SIZE 256 /* slots a service, a power of two */

struct service_key {
	__be32 addr;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct service {
	__u32 first; /* of its part of the ring */
	__be32 source; /* of the outer header */
	__u64 packets;
	__u64 bytes;
};

struct real {
	__be32 addr; /* 0: no such server */
	__u16 mac[3];
	__u8 pad[2];
	__u64 packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct service_key);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64 * RING_SIZE);
	__type(key, __u32);
	__type(value, __u32); /* which real server */
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct real);
} reals SEC(".maps");

SEC("xdp")
int l4_balancer(struct xdp_md *ctx)
{
	void *data = xdp_ptr(ctx->data);
	void *data_end = xdp_ptr(ctx->data_end);
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct ports *ports = (void *)(ip + 1);
	struct service_key key = {};
	struct service *service;
	__u32 slot, *number, index;
	__be32 source, real_addr;
	struct ethhdr *outer_eth;
	struct iphdr *outer;
	__u16 from[3], to[3], inner_len;
	struct real *real;
	__u8 tos;

	/* Headers without options: what has any passes to the host. */
	if ((void *)(ports + 1) > data_end)
		return XDP_PASS;
	if (eth->proto != bpf_htons(ETH_P_IP) || ip->version != 4 || ip->ihl != 5)
		return XDP_PASS;
	if (is_fragment(ip))
		return XDP_PASS;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return XDP_PASS;

	key.addr = ip->daddr;
	key.port = ports->dest;
	key.protocol = ip->protocol;
	service = bpf_map_lookup_elem(&services, &key);
	if (!service)
		return XDP_PASS;
	__sync_fetch_and_add(&service->packets, 1);
	__sync_fetch_and_add(&service->bytes, data_end - data);
	source = service->source;

	slot = jhash3(ip->saddr, ip->daddr, (__u32)ports->source << 16 | ports->dest, 0);
	slot = service->first + (slot & (RING_SIZE - 1));
	number = bpf_map_lookup_elem(&ring, &slot);
	if (!number)
		return XDP_DROP;
	index = *number;
	real = bpf_map_lookup_elem(&reals, &index);
	if (!real || !real->addr)
		return XDP_DROP;
	__sync_fetch_and_add(&real->packets, 1);
	real_addr = real->addr;
	to[0] = real->mac[0];
	to[1] = real->mac[1];
	to[2] = real->mac[2];
	inner_len = bpf_ntohs(ip->tot_len);
	tos = ip->tos;
	__builtin_memcpy(from, eth->dst, sizeof(from));

	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*outer)))
		return XDP_DROP;
	data = xdp_ptr(ctx->data);
	data_end = xdp_ptr(ctx->data_end);
	outer_eth = data;
	outer = (void *)(outer_eth + 1);
	if ((void *)(outer + 1) > data_end)
		return XDP_DROP;
	__builtin_memcpy(outer_eth->dst, to, sizeof(to));
	__builtin_memcpy(outer_eth->src, from, sizeof(from));
	outer_eth->proto = bpf_htons(ETH_P_IP);
	outer->version = 4;
	outer->ihl = 5;
	outer->tos = tos;
	outer->tot_len = bpf_htons(inner_len + sizeof(*outer));
	outer->id = 0;
	outer->frag_off = bpf_htons(IP_DF);
	outer->ttl = 64;
	outer->protocol = IPPROTO_IPIP;
	outer->saddr = source;
	outer->daddr = real_addr;
	ipv4_set_checksum(outer);
	return XDP_TX;
}

char _license[] SEC("license") = "Dual MIT/GPL";
