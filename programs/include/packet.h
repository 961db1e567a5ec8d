/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Packet headers as they lie on the wire, with the numbers that name them.
 * Multi-byte fields are big-endian.
 */
#ifndef NICBED_PACKET_H
#define NICBED_PACKET_H

#include "bpf.h"

#define ETH_ALEN 6

#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_8021Q 0x8100
#define ETH_P_IPV6 0x86dd
#define ETH_P_8021AD 0x88a8

struct ethhdr {
	__u8 dst[ETH_ALEN];
	__u8 src[ETH_ALEN];
	__be16 proto;
} __packed;

/* What follows the type field 0x8100 or 0x88a8. */
struct vlanhdr {
	__be16 tci; /* priority 3 bits, drop eligible 1, VLAN id 12 */
	__be16 proto;
} __packed;

#define IPPROTO_ICMP 1
#define IPPROTO_IPIP 4
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

/* IPv6 next-header values that are not transports. */
#define IPPROTO_HOPOPTS 0
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ESP 50
#define IPPROTO_AH 51
#define IPPROTO_ICMPV6 58
#define IPPROTO_NONE 59
#define IPPROTO_DSTOPTS 60

struct iphdr {
	__u8 ihl : 4; /* header length in words of 4 bytes, at least 5 */
	__u8 version : 4;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off; /* 3 flags, 13 bits of offset in units of 8 bytes */
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__be32 saddr;
	__be32 daddr;
};

#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff

struct in6_addr {
	__u32 word[4];
};

struct ipv6hdr {
	__be32 flow; /* version 4 bits, traffic class 8, flow label 20 */
	__be16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	struct in6_addr saddr;
	struct in6_addr daddr;
};

/* Hop-by-hop, routing and destination options start alike. */
struct ipv6_ext {
	__u8 nexthdr;
	__u8 len; /* in units of 8 bytes, not counting the first 8 */
	__u8 data[6];
};

struct ipv6_frag {
	__u8 nexthdr;
	__u8 reserved;
	__be16 frag_off; /* 13 bits of offset, 2 reserved, 1 "more fragments" */
	__be32 id;
};

struct udphdr {
	__be16 source;
	__be16 dest;
	__be16 len;
	__u16 check;
};

struct tcphdr {
	__be16 source;
	__be16 dest;
	__be32 seq;
	__be32 ack_seq;
	__u8 reserved : 4;
	__u8 doff : 4; /* header length in words of 4 bytes, at least 5 */
	__u8 flags;
	__be16 window;
	__u16 check;
	__be16 urg_ptr;
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10

struct icmphdr {
	__u8 type;
	__u8 code;
	__u16 check;
	__be16 id;
	__be16 sequence;
};

#define ICMP_ECHOREPLY 0
#define ICMP_ECHO 8
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

#endif /* NICBED_PACKET_H */
