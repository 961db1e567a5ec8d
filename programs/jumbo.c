// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * jumbo: marks and meters frames that may lie in several buffers.
 *
 * Storage and backup networks run with frames of 9,000 bytes, which a driver hands
 * over in fragments; "xdp.frags" says that the program knows, and that data_end is
 * the end of the first buffer only. Headers are read from there; the trailer, a
 * four-byte tag that the sender puts at the very end, is read and cleared through
 * the helpers that see all buffers. Frames by size, and tags of interest, go to a
 * ring buffer's reader.
 */
#include "parse.h"

#define SIZE_CLASSES 16
#define TAG_MARK 0x4e420000 /* "NB" and 16 bits of the sender's own */
#define TAG_MASK 0xffff0000

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SIZE_CLASSES);
	__type(key, __u32);
	__type(value, __u64);
} sizes SEC(".maps"); /* frames by length / 1024 */

struct event {
	__u64 time;
	__u32 length;
	__u32 linear; /* bytes in the first buffer */
	__u32 tag;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

SEC("xdp.frags")
int jumbo(struct xdp_md *ctx)
{
	__u64 length = bpf_xdp_get_buff_len(ctx);
	struct cursor c = cursor_start(ctx);
	struct event event = {};
	__u32 class = length / 1024;
	__be32 tag, none = 0;
	__u64 *frames;
	__be16 proto;

	if (class >= SIZE_CLASSES)
		class = SIZE_CLASSES - 1;
	frames = bpf_map_lookup_elem(&sizes, &class);
	if (frames)
		++*frames;

	if (!take_eth(&c, &proto))
		return XDP_DROP;
	if (proto != bpf_htons(ETH_P_IP) && proto != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	if (length < sizeof(struct ethhdr) + sizeof(tag))
		return XDP_PASS;

	if (bpf_xdp_load_bytes(ctx, length - sizeof(tag), &tag, sizeof(tag)))
		return XDP_ABORTED;
	if ((tag & bpf_htonl(TAG_MASK)) != bpf_htonl(TAG_MARK))
		return XDP_PASS;

	event.time = bpf_ktime_get_ns();
	event.length = length;
	event.linear = ctx->data_end - ctx->data;
	event.tag = bpf_ntohl(tag) & ~TAG_MASK;
	bpf_ringbuf_output(&events, &event, sizeof(event), 0);

	if (bpf_xdp_store_bytes(ctx, length - sizeof(none), &none, sizeof(none)))
		return XDP_ABORTED;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
