// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * drop: discards every packet.
 *
 * The upper bound of what a card and its driver can do: packets per second of
 * "drop" is the first number every XDP benchmark gives.
 */
#include "bpf.h"

SEC("xdp")
int drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual MIT/GPL";
