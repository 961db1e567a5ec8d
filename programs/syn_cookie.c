// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * syn_cookie: answers connection requests before the server sees them.
 *
 * The step of a SYN proxy that withstands a flood. A SYN to a protected port is
 * answered on the spot with a SYN/ACK whose sequence number is a cookie: a keyed
 * hash of the flow and the time (RFC 4987, section 3.6). No state is kept until
 * the client's ACK brings the cookie back; then its flow is entered as verified,
 * and passes to the host from there on.
 */
#include "checksum.h"
#include "hash.h"
#include "parse.h"

#define COOKIE_PERIOD_SHIFT 36 /* time goes by in units of 2^36 ns, some 69 s */
#define COOKIE_MAX_AGE 2       /* in units of that */

#define COOKIE_TIME_BITS 6
#define COOKIE_MSS_BITS 2
#define COOKIE_HASH_BITS 24

_Static_assert(COOKIE_TIME_BITS + COOKIE_MSS_BITS + COOKIE_HASH_BITS == 32,
	       "a cookie is a sequence number");

#define TCPOPT_EOL 0
#define TCPOPT_NOP 1
#define TCPOPT_MSS 2
#define TCPOLEN_MSS 4
#define MAX_TCP_OPTIONS 8

/* Segment sizes that a cookie can say, two bits' worth. */
const volatile __u16 mss_table[1 << COOKIE_MSS_BITS] = { 536, 1220, 1440, 1460 };

/* The secret of this host; the loader draws it at random. */
const volatile struct sip_key secret = { 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __be16);
	__type(value, __u32);
} protected_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow);
	__type(value, __u64); /* when the cookie came back, ns */
} verified SEC(".maps");

enum {
	STAT_SYN,
	STAT_VERIFIED,
	STAT_BAD_COOKIE,
	STAT_KNOWN,
	STATS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STATS);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

/* TCP header with the one option that the answer carries. */
struct synack {
	struct tcphdr tcp;
	__u8 kind;
	__u8 len;
	__be16 mss;
};

struct pseudo_header {
	__be32 saddr;
	__be32 daddr;
	__u8 zero;
	__u8 protocol;
	__be16 len;
};

static __always_inline void count(__u32 stat)
{
	__u64 *packets = bpf_map_lookup_elem(&stats, &stat);

	if (packets)
		++*packets;
}

/* The hash part: bound to flow, client's sequence number, time and MSS index. */
static __noinline __u32 cookie_hash(const struct flow *flow, __u32 client_seq, __u8 low)
{
	struct sip_key key = { secret.lo, secret.hi };
	__u64 addrs = (__u64)flow->saddr << 32 | flow->daddr;
	__u64 ports = (__u64)flow->sport << 16 | flow->dport;

	return siphash17(addrs, ports << 32 | client_seq, low, key) &
	       ((1U << COOKIE_HASH_BITS) - 1);
}

static __always_inline __u32 cookie_time(void)
{
	return (bpf_ktime_get_ns() >> COOKIE_PERIOD_SHIFT) & ((1U << COOKIE_TIME_BITS) - 1);
}

static __always_inline __u32 make_cookie(const struct flow *flow, __u32 client_seq, __u32 mss_index)
{
	__u8 low = cookie_time() << COOKIE_MSS_BITS | mss_index;

	return (__u32)low << COOKIE_HASH_BITS | cookie_hash(flow, client_seq, low);
}

static __always_inline int check_cookie(const struct flow *flow, __u32 client_seq, __u32 cookie)
{
	__u8 low = cookie >> COOKIE_HASH_BITS;
	__u32 age = (cookie_time() - (low >> COOKIE_MSS_BITS)) & ((1U << COOKIE_TIME_BITS) - 1);

	if (age > COOKIE_MAX_AGE)
		return 0;
	return cookie_hash(flow, client_seq, low) == (cookie & ((1U << COOKIE_HASH_BITS) - 1));
}

/* The largest entry of the table that the client's MSS option allows. */
static __always_inline __u32 client_mss_index(struct cursor *c)
{
	__u16 mss = 536; /* what RFC 9293 assumes without the option */
	__u32 index = 0;

	for (int i = 0; i < MAX_TCP_OPTIONS; i++) {
		__u8 *option = c->pos;

		if ((void *)(option + 1) > c->end || option[0] == TCPOPT_EOL)
			break;
		if (option[0] == TCPOPT_NOP) {
			c->pos = option + 1;
			continue;
		}
		if ((void *)(option + 2) > c->end || option[1] < 2)
			break;
		if (option[0] == TCPOPT_MSS) {
			if ((void *)(option + TCPOLEN_MSS) <= c->end)
				mss = option[2] << 8 | option[3];
			break;
		}
		c->pos = option + option[1];
	}
	for (__u32 i = 1; i < 1 << COOKIE_MSS_BITS; i++)
		if (mss_table[i] <= mss)
			index = i;
	return index;
}

