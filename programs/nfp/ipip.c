// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * ipip: puts all IPv4 traffic of a subnet into one IP-in-IP tunnel, and takes it out.
 *
 * The ends of the tunnel are the only element of an array. Twenty bytes before the
 * packet or twenty fewer: two calls of bpf_xdp_adjust_head, each of a constant.
 */
#include "checksum.h"

struct tunnel {
	__be32 local;
	__be32 remote; /* 0: the tunnel is down */
	__be32 subnet; /* what goes in */
	__be32 mask;
	__u64 in;
	__u64 out;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tunnel);
} tunnels SEC(".maps");

struct addresses {
	__u16 half[6];
};

SEC("xdp")
int ipip(struct xdp_md *ctx)
{
	void *data = xdp_ptr(ctx->data);
	void *data_end = xdp_ptr(ctx->data_end);
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	__be32 local, remote;
	struct addresses macs;
	struct tunnel *tunnel;
	__u16 inner_len;
	__u32 zero = 0;

	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;
	if (eth->proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return XDP_PASS;
	tunnel = bpf_map_lookup_elem(&tunnels, &zero);
	if (!tunnel || !tunnel->remote)
		return XDP_PASS;
	local = tunnel->local;
	remote = tunnel->remote;
	/* The way back: source and destination change places. */
	__builtin_memcpy(macs.half, eth->src, ETH_ALEN);
	__builtin_memcpy(macs.half + 3, eth->dst, ETH_ALEN);

	if (ip->protocol == IPPROTO_IPIP && ip->saddr == remote && ip->daddr == local) {
		__sync_fetch_and_add(&tunnel->out, 1);
		if (bpf_xdp_adjust_head(ctx, sizeof(*ip)))
			return XDP_DROP;
	} else if ((ip->daddr & tunnel->mask) == tunnel->subnet) {
		__sync_fetch_and_add(&tunnel->in, 1);
		inner_len = bpf_ntohs(ip->tot_len);
		if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
			return XDP_DROP;
		data = xdp_ptr(ctx->data);
		data_end = xdp_ptr(ctx->data_end);
		ip = data + sizeof(*eth);
		if ((void *)(ip + 1) > data_end)
			return XDP_DROP;
		ip->version = 4;
		ip->ihl = 5;
		ip->tos = 0;
		ip->tot_len = bpf_htons(inner_len + sizeof(*ip));
		ip->id = 0;
		ip->frag_off = bpf_htons(IP_DF);
		ip->ttl = 64;
		ip->protocol = IPPROTO_IPIP;
		ip->saddr = local;
		ip->daddr = remote;
		ipv4_set_checksum(ip);
	} else {
		return XDP_PASS;
	}
	data = xdp_ptr(ctx->data);
	data_end = xdp_ptr(ctx->data_end);
	eth = data;
	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	__builtin_memcpy(eth->dst, macs.half, ETH_ALEN);
	__builtin_memcpy(eth->src, macs.half + 3, ETH_ALEN);
	eth->proto = bpf_htons(ETH_P_IP);
	return XDP_TX;
}

char _license[] SEC("license") = "Dual MIT/GPL";
