// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * firewall: drops listed 5-tuples and listed source prefixes.
 *
 * What a host under attack loads: an agent writes offending flows into a hash and
 * networks into two longest-prefix tries, and watches each rule's counters to see
 * which of them still bite. A trie entry may also allow, so that a customer's
 * network can be taken out of a provider's; what no rule names passes.
 */
#include "parse.h"

#define MAX_RULES 1024

enum rule_action {
	RULE_DROP = 0,
	RULE_ALLOW = 1,
};

struct rule {
	__u32 id; /* index of its counter */
	__u32 action;
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

struct prefix4 {
	__u32 bits;
	__be32 addr;
};

struct prefix6 {
	__u32 bits;
	struct in6_addr addr;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow);
	__type(value, struct rule);
} blocklist SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix4);
	__type(value, struct rule);
} prefixes4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix6);
	__type(value, struct rule);
} prefixes6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_RULES);
	__type(key, __u32);
	__type(value, struct counter);
} rule_counters SEC(".maps");

static __always_inline int apply(const struct rule *rule, __u64 bytes)
{
	struct counter *counter;
	__u32 id = rule->id;

	counter = bpf_map_lookup_elem(&rule_counters, &id);
	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
	return rule->action == RULE_ALLOW ? XDP_PASS : XDP_DROP;
}

static __always_inline const struct rule *match_ipv4(struct cursor *c)
{
	struct prefix4 prefix = { .bits = 32 };
	struct iphdr *ip = take_ipv4(c);
	const struct rule *rule;
	struct flow flow;

	if (!ip)
		return NULL;
	take_flow(c, ip, &flow);
	rule = bpf_map_lookup_elem(&blocklist, &flow);
	if (rule)
		return rule;
	prefix.addr = flow.saddr;
	return bpf_map_lookup_elem(&prefixes4, &prefix);
}

static __always_inline const struct rule *match_ipv6(struct cursor *c)
{
	struct prefix6 prefix = { .bits = 128 };
	struct ipv6hdr *ip6 = take_ipv6(c);

	if (!ip6)
		return NULL;
	prefix.addr = ip6->saddr;
	return bpf_map_lookup_elem(&prefixes6, &prefix);
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	__u64 bytes = c.end - c.pos;
	const struct rule *rule;
	__be16 proto;

	if (!take_eth(&c, &proto))
		return XDP_DROP;
	if (proto == bpf_htons(ETH_P_IP))
		rule = match_ipv4(&c);
	else if (proto == bpf_htons(ETH_P_IPV6))
		rule = match_ipv6(&c);
	else
		return XDP_PASS;
	return rule ? apply(rule, bytes) : XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
