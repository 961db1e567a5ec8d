// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * sampler_ringbuf: copies the head of every n-th packet into a ring buffer.
 *
 * sFlow at the card: a collector on the host reads the records and scales them up
 * by the rate that each of them carries. Sampling is by chance, so that periodic
 * traffic does not hide from it. When the ring is fuller than three quarters the
 * sampler thins itself out, and what found no room is counted.
 */
#include "bpf.h"

#define SNAP_BYTES 64
#define RING_BYTES (256 * 1024)

#define BPF_RB_AVAIL_DATA 0 /* bpf_ringbuf_query(): bytes not yet consumed */

const volatile __u32 rate = 16; /* one packet of that many; 0: none */

struct sample {
	__u64 time; /* ns */
	__u32 ifindex;
	__u32 queue;
	__u32 cpu;
	__u32 rate;
	__u32 length;   /* of the frame */
	__u32 captured; /* bytes of it that follow */
	__u8 bytes[SNAP_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline void count_lost(void)
{
	__u32 zero = 0;
	__u64 *packets = bpf_map_lookup_elem(&lost, &zero);

	if (packets)
		++*packets;
}

SEC("xdp")
int sampler_ringbuf(struct xdp_md *ctx)
{
	__u32 length, captured, now_rate = rate;
	struct sample *sample;

	if (bpf_ringbuf_query(&samples, BPF_RB_AVAIL_DATA) > RING_BYTES / 4 * 3)
		now_rate *= 8;
	if (!now_rate || bpf_get_prandom_u32() % now_rate)
		return XDP_PASS;

	sample = bpf_ringbuf_reserve(&samples, sizeof(*sample), 0);
	if (!sample) {
		count_lost();
		return XDP_PASS;
	}
	length = ctx->data_end - ctx->data;
	captured = length < SNAP_BYTES ? length : SNAP_BYTES;
	barrier_var(captured);
	if (captured == 0 || captured > SNAP_BYTES)
		goto discard;
	__builtin_memset(sample->bytes, 0, SNAP_BYTES);
	if (bpf_xdp_load_bytes(ctx, 0, sample->bytes, captured))
		goto discard;
	sample->time = bpf_ktime_get_ns();
	sample->ifindex = ctx->ingress_ifindex;
	sample->queue = ctx->rx_queue_index;
	sample->cpu = bpf_get_smp_processor_id();
	sample->rate = now_rate;
	sample->length = length;
	sample->captured = captured;
	bpf_ringbuf_submit(sample, 0);
	return XDP_PASS;

discard:
	bpf_ringbuf_discard(sample, 0);
	count_lost();
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
