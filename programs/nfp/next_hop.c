// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * next_hop: forwards IPv4 to the next hop of its /24, out of the port it came in.
 *
 * A router on a stick. The host keeps the table in a hash of prefixes of one length,
 * since there is no trie on the card; the program takes one off the time to live,
 * mends the checksum, and writes both Ethernet addresses.
 */
#include "checksum.h"

struct hop {
	__u16 to[3];
	__u16 from[3];
	__u32 pad;
	__u64 packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32); /* destination, its last byte 0 */
	__type(value, struct hop);
} hops SEC(".maps");

SEC("xdp")
int next_hop(struct xdp_md *ctx)
{
	void *data = xdp_ptr(ctx->data);
	void *data_end = xdp_ptr(ctx->data_end);
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct hop *hop;
	__be32 prefix;

	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;
	if (eth->proto != bpf_htons(ETH_P_IP) || ip->version != 4)
		return XDP_PASS;
	if (ip->ttl <= 1) /* the host answers with "time exceeded" */
		return XDP_PASS;
	prefix = ip->daddr & bpf_htonl(0xffffff00);
	hop = bpf_map_lookup_elem(&hops, &prefix);
	if (!hop)
		return XDP_PASS;
	__sync_fetch_and_add(&hop->packets, 1);
	__builtin_memcpy(eth->dst, hop->to, ETH_ALEN);
	__builtin_memcpy(eth->src, hop->from, ETH_ALEN);
	/* The time to live is the first byte of its word. */
	csum_replace2(&ip->check, ip->ttl, ip->ttl - 1);
	ip->ttl--;
	return XDP_TX;
}

char _license[] SEC("license") = "Dual MIT/GPL";
