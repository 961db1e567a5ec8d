/* What the test objects need of linux/bpf.h and of the macros that libbpf's users write. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;

struct xdp_md {
	__u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

struct __sk_buff {
	__u32 len, pkt_type, mark, queue_mapping;
};

#define SEC(name) __attribute__((section(name), used))
#define __noinline __attribute__((noinline))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]

enum {
	HASH = 1, ARRAY = 2, PROG_ARRAY = 3, PERF_EVENT_ARRAY = 4, PERCPU_ARRAY = 6, LPM_TRIE = 11,
	ARRAY_OF_MAPS = 12, HASH_OF_MAPS = 13, DEVMAP = 14, QUEUE = 22, RINGBUF = 27,
};

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const tail_call)(void *ctx, void *map, __u32 index) = (void *)12;
static long (*const trace_printk)(const char *format, __u32 size, ...) = (void *)6;
static long (*const perf_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size) = (void *)25;
static long (*const redirect_map)(void *map, __u64 key, __u64 flags) = (void *)51;
static long (*const map_push)(void *map, const void *value, __u64 flags) = (void *)87;
static long (*const ringbuf_output)(void *map, void *data, __u64 size, __u64 flags) = (void *)130;
static long (*const loop)(__u32 n, void *callback, void *context, __u64 flags) = (void *)181;
