//! IPv6 with extension headers (RFC 8200 section 4, RFC 4302, RFC 8754).

use etherparse::{
    IcmpEchoHeader, Icmpv6Type, IpFragOffset, IpNumber, Ipv6FragmentHeader, TcpHeader,
};

use super::Generator;
use super::layers::{self, ETHERNET, Ip, Pair};

impl Generator {
    pub(super) fn ipv6(&mut self, frame: &mut Vec<u8>) {
        let (_, flow) = self.draw.flow();
        let pair = flow.ipv6();
        let Pair::V6 {
            source,
            destination,
        } = pair
        else {
            return;
        };
        let chain = self.chain(destination);
        let last = self
            .draw
            .rng
            .choose(&[IpNumber::UDP, IpNumber::TCP, IpNumber::IPV6_ICMP]);
        let chain_len: usize = chain.iter().map(|(_, bytes)| bytes.len()).sum();
        let transport = if last == IpNumber::TCP { 20 } else { 8 };
        let len = self.room(160, ETHERNET + 40 + chain_len + transport);
        let ports = (flow.client_port, flow.server_port);
        let (sequence, id) = (self.draw.rng.next() as u32, self.draw.id());
        self.segment.clear();
        let payload = self.draw.payload(len);
        if last == IpNumber::TCP {
            let mut header = TcpHeader::new(ports.0, ports.1, sequence, 0x1000);
            header.ack = true;
            header.acknowledgment_number = !sequence;
            layers::tcp(&mut self.segment, pair, header, payload);
        } else if last == IpNumber::UDP {
            layers::udp(&mut self.segment, pair, ports, payload);
        } else {
            let echo = Icmpv6Type::EchoRequest(IcmpEchoHeader {
                id: ports.0,
                seq: id,
            });
            layers::icmpv6(&mut self.segment, (source, destination), echo, payload);
        }
        layers::ethernet(
            frame,
            (flow.client_mac(), flow.server_mac()),
            &[],
            pair.ether_type(),
        );
        let first = chain.first().map_or(last, |&(kind, _)| kind);
        layers::ip(
            frame,
            pair,
            Ip::new(id),
            first,
            chain_len + self.segment.len(),
        );
        for (index, (_, bytes)) in chain.iter().enumerate() {
            let next = chain.get(index + 1).map_or(last, |&(kind, _)| kind);
            let at = frame.len();
            frame.extend_from_slice(bytes);
            if let Some(field) = frame.get_mut(at) {
                *field = next.0;
            }
        }
        frame.extend_from_slice(&self.segment);
    }

    /// Some extension headers in RFC 8200's order; the first byte of each, which names the next,
    /// is filled in later.
    fn chain(&mut self, destination: [u8; 16]) -> Vec<(IpNumber, Vec<u8>)> {
        let rng = &mut self.draw.rng;
        let mut chain = Vec::new();
        if rng.once_in(2) {
            // Router alert (RFC 2711), then PadN of 0.
            chain.push((
                IpNumber::IPV6_HEADER_HOP_BY_HOP,
                vec![0, 0, 5, 2, 0, 0, 1, 0],
            ));
        }
        if rng.once_in(3) {
            chain.push((
                IpNumber::IPV6_DESTINATION_OPTIONS,
                padding(1 + rng.below(3) as u8),
            ));
        }
        if rng.once_in(4) {
            // Segment routing, arrived: type 4, no segment left, last entry 0, and the one
            // segment is the receiver in the IPv6 header.
            let mut bytes = vec![0, 2, 4, 0, 0, 0, 0, 0];
            bytes.extend_from_slice(&destination);
            chain.push((IpNumber::IPV6_ROUTE_HEADER, bytes));
        }
        if rng.once_in(4) {
            // An atomic fragment (RFC 6946): offset 0, no more to follow.
            let id = rng.next() as u32;
            let header = Ipv6FragmentHeader::new(IpNumber(0), IpFragOffset::default(), false, id);
            chain.push((
                IpNumber::IPV6_FRAGMENTATION_HEADER,
                header.to_bytes().to_vec(),
            ));
        }
        if rng.once_in(4) {
            // Length 4 words behind the first two, SPI, sequence number, 12 bytes of check value.
            let mut bytes = vec![0, 4, 0, 0, 0, 0, 1, 0];
            bytes.resize(24, 0);
            if let Some(rest) = bytes.get_mut(8..) {
                rng.fill(rest);
            }
            chain.push((IpNumber::AUTHENTICATION_HEADER, bytes));
        }
        if chain.is_empty() || rng.once_in(4) {
            chain.push((
                IpNumber::IPV6_DESTINATION_OPTIONS,
                padding(1 + rng.below(3) as u8),
            ));
        }
        chain
    }
}

/// Destination options that pad: `units` times 8 bytes.
fn padding(units: u8) -> Vec<u8> {
    let len = units.max(1) * 8;
    // Next header, length in units beyond the first, PadN and its length.
    let mut bytes = vec![0, units.max(1) - 1, 1, len - 4];
    bytes.resize(usize::from(len), 0);
    bytes
}
