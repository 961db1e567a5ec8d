/* Kernel functions are for programs under a GPL-compatible licence, also where they are dead. */
#define SEC(name) __attribute__((section(name), used))
#define KSYM __attribute__((section(".ksyms")))

struct xdp_md;

extern void bpf_rcu_read_lock(void) KSYM;

static unsigned long long (*const bpf_ktime_get_ns)(void) = (void *)5;
static long (*const bpf_trace_printk)(const char *text, unsigned size) = (void *)6;

const volatile int never = 0;

/* reject verify/helper-not-allowed */
SEC("xdp") int dead_kernel_function(struct xdp_md *ctx)
{
	if (never)
		bpf_rcu_read_lock();
	return 2;
}

/* accept */
SEC("xdp") int dead_helper(struct xdp_md *ctx)
{
	if (never)
		bpf_trace_printk("", 1);
	return 1 + (bpf_ktime_get_ns() & 1);
}

/* reject verify/helper-not-allowed */
SEC("xdp") int helper_for_gpl(struct xdp_md *ctx)
{
	bpf_trace_printk("", 1);
	return 2;
}

char terms[] SEC("license") = "Proprietary";
