// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * blocklist: drops listed IPv4 sources, and counts what it did.
 *
 * A firewall cut to what the first offload cards took: a plain hash and an array,
 * keys on the stack, counters that are added to and never read, no flags, no
 * helper but the lookup, and accesses that stay within the packet's first bytes.
 * Where "firewall" has to stay on the CPU, this one can go onto the card.
 */
#include "packet.h"

struct entry {
	__u32 action; /* an XDP return code */
	__u32 pad;
	__u64 packets;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __be32); /* source address */
	__type(value, struct entry);
} sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32); /* IPv4 protocol */
	__type(value, __u64);
} passed SEC(".maps");

SEC("xdp")
int blocklist(struct xdp_md *ctx)
{
	void *data = xdp_ptr(ctx->data);
	void *data_end = xdp_ptr(ctx->data_end);
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct entry *entry;
	__u32 protocol;
	__u64 *packets;
	__be32 source;

	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;
	if (eth->proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;

	source = ip->saddr;
	protocol = ip->protocol;
	entry = bpf_map_lookup_elem(&sources, &source);
	if (entry) {
		__sync_fetch_and_add(&entry->packets, 1);
		if (entry->action == XDP_DROP)
			return XDP_DROP;
	}
	packets = bpf_map_lookup_elem(&passed, &protocol);
	if (packets)
		__sync_fetch_and_add(packets, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
