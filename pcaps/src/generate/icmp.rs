//! ICMP of both versions (RFC 792, RFC 4443, RFC 4861).

use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode as TimeExceeded4};
use etherparse::icmpv6::{
    DestUnreachableCode, NeighborAdvertisementHeader, TimeExceededCode as TimeExceeded6,
};
use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type, IpNumber};

use super::Generator;
use super::flow::Flow;
use super::layers::{self, ETHERNET, Ip, Pair};

impl Generator {
    pub(super) fn icmp(&mut self, frame: &mut Vec<u8>) {
        let (_, flow) = self.draw.flow();
        let echo = IcmpEchoHeader {
            id: flow.client_port,
            seq: self.draw.id(),
        };
        if self.draw.rng.once_in(2) {
            self.icmpv4(frame, &flow, echo);
        } else {
            self.icmpv6(frame, &flow, echo);
        }
        layers::pad(frame);
    }

    fn icmpv4(&mut self, frame: &mut Vec<u8>, flow: &Flow, echo: IcmpEchoHeader) {
        let (kind, from_client, quotes) = match self.draw.rng.below(8) {
            0..3 => (Icmpv4Type::EchoRequest(echo), true, false),
            3..6 => (Icmpv4Type::EchoReply(echo), false, false),
            6 => {
                let code = self.draw.rng.choose(&[
                    DestUnreachableHeader::Port,
                    DestUnreachableHeader::Host,
                    DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 },
                ]);
                (Icmpv4Type::DestinationUnreachable(code), false, true)
            }
            _ => (
                Icmpv4Type::TimeExceeded(TimeExceeded4::TtlExceededInTransit),
                false,
                true,
            ),
        };
        let pair = if from_client {
            flow.ipv4()
        } else {
            flow.ipv4().reversed()
        };
        // ping's 56 bytes unless the spec says other.
        let payload = self.icmp_payload(flow.ipv4(), flow, quotes, 98);
        self.segment.clear();
        layers::icmpv4(&mut self.segment, kind, &payload);
        self.icmp_frame(frame, flow, pair, from_client, 64, IpNumber::ICMP);
    }

    fn icmpv6(&mut self, frame: &mut Vec<u8>, flow: &Flow, echo: IcmpEchoHeader) {
        let Pair::V6 {
            source: client,
            destination: server,
        } = flow.ipv6()
        else {
            return;
        };
        // (type, from client, quotes a packet, neighbour discovery's target)
        let (kind, from_client, quotes, target) = match self.draw.rng.below(8) {
            0..2 => (Icmpv6Type::EchoRequest(echo), true, false, None),
            2..4 => (Icmpv6Type::EchoReply(echo), false, false, None),
            4 => (Icmpv6Type::NeighborSolicitation, true, false, Some(server)),
            5 => {
                let header = NeighborAdvertisementHeader {
                    router: false,
                    solicited: true,
                    r#override: true,
                };
                (
                    Icmpv6Type::NeighborAdvertisement(header),
                    false,
                    false,
                    Some(server),
                )
            }
            6 => (Icmpv6Type::PacketTooBig { mtu: 1280 }, false, true, None),
            _ => {
                let kind = self.draw.rng.choose(&[
                    Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port),
                    Icmpv6Type::TimeExceeded(TimeExceeded6::HopLimitExceeded),
                ]);
                (kind, false, true, None)
            }
        };
        let payload = match target {
            Some(target) => {
                // The address asked about, then the sender's link-layer address (option 1, or 2
                // in an answer), one unit of 8 bytes.
                let mac = if from_client {
                    flow.client_mac()
                } else {
                    flow.server_mac()
                };
                let mut payload = target.to_vec();
                payload.extend_from_slice(&[if from_client { 1 } else { 2 }, 1]);
                payload.extend_from_slice(&mac);
                payload
            }
            None => self.icmp_payload(flow.ipv6(), flow, quotes, 118),
        };
        let ends = if from_client {
            (client, server)
        } else {
            (server, client)
        };
        let pair = Pair::V6 {
            source: ends.0,
            destination: ends.1,
        };
        self.segment.clear();
        layers::icmpv6(&mut self.segment, ends, kind, &payload);
        let hop_limit = if target.is_some() { 255 } else { 64 };
        self.icmp_frame(
            frame,
            flow,
            pair,
            from_client,
            hop_limit,
            IpNumber::IPV6_ICMP,
        );
    }

    /// What follows the first 8 bytes of the ICMP message: data, or the beginning of the packet
    /// that caused the error.
    fn icmp_payload(&mut self, pair: Pair, flow: &Flow, quotes: bool, default: u16) -> Vec<u8> {
        let mut payload = Vec::new();
        if quotes {
            let id = self.draw.id();
            layers::ip(&mut payload, pair, Ip::new(id), IpNumber::UDP, 8 + 32);
            let ports = (flow.client_port, flow.server_port);
            layers::udp(&mut payload, pair, ports, self.draw.payload(32));
        } else {
            let len = self.room(default, ETHERNET + pair.header_len() + 8);
            payload.extend_from_slice(self.draw.payload(len));
        }
        payload
    }

    /// The headers, and the segment that has been put together.
    fn icmp_frame(
        &mut self,
        frame: &mut Vec<u8>,
        flow: &Flow,
        pair: Pair,
        from_client: bool,
        hop_limit: u8,
        next: IpNumber,
    ) {
        let (client, server) = (flow.client_mac(), flow.server_mac());
        let macs = if from_client {
            (client, server)
        } else {
            (server, client)
        };
        let ip = Ip {
            hop_limit,
            ..Ip::new(self.draw.id())
        };
        layers::ethernet(frame, macs, &[], pair.ether_type());
        layers::ip(frame, pair, ip, next, self.segment.len());
        frame.extend_from_slice(&self.segment);
    }
}
