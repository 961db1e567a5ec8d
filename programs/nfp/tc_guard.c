// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * tc_guard: a classifier that drops what is too long for its protocol.
 *
 * In front of name servers: UDP to port 53 longer than a limit, and all fragments of
 * UDP, are dropped; all else goes on. Every way returns a constant, and "goes on" is
 * TC_ACT_UNSPEC: the card's driver refuses TC_ACT_OK.
 */
#include "packet.h"

#define TC_ACT_UNSPEC (-1)
#define TC_ACT_SHOT 2

#define PORT_DNS 53
#define LONGEST 600

/* The fields of struct __sk_buff that the card fills. */
struct skb {
	__u32 len;
	__u32 other[18];
	__u32 data;
	__u32 data_end;
};

SEC("tc")
int tc_guard(struct skb *skb)
{
	void *data = (void *)(__u64)skb->data;
	void *data_end = (void *)(__u64)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > data_end)
		return TC_ACT_UNSPEC;
	if (eth->proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return TC_ACT_UNSPEC;
	if (ip->protocol != IPPROTO_UDP)
		return TC_ACT_UNSPEC;
	if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return TC_ACT_SHOT;
	if (udp->dest != bpf_htons(PORT_DNS))
		return TC_ACT_UNSPEC;
	return skb->len > LONGEST ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual MIT/GPL";
