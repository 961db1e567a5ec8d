// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * port_pool: lends relay ports to media streams, from a stack of free ones.
 *
 * The port side of a TURN relay. The first datagram of a client takes a port from the
 * stack (the port that was given back last, whose entries are still in the caches) and
 * a message about it goes into a queue, first in, first out, for the control plane. A
 * datagram without payload ends the lease. A client that finds the stack empty is
 * dropped until somebody leaves.
 */
#include "parse.h"

#define RELAY_PORT 3478

struct client {
	__be32 addr;
	__be16 port;
	__u16 pad;
};

struct message {
	struct client client;
	__u16 relay_port;
	__u16 opened; /* 1: lease begins, 0: it ends */
};

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 256);
	__type(value, __u16);
} free_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 64);
	__type(value, struct message);
} messages SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct client);
	__type(value, __u16);
} leases SEC(".maps");

/* When the queue is full the newest message takes the place of the oldest. */
static __always_inline void tell(const struct client *client, __u16 relay_port, __u16 opened)
{
	struct message message = {
		.client = *client,
		.relay_port = relay_port,
		.opened = opened,
	};

	bpf_map_push_elem(&messages, &message, BPF_EXIST);
}

static __always_inline int open_lease(const struct client *client)
{
	__u16 port;

	if (bpf_map_pop_elem(&free_ports, &port))
		return XDP_DROP;
	if (bpf_map_update_elem(&leases, client, &port, BPF_NOEXIST)) {
		bpf_map_push_elem(&free_ports, &port, 0);
		return XDP_DROP;
	}
	tell(client, port, 1);
	return XDP_PASS;
}

static __always_inline int close_lease(const struct client *client, __u16 port)
{
	if (bpf_map_delete_elem(&leases, client))
		return XDP_DROP;
	bpf_map_push_elem(&free_ports, &port, 0);
	tell(client, port, 0);
	return XDP_DROP;
}

SEC("xdp")
int port_pool(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	struct client client = {};
	struct udphdr *udp;
	struct iphdr *ip;
	__be16 proto;
	__u16 *lease, next;

	if (!take_eth(&c, &proto))
		return XDP_DROP;
	if (proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	ip = take_ipv4(&c);
	if (!ip)
		return XDP_DROP;
	if (ip->protocol != IPPROTO_UDP || is_fragment(ip))
		return XDP_PASS;
	udp = take(&c, struct udphdr);
	if (!udp)
		return XDP_DROP;
	if (udp->dest != bpf_htons(RELAY_PORT))
		return XDP_PASS;

	client.addr = ip->saddr;
	client.port = udp->source;
	lease = bpf_map_lookup_elem(&leases, &client);
	if (!lease) {
		/* Spares the new client's work where no port is left. */
		if (bpf_map_peek_elem(&free_ports, &next))
			return XDP_DROP;
		return open_lease(&client);
	}
	if (udp->len == bpf_htons(sizeof(*udp)))
		return close_lease(&client, *lease);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
