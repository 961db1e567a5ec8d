/* Functions in .text, called in an order that is not theirs; a callback; several programs in
 * one section; a static function in the section of its program. */
#include "defs.h"

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} cells SEC(".maps");

static __noinline int leaf(int x)
{
	__u32 key = x & 3;
	__u64 *value = map_lookup(&cells, &key);

	return value ? (int)*value : x * 3;
}

static __noinline int mid_b(int x)
{
	return leaf(x + 1) ^ 5;
}

static __noinline int mid_a(int x)
{
	return leaf(x) + mid_b(x * 7);
}

__noinline int global(struct xdp_md *ctx, int y)
{
	return mid_b(y) + (ctx->data_end - ctx->data > 50);
}

__attribute__((noinline, weak)) int weak(int y)
{
	return y * 11;
}

__attribute__((noinline, visibility("hidden"))) int hidden(int y)
{
	return y * 13 + leaf(y);
}

static long callback(__u32 i, void *sum)
{
	*(int *)sum += leaf(i);
	return 0;
}

SEC("xdp") int first(struct xdp_md *ctx)
{
	int sum = 3;

	loop(7, callback, &sum, 0);
	return global(ctx, sum) + mid_a(sum) > 100 ? 2 : 1;
}

SEC("xdp") int second(struct xdp_md *ctx)
{
	return mid_a(ctx->ingress_ifindex) + weak(4);
}

SEC("xdp/devmap") int third(struct xdp_md *ctx)
{
	return mid_b(hidden(ctx->rx_queue_index)) ? 2 : 1;
}

SEC("tc") int fourth(struct __sk_buff *skb)
{
	return leaf(skb->len) & 1;
}
