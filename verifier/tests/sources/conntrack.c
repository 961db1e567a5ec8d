/* Connections of the kernel's tracking: they are looked up or made, and given back. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define KSYM __attribute__((section(".ksyms")))

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct nf_conn {
	unsigned long status;
	u32 mark;
};
#pragma clang attribute pop

struct nf_conn___init;
struct xdp_md {
	u32 data;
	u32 data_end;
	u32 data_meta;
	u32 ingress_ifindex;
};

struct __sk_buff;

struct tuple {
	u32 addresses[2];
	u16 ports[2];
};

struct options {
	int netns;
	int error;
	u8 protocol;
	u8 direction;
	u8 reserved[2];
};

extern struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *ctx, struct tuple *tuple, u32 tuple_size,
					 struct options *options, u32 options_size) KSYM;
extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *ctx, struct tuple *tuple,
					 u32 tuple_size, struct options *options,
					 u32 options_size) KSYM;
extern struct nf_conn___init *bpf_xdp_ct_alloc(struct xdp_md *ctx, struct tuple *tuple,
					       u32 tuple_size, struct options *options,
					       u32 options_size) KSYM;
extern struct nf_conn *bpf_ct_insert_entry(struct nf_conn___init *connection) KSYM;
extern void bpf_ct_release(struct nf_conn *connection) KSYM;
extern void bpf_ct_set_timeout(struct nf_conn___init *connection, u32 ms) KSYM;
extern int bpf_ct_change_timeout(struct nf_conn *connection, u32 ms) KSYM;
extern int bpf_ct_set_status(struct nf_conn___init *connection, u32 status) KSYM;
extern int bpf_ct_change_status(struct nf_conn *connection, u32 status) KSYM;

#define LOOK_UP(hook)                                                                             \
	struct tuple tuple = {};                                                                  \
	struct options options = { .netns = -1, .protocol = 6 };                                  \
	struct nf_conn *found = bpf_##hook##_ct_lookup(ctx, &tuple, sizeof(tuple), &options,      \
						       sizeof(options))
#define MAKE()                                                                                    \
	struct tuple tuple = {};                                                                  \
	struct options options = { .netns = -1, .protocol = 6 };                                  \
	struct nf_conn___init *made = bpf_xdp_ct_alloc(ctx, &tuple, sizeof(tuple), &options,      \
						       sizeof(options))

/* accept */
SEC("xdp") int looked_up(struct xdp_md *ctx)
{
	int established;

	LOOK_UP(xdp);
	if (!found)
		return 1;
	established = found->status >> 2 & 1;
	bpf_ct_release(found);
	return 1 + established;
}

/* accept */
SEC("tc") int looked_up_from_tc(struct __sk_buff *ctx)
{
	LOOK_UP(skb);
	if (found)
		bpf_ct_release(found);
	return 0;
}

/* reject verify/reference */
SEC("xdp") int kept(struct xdp_md *ctx)
{
	LOOK_UP(xdp);
	return found ? 1 : 2;
}

/* reject verify/null-pointer */
SEC("xdp") int released_unchecked(struct xdp_md *ctx)
{
	LOOK_UP(xdp);
	bpf_ct_release(found);
	return 2;
}

/* reject verify/wrong-type */
SEC("xdp") int read_after_release(struct xdp_md *ctx)
{
	LOOK_UP(xdp);
	if (!found)
		return 1;
	bpf_ct_release(found);
	return *(volatile unsigned long *)&found->status & 1;
}

/* accept */
SEC("xdp") int made_and_inserted(struct xdp_md *ctx)
{
	struct nf_conn *inserted;

	MAKE();
	if (!made)
		return 1;
	bpf_ct_set_timeout(made, 10000);
	bpf_ct_set_status(made, 8);
	inserted = bpf_ct_insert_entry(made);
	if (!inserted)
		return 1;
	bpf_ct_change_timeout(inserted, 20000);
	bpf_ct_change_status(inserted, 4);
	bpf_ct_release(inserted);
	return 2;
}

/* reject verify/helper-arg */
SEC("xdp") int changed_before_it_is_inserted(struct xdp_md *ctx)
{
	MAKE();
	if (!made)
		return 1;
	bpf_ct_change_timeout((struct nf_conn *)made, 10000);
	made = (void *)bpf_ct_insert_entry(made);
	if (made)
		bpf_ct_release((struct nf_conn *)made);
	return 2;
}

/* reject verify/helper-arg */
SEC("xdp") int released_before_it_is_inserted(struct xdp_md *ctx)
{
	MAKE();
	if (made)
		bpf_ct_release((struct nf_conn *)made);
	return 2;
}

/* accept */
SEC("xdp") int marked(struct xdp_md *ctx)
{
	LOOK_UP(xdp);
	if (!found)
		return 1;
	found->mark = 7;
	bpf_ct_release(found);
	return 2;
}

/* reject verify/read-only */
SEC("xdp") int status_written(struct xdp_md *ctx)
{
	LOOK_UP(xdp);
	if (!found)
		return 1;
	found->status = 7;
	bpf_ct_release(found);
	return 2;
}

/* reject verify/helper-memory */
SEC("xdp") int options_of_any_size(struct xdp_md *ctx)
{
	struct tuple tuple = {};
	struct options options = { .netns = -1 };
	struct nf_conn *found;

	found = bpf_xdp_ct_lookup(ctx, &tuple, sizeof(tuple), &options, ctx->ingress_ifindex);
	if (found)
		bpf_ct_release(found);
	return 2;
}

/* accept */
SEC("xdp") int no_tuple(struct xdp_md *ctx)
{
	struct options options = { .netns = -1 };
	struct nf_conn *found = bpf_xdp_ct_lookup(ctx, 0, 0, &options, sizeof(options));

	if (found)
		bpf_ct_release(found);
	return 2;
}

char terms[] SEC("license") = "GPL";
