#!/usr/bin/env bash
# Makes ebpf.tsv: bytes, text and CPU version of eBPF instructions, as LLVM 19 knows them.
#
#   isa/tests/golden/ebpf.sh > isa/tests/golden/ebpf.tsv
#
# Needs llvm-mc-19, llvm-objdump-19 and llvm-objcopy-19. Bytes are llvm-mc's; the text is what
# llvm-objdump prints for them, with these choices:
#   * decimal immediates (--no-print-imm-hex), but for the 64-bit loads, which are easier to read
#     in the tool's default, hexadecimal;
#   * loads and stores without ALU32 (`r0 = *(u32 *)(r1 + 4)`), as the kernel's log has them;
#     everything else with ALU32;
#   * what stands between < and > behind a jump is cut off;
#   * a local call, which LLVM prints like a helper call, is `call pc+N`, as the kernel has it.
# The CPU version is the lowest -mcpu that clang uses the instruction for, as the notes on the
# BPF target's versions in LLVM's and the kernel's documentation have it (the assembler itself
# takes every instruction at every version).
set -euo pipefail
export LC_ALL=C

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# family VERSION: assembles the lines on stdin and appends their rows.
family() {
    local version=$1
    cat > "$work/in.s"
    llvm-mc-19 -triple bpfel -mcpu=v4 -filetype=obj "$work/in.s" -o "$work/in.o"
    dump() {
        llvm-objdump-19 -d --no-show-raw-insn --mcpu=v4 "$@" "$work/in.o" | text
    }
    text() {
        sed -n 's/^ *[0-9]*:\t//p' | sed 's/ <[^<>]*>$//; s/[ \t]*$//'
    }
    llvm-objdump-19 -d --mcpu=v4 "$work/in.o" |
        sed -n 's/^ *[0-9]*:\t\([0-9a-f ]*\)\t.*/\1/p' | tr -d ' ' > "$work/bytes"
    dump --no-print-imm-hex > "$work/alu32"
    dump --no-print-imm-hex --mattr=-alu32 > "$work/plain"
    dump --print-imm-hex > "$work/hex"
    paste "$work/bytes" "$work/alu32" "$work/plain" "$work/hex" |
        awk -F '\t' -v version="$version" '
            { text = $2 }
            # Classes 1 to 3 (LDX, ST, STX) but not mode 6, the atomics.
            $1 ~ /^[0-9a-f][1239ab]/ && $1 !~ /^[cd]/ { text = $3 }
            $1 ~ /^18/ { text = $4 }
            $1 ~ /^851/ { sub(/^call -/, "call pc-", text); sub(/^call [0-9]/, "call pc+&", text); sub(/pc\+call /, "pc+", text) }
            { print $1 "\t" text "\t" version }'
}

echo '# bytes	text	cpu version. Made by ebpf.sh with LLVM 19; see there for how to read it.'

for width in r w; do
    [ $width = r ] && base=v1 || base=v3
    for op in += -= '*=' /= %= '|=' '&=' ^= = '<<=' '>>=' 's>>='; do
        echo "${width}1 $op ${width}10"
        echo "${width}9 $op 7"
        echo "${width}0 $op -1"
        echo "${width}5 $op 2147483647"
        echo "${width}5 $op -2147483648"
    done | family $base
    echo "${width}6 = -${width}6" | family $base
    for op in s/= s%=; do
        echo "${width}1 $op ${width}2"
        echo "${width}3 $op -5"
    done | family v4
done
printf '%s\n' 'r1 = (s8)r2' 'r3 = (s16)r4' 'r5 = (s32)r6' 'w1 = (s8)w2' 'w3 = (s16)w4' | family v4
for bits in 16 32 64; do
    echo "r1 = le$bits r1"
    echo "r2 = be$bits r2"
done | family v1
for bits in 16 32 64; do echo "r3 = bswap$bits r3"; done | family v4

