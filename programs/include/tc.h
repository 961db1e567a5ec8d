/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a tc program needs to know beside bpf.h: its context, its verdicts and
 * the helpers on a socket buffer, by their stable numbers.
 */
#ifndef NICBED_TC_H
#define NICBED_TC_H

#include "bpf.h"

enum {
	TC_ACT_UNSPEC = -1,
	TC_ACT_OK = 0,
	TC_ACT_SHOT = 2,
	TC_ACT_PIPE = 3,
	TC_ACT_REDIRECT = 7,
};

struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol; /* network order */
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 tc_index;
	__u32 cb[5];
	__u32 hash;
	__u32 tc_classid;
	__u32 data;
	__u32 data_end;
};

#define skb_ptr(field) ((void *)(long)(field))

/* bpf_skb_store_bytes(): keep the buffer's own checksum right. */
#define BPF_F_RECOMPUTE_CSUM (1ULL << 0)
/* bpf_l4_csum_replace(): a UDP checksum of 0 is none, and stays. */
#define BPF_F_MARK_MANGLED_0 (1ULL << 5)
/* The value replaced is in the pseudo header. */
#define BPF_F_PSEUDO_HDR (1ULL << 4)

static long (*bpf_skb_store_bytes)(struct __sk_buff *skb, __u32 offset, const void *from,
				   __u32 len, __u64 flags) = (void *)9;
static long (*bpf_l3_csum_replace)(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to,
				   __u64 size) = (void *)10;
static long (*bpf_l4_csum_replace)(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to,
				   __u64 flags) = (void *)11;
static long (*bpf_clone_redirect)(struct __sk_buff *skb, __u32 ifindex, __u64 flags) = (void *)13;
static long (*bpf_skb_vlan_push)(struct __sk_buff *skb, __be16 proto, __u16 tci) = (void *)18;
static long (*bpf_skb_vlan_pop)(struct __sk_buff *skb) = (void *)19;
static long (*bpf_skb_load_bytes)(const struct __sk_buff *skb, __u32 offset, void *to,
				  __u32 len) = (void *)26;

#endif /* NICBED_TC_H */