static __always_inline __u16 tcp_checksum(struct iphdr *ip, struct synack *tcp)
{
	struct pseudo_header pseudo = {
		.saddr = ip->saddr,
		.daddr = ip->daddr,
		.protocol = IPPROTO_TCP,
		.len = bpf_htons(sizeof(*tcp)),
	};
	__s64 sum = bpf_csum_diff(NULL, 0, &pseudo, sizeof(pseudo), 0);

	sum = bpf_csum_diff(NULL, 0, tcp, sizeof(*tcp), sum);
	return csum_fold(sum);
}

/* Turns the SYN into its answer. */
static __always_inline int answer_syn(struct xdp_md *ctx, const struct flow *flow, __u32 client_seq,
				      __u32 cookie, __u32 mss_index)
{
	int length = sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct synack);
	int delta = length - (int)(ctx->data_end - ctx->data);
	struct synack *synack;
	struct ethhdr *eth;
	struct iphdr *ip;
	struct cursor c;

	if (bpf_xdp_adjust_tail(ctx, delta))
		return XDP_DROP;
	c = cursor_start(ctx);
	eth = take(&c, struct ethhdr);
	if (!eth)
		return XDP_DROP;
	ip = take(&c, struct iphdr);
	if (!ip)
		return XDP_DROP;
	synack = take(&c, struct synack);
	if (!synack)
		return XDP_DROP;

	swap_eth(eth);
	ip->tos = 0;
	ip->tot_len = bpf_htons(length - sizeof(*eth));
	ip->id = 0;
	ip->frag_off = bpf_htons(IP_DF);
	ip->ttl = 64;
	ip->saddr = flow->daddr;
	ip->daddr = flow->saddr;
	ipv4_set_checksum(ip);

	__builtin_memset(synack, 0, sizeof(*synack));
	synack->tcp.source = flow->dport;
	synack->tcp.dest = flow->sport;
	synack->tcp.seq = bpf_htonl(cookie);
	synack->tcp.ack_seq = bpf_htonl(client_seq + 1);
	synack->tcp.doff = sizeof(*synack) / 4;
	synack->tcp.flags = TCP_SYN | TCP_ACK;
	synack->tcp.window = bpf_htons(65535);
	synack->kind = TCPOPT_MSS;
	synack->len = TCPOLEN_MSS;
	synack->mss = bpf_htons(mss_table[mss_index & 3]);
	synack->tcp.check = tcp_checksum(ip, synack);
	return XDP_TX;
}

SEC("xdp")
int syn_cookie(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	struct tcphdr *tcp;
	struct ethhdr *eth;
	struct iphdr *ip;
	struct flow flow;
	__u32 seq;

	eth = take(&c, struct ethhdr);
	if (!eth)
		return XDP_DROP;
	if (eth->proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	ip = take(&c, struct iphdr);
	if (!ip || ip->ihl < 5)
		return XDP_DROP;
	if (ip->protocol != IPPROTO_TCP || ip->ihl != 5 || is_fragment(ip))
		return XDP_PASS;
	if (!take_flow(&c, ip, &flow))
		return XDP_DROP;
	if (!bpf_map_lookup_elem(&protected_ports, &flow.dport))
		return XDP_PASS;
	tcp = take(&c, struct tcphdr);
	if (!tcp)
		return XDP_DROP;

	if (bpf_map_lookup_elem(&verified, &flow)) {
		count(STAT_KNOWN);
		return XDP_PASS;
	}
	seq = bpf_ntohl(tcp->seq);
	if ((tcp->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN) {
		__u32 mss_index = client_mss_index(&c);

		count(STAT_SYN);
		return answer_syn(ctx, &flow, seq, make_cookie(&flow, seq, mss_index), mss_index);
	}
	if ((tcp->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_ACK &&
	    check_cookie(&flow, seq - 1, bpf_ntohl(tcp->ack_seq) - 1)) {
		__u64 now = bpf_ktime_get_ns();

		bpf_map_update_elem(&verified, &flow, &now, BPF_ANY);
		count(STAT_VERIFIED);
		return XDP_PASS;
	}
	count(STAT_BAD_COOKIE);
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual MIT/GPL";