printf '%s\n' 'r1 = 0 ll' 'r1 = 0x11223344 ll' 'r10 = 0x1122334455667788 ll' \
    'r2 = 0x7fffffffffffffff ll' 'r3 = 0xffffffff ll' | family v1

for type in u8 u16 u32 u64; do
    for address in 'r1 + 0' 'r10 - 8' 'r2 + 32767' 'r3 - 32768'; do
        echo "r4 = *($type *)($address)"
        echo "*($type *)($address) = r5"
    done
done | family v1
for type in s8 s16 s32; do
    echo "r4 = *($type *)(r1 + 12)"
    echo "r0 = *($type *)(r10 - 1)"
done | family v4
for type in u8 u16 u32 u64; do
    echo "*($type *)(r10 - 16) = 0"
    echo "*($type *)(r1 + 4) = -7"
done | family v4

printf '%s\n' 'lock *(u64 *)(r10 - 8) += r1' 'lock *(u32 *)(r1 + 4) += w2' | family v1
for op in '|=' '&=' ^=; do
    echo "lock *(u64 *)(r10 - 8) $op r1"
    echo "lock *(u32 *)(r1 + 4) $op w2"
done | family v3
for op in add or and xor; do
    echo "r1 = atomic_fetch_$op((u64 *)(r10 - 8), r1)"
    echo "w2 = atomic_fetch_$op((u32 *)(r1 + 4), w2)"
done | family v3
printf '%s\n' 'r2 = xchg_64(r10 - 8, r2)' 'w2 = xchg32_32(r1 + 4, w2)' \
    'r0 = cmpxchg_64(r10 - 8, r0, r3)' 'w0 = cmpxchg32_32(r1 + 4, w0, w3)' | family v3

for type in u8 u16 u32; do
    echo "r0 = *($type *)skb[14]"
    echo "r0 = *($type *)skb[r3]"
done | family v1

printf '%s\n' 'goto +0' 'goto +7' 'goto -32768' 'goto +32767' | family v1
printf '%s\n' 'gotol +0' 'gotol -2' 'gotol +32767' | family v4
branches() {
    for op in "${@:2}"; do
        echo "if ${1}1 $op ${1}2 goto +3"
        echo "if ${1}10 $op 7 goto -2"
        echo "if ${1}3 $op -1 goto +32767"
    done
}
branches r == != '>' '>=' 's>' 's>=' '&' | family v1
branches r '<' '<=' 's<' 's<=' | family v2
branches w == != '>' '>=' 's>' 's>=' '&' '<' '<=' 's<' 's<=' | family v3

printf '%s\n' 'call 1' 'call 211' 'callx r3' exit | family v1
printf '%s\n' 'before:' 'call after' 'call before' 'exit' 'after:' 'call before' | family v1

# The assembler of LLVM 19 knows may_goto, the compiler does not emit it.
printf '%s\n' 'may_goto +2' 'may_goto -3' | family later

# LLVM 19 does not know load-acquire and store-release. These rows are by hand from the kernel's
# "BPF Instruction Set Architecture" (Linux 6.15, section "Atomic operations": imm 0x100 and
# 0x110, all four sizes), the text as LLVM 20 prints it.
cat <<'END'
d310000000010000	w0 = load_acquire((u8 *)(r1 + 0))	later
cb10feff00010000	w0 = load_acquire((u16 *)(r1 - 2))	later
c310040000010000	w0 = load_acquire((u32 *)(r1 + 4))	later
dba2f8ff00010000	r2 = load_acquire((u64 *)(r10 - 8))	later
d321000010010000	store_release((u8 *)(r1 + 0), w2)	later
cb21feff10010000	store_release((u16 *)(r1 - 2), w2)	later
c321040010010000	store_release((u32 *)(r1 + 4), w2)	later
db3af8ff10010000	store_release((u64 *)(r10 - 8), r3)	later
END
