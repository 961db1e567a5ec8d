// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * icmp_echo: answers ping on the card.
 *
 * Keeps health checks alive, and their latency honest, while the host is busy.
 * ICMP and ICMPv6 echo requests are turned into replies in place (addresses
 * swapped, type changed, checksums corrected by the difference) and sent back
 * through the port they came from. Everything else passes.
 */
#include "checksum.h"
#include "parse.h"

#define REPLY_TTL 64

static __always_inline int echo_ipv4(struct cursor *c, struct ethhdr *eth)
{
	struct iphdr *ip = take_ipv4(c);
	struct icmphdr *icmp;
	__u16 *ttl, old;
	__be32 addr;

	if (!ip)
		return XDP_DROP;
	if (ip->protocol != IPPROTO_ICMP || is_fragment(ip))
		return XDP_PASS;
	icmp = take(c, struct icmphdr);
	if (!icmp)
		return XDP_DROP;
	if (icmp->type != ICMP_ECHO || icmp->code != 0)
		return XDP_PASS;

	/* Type and code are one word; the code stays 0. */
	icmp->type = ICMP_ECHOREPLY;
	csum_replace2(&icmp->check, ICMP_ECHO, ICMP_ECHOREPLY);

	addr = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = addr;
	ttl = (__u16 *)&ip->ttl;
	old = *ttl;
	ip->ttl = REPLY_TTL;
	csum_replace2(&ip->check, old, *ttl);

	swap_eth(eth);
	return XDP_TX;
}

static __always_inline int echo_ipv6(struct cursor *c, struct ethhdr *eth)
{
	struct ipv6hdr *ip6 = take_ipv6(c);
	struct icmphdr *icmp;
	struct in6_addr addr;

	if (!ip6)
		return XDP_DROP;
	if (ip6->nexthdr != IPPROTO_ICMPV6)
		return XDP_PASS;
	icmp = take(c, struct icmphdr);
	if (!icmp)
		return XDP_DROP;
	if (icmp->type != ICMPV6_ECHO_REQUEST || icmp->code != 0)
		return XDP_PASS;
	/* A request to a group (ff00::/8) is answered from another address. */
	if ((ip6->daddr.word[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000))
		return XDP_PASS;

	icmp->type = ICMPV6_ECHO_REPLY;
	csum_replace2(&icmp->check, ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY);

	/* The pseudo header's sum does not see the swap. */
	addr = ip6->saddr;
	ip6->saddr = ip6->daddr;
	ip6->daddr = addr;
	ip6->hop_limit = REPLY_TTL;

	swap_eth(eth);
	return XDP_TX;
}

SEC("xdp")
int icmp_echo(struct xdp_md *ctx)
{
	struct cursor c = cursor_start(ctx);
	struct ethhdr *eth;
	__be16 proto;

	eth = take_eth(&c, &proto);
	if (!eth)
		return XDP_DROP;
	if (proto == bpf_htons(ETH_P_IP))
		return echo_ipv4(&c, eth);
	if (proto == bpf_htons(ETH_P_IPV6))
		return echo_ipv6(&c, eth);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
