// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * heavy_hitter: finds the flows that carry the most, in constant memory.
 *
 * A count-min sketch: each flow adds its bytes to one cell in each of four rows,
 * chosen by four hashes, and the smallest of the four is an upper bound of what the
 * flow has sent. A flow whose bound crosses the threshold is entered in a table that
 * the operator reads. One row's update is a function of its own, called and not
 * inlined.
 */
#include "hash.h"
#include "parse.h"

#define ROWS 4
#define COLUMNS 1024 /* a power of two */

const volatile __u64 threshold = 64 * 1024; /* bytes */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ROWS * COLUMNS);
	__type(key, __u32);
	__type(value, __u64);
} sketch SEC(".maps");

struct hitter {
	__u64 estimate; /* bytes, never less than the truth */
	__u64 last_seen; /* ns, to the tick */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 512);
	__type(key, struct flow);
	__type(value, struct hitter);
} hitters SEC(".maps");

/* Adds to the flow's cell in one row; returns what the cell holds then. */
static __noinline __u64 add_to_row(const struct flow *flow, __u32 row, __u64 bytes)
{
	__u32 ports = (__u32)flow->sport << 16 | flow->dport;
	__u32 hash = jhash3(flow->saddr ^ flow->protocol, flow->daddr, ports, row);
	__u32 index = row * COLUMNS + hash % COLUMNS;
	__u64 *cell = bpf_map_lookup_elem(&sketch, &index);

	if (!cell)
		return 0;
	return __sync_fetch_and_add(cell, bytes) + bytes;
}

SEC("xdp")
int heavy_hitter(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	__u64 bytes = c.end - c.pos;
	__u64 estimate = ~0ULL;
	struct hitter *known;
	struct iphdr *ip;
	struct flow flow;
	__be16 proto;

	if (!take_eth(&c, &proto))
		return XDP_DROP;
	if (proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	ip = take_ipv4(&c);
	if (!ip)
		return XDP_DROP;
	take_flow(&c, ip, &flow);

	for (__u32 row = 0; row < ROWS; row++) {
		__u64 cell = add_to_row(&flow, row, bytes);

		if (cell < estimate)
			estimate = cell;
	}
	if (estimate < threshold)
		return XDP_PASS;

	known = bpf_map_lookup_elem(&hitters, &flow);
	if (known) {
		known->estimate = estimate;
		known->last_seen = bpf_ktime_get_coarse_ns();
	} else {
		struct hitter fresh = {
			.estimate = estimate,
			.last_seen = bpf_ktime_get_coarse_ns(),
		};

		bpf_map_update_elem(&hitters, &flow, &fresh, BPF_ANY);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
