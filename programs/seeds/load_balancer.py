#!/usr/bin/env python3
"""Writes load_balancer.json: services, servers and the ring that joins them.

The ring is filled as Maglev does (Eisenbud et al., NSDI 2016, section 3.4): each server has
a permutation of the slots of its own, and the servers take turns in claiming their next free
slot, so that each gets its share and few slots change hands when a server goes.

    programs/seeds/load_balancer.py > programs/seeds/load_balancer.json
"""

import hashlib
import json
import socket

RING_SIZE = 251  # as in load_balancer.c
TCP, UDP = 6, 17
NO_CONNECTIONS = 1

# number: (address, MAC); 0 stays empty, so that a slot nobody filled names no server.
REALS = {n: (f"10.0.1.{n}", f"02000000010{n}") for n in range(1, 7)}

# Service: its id, its flags, its servers, and the addresses and ports it has.
WEB, DNS, DRAINED = 0, 1, 2
RINGS = {WEB: [1, 2, 3, 4], DNS: [5, 6]}  # no server is left for DRAINED
VIPS = [
    *((WEB, 0, f"198.18.0.{host}", 0, TCP) for host in range(1, 5)),
    *((WEB, 0, f"198.18.0.{host}", 0, UDP) for host in range(1, 5)),
    (DNS, NO_CONNECTIONS, "198.18.0.12", 53, UDP),
    (DNS, 0, "198.18.0.12", 53, TCP),
    (WEB, 0, "198.18.0.10", 8080, TCP),
    (WEB, 0, "198.18.0.10", 9000, TCP),
    (WEB, 0, "198.18.0.10", 9000, UDP),
    (DRAINED, 0, "198.18.0.6", 0, TCP),
]


def ring(servers):
    """The server of each slot."""
    order = {}
    for server in servers:
        digest = hashlib.sha256(REALS[server][0].encode()).digest()
        offset = int.from_bytes(digest[:8], "big") % RING_SIZE
        skip = int.from_bytes(digest[8:16], "big") % (RING_SIZE - 1) + 1
        order[server] = iter([(offset + i * skip) % RING_SIZE for i in range(RING_SIZE)])
    slots = [None] * RING_SIZE
    while None in slots:
        for server in servers:
            slot = next((s for s in order[server] if slots[s] is None), None)
            if slot is not None:
                slots[slot] = server
    return slots


def vip_key(addr, port, protocol):
    return (socket.inet_aton(addr) + port.to_bytes(2, "big") + bytes([protocol, 0])).hex()


maps = {
    "vips": [
        {"key": vip_key(addr, port, protocol), "value": {"id": service, "flags": flags}}
        for service, flags, addr, port, protocol in VIPS
    ],
    "reals": [
        {"key": n, "value": socket.inet_aton(addr).hex() + mac + "0000"}
        for n, (addr, mac) in REALS.items()
    ],
    "ring": [
        {"key": service * RING_SIZE + slot, "value": server}
        for service, servers in RINGS.items()
        for slot, server in enumerate(ring(servers))
    ],
}

# One entry a line: what differs between two versions then shows.
print('{\n  "maps": {')
for i, (name, entries) in enumerate(maps.items()):
    lines = ",\n".join("      " + json.dumps(entry) for entry in entries)
    print(f'    "{name}": [\n{lines}\n    ]{"," if i + 1 < len(maps) else ""}')
print("  }\n}")
