// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * queue_rss: the program chooses the receive queue of each flow.
 *
 * The card's own hash puts all of a tunnel's packets into one queue. This one looks at
 * the addresses inside IP-in-IP, and both directions of a flow meet in one queue. A
 * store to rx_queue_index is for programs bound to a device alone.
 */
#include "hash.h"
#include "parse.h"

#define QUEUES 8 /* a power of two */

SEC("xdp")
int queue_rss(struct xdp_md *ctx)
{
	void *data = xdp_ptr(ctx->data);
	void *data_end = xdp_ptr(ctx->data_end);
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct iphdr *inner = ip + 1;
	__u32 hash;

	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;
	if (eth->proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return XDP_PASS;
	if (ip->protocol == IPPROTO_IPIP) {
		if ((void *)(inner + 1) > data_end)
			return XDP_PASS;
		hash = jhash3(inner->saddr ^ inner->daddr, inner->protocol, 0, 0);
	} else {
		hash = jhash3(ip->saddr ^ ip->daddr, ip->protocol, 0, 0);
	}
	ctx->rx_queue_index = hash & (QUEUES - 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
