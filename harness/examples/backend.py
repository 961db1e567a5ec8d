#!/usr/bin/env python3
"""A backend in another language: nicbed conformance --backend exec:harness/examples/backend.py

It makes images of eBPF itself, for NICs that execute that, and replaces `mov rX, 0` by
`xor rX, rX`, so that there is something to see. docs/write-a-backend.md has the two questions.
"""
import json
import sys

SLOT = 8
MOV64_IMM, XOR64_REG, LDDW = 0xB7, 0xAF, 0x18
PSEUDO_MAP, PSEUDO_MAP_VALUE = 5, 6


def translate(program):
    code = bytearray.fromhex(program["code"])
    relocations, source_map = [], []
    slots = [insn["pc"] for insn in program["insns"]]
    for pc, after in zip(slots, slots[1:] + [len(code) // SLOT]):
        at = pc * SLOT
        opcode, registers = code[at], code[at + 1]
        immediate = int.from_bytes(code[at + 4 : at + 8], "little")
        if opcode == LDDW and registers >> 4 in (PSEUDO_MAP, PSEUDO_MAP_VALUE):
            if registers >> 4 == PSEUDO_MAP:
                symbol = {"map": immediate}
            else:
                offset = int.from_bytes(code[at + 12 : at + 16], "little")
                symbol = {"map_values": {"map": immediate, "offset": offset}}
            relocations.append({"at": at, "kind": "ebpf_wide", "symbol": symbol})
        elif opcode == MOV64_IMM and immediate == 0 and not code[at + 2] | code[at + 3]:
            register = registers & 0xF
            code[at : at + SLOT] = bytes([XOR64_REG, register << 4 | register, 0, 0, 0, 0, 0, 0])
        source_map.append({"start": at, "end": after * SLOT, "pcs": [pc]})
    return {
        "code": code.hex(),
        "instructions": len(slots),
        "relocations": relocations,
        "source_map": source_map,
    }


question = json.load(sys.stdin)
if question["ask"] == "describe":
    answer = {"isa": "ebpf"}
else:
    answer = {"image": translate(question["program"])}
json.dump(answer, sys.stdout)
