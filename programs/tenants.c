// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * tenants: each customer's own list of open ports, in maps inside maps.
 *
 * A shared gateway. The VLAN of a frame selects the customer's table; a customer's
 * new policy is built aside and put in place by one update of the outer map, so that
 * no packet ever sees half of it. Customers of the base plan, by the low bits of the
 * VLAN id, sit in an array of maps; those with a policy of their own in a hash of
 * maps, asked first.
 */
#include "parse.h"

#define PLANS 4
#define VLAN_ID_MASK 0x0fff

/* A table of open ports: what it does not hold is closed. */
struct port_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32); /* protocol << 16 | port */
	__type(value, __u64); /* packets */
};

struct port_table web_plan SEC(".maps");
struct port_table mail_plan SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, PLANS);
	__type(key, __u32);
	__array(values, struct port_table);
} plans SEC(".maps") = {
	.values = {
		[0] = &web_plan,
		[1] = &mail_plan,
	},
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 64);
	__type(key, __u32); /* VLAN id */
	__array(values, struct port_table);
} customers SEC(".maps");

SEC("xdp")
int tenants(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	struct vlanhdr *vlan;
	struct ethhdr *eth;
	struct iphdr *ip;
	struct flow flow;
	__u32 id, plan, port;
	__u64 *packets;
	void *table;

	eth = take(&c, struct ethhdr);
	if (!eth)
		return XDP_DROP;
	if (!is_vlan(eth->proto))
		return XDP_PASS;
	vlan = take(&c, struct vlanhdr);
	if (!vlan)
		return XDP_DROP;
	if (vlan->proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	ip = take_ipv4(&c);
	if (!ip)
		return XDP_DROP;
	if (!take_flow(&c, ip, &flow))
		return XDP_PASS;

	id = bpf_ntohs(vlan->tci) & VLAN_ID_MASK;
	table = bpf_map_lookup_elem(&customers, &id);
	if (!table) {
		plan = id % PLANS;
		table = bpf_map_lookup_elem(&plans, &plan);
	}
	if (!table)
		return XDP_DROP; /* no such customer */

	port = (__u32)flow.protocol << 16 | bpf_ntohs(flow.dport);
	packets = bpf_map_lookup_elem(table, &port);
	if (!packets)
		return XDP_DROP;
	__sync_fetch_and_add(packets, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
