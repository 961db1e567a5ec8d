// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * count_drop: counts what comes by protocol, and drops protocols that are switched off.
 *
 * The smallest useful thing on a card: one array, indexed by protocol. The counters
 * are added to by the card's atomic engine and read by the host alone; the switch is
 * a word of its own, which the host writes and the program reads.
 */
#include "packet.h"

struct slot {
	__u32 drop; /* written by the host: not 0 drops */
	__u32 pad;
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32); /* IPv4 protocol; 255 for what is no IPv4 */
	__type(value, struct slot);
} slots SEC(".maps");

SEC("xdp")
int count_drop(struct xdp_md *ctx)
{
	void *data = xdp_ptr(ctx->data);
	void *data_end = xdp_ptr(ctx->data_end);
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__u32 protocol = 255;
	struct slot *slot;

	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	if (eth->proto == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip + 1) > data_end)
			return XDP_DROP;
		protocol = ip->protocol;
	}
	slot = bpf_map_lookup_elem(&slots, &protocol);
	if (!slot)
		return XDP_PASS;
	__sync_fetch_and_add(&slot->packets, 1);
	__sync_fetch_and_add(&slot->bytes, data_end - data);
	return slot->drop ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
