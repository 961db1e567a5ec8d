// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * vlan: puts a VLAN tag on, or takes the outer one off, on the card.
 *
 * ../vlan.c as the findings say: the card does not tell ingress_ifindex, so the VLAN of the
 * one port that the program is attached to is element 0. The object is loaded once a port.
 *
 * The two ends of an access port. "vlan_push" tags what comes from a machine that
 * knows nothing of VLANs with the id of its port and sends it back out to the
 * trunk; "vlan_pop" takes the tag of that VLAN off before the host sees the frame,
 * and drops other VLANs. Two programs in one section of one object; each moves the
 * addresses by hand, since the tag sits behind them.
 */
#include "parse.h"

#define VLAN_ID_MASK 0x0fff

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u16); /* VLAN id, 0: port is not in use */
} access_vlan SEC(".maps");

static __always_inline __u16 port_vlan(void)
{
	__u32 port = 0;
	__u16 *id = bpf_map_lookup_elem(&access_vlan, &port);

	return id ? *id & VLAN_ID_MASK : 0;
}

SEC("xdp")
int vlan_push(struct xdp_md *ctx)
{
	__u16 id = port_vlan();
	void *data = xdp_ptr(ctx->data);
	void *data_end = xdp_ptr(ctx->data_end);
	struct ethhdr *eth = data;
	struct vlanhdr *vlan;
	struct ethhdr saved;

	if (!id)
		return XDP_PASS;
	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	/* A machine on an access port has no business sending tags. */
	if (is_vlan(eth->proto))
		return XDP_DROP;
	saved = *eth;

	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*vlan)))
		return XDP_DROP;
	data = xdp_ptr(ctx->data);
	data_end = xdp_ptr(ctx->data_end);
	eth = data;
	vlan = data + sizeof(*eth);
	if ((void *)(vlan + 1) > data_end)
		return XDP_DROP;

	__builtin_memcpy(eth->dst, saved.dst, ETH_ALEN);
	__builtin_memcpy(eth->src, saved.src, ETH_ALEN);
	eth->proto = bpf_htons(ETH_P_8021Q);
	vlan->tci = bpf_htons(id);
	vlan->proto = saved.proto;
	return XDP_TX;
}

SEC("xdp")
int vlan_pop(struct xdp_md *ctx)
{
	__u16 id = port_vlan();
	void *data = xdp_ptr(ctx->data);
	void *data_end = xdp_ptr(ctx->data_end);
	struct ethhdr *eth = data;
	struct vlanhdr *vlan = data + sizeof(*eth);
	struct ethhdr saved;

	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	if (!id || !is_vlan(eth->proto))
		return XDP_PASS;
	if ((void *)(vlan + 1) > data_end)
		return XDP_DROP;
	if ((bpf_ntohs(vlan->tci) & VLAN_ID_MASK) != id)
		return XDP_DROP;
	saved = *eth;
	saved.proto = vlan->proto;

	if (bpf_xdp_adjust_head(ctx, sizeof(*vlan)))
		return XDP_DROP;
	data = xdp_ptr(ctx->data);
	data_end = xdp_ptr(ctx->data_end);
	eth = data;
	if ((void *)(eth + 1) > data_end)
		return XDP_DROP;
	*eth = saved;
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
