/* What only a kernel could resolve: weak is absent, the rest stops its program alone. */
#include "defs.h"

#define __kconfig __attribute__((section(".kconfig")))
#define __ksym __attribute__((section(".ksyms")))
#define __weak __attribute__((weak))

char _license[] SEC("license") = "GPL";

extern int CONFIG_ABSENT __kconfig __weak;
extern int CONFIG_HZ __kconfig;
extern const void absent_symbol __ksym __weak;
extern const int kernel_symbol __ksym;
extern int absent_function(struct xdp_md *ctx) __ksym __weak;
extern int kernel_function(struct xdp_md *ctx) __ksym;

SEC("xdp") int weak_only(struct xdp_md *ctx)
{
	if (CONFIG_ABSENT)
		return 1;
	if (&absent_symbol)
		return 3;
	if (absent_function)
		return absent_function(ctx);
	return 2;
}

SEC("xdp") int needs_config(struct xdp_md *ctx)
{
	return CONFIG_HZ & 1;
}

SEC("xdp") int needs_symbol(struct xdp_md *ctx)
{
	return ((long)&kernel_symbol >> 3) & 1;
}

SEC("xdp") int needs_function(struct xdp_md *ctx)
{
	return kernel_function(ctx);
}
