/* Exceptions: where they may be thrown, and what may get them. */
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define KSYM __attribute__((section(".ksyms")))
#define NOINLINE __attribute__((noinline))
#define CATCHER(name) __attribute__((btf_decl_tag("exception_callback:" #name)))

struct __sk_buff {
	u32 length;
};

extern void bpf_throw(u64 cookie) KSYM;
extern void bpf_rcu_read_lock(void) KSYM;
extern void bpf_rcu_read_unlock(void) KSYM;

static long (*const bpf_loop)(u32 rounds, void *callback, void *context, u64 flags) = (void *)181;
static void *(*const bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_discard)(void *record, u64 flags) = (void *)133;

struct {
	int (*type)[27]; /* BPF_MAP_TYPE_RINGBUF */
	int (*max_entries)[4096];
} ring SEC(".maps");

NOINLINE int catcher(u64 cookie)
{
	return cookie & 1;
}

NOINLINE int second_catcher(u64 cookie)
{
	return 0;
}

NOINLINE int catcher_of_two(u64 cookie, int more)
{
	return more;
}

NOINLINE int catcher_of_a_pointer(struct __sk_buff *ctx)
{
	return 0;
}

NOINLINE void *catcher_that_gives_a_pointer(u64 cookie)
{
	return 0;
}

NOINLINE int catcher_that_throws(u64 cookie)
{
	bpf_throw(cookie);
	return 0;
}

static NOINLINE int throws(u64 cookie)
{
	bpf_throw(cookie);
	return 1;
}

NOINLINE int throws_globally(u64 cookie)
{
	if (cookie)
		bpf_throw(cookie);
	return 1;
}

static int throwing_round(u32 round, void *context)
{
	bpf_throw(round);
	return 0;
}

/* accept */
SEC("tc") int thrown(struct __sk_buff *ctx)
{
	if (ctx->length < 14)
		bpf_throw(1);
	return 0;
}

/* accept */
CATCHER(catcher)
SEC("tc") int caught(struct __sk_buff *ctx)
{
	return throws(ctx->length);
}

/* accept */
CATCHER(catcher)
SEC("tc") int nothing_is_thrown(struct __sk_buff *ctx)
{
	return 0;
}

/* accept */
SEC("tc") int thrown_by_a_global_function(struct __sk_buff *ctx)
{
	return throws_globally(ctx->length);
}

/* reject verify/exception */
CATCHER(catcher)
CATCHER(second_catcher)
SEC("tc") int two_catchers(struct __sk_buff *ctx)
{
	return throws(1);
}

/* reject verify/exception */
CATCHER(catcher_of_two)
SEC("tc") int caught_by_one_of_two(struct __sk_buff *ctx)
{
	return throws(1);
}

/* reject verify/exception */
CATCHER(catcher_of_a_pointer)
SEC("tc") int caught_by_one_of_a_pointer(struct __sk_buff *ctx)
{
	return throws(1);
}

/* reject verify/helper-arg */
CATCHER(catcher_that_gives_a_pointer)
SEC("tc") int caught_by_one_that_gives_a_pointer(struct __sk_buff *ctx)
{
	return throws(1);
}

/* reject verify/exception */
CATCHER(catcher_that_throws)
SEC("tc") int thrown_by_the_catcher(struct __sk_buff *ctx)
{
	return throws(1);
}

/* reject verify/call-stack */
CATCHER(catcher)
SEC("tc") int catcher_called(struct __sk_buff *ctx)
{
	return catcher(ctx->length);
}

/* reject verify/exception */
SEC("tc") int thrown_in_a_round(struct __sk_buff *ctx)
{
	bpf_loop(2, throwing_round, 0, 0);
	return 0;
}

/* reject verify/reference */
SEC("tc") int thrown_with_a_record(struct __sk_buff *ctx)
{
	void *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (!record)
		return 0;
	bpf_throw(1);
	bpf_ringbuf_discard(record, 0);
	return 0;
}

/* reject verify/reference */
SEC("tc") int thrown_by_a_function_with_a_record(struct __sk_buff *ctx)
{
	void *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (!record)
		return 0;
	throws(1);
	bpf_ringbuf_discard(record, 0);
	return 0;
}

/* Linux 6.18 does not see that a global function throws. */
/* accept */
SEC("tc") int thrown_by_a_global_function_with_a_record(struct __sk_buff *ctx)
{
	void *record = bpf_ringbuf_reserve(&ring, 8, 0);

	if (!record)
		return 0;
	throws_globally(ctx->length);
	bpf_ringbuf_discard(record, 0);
	return 0;
}

/* reject verify/lock */
SEC("tc") int thrown_under_rcu(struct __sk_buff *ctx)
{
	bpf_rcu_read_lock();
	throws(1);
	bpf_rcu_read_unlock();
	return 0;
}

char terms[] SEC("license") = "GPL";
