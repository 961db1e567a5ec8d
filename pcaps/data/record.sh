#!/bin/sh
# Records pcaps/data/recorded.pcap: real traffic between two network namespaces.
#
#     sudo pcaps/data/record.sh [FILE]
#
# Needs root and: ip (iproute2), ethtool, tcpdump, curl, ping (iputils-ping), dig (dnsutils), python3.
# Everything it makes (namespaces, a veth pair, processes, a temporary folder) it removes again.
# The server answers HTTP on port 80 and DNS over UDP on port 53; nothing leaves the machine.
set -eu

out=${1:-$(dirname "$0")/recorded.pcap}
client=nicbed-client-$$
server=nicbed-server-$$
work=$(mktemp -d)
pids=

cleanup() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    ip netns del "$client" 2>/dev/null || true
    ip netns del "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT INT TERM

for tool in ip ethtool tcpdump curl ping dig python3; do
    command -v "$tool" >/dev/null || { echo "record.sh: needs $tool" >&2; exit 4; }
done

ip netns add "$client"
ip netns add "$server"
ip link add veth0 address 02:00:00:00:00:01 netns "$client" type veth \
    peer name veth0 address 02:00:00:00:00:02 netns "$server"
for side in "$client 1" "$server 2"; do
    set -- $side
    ip -n "$1" addr add "192.0.2.$2/24" dev veth0
    ip -n "$1" addr add "2001:db8::$2/64" dev veth0 nodad
    ip -n "$1" link set lo up
    ip -n "$1" link set veth0 up
done

mkdir "$work/www"
python3 - "$work/www" <<'PY'
import sys
with open(sys.argv[1] + "/index.html", "w") as page:
    for line in range(400):
        page.write(f"<p>line {line} of a page that fills some segments</p>\n")
PY

# A DNS server for A and AAAA: the same address for every name, NXDOMAIN for names with "no".
cat > "$work/dns.py" <<'PY'
import socket, struct

sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
sock.bind(("::", 53))
while True:
    query, peer = sock.recvfrom(4096)
    end = 12
    while query[end]:
        end += query[end] + 1
    name = query[12:end]
    question = query[12:end + 5]
    kind = struct.unpack("!H", query[end + 1:end + 3])[0]
    missing = name.startswith(b"\x02no")
    data = {1: bytes([192, 0, 2, 2]), 28: socket.inet_pton(socket.AF_INET6, "2001:db8::2")}.get(kind)
    answers = 0 if missing or data is None else 1
    reply = query[:2] + struct.pack("!HHHHH", 0x8583 if missing else 0x8580, 1, answers, 0, 0)
    reply += question
    if answers:
        reply += struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(data)) + data
    sock.sendto(reply, peer)
PY
ip netns exec "$server" python3 "$work/dns.py" &
pids="$pids $!"
ip netns exec "$server" python3 -m http.server 80 --bind :: --directory "$work/www" \
    >/dev/null 2>&1 &
pids="$pids $!"

# As a card would see it: checksums complete, and no packet larger than the MTU.
for side in "$client" "$server"; do
    ip netns exec "$side" ethtool -K veth0 tx off rx off tso off gso off gro off \
        >/dev/null
done

ip netns exec "$server" tcpdump -i veth0 -n -U --time-stamp-precision=nano \
    -Z root -w "$work/out.pcap" 2>"$work/tcpdump.log" &
dump=$!
pids="$pids $dump"
for _ in $(seq 50); do
    grep -q 'listening on' "$work/tcpdump.log" && break
    sleep 0.1
done
sleep 1

run() { ip netns exec "$client" "$@" >/dev/null; }
run ping -c 4 -i 0.2 192.0.2.2
run ping -6 -c 4 -i 0.2 2001:db8::2
run ping -c 2 -i 0.2 -s 3000 192.0.2.2              # comes in fragments
run ping -6 -c 1 -s 3000 2001:db8::2
run dig +tries=1 @192.0.2.2 example.test A
run dig +tries=1 @2001:db8::2 example.test AAAA
run dig +tries=1 @192.0.2.2 no.such.test A
run curl -s http://192.0.2.2/
run curl -s -g 'http://[2001:db8::2]/'
run curl -s http://192.0.2.2/missing
ip netns exec "$client" curl -s --max-time 2 http://192.0.2.2:81/ >/dev/null || true  # refused: RST
ip netns exec "$client" dig +tries=1 +time=1 -p 5353 @192.0.2.2 x.test >/dev/null || true  # ICMP: port unreachable
sleep 1
kill -INT "$dump"
wait "$dump" || true
cp "$work/out.pcap" "$out"
chmod 644 "$out"
echo "$out: $(wc -c <"$out") bytes"
