/* Maps without BTF, as programs for kernels before 5.3 define them. The size of the definition
 * is what differs: -DFIELDS=4, 5, 6, 7. */
#include "defs.h"

struct map_def {
	__u32 type, key_size, value_size, max_entries;
#if FIELDS >= 5
	__u32 flags;
#endif
#if FIELDS >= 6
	__u32 inner_index;
#endif
#if FIELDS >= 7
	__u32 numa_node;
#endif
};

struct map_def SEC("maps") counts = { PERCPU_ARRAY, 4, 8, 256 };
struct map_def SEC("maps") prefixes = { LPM_TRIE, 8, 4, 100,
#if FIELDS >= 5
	1,
#endif
};
#if FIELDS >= 6
struct map_def SEC("maps") outer = { ARRAY_OF_MAPS, 4, 4, 3, 0, 0 };
#endif

SEC("xdp1") int count(struct xdp_md *ctx)
{
	__u32 key = 17;
	__u64 *value = map_lookup(&counts, &key);

	if (value)
		*value += 1;
	return map_lookup(&prefixes, &value) ? 1 : 2;
}

char _license[] SEC("license") = "GPL";
