/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624). Sums
 * are taken over 16-bit words as they lie in memory: the result needs no byte
 * swap on either kind of machine.
 */
#ifndef NICBED_CHECKSUM_H
#define NICBED_CHECKSUM_H

#include "packet.h"

/* Folds a 32-bit sum of 16-bit words and complements it. */
static __always_inline __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A 16-bit word under the checksum has changed: RFC 1624, equation 3. */
static __always_inline void csum_replace2(__u16 *check, __u16 from, __u16 to)
{
	*check = csum_fold((__u32)(__u16)~*check + (__u16)~from + to);
}

/* As above, for a word of 32 bits. */
static __always_inline void csum_replace4(__u16 *check, __u32 from, __u32 to)
{
	__u32 sum = (__u16)~*check;

	sum += (__u16)~from;
	sum += (__u16)~(from >> 16);
	sum += to & 0xffff;
	sum += to >> 16;
	*check = csum_fold(sum);
}

/* Fills in the checksum of a header without options. */
static __always_inline void ipv4_set_checksum(struct iphdr *ip)
{
	__u16 *word = (void *)ip;
	__u32 sum = 0;

	ip->check = 0;
#pragma unroll
	for (int i = 0; i < (int)sizeof(*ip) / 2; i++)
		sum += word[i];
	ip->check = csum_fold(sum);
}

#endif /* NICBED_CHECKSUM_H */
