// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * flow_slots: per-flow state shared by all CPUs without a lock.
 *
 * A flow table of the direct-mapped kind that hardware has: a slot is found by hash,
 * claimed with compare-and-exchange, and belongs to its first owner until that has
 * been silent for a while. Everything in it is kept by atomic operations, of 32 and
 * 64 bits, with and without their old value: a sequence number (fetch and add), the
 * TCP flags seen so far (or), the time of the last packet (exchange), the largest
 * packet (compare and exchange), a parity bit (xor), a mask of idle queues (and).
 */
#include "hash.h"
#include "parse.h"

#define SLOTS 4096
#define IDLE_NS (30ULL * 1000000000)
#define MAX_TRIES 4

struct slot {
	__u64 owner; /* 64-bit hash of the flow, 0: free */
	__u64 last_seen;
	__u64 bytes;
	__u32 sequence;
	__u32 largest;
	__u32 tcp_flags;
	__u32 parity;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

__u64 packets;                      /* sequence over all flows */
__u64 collisions;                   /* packets that found their slot taken */
__u64 idle_queues = 0xffffffffffff; /* bit set: that queue has not been seen */

/* Makes *largest at least the value; gives up where too many others do so too. */
static __always_inline void raise(__u32 *largest, __u32 value)
{
	__u32 seen = READ_ONCE(*largest);

	for (int i = 0; i < MAX_TRIES; i++) {
		__u32 old;

		if (seen >= value)
			return;
		old = __sync_val_compare_and_swap(largest, seen, value);
		if (old == seen)
			return;
		seen = old;
	}
}

/* Is the slot ours, or can it become so? */
static __always_inline int claim(struct slot *slot, __u64 owner, __u64 now)
{
	__u64 old = __sync_val_compare_and_swap(&slot->owner, 0, owner);

	if (old == 0 || old == owner)
		return 1;
	if (now - READ_ONCE(slot->last_seen) < IDLE_NS)
		return 0;
	/* Its owner has gone; only one of us takes its place. */
	if (__sync_val_compare_and_swap(&slot->owner, old, owner) != old)
		return 0;
	__sync_lock_test_and_set(&slot->tcp_flags, 0);
	__sync_lock_test_and_set(&slot->bytes, 0);
	return 1;
}

SEC("xdp")
int flow_slots(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	__u32 length = c.end - c.pos;
	__u32 low, high, index, flags = 0;
	struct slot *slot;
	struct iphdr *ip;
	struct flow flow;
	__be16 proto;
	__u64 now;

	__sync_fetch_and_add(&packets, 1);
	__sync_fetch_and_and(&idle_queues, ~(1ULL << (ctx->rx_queue_index & 63)));

	if (!take_eth(&c, &proto))
		return XDP_DROP;
	if (proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	ip = take_ipv4(&c);
	if (!ip)
		return XDP_DROP;
	if (!take_flow(&c, ip, &flow))
		return XDP_PASS;
	if (flow.protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = take(&c, struct tcphdr);

		if (!tcp)
			return XDP_DROP;
		flags = tcp->flags;
	}

	low = jhash3(flow.saddr, flow.daddr, (__u32)flow.sport << 16 | flow.dport, flow.protocol);
	high = jhash3(flow.saddr, flow.daddr, (__u32)flow.sport << 16 | flow.dport, ~low) | 1;
	index = low % SLOTS;
	slot = bpf_map_lookup_elem(&slots, &index);
	if (!slot)
		return XDP_ABORTED;

	now = bpf_ktime_get_ns();
	if (!claim(slot, (__u64)high << 32 | low, now)) {
		__sync_fetch_and_add(&collisions, 1);
		return XDP_PASS;
	}
	__sync_lock_test_and_set(&slot->last_seen, now);
	__sync_fetch_and_add(&slot->bytes, length);
	raise(&slot->largest, length);
	__sync_fetch_and_xor(&slot->parity, 1);

	/* A connection that starts with neither SYN nor traffic before it is a scan:
	 * its first packet is dropped.
	 */
	if (__sync_fetch_and_add(&slot->sequence, 1) == 0 && flow.protocol == IPPROTO_TCP &&
	    !(flags & TCP_SYN))
		return XDP_DROP;
	/* Nothing follows a reset. */
	if (__sync_fetch_and_or(&slot->tcp_flags, flags) & TCP_RST)
		return XDP_DROP;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
