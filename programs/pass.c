// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * pass: hands every packet to the host.
 *
 * The smallest program there is, and the one operators attach first to see that
 * a driver's XDP path works at all. It touches neither context nor packet.
 */
#include "bpf.h"

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
