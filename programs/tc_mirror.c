// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * tc_mirror: copies packets of watched hosts to a monitoring port.
 *
 * The copy leaves as the packet came; the packet itself goes on with a mark that
 * tells later stages it is being watched. Watching a host ends by itself once as
 * many packets were copied as were asked for.
 */
#include "tc.h"
#include "packet.h"

struct watch {
	__u32 port;
	__u32 left; /* packets still to copy */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __be32); /* IPv4 source */
	__type(value, struct watch);
} watched SEC(".maps");

#define WATCHED_MARK 0x57

SEC("tc")
int tc_mirror(struct __sk_buff *skb)
{
	void *data = skb_ptr(skb->data);
	void *data_end = skb_ptr(skb->data_end);
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct watch *watch;
	__be32 source;

	if (skb->protocol != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > data_end)
		return TC_ACT_OK;
	source = ip->saddr;
	watch = bpf_map_lookup_elem(&watched, &source);
	if (!watch || !watch->left)
		return TC_ACT_OK;
	watch->left--;
	bpf_clone_redirect(skb, watch->port, 0);
	skb->mark = WATCHED_MARK;
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual MIT/GPL";
