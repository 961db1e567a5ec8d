// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * rate_limiter: a token bucket for each source.
 *
 * Guards a service against single noisy clients. Each IPv4 address or IPv6 /64
 * has a bucket that fills with the time and pays one token a packet; an empty one
 * means drop. The table is an LRU: sources that fall silent make room. Rate and
 * burst are settings in .rodata.
 */
#include "parse.h"

#define NSEC_PER_SEC 1000000000ULL

const volatile __u64 packets_per_second = 1000;
const volatile __u64 burst = 100; /* packets a full bucket holds */

/* Time stands for tokens, so that no remainder is lost: a packet costs the time in
 * which one token comes in.
 */
struct bucket {
	__u64 credit; /* ns */
	__u64 updated; /* ns */
};

struct source {
	__u32 word[2]; /* IPv4: address, 0; IPv6: the upper half */
	__u32 family;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct source);
	__type(value, struct bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 5);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps"); /* packets by XDP return code */

static __always_inline int finish(__u32 verdict)
{
	__u64 *packets = bpf_map_lookup_elem(&verdicts, &verdict);

	if (packets)
		++*packets;
	return verdict;
}

static __always_inline int take_source(struct cursor *c, struct source *source)
{
	__be16 proto;

	if (!take_eth(c, &proto))
		return 0;
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = take_ipv4(c);

		if (!ip)
			return 0;
		source->family = AF_INET;
		source->word[0] = ip->saddr;
		return 1;
	}
	if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = take_ipv6(c);

		if (!ip6)
			return 0;
		source->family = AF_INET6;
		source->word[0] = ip6->saddr.word[0];
		source->word[1] = ip6->saddr.word[1];
		return 1;
	}
	return 0;
}

SEC("xdp")
int rate_limiter(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	struct source source = {};
	__u64 now, cost, full, credit;
	struct bucket *bucket;

	/* What has no address is the kernel's business. */
	if (!take_source(&c, &source))
		return finish(XDP_PASS);
	if (!packets_per_second)
		return finish(XDP_DROP);

	now = bpf_ktime_get_ns();
	cost = NSEC_PER_SEC / packets_per_second;
	full = burst * cost;

	bucket = bpf_map_lookup_elem(&buckets, &source);
	if (!bucket) {
		struct bucket fresh = { .credit = full > cost ? full - cost : 0, .updated = now };

		bpf_map_update_elem(&buckets, &source, &fresh, BPF_ANY);
		return finish(XDP_PASS);
	}

	/* Another CPU may have been here with a later clock. */
	credit = bucket->credit;
	if (now > bucket->updated)
		credit += now - bucket->updated;
	if (credit > full)
		credit = full;
	bucket->updated = now;
	if (credit < cost) {
		bucket->credit = credit;
		return finish(XDP_DROP);
	}
	bucket->credit = credit - cost;
	return finish(XDP_PASS);
}

char _license[] SEC("license") = "Dual MIT/GPL";
