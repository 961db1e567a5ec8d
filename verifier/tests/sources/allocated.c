/* Objects that programs allocate and keep in a list. */
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define KSYM __attribute__((section(".ksyms")))
#define new(type) \
	((type *)bpf_obj_new_impl(__builtin_btf_type_id(*(type *)0, 0), 0))
#define object_of(at) ((struct item *)((char *)(at) - __builtin_offsetof(struct item, node)))

struct bpf_spin_lock {
	u32 val;
};

struct bpf_list_head {
	u64 opaque[2];
} __attribute__((aligned(8)));

struct bpf_list_node {
	u64 opaque[3];
} __attribute__((aligned(8)));

struct xdp_md;

struct item {
	u64 key;
	struct bpf_list_node node;
};

extern void *bpf_obj_new_impl(u64 type, void *meta) KSYM;
extern void bpf_obj_drop_impl(void *object, void *meta) KSYM;
extern int bpf_list_push_front_impl(struct bpf_list_head *head, struct bpf_list_node *node,
				    void *meta, u64 offset) KSYM;
extern struct bpf_list_node *bpf_list_pop_front(struct bpf_list_head *head) KSYM;

static long (*const bpf_spin_lock)(struct bpf_spin_lock *lock) = (void *)93;
static long (*const bpf_spin_unlock)(struct bpf_spin_lock *lock) = (void *)94;

#define PRIVATE __attribute__((section(".data.list"), visibility("hidden"), aligned(8)))
PRIVATE struct bpf_spin_lock lock;
PRIVATE struct bpf_list_head head __attribute__((btf_decl_tag("contains:item:node")));

/* accept */
SEC("xdp") int add_and_take(struct xdp_md *ctx)
{
	struct bpf_list_node *taken;
	struct item *item = new(struct item);
	int key;

	if (!item)
		return 1;
	item->key = 1;
	bpf_spin_lock(&lock);
	bpf_list_push_front_impl(&head, &item->node, 0, 0);
	taken = bpf_list_pop_front(&head);
	bpf_spin_unlock(&lock);
	if (!taken)
		return 1;
	item = object_of(taken);
	key = item->key & 1;
	bpf_obj_drop_impl(item, 0);
	return 1 + key;
}

/* reject verify/reference */
SEC("xdp") int never_dropped(struct xdp_md *ctx)
{
	struct item *item = new(struct item);

	if (!item)
		return 1;
	item->key = 1;
	return 2;
}

/* reject verify/null-pointer */
SEC("xdp") int not_compared_with_null(struct xdp_md *ctx)
{
	struct item *item = new(struct item);

	item->key = 1;
	bpf_obj_drop_impl(item, 0);
	return 2;
}

/* reject verify/lock */
SEC("xdp") int pushed_without_the_lock(struct xdp_md *ctx)
{
	struct item *item = new(struct item);

	if (!item)
		return 1;
	bpf_list_push_front_impl(&head, &item->node, 0, 0);
	return 2;
}

/* reject verify/helper-arg */
SEC("xdp") int pushed_twice(struct xdp_md *ctx)
{
	struct item *item = new(struct item);

	if (!item)
		return 1;
	bpf_spin_lock(&lock);
	bpf_list_push_front_impl(&head, &item->node, 0, 0);
	bpf_list_push_front_impl(&head, &item->node, 0, 0);
	bpf_spin_unlock(&lock);
	return 2;
}

/* reject verify/wrong-type */
SEC("xdp") int used_after_unlock(struct xdp_md *ctx)
{
	struct item *item = new(struct item);

	if (!item)
		return 1;
	bpf_spin_lock(&lock);
	bpf_list_push_front_impl(&head, &item->node, 0, 0);
	bpf_spin_unlock(&lock);
	return *(volatile u64 *)&item->key & 1;
}

/* accept */
SEC("xdp") int seen_under_the_lock(struct xdp_md *ctx)
{
	struct item *item = new(struct item);
	int key;

	if (!item)
		return 1;
	bpf_spin_lock(&lock);
	bpf_list_push_front_impl(&head, &item->node, 0, 0);
	key = *(volatile u64 *)&item->key & 1;
	bpf_spin_unlock(&lock);
	return 1 + key;
}

/* reject verify/lock */
SEC("xdp") int node_written(struct xdp_md *ctx)
{
	struct item *item = new(struct item);

	if (!item)
		return 1;
	item->node.opaque[0] = 1;
	bpf_obj_drop_impl(item, 0);
	return 2;
}

char terms[] SEC("license") = "GPL";
