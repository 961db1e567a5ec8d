#!/bin/sh
# Builds programs/NAME.o from programs/NAME.c: all, or those that are named.
#
#   programs/build.sh [--out DIR] [NAME…]
#
# Runs from anywhere; the compiler always starts in the repository's root, so that
# no path of this machine enters an object. DWARF is stripped, BTF stays.
# CLANG and STRIP override the tools; the committed objects are clang-19's.
set -eu

clang=${CLANG:-clang-19}
strip=${STRIP:-llvm-strip-19}
out=programs

cd "$(dirname "$0")/.."
if [ "${1:-}" = --out ]; then
	out=$2
	shift 2
fi
if [ $# -eq 0 ]; then
	set -- $(cd programs && ls -- *.c nfp/*.c | sed 's/\.c$//')
fi

for name in "$@"; do
	mkdir -p "$(dirname "$out/$name")"
	"$clang" -target bpf -mcpu=v3 -O2 -g -ffile-compilation-dir=. \
		-Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-variable \
		-Iprograms/include -c "programs/$name.c" -o "$out/$name.o"
	"$strip" -g "$out/$name.o"
done
