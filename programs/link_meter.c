// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * link_meter: packets, bytes and sizes of a link, in global variables.
 *
 * The way small tools are written today: no map in sight, the counters are plain
 * globals that the host reads through a memory mapping of .bss, and the switches
 * next to them, in .data, may be turned while the program runs. Counters are
 * atomic, since all CPUs share them. "Peak" is the most bytes that any one second
 * carried.
 */
#include "bpf.h"

#define SIZE_CLASSES 8 /* up to 64, 128, 256, … 8192 bytes */
#define HZ 250         /* ticks a second of the kernels this is built for */

/* .data: settings of a running meter. */
_Bool enabled = 1;
__u32 drop_longer_than = 9018; /* bytes */

/* .bss */
struct {
	__u64 packets;
	__u64 bytes;
	__u64 dropped;
	__u64 by_size[SIZE_CLASSES];
} total;

__u64 second; /* number of the second that is being counted */
__u64 second_bytes;
__u64 peak_bytes;

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
	__u64 now = bpf_jiffies64() / HZ;
	__u64 carried;

	if (!enabled)
		return XDP_PASS;
	if (length > drop_longer_than) {
		__sync_fetch_and_add(&total.dropped, 1);
		return XDP_DROP;
	}
	__sync_fetch_and_add(&total.packets, 1);
	__sync_fetch_and_add(&total.bytes, length);
	__sync_fetch_and_add(&total.by_size[size_class(length)], 1);

	/* Approximate on purpose: who comes first in a new second starts it. */
	if (READ_ONCE(second) != now) {
		WRITE_ONCE(second, now);
		WRITE_ONCE(second_bytes, 0);
	}
	carried = __sync_fetch_and_add(&second_bytes, length) + length;
	if (carried > READ_ONCE(peak_bytes))
		WRITE_ONCE(peak_bytes, carried);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
