// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * link_meter: packets, bytes and sizes of a link, on the card.
 *
 * ../link_meter.c as the findings say: an array that is looked up in place of global
 * variables; the settings are words that the host writes and no program adds to. The peak
 * of a second needs time and a result of an addition, which the card does not have: the
 * host takes it from the counters, which it reads once a second anyway.
 */
#include "bpf.h"

#define SIZE_CLASSES 8 /* up to 64, 128, 256, … 8192 bytes */

struct settings {
	__u32 enabled;
	__u32 drop_longer_than; /* bytes */
	__u64 packets;
	__u64 bytes;
	__u64 dropped;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} meter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SIZE_CLASSES);
	__type(key, __u32);
	__type(value, __u64);
} by_size SEC(".maps");

static __always_inline __u32 size_class(__u64 length)
{
	__u32 class = 0;

	for (__u64 limit = 64; class < SIZE_CLASSES - 1 && length > limit; limit *= 2)
		class++;
	return class;
}

SEC("xdp")
int link_meter(struct xdp_md *ctx)
{
	__u64 length = xdp_ptr(ctx->data_end) - xdp_ptr(ctx->data);
	struct settings *total;
	__u32 class, zero = 0;
	__u64 *packets;

	total = bpf_map_lookup_elem(&meter, &zero);
	if (!total || !total->enabled)
		return XDP_PASS;
	if (length > total->drop_longer_than) {
		__sync_fetch_and_add(&total->dropped, 1);
		return XDP_DROP;
	}
	__sync_fetch_and_add(&total->packets, 1);
	__sync_fetch_and_add(&total->bytes, length);
	class = size_class(length);
	packets = bpf_map_lookup_elem(&by_size, &class);
	if (packets)
		__sync_fetch_and_add(packets, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
