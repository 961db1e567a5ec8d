// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * nat: hides an inside network behind one outside address (TCP and UDP).
 *
 * The translator of a home router or a carrier. A packet from the inside gets the
 * outside address and a port of its own, remembered in two tables, one for each
 * direction; what comes back to that port gets its inside address and port back.
 * Checksums are corrected incrementally. Packets that no flow claims pass as they
 * are.
 */
#include "checksum.h"
#include "hash.h"
#include "parse.h"

#define FIRST_PORT 1024
#define PORT_TRIES 8

const volatile __be32 inside_net = bpf_htonl(0x0a000000); /* 10.0.0.0/8 */
const volatile __be32 inside_mask = bpf_htonl(0xff000000);
const volatile __be32 outside_addr = bpf_htonl(0xcb007101); /* 203.0.113.1 */

/* What replaces address and port: source going out, destination coming in. */
struct binding {
	__be32 addr;
	__be16 port;
	__u16 pad;
	__u64 last_seen; /* ns, for the agent that removes idle flows */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct flow);
	__type(value, struct binding);
} outbound SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct flow);
	__type(value, struct binding);
} inbound SEC(".maps");

enum {
	STAT_OUT,
	STAT_IN,
	STAT_NEW,
	STAT_NO_PORT, /* every port that was tried is taken, or a table is full */
	STAT_UNCLAIMED,
	STATS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STATS);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

static __always_inline void count(__u32 stat)
{
	__u64 *packets = bpf_map_lookup_elem(&stats, &stat);

	if (packets)
		++*packets;
}

static __always_inline int is_inside(__be32 addr)
{
	return (addr & inside_mask) == inside_net;
}

/* Opens a flow: claims the first free port of a short sequence that starts at a
 * hash of the flow, and enters both directions. Returns the port as it stands on
 * the wire, 0 where none was free or a table is full.
 */
static __noinline __u16 open_flow(const struct flow *flow)
{
	__u32 ports = (__u32)flow->sport << 16 | flow->dport;
	__u32 hash = jhash3(flow->saddr, flow->daddr, ports, flow->protocol);
	__u64 now = bpf_ktime_get_ns();
	struct binding back = { .addr = flow->saddr, .port = flow->sport, .last_seen = now };
	struct binding forth = { .addr = outside_addr, .last_seen = now };
	struct flow reply = {
		.saddr = flow->daddr,
		.daddr = outside_addr,
		.sport = flow->dport,
		.protocol = flow->protocol,
	};

	for (int i = 0; i < PORT_TRIES; i++) {
		__u16 port = FIRST_PORT + (hash + i) % (65536 - FIRST_PORT);

		reply.dport = bpf_htons(port);
		if (bpf_map_update_elem(&inbound, &reply, &back, BPF_NOEXIST))
			continue;
		forth.port = reply.dport;
		if (!bpf_map_update_elem(&outbound, flow, &forth, BPF_ANY))
			return reply.dport;
		bpf_map_delete_elem(&inbound, &reply);
		break;
	}
	return 0;
}

/* Address and port have changed under a transport checksum. */
static __always_inline void fix_l4(__u16 *check, __be32 old_addr, __be32 addr, __be16 old_port,
				   __be16 port)
{
	csum_replace4(check, old_addr, addr);
	csum_replace2(check, old_port, port);
}

static __always_inline int rewrite(struct cursor *c, struct iphdr *ip, const struct flow *flow,
				   __be32 addr, __be16 port, int out)
{
	__be32 old_addr = out ? flow->saddr : flow->daddr;
	__be16 old_port = out ? flow->sport : flow->dport;

	if (flow->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = take(c, struct tcphdr);

		if (!tcp)
			return XDP_DROP;
		if (out)
			tcp->source = port;
		else
			tcp->dest = port;
		fix_l4(&tcp->check, old_addr, addr, old_port, port);
	} else {
		struct udphdr *udp = take(c, struct udphdr);

		if (!udp)
			return XDP_DROP;
		if (out)
			udp->source = port;
		else
			udp->dest = port;
		/* 0 says "no checksum", so that a sum of 0 is sent as all ones. */
		if (udp->check) {
			fix_l4(&udp->check, old_addr, addr, old_port, port);
			if (!udp->check)
				udp->check = 0xffff;
		}
	}
	if (out)
		ip->saddr = addr;
	else
		ip->daddr = addr;
	csum_replace4(&ip->check, old_addr, addr);
	return XDP_PASS;
}

static __always_inline int translate_out(struct cursor *c, struct iphdr *ip, struct flow *flow)
{
	struct binding *known = bpf_map_lookup_elem(&outbound, flow);
	__be16 port;

	if (known) {
		known->last_seen = bpf_ktime_get_ns();
		port = known->port;
	} else {
		port = open_flow(flow);
		if (!port) {
			count(STAT_NO_PORT);
			return XDP_DROP;
		}
		count(STAT_NEW);
	}
	count(STAT_OUT);
	return rewrite(c, ip, flow, outside_addr, port, 1);
}

static __always_inline int translate_in(struct cursor *c, struct iphdr *ip, struct flow *flow)
{
	struct binding *known = bpf_map_lookup_elem(&inbound, flow);

	if (!known) {
		count(STAT_UNCLAIMED);
		return XDP_PASS;
	}
	known->last_seen = bpf_ktime_get_ns();
	count(STAT_IN);
	return rewrite(c, ip, flow, known->addr, known->port, 0);
}

SEC("xdp")
int nat(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	struct iphdr *ip;
	struct flow flow;
	__be16 proto;

	if (!take_eth(&c, &proto))
		return XDP_DROP;
	if (proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	ip = take_ipv4(&c);
	if (!ip)
		return XDP_DROP;
	/* The kernel puts fragments together and translates them itself. */
	if (is_fragment(ip) || !take_flow(&c, ip, &flow))
		return XDP_PASS;

	if (flow.daddr == outside_addr)
		return translate_in(&c, ip, &flow);
	if (is_inside(flow.saddr) && !is_inside(flow.daddr))
		return translate_out(&c, ip, &flow);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
