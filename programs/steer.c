// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * steer: sends each kind of traffic where it is worked on.
 *
 * The switchboard of an appliance, with every kind of redirect there is. VXLAN goes
 * to a user-space switch through AF_XDP sockets, one a queue; TCP is spread over the
 * CPUs by flow, where the card's own RSS has too few queues; a mirrored VLAN leaves
 * through its port, found in a hash of ports; pings of the management network are
 * bounced to one fixed port. A slot that is empty falls back to the action in the
 * flags.
 */
#include "hash.h"
#include "parse.h"

#define PORT_VXLAN 4789
#define VLAN_ID_MASK 0x0fff

const volatile __u32 cpu_count = 4; /* CPUs that take part in the spreading */
const volatile __u32 ping_port = 0; /* ifindex, 0: pings pass */

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32); /* queue */
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 64);
	__type(key, __u32); /* CPU */
	__type(value, __u32); /* packets its queue holds */
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 64);
	__type(key, __u32); /* VLAN id */
	__type(value, __u32); /* ifindex */
} mirrors SEC(".maps");

static __always_inline int steer_tcp(const struct flow *flow)
{
	__u32 hash;

	if (!cpu_count)
		return XDP_PASS;
	/* Both directions of a connection meet on one CPU. */
	hash = jhash3(flow->saddr ^ flow->daddr, flow->sport ^ flow->dport, flow->protocol, 0);
	return bpf_redirect_map(&cpus, hash % cpu_count, XDP_PASS);
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	struct ethhdr *eth;
	struct iphdr *ip;
	struct flow flow;

	eth = take(&c, struct ethhdr);
	if (!eth)
		return XDP_DROP;
	if (is_vlan(eth->proto)) {
		struct vlanhdr *vlan = take(&c, struct vlanhdr);

		if (!vlan)
			return XDP_DROP;
		return bpf_redirect_map(&mirrors, bpf_ntohs(vlan->tci) & VLAN_ID_MASK, XDP_DROP);
	}
	if (eth->proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	ip = take_ipv4(&c);
	if (!ip)
		return XDP_DROP;
	if (ip->protocol == IPPROTO_ICMP)
		return ping_port ? bpf_redirect(ping_port, 0) : XDP_PASS;
	if (is_fragment(ip) || !take_flow(&c, ip, &flow))
		return XDP_PASS;
	if (flow.protocol == IPPROTO_TCP)
		return steer_tcp(&flow);
	if (flow.dport == bpf_htons(PORT_VXLAN))
		return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
