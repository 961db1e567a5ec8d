/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Hash functions: Jenkins's lookup3 (fast, to spread flows) and SipHash-2-4
 * (keyed, where a sender must not be able to guess the result). Written after
 * their authors' descriptions, both of which are in the public domain.
 */
#ifndef NICBED_HASH_H
#define NICBED_HASH_H

#include "bpf.h"

static __always_inline __u32 rol32(__u32 x, int n)
{
	return (x << n) | (x >> (32 - n));
}

static __always_inline __u64 rol64(__u64 x, int n)
{
	return (x << n) | (x >> (64 - n));
}

/* lookup3 over three words: its last round. */
static __always_inline __u32 jhash3(__u32 a, __u32 b, __u32 c, __u32 seed)
{
	__u32 init = 0xdeadbeef + (3 << 2) + seed;

	a += init;
	b += init;
	c += init;

	c ^= b;
	c -= rol32(b, 14);
	a ^= c;
	a -= rol32(c, 11);
	b ^= a;
	b -= rol32(a, 25);
	c ^= b;
	c -= rol32(b, 16);
	a ^= c;
	a -= rol32(c, 4);
	b ^= a;
	b -= rol32(a, 14);
	c ^= b;
	c -= rol32(b, 24);
	return c;
}

struct sip_key {
	__u64 lo;
	__u64 hi;
};

struct sip_state {
	__u64 v0, v1, v2, v3;
};

static __always_inline void sip_round(struct sip_state *s)
{
	s->v0 += s->v1;
	s->v1 = rol64(s->v1, 13) ^ s->v0;
	s->v0 = rol64(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rol64(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rol64(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rol64(s->v1, 17) ^ s->v2;
	s->v2 = rol64(s->v2, 32);
}

static __always_inline void sip_word(struct sip_state *s, __u64 word)
{
	s->v3 ^= word;
	sip_round(s);
	sip_round(s);
	s->v0 ^= word;
}

/* SipHash-2-4 of 17 bytes: two little-endian words and a byte behind them. */
static __always_inline __u64 siphash17(__u64 first, __u64 second, __u8 last, struct sip_key key)
{
	struct sip_state s = {
		.v0 = 0x736f6d6570736575ULL ^ key.lo,
		.v1 = 0x646f72616e646f6dULL ^ key.hi,
		.v2 = 0x6c7967656e657261ULL ^ key.lo,
		.v3 = 0x7465646279746573ULL ^ key.hi,
	};

	sip_word(&s, first);
	sip_word(&s, second);
	sip_word(&s, 17ULL << 56 | last); /* the length ends the message */

	s.v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

#endif /* NICBED_HASH_H */
