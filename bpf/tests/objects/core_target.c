/* The types that core.c is resolved against: moved, grown, renamed, missing. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;

struct device {
	long padding;
	char name[24];
	int index;
	const unsigned int mtu;
};

struct packet {
	void *next;
	union {
		struct {
			__u32 pad;
			unsigned int len;
		};
		__u64 both;
	};
	__u16 other;
	__u16 mac_len;
	__u32 flags : 9;
	__u32 kind : 3;
	int delta : 6;
	struct {
		const struct device *dev;
		unsigned char *data;
	};
	__u32 gap[3];
	__u32 words[8];
	__u64 grows;
	__u32 shrinks;
	long signed_grows;
	unsigned char tail[];
};

struct same {
	char b[4];
	int a;
	struct packet *p;
	int more;
};

struct other {
	int a;
	char *b;
};

struct either {
	int a;
};

enum kind { KIND_NONE, KIND_A = 3 };
enum wide { WIDE = 0x1122334455667788ULL };
typedef struct {
	int counter;
	int more;
} count_t;
typedef int (*callback_t)(int, struct packet *);
typedef long (*gone_t)(int);

struct everything {
	struct device a;
	struct packet *b;
	struct same c;
	struct other d;
	struct either e;
	enum kind f;
	enum wide g;
	count_t h;
	callback_t i;
	gone_t j;
} everything;
