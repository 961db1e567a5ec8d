/* Maps defined with BTF: maps of maps and of programs with slots filled, sizes that the loader
 * adjusts, pinning. */
#include "defs.h"

char _license[] SEC("license") = "GPL";

struct table {
	__uint(type, HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
};

struct table one SEC(".maps"), two SEC(".maps");

struct {
	__uint(type, ARRAY_OF_MAPS);
	__uint(max_entries, 6);
	__type(key, __u32);
	__array(values, struct table);
} outer SEC(".maps") = { .values = { [1] = &one, [4] = &two } };

struct {
	__uint(type, HASH_OF_MAPS);
	__uint(max_entries, 6);
	__uint(key_size, 8);
	__uint(value_size, 4);
	__array(values, struct {
		__uint(type, ARRAY);
		__uint(max_entries, 1);
		__type(key, __u32);
		__type(value, __u64[3]);
	});
} keyed SEC(".maps");

int tail_one(struct xdp_md *ctx);
int tail_two(struct xdp_md *ctx);

struct {
	__uint(type, PROG_ARRAY);
	__uint(max_entries, 5);
	__uint(key_size, 4);
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = { .values = { [0] = (void *)&tail_one, [3] = (void *)&tail_two } };

struct {
	__uint(type, PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

struct {
	__uint(type, RINGBUF);
	__uint(max_entries, 5000);
} ring SEC(".maps");

struct {
	__uint(type, LPM_TRIE);
	__uint(max_entries, 50);
	__uint(map_flags, 1); /* BPF_F_NO_PREALLOC */
	__uint(key_size, 8);
	__uint(value_size, 16);
} prefixes SEC(".maps");

struct {
	__uint(type, DEVMAP);
	__uint(max_entries, 50);
	__type(key, int);
	__type(value, __u32);
	__uint(pinning, 1);
} ports SEC(".maps");

struct {
	__uint(type, QUEUE);
	__uint(max_entries, 50);
	__type(value, __u32);
} queue SEC(".maps");

SEC("xdp") int tail_one(struct xdp_md *ctx)
{
	return redirect_map(&ports, 0, 2);
}

SEC("xdp") int tail_two(struct xdp_md *ctx)
{
	__u32 x = 3;

	map_push(&queue, &x, 0);
	perf_output(ctx, &events, 0xffffffff, &x, 4);
	ringbuf_output(&ring, &x, 4, 0);
	return 2;
}

SEC("xdp") int entry(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 wide = 2;
	void *map = map_lookup(&outer, &key);

	if (map) {
		__u64 *value = map_lookup(map, &key);

		if (value)
			*value += 1;
	}
	map = map_lookup(&keyed, &wide);
	if (map)
		map_lookup(map, &key);
	map_lookup(&prefixes, &wide);
	tail_call(ctx, &jumps, ctx->rx_queue_index);
	return 2;
}
