/* Structures of the kernel: casts to them, and what may be read of them. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define KSYM __attribute__((section(".ksyms")))

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct net_device {
	int ifindex;
};

struct xdp_rxq_info {
	struct net_device *dev;
	u32 queue_index;
};

struct xdp_buff {
	void *data;
	struct xdp_rxq_info *rxq;
};

struct sock_common {
	u16 skc_family;
};

struct sock {
	struct sock_common __sk_common;
};

struct tcp_sock {
	u32 snd_cwnd;
	u32 rcv_nxt;
};

struct task_struct {
	int pid;
	struct task_struct *real_parent;
};

struct bpf_map {
	u32 max_entries;
	void *ops;
};

struct bpf_array {
	struct bpf_map map;
	u32 elem_size;
};

struct sk_buff {
	unsigned int len;
	struct net_device *dev;
	struct sock *sk;
};
#pragma clang attribute pop

struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
};

struct bpf_sock;

struct __sk_buff {
	u32 before[42];
	struct bpf_sock *sk;
};

struct {
	int (*type)[2]; /* BPF_MAP_TYPE_ARRAY */
	int *key;
	u64 *value;
	int (*max_entries)[4];
} values SEC(".maps");

extern void *bpf_cast_to_kern_ctx(void *ctx) KSYM;
extern void *bpf_rdonly_cast(void *any, u32 type) KSYM;
extern struct task_struct *bpf_task_acquire(struct task_struct *task) KSYM;
extern void bpf_task_release(struct task_struct *task) KSYM;
extern void bpf_rcu_read_lock(void) KSYM;
extern void bpf_rcu_read_unlock(void) KSYM;

static struct tcp_sock *(*const bpf_skc_to_tcp_sock)(void *sk) = (void *)137;
static struct task_struct *(*const bpf_get_current_task_btf)(void) = (void *)158;
static struct bpf_sock *(*const bpf_skc_lookup_tcp)(void *ctx, void *tuple, u32 size, u64 netns,
						    u64 flags) = (void *)99;
static long (*const bpf_sk_release)(void *sk) = (void *)86;

/* accept */
SEC("xdp") int context_of_the_kernel(struct xdp_md *ctx)
{
	struct xdp_buff *buff = bpf_cast_to_kern_ctx(ctx);

	return buff->rxq->dev->ifindex == 1 ? 2 : 1;
}

/* accept */
SEC("tc") int packet_of_the_kernel(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);

	return skb->len > 100 && skb->dev->ifindex ? 2 : 0;
}

/* reject verify/null-pointer */
SEC("tc") int socket_may_be_null(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);

	return skb->sk->__sk_common.skc_family;
}

/* accept */
SEC("tc") int socket_compared_with_null(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);
	struct sock *sk = skb->sk;

	return sk ? sk->__sk_common.skc_family : 0;
}

/* reject verify/read-only */
SEC("xdp") int context_of_the_kernel_written(struct xdp_md *ctx)
{
	struct xdp_buff *buff = bpf_cast_to_kern_ctx(ctx);

	buff->rxq->queue_index = 1;
	return 2;
}

/* accept */
SEC("xdp") int members_of_a_map(struct xdp_md *ctx)
{
	struct bpf_array *array = (struct bpf_array *)&values;

	return array->map.max_entries + array->elem_size;
}

/* accept */
SEC("xdp") int pointer_in_a_map(struct xdp_md *ctx)
{
	struct bpf_map *map = (struct bpf_map *)&values;

	return map->ops ? 2 : 1;
}

/* reject verify/memory-bounds */
SEC("xdp") int beyond_a_map(struct xdp_md *ctx)
{
	return *((u32 *)&values + 4096);
}

/* reject verify/read-only */
SEC("xdp") int member_of_a_map_written(struct xdp_md *ctx)
{
	struct bpf_array *array = (struct bpf_array *)&values;

	array->elem_size = 4;
	return 2 + array->elem_size;
}

/* reject verify/helper-arg */
SEC("xdp") int cast_of_no_context(struct xdp_md *ctx)
{
	struct xdp_buff *buff = bpf_cast_to_kern_ctx(0);

	return buff->rxq->queue_index;
}

/* accept */
SEC("xdp") int read_only_cast(struct xdp_md *ctx)
{
	struct xdp_buff *buff = bpf_cast_to_kern_ctx(ctx);
	struct net_device *dev;

	dev = bpf_rdonly_cast(buff->rxq->dev, __builtin_btf_type_id(*(struct net_device *)0, 1));
	return dev->ifindex;
}

/* accept */
SEC("tc") int tcp_of_a_socket(struct __sk_buff *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tcp;

	if (!sk)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	return tcp ? tcp->snd_cwnd : 0;
}

/* reject verify/null-pointer */
SEC("tc") int tcp_unchecked(struct __sk_buff *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? bpf_skc_to_tcp_sock(sk)->snd_cwnd : 0;
}

/* accept */
SEC("tc") int released_as_what_it_was_cast_to(struct __sk_buff *ctx)
{
	u32 tuple[3] = {};
	struct bpf_sock *sk = bpf_skc_lookup_tcp(ctx, tuple, sizeof(tuple), -1, 0);
	struct tcp_sock *tcp;

	if (!sk)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp)
		bpf_sk_release(tcp);
	else
		bpf_sk_release(sk);
	return 0;
}

/* reject verify/wrong-type */
SEC("tc") int cast_socket_is_released_with_it(struct __sk_buff *ctx)
{
	u32 tuple[3] = {};
	struct bpf_sock *sk = bpf_skc_lookup_tcp(ctx, tuple, sizeof(tuple), -1, 0);
	struct tcp_sock *tcp;

	if (!sk)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	bpf_sk_release(sk);
	return tcp ? *(volatile u32 *)&tcp->snd_cwnd : 0;
}

/* accept */
SEC("tc") int task_and_its_parent(struct __sk_buff *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->pid + task->real_parent->pid;
}

/* accept */
SEC("tc") int parent_acquired(struct __sk_buff *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct *parent = bpf_task_acquire(task->real_parent);

	if (parent)
		bpf_task_release(parent);
	return 0;
}

/* reject verify/reference */
SEC("tc") int parent_of_parent_acquired_after_rcu(struct __sk_buff *ctx)
{
	struct task_struct *task, *parent;

	bpf_rcu_read_lock();
	task = bpf_get_current_task_btf();
	parent = task->real_parent;
	bpf_rcu_read_unlock();
	parent = bpf_task_acquire(parent);
	if (parent)
		bpf_task_release(parent);
	return 0;
}

/* reject verify/reference */
SEC("tc") int current_task_released(struct __sk_buff *ctx)
{
	bpf_task_release(bpf_get_current_task_btf());
	return 0;
}

char terms[] SEC("license") = "GPL";
