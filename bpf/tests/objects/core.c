/* Every question of CO-RE, against the types of core_target.c. */
#include "defs.h"

#define relocatable __attribute__((preserve_access_index))
#define field(record, member, question) __builtin_preserve_field_info(((record *)0)->member, question)
enum { OFFSET, SIZE, EXISTS, SIGNED, LEFT, RIGHT };
#define type_exists(t) __builtin_preserve_type_info(*(t *)0, 0)
#define type_size(t) __builtin_preserve_type_info(*(t *)0, 1)
#define type_matches(t) __builtin_preserve_type_info(*(t *)0, 2)
#define type_id_local(t) __builtin_btf_type_id(*(t *)0, 0)
#define type_id_target(t) __builtin_btf_type_id(*(t *)0, 1)
#define enumerator_exists(t, e) __builtin_preserve_enum_value(*(t *)e, 0)
#define enumerator(t, e) __builtin_preserve_enum_value(*(t *)e, 1)

char _license[] SEC("license") = "GPL";

struct device___mine {
	int index;
	char name[16];
	unsigned int mtu;
	int absent;
} relocatable;

struct packet {
	unsigned int len;
	__u16 mac_len;
	__u8 kind : 3;
	__u8 cloned : 1;
	int delta : 5;
	unsigned char *data;
	struct {
		struct device___mine *dev;
	};
	__u32 words[4];
	__u32 grows;
	__u64 shrinks;
	int signed_grows;
	unsigned char tail[];
} relocatable;

struct nowhere {
	int a;
} relocatable;

struct same {
	int a;
	char b[4];
	struct packet *p;
} relocatable;

struct other {
	int a;
	long b;
} relocatable;

union either {
	int a;
} relocatable;

enum kind___x { KIND_A___x = 77, KIND_GONE___x = 78 };
enum wide { WIDE = 0x7fffffffffffffffULL };
typedef struct {
	int counter;
} count_t___y;
typedef int (*callback_t)(int, struct packet *);
typedef int (*gone_t)(void);

__u64 out[64];

SEC("xdp") int program(struct xdp_md *ctx)
{
	out[0] = field(struct device___mine, mtu, OFFSET);
	out[1] = field(struct device___mine, name, SIZE);
	out[2] = field(struct device___mine, absent, EXISTS);
	out[3] = field(struct device___mine, index, EXISTS);
	out[4] = type_exists(struct nowhere);
	out[5] = type_exists(struct device___mine);
	out[6] = type_size(struct device___mine);
	out[7] = type_id_target(struct packet);
	out[8] = type_id_local(struct packet);
	out[9] = enumerator_exists(enum kind___x, KIND_A___x);
	out[10] = enumerator(enum kind___x, KIND_A___x);
	out[11] = enumerator_exists(enum kind___x, KIND_GONE___x);
	out[12] = enumerator(enum wide, WIDE);
	out[13] = field(struct packet, kind, OFFSET);
	out[14] = field(struct packet, kind, SIZE);
	out[15] = field(struct packet, kind, LEFT);
	out[16] = field(struct packet, kind, RIGHT);
	out[17] = field(struct packet, kind, SIGNED);
	out[18] = field(struct packet, delta, LEFT);
	out[19] = field(struct packet, delta, SIGNED);
	out[20] = field(struct packet, words[3], OFFSET);
	out[21] = field(struct packet, dev, OFFSET);
	out[22] = field(struct packet, tail[9], OFFSET);
	out[23] = type_matches(struct same);
	out[24] = type_matches(struct other);
	out[25] = type_exists(union either);
	out[26] = type_exists(count_t___y);
	out[27] = type_matches(count_t___y);
	out[28] = type_exists(callback_t);
	out[29] = type_matches(callback_t);
	out[30] = type_exists(gone_t);
	out[31] = type_size(struct nowhere);
	out[32] = field(struct other, b, SIZE);
	out[33] = type_matches(enum kind___x);
	if (field(struct device___mine, absent, EXISTS))
		out[34] = field(struct device___mine, absent, OFFSET);
	if (enumerator_exists(enum kind___x, KIND_GONE___x))
		out[35] = enumerator(enum kind___x, KIND_GONE___x);
	return 2;
}

/* Loads and stores whose offset and size change; the kernel would not let them run. */
SEC("tc") int accesses(struct packet *p)
{
	out[40] = p->mac_len;
	out[41] = p->grows;
	out[42] = p->shrinks;
	out[43] = (__u64)p->data;
	out[44] = p->words[2];
	if (p->len == 7)
		out[45] = p->signed_grows;
	p->len = 5;
	p->grows = p->len + 1;
	return 1;
}
