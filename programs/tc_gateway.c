// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * tc_gateway: joins an untagged port with a trunk.
 *
 * On its way into the trunk ("tc_to_trunk") a frame gets the tag of the segment
 * that its port belongs to, with the packet's priority as the tag's; on its way
 * out ("tc_from_trunk") the tag comes off, its id becomes the mark and its
 * priority the packet's, and the frame goes to the port of that segment. Frames
 * of segments that nobody uses are dropped.
 */
#include "tc.h"
#include "packet.h"

#define VLAN_ID_MASK 0x0fff
#define VLAN_PRIO_SHIFT 13

struct segment {
	__u16 vlan;
	__u16 pad;
	__u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32); /* ifindex */
	__type(value, struct segment);
} segment_of_port SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32); /* VLAN id */
	__type(value, struct segment);
} segment_of_vlan SEC(".maps");

#define TRUNK 1

SEC("tc")
int tc_to_trunk(struct __sk_buff *skb)
{
	__u32 port = skb->ifindex;
	struct segment *segment = bpf_map_lookup_elem(&segment_of_port, &port);
	__u16 tci;

	if (!segment)
		return TC_ACT_SHOT;
	tci = (segment->vlan & VLAN_ID_MASK) | (skb->priority & 7) << VLAN_PRIO_SHIFT;
	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), tci))
		return TC_ACT_SHOT;
	return bpf_redirect(TRUNK, 0);
}

SEC("tc")
int tc_from_trunk(struct __sk_buff *skb)
{
	struct segment *segment;
	struct vlanhdr tag;
	__u32 id;

	/* A tag may have been taken out of the bytes by the driver, or be there. */
	if (skb->vlan_present) {
		tag.tci = bpf_htons(skb->vlan_tci);
	} else {
		if (skb->protocol != bpf_htons(ETH_P_8021Q))
			return TC_ACT_OK;
		if (bpf_skb_load_bytes(skb, sizeof(struct ethhdr), &tag, sizeof(tag)))
			return TC_ACT_SHOT;
	}
	id = bpf_ntohs(tag.tci) & VLAN_ID_MASK;
	segment = bpf_map_lookup_elem(&segment_of_vlan, &id);
	if (!segment)
		return TC_ACT_SHOT;
	if (bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	skb->mark = id;
	skb->priority = bpf_ntohs(tag.tci) >> VLAN_PRIO_SHIFT;
	return bpf_redirect(segment->port, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
