/* Pointers that map values keep: to objects of the program, and to structures of the kernel. */
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define KSYM __attribute__((section(".ksyms")))
#define KEPT __attribute__((btf_type_tag("kptr")))
#define STORED __attribute__((btf_type_tag("kptr_untrusted")))
#define new(type) \
	((type *)bpf_obj_new_impl(__builtin_btf_type_id(*(type *)0, 0), 0))

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct task_struct {
	int pid;
};
#pragma clang attribute pop

struct __sk_buff;

struct item {
	u64 key;
};

struct value {
	struct item KEPT *item;
	struct task_struct KEPT *task;
	struct task_struct STORED *seen;
	u64 number;
};

struct {
	int (*type)[2]; /* BPF_MAP_TYPE_ARRAY */
	int *key;
	struct value *value;
	int (*max_entries)[1];
} values SEC(".maps");

extern void *bpf_obj_new_impl(u64 type, void *meta) KSYM;
extern void bpf_obj_drop_impl(void *object, void *meta) KSYM;
extern struct task_struct *bpf_task_from_pid(int pid) KSYM;
extern struct task_struct *bpf_task_acquire(struct task_struct *task) KSYM;
extern void bpf_task_release(struct task_struct *task) KSYM;

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static void *(*const bpf_kptr_xchg)(void *field, void *pointer) = (void *)194;

static struct value *look_up(void)
{
	int key = 0;

	return bpf_map_lookup_elem(&values, &key);
}

/* accept */
SEC("tc") int put_and_taken(struct __sk_buff *ctx)
{
	struct value *value = look_up();
	struct item *item;

	if (!value)
		return 0;
	item = new(struct item);
	if (!item)
		return 0;
	item->key = 7;
	item = bpf_kptr_xchg(&value->item, item);
	if (item)
		bpf_obj_drop_impl(item, 0);
	item = bpf_kptr_xchg(&value->item, 0);
	if (item)
		bpf_obj_drop_impl(item, 0);
	return 0;
}

/* reject verify/null-pointer */
SEC("tc") int put_unchecked(struct __sk_buff *ctx)
{
	struct value *value = look_up();
	struct item *item;

	if (!value)
		return 0;
	item = bpf_kptr_xchg(&value->item, new(struct item));
	if (item)
		bpf_obj_drop_impl(item, 0);
	return 0;
}

/* reject verify/reference */
SEC("tc") int taken_and_lost(struct __sk_buff *ctx)
{
	struct value *value = look_up();

	if (value)
		bpf_kptr_xchg(&value->item, 0);
	return 0;
}

/* accept */
SEC("tc") int read_where_it_is(struct __sk_buff *ctx)
{
	struct value *value = look_up();
	struct item *item;

	if (!value)
		return 0;
	item = value->item;
	return item ? item->key & 1 : 0;
}

/* reject verify/null-pointer */
SEC("tc") int read_unchecked(struct __sk_buff *ctx)
{
	struct value *value = look_up();

	return value ? value->item->key & 1 : 0;
}

/* reject verify/map-pointer */
SEC("tc") int owned_by_store(struct __sk_buff *ctx)
{
	struct value *value = look_up();

	if (value)
		value->item = 0;
	return 0;
}

/* reject verify/map-pointer */
SEC("tc") int of_another_type(struct __sk_buff *ctx)
{
	struct value *value = look_up();
	struct item *item;
	void *task;

	if (!value)
		return 0;
	item = new(struct item);
	if (!item)
		return 0;
	task = bpf_kptr_xchg(&value->task, item);
	if (task)
		bpf_task_release(task);
	return 0;
}

/* reject verify/map-pointer */
SEC("tc") int no_pointer_there(struct __sk_buff *ctx)
{
	struct value *value = look_up();

	if (value)
		bpf_kptr_xchg(&value->number, 0);
	return 0;
}

/* reject verify/map-pointer */
SEC("tc") int stored_is_not_exchanged(struct __sk_buff *ctx)
{
	struct value *value = look_up();

	if (value)
		bpf_kptr_xchg(&value->seen, 0);
	return 0;
}

/* reject verify/map-pointer */
SEC("tc") int half_read(struct __sk_buff *ctx)
{
	struct value *value = look_up();

	return value ? *(u32 *)&value->item : 0;
}

/* accept */
SEC("tc") int task_put_and_taken(struct __sk_buff *ctx)
{
	struct value *value = look_up();
	struct task_struct *task;

	if (!value)
		return 0;
	task = bpf_task_from_pid(1);
	if (!task)
		return 0;
	value->seen = task;
	task = bpf_kptr_xchg(&value->task, task);
	if (task)
		bpf_task_release(task);
	return 0;
}

/* accept */
SEC("tc") int task_acquired_from_the_map(struct __sk_buff *ctx)
{
	struct value *value = look_up();
	struct task_struct *task;

	if (!value)
		return 0;
	task = value->task;
	if (!task)
		return 0;
	task = bpf_task_acquire(task);
	if (!task)
		return 0;
	bpf_task_release(task);
	return 0;
}

/* accept */
SEC("tc") int stored_is_read(struct __sk_buff *ctx)
{
	struct value *value = look_up();
	struct task_struct *task;

	if (!value)
		return 0;
	task = value->seen;
	return task ? task->pid & 1 : 0;
}

/* reject verify/reference */
SEC("tc") int stored_is_not_trusted(struct __sk_buff *ctx)
{
	struct value *value = look_up();
	struct task_struct *task;

	if (!value)
		return 0;
	task = value->seen;
	if (!task)
		return 0;
	task = bpf_task_acquire(task);
	if (task)
		bpf_task_release(task);
	return 0;
}

/* reject verify/reference */
SEC("tc") int task_that_is_not_owned(struct __sk_buff *ctx)
{
	struct value *value = look_up();
	struct task_struct *task;

	if (!value)
		return 0;
	task = value->seen;
	if (!task)
		return 0;
	task = bpf_kptr_xchg(&value->task, task);
	if (task)
		bpf_task_release(task);
	return 0;
}

char terms[] SEC("license") = "GPL";
