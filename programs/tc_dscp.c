// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * tc_dscp: marks packets with their class of service, and says it to the queue.
 *
 * A packet's destination port decides its class. The class gives the DSCP that is
 * written into the IPv4 header, whose checksum follows, and what the queueing
 * discipline behind goes by: priority, class id and queue. What asked for another
 * DSCP is counted. Packets without a class go on as they are.
 */
#include "tc.h"
#include "packet.h"

#define DSCP_MASK 0xfc

struct class {
	__u8 dscp;
	__u8 queue;
	__u16 minor; /* of the class id */
	__u32 priority;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, __u16); /* destination port as on the wire */
	__type(value, struct class);
} classes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32); /* DSCP that was asked for */
	__type(value, __u64);
} remarked SEC(".maps");

#define IP_AT sizeof(struct ethhdr)
#define TOS_AT (IP_AT + __builtin_offsetof(struct iphdr, tos))
#define CHECK_AT (IP_AT + __builtin_offsetof(struct iphdr, check))

SEC("classifier")
int tc_dscp(struct __sk_buff *skb)
{
	void *data = skb_ptr(skb->data);
	void *data_end = skb_ptr(skb->data_end);
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct udphdr *ports = (void *)(ip + 1);
	struct class *class;
	__u8 tos, old;
	__u32 asked;
	__u64 *count;

	if (skb->protocol != bpf_htons(ETH_P_IP) || (void *)(ports + 1) > data_end)
		return TC_ACT_OK;
	if (ip->ihl != 5 || (ip->frag_off & bpf_htons(IP_OFFSET)))
		return TC_ACT_OK;
	if (ip->protocol != IPPROTO_UDP && ip->protocol != IPPROTO_TCP)
		return TC_ACT_OK;
	class = bpf_map_lookup_elem(&classes, &ports->dest);
	if (!class)
		return TC_ACT_OK;

	old = ip->tos;
	tos = class->dscp << 2 | (old & ~DSCP_MASK);
	if (tos != old) {
		asked = old >> 2;
		count = bpf_map_lookup_elem(&remarked, &asked);
		if (count)
			*count += 1;
		/* Two bytes are replaced: the one in front of it is that of version and
		 * length, 0x45.
		 */
		if (bpf_l3_csum_replace(skb, CHECK_AT, bpf_htons(0x4500 | old),
					bpf_htons(0x4500 | tos), 2))
			return TC_ACT_SHOT;
		if (bpf_skb_store_bytes(skb, TOS_AT, &tos, sizeof(tos), 0))
			return TC_ACT_SHOT;
	}
	skb->priority = class->priority;
	skb->tc_classid = class->minor;
	skb->queue_mapping = class->queue;
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual MIT/GPL";
