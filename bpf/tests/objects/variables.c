/* Global variables of every kind of section, linkage and type. */
#include "defs.h"

char _license[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 limit = 17;
const volatile _Bool enabled = 1;
const volatile char iface[16] = "eth0";
const volatile short levels[4] = { 1, -2, 3, -4 };
const volatile enum color { RED = 5, BLUE = 9 } color = BLUE;
const volatile struct {
	__u32 burst;
	__u8 mac[6];
	struct {
		__u16 port;
	} inner[3];
} config = { .burst = 1 };
const volatile __s64 big = -5;

__u64 hits = 100;
static volatile __u64 sum;
int zero_first, zero_second[3];
static const volatile char text[] = "static text";
__u32 custom SEC(".data.custom") = 9;
const volatile __u32 fixed SEC(".rodata.custom") = 9;

static __noinline int pick(const char *s, int i)
{
	static volatile int counter;

	counter++;
	return s[i & 3] + counter;
}

SEC("xdp") int program(struct xdp_md *ctx)
{
	static volatile int counter = 3;

	counter++;
	if (!enabled)
		return 0;
	trace_printk("hello %d", 9, limit);
	__sync_fetch_and_add(&hits, 1);
	sum += levels[ctx->rx_queue_index & 3] + config.burst + config.inner[1].port + big;
	zero_second[1] += pick("abcd", ctx->rx_queue_index) + iface[1] + custom + fixed + text[2];
	zero_first = counter + config.mac[2];
	return color == RED ? 1 : 2;
}
