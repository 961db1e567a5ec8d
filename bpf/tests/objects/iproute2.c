/* iproute2's map definitions of 36 bytes, and sections that are slots of a map. */
#include "defs.h"

struct bpf_elf_map {
	__u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx;
};

struct bpf_elf_map SEC("maps") jumps = {
	.type = PROG_ARRAY, .id = 2, .size_key = 4, .size_value = 4, .pinning = 1, .max_elem = 8,
};
struct bpf_elf_map SEC("maps") inner = {
	.type = ARRAY, .id = 5, .inner_idx = 3, .size_key = 4, .size_value = 8, .max_elem = 1,
};
struct bpf_elf_map SEC("maps") outer = {
	.type = ARRAY_OF_MAPS, .size_key = 4, .size_value = 4, .inner_id = 5, .max_elem = 4,
};

SEC("2/7") int seven(struct __sk_buff *skb)
{
	return 7;
}

SEC("2/1") int one(struct __sk_buff *skb)
{
	__u32 key = 3;
	void *map = map_lookup(&outer, &key);

	return map && map_lookup(map, &key) ? 1 : 2;
}

SEC("classifier") int entry(struct __sk_buff *skb)
{
	tail_call(skb, &jumps, skb->len & 7);
	return 0;
}

char _license[] SEC("license") = "GPL";
