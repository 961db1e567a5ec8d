#!/bin/sh
# Builds the objects of this folder from the sources beside them, and (with --golden) what
# libbpf makes of them. Needs clang-19, llvm-strip-19, llvm-objcopy-19, bpftool; --golden also libbpf.so.1,
# Python and root.
set -eu
cd "$(dirname "$0")"

build() { # OBJECT SOURCE [FLAG…]
	object=$1 source=$2
	shift 2
	clang-19 -target bpf -O2 -mcpu=v3 -Wall -Wno-unused-variable -Wno-unused-const-variable \
		-Wno-microsoft-enum-value -ffile-compilation-dir=. "$@" -c "$source" -o "$object"
	llvm-strip-19 -g "$object"
}

for name in subprograms variables maps core core_target externs sections; do
	build "$name.o" "$name.c" -g
done
build iproute2.o iproute2.c
build maps_without_btf.o maps.c
build variables_without_btf.o variables.c
build subprograms_v1.o subprograms.c -g -mcpu=v1
build big_endian.o sections.c -target bpfeb
for fields in 4 5 6 7; do
	build "legacy_$fields.o" legacy.c -DFIELDS=$fields
done
llvm-objcopy-19 -O binary --only-section=.BTF --set-section-flags .BTF=alloc core_target.o core_target.btf
rm core_target.o
# A linker gives types new numbers.
bpftool gen object core_linked.o core.o

if [ "${1:-}" = --golden ]; then
	for name in subprograms subprograms_v1 variables variables_without_btf maps; do
		python3 libbpf.py "$name.o" > "$name.libbpf"
	done
	python3 libbpf.py core.o core_target.btf > core.libbpf
	python3 libbpf.py core_linked.o core_target.btf > core_linked.libbpf
fi
