// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * counters: packets and bytes by protocol, on the card.
 *
 * ../counters.c as the findings say: an array in place of the per-CPU array, and atomic
 * additions in place of stores. An agent on the host reads the slots once a second. Protocols are the 256 values of
 * IPv4's protocol field and IPv6's next header; frames that are neither are
 * counted by kind behind them.
 */
#include "packet.h"

/* Slots behind the 256 IP protocols. */
enum {
	SLOT_ARP = 256,
	SLOT_VLAN,
	SLOT_OTHER,
	SLOT_MALFORMED,
	SLOTS,
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

static __always_inline __u32 classify(void *data, void *data_end)
{
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > data_end)
		return SLOT_MALFORMED;

	switch (bpf_ntohs(eth->proto)) {
	case ETH_P_IP: {
		struct iphdr *ip = (void *)(eth + 1);

		return (void *)(ip + 1) > data_end ? SLOT_MALFORMED : ip->protocol;
	}
	case ETH_P_IPV6: {
		struct ipv6hdr *ip6 = (void *)(eth + 1);

		return (void *)(ip6 + 1) > data_end ? SLOT_MALFORMED : ip6->nexthdr;
	}
	case ETH_P_ARP:
		return SLOT_ARP;
	case ETH_P_8021Q:
	case ETH_P_8021AD:
		return SLOT_VLAN;
	default:
		return SLOT_OTHER;
	}
}

SEC("xdp")
int count(struct xdp_md *ctx)
{
	void *data = xdp_ptr(ctx->data);
	void *data_end = xdp_ptr(ctx->data_end);
	__u32 slot = classify(data, data_end);
	struct counter *counter;

	counter = bpf_map_lookup_elem(&counters, &slot);
	if (counter) {
		__sync_fetch_and_add(&counter->packets, 1);
		__sync_fetch_and_add(&counter->bytes, data_end - data);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
