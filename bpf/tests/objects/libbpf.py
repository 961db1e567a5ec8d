"""Prints what libbpf makes of an object: its maps, and the instructions that it gives the kernel.

    libbpf.py OBJECT [BTF]

A line a map: `map NAME TYPE KEY VALUE ENTRIES`. A line a program: `program NAME SLOTS`, then its
slots in hex, where a map's file descriptor is replaced by the map's name. BTF is what CO-RE is
resolved against, the running kernel's if not given. Whether the kernel accepts a program does
not matter.
"""

import ctypes as c
import sys

lib = c.CDLL("libbpf.so.1")


def function(name, result, *arguments):
    f = getattr(lib, name)
    f.restype, f.argtypes = result, arguments
    return f


class OpenOptions(c.Structure):
    _fields_ = [
        ("sz", c.c_size_t),
        ("object_name", c.c_char_p),
        ("relaxed_maps", c.c_bool),
        ("pin_root_path", c.c_char_p),
        ("attach_prog_fd", c.c_uint32),
        ("kconfig", c.c_char_p),
        ("btf_custom_path", c.c_char_p),
    ]


open_file = function("bpf_object__open_file", c.c_void_p, c.c_char_p, c.c_void_p)
load = function("bpf_object__load", c.c_int, c.c_void_p)
next_map = function("bpf_object__next_map", c.c_void_p, c.c_void_p, c.c_void_p)
next_program = function("bpf_object__next_program", c.c_void_p, c.c_void_p, c.c_void_p)
map_name = function("bpf_map__name", c.c_char_p, c.c_void_p)
map_fd = function("bpf_map__fd", c.c_int, c.c_void_p)
map_internal = function("bpf_map__is_internal", c.c_bool, c.c_void_p)
map_numbers = [
    function("bpf_map__" + what, c.c_uint32, c.c_void_p)
    for what in ("type", "key_size", "value_size", "max_entries")
]
set_pin_path = function("bpf_map__set_pin_path", c.c_int, c.c_void_p, c.c_char_p)
program_name = function("bpf_program__name", c.c_char_p, c.c_void_p)
program_slots = function("bpf_program__insn_cnt", c.c_size_t, c.c_void_p)
program_code = function("bpf_program__insns", c.c_void_p, c.c_void_p)
get_type = function("bpf_program__type", c.c_int, c.c_void_p)
printer = c.CFUNCTYPE(c.c_int, c.c_int, c.c_char_p, c.c_void_p)
silent = printer(lambda *_: 0)
lib.libbpf_set_print(silent)


def each(next_one, obj):
    item = next_one(obj, None)
    while item:
        yield item
        item = next_one(obj, item)


options = OpenOptions(sz=c.sizeof(OpenOptions))
if len(sys.argv) > 2:
    options.btf_custom_path = sys.argv[2].encode()
obj = open_file(sys.argv[1].encode(), c.byref(options))
if not obj:
    sys.exit("libbpf does not open " + sys.argv[1])
for m in each(next_map, obj):
    set_pin_path(m, None)

# Where the kernel refuses a program, libbpf forgets the maps' file descriptors: then names can be
# told only if there is but one map.
result = load(obj)
names = {}
maps = list(each(next_map, obj))
for m in maps:
    name = map_name(m).decode()
    if map_internal(m):
        name = name[name.index("."):]
    names[map_fd(m)] = name
    print("map", name, *(number(m) for number in map_numbers))
for p in each(next_program, obj):
    slots = program_slots(p)
    code = c.string_at(program_code(p), slots * 8)
    print("program", program_name(p).decode(), slots)
    second = False
    for at in range(0, len(code), 8):
        slot = bytearray(code[at : at + 8])
        note = ""
        source = slot[1] >> 4
        if slot[0] == 0x18 and not second and source in (1, 2):
            fd = int.from_bytes(slot[4:8], "little")
            only = next(iter(names.values())) if len(maps) == 1 else "?"
            note = " " + names.get(fd, only)
            slot[1] = slot[1] & 15 | (source + 4) << 4
            slot[4:8] = bytes(4)
        second = slot[0] == 0x18 and not second
        print(slot.hex() + note)
print("# load:", result, file=sys.stderr)
