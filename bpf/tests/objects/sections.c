/* Programs in sections of many names. */
#include "defs.h"

char _license[] SEC("license") = "GPL";

#define program(name, section, context) SEC(section) int name(context *ctx) { return 1; }

program(plain, "xdp", struct xdp_md)
program(frags, "xdp.frags", struct xdp_md)
program(devmap, "xdp/devmap", struct xdp_md)
program(frags_cpumap, "xdp.frags/cpumap", struct xdp_md)
program(optional, "?xdp", struct xdp_md)
program(sample, "xdp_tx_iptunnel", struct xdp_md)
program(iproute, "prog", struct xdp_md)
program(by_context, "from-netdev", struct xdp_md)
program(ingress, "tcx/ingress", struct __sk_buff)
program(peer, "netkit/peer", struct __sk_buff)
program(act, "action", struct __sk_buff)
program(cls, "classifier/main", struct __sk_buff)
program(guessed_xdp, "my_filter", struct xdp_md)
program(guessed_tc, "my_queue", struct __sk_buff)
program(probe, "kprobe/do_exit", void)
program(cgroup, "cgroup_skb/egress", struct __sk_buff)
program(unknown, "my_thing", void)
