//! The mixes of one packet at a time: UDP, IMIX, VLAN, ARP, IP in IP, and cut frames.

use etherparse::{ArpEthIpv4Packet, ArpOperation, EtherType, IpNumber};

use super::layers::{self, ETHERNET, Ip, Pair};
use super::{Generator, Mix, flow::Flow};

impl Generator {
    /// Room for a payload behind `headers` bytes, in a frame of the spec's length or `default`.
    pub(super) fn room(&self, default: u16, headers: usize) -> usize {
        usize::from(self.spec.frame_len.unwrap_or(default)).saturating_sub(headers)
    }

    /// One UDP datagram from a client, behind the tags given.
    fn datagram(&mut self, frame: &mut Vec<u8>, tags: &[(u16, u8, u16)], v6: bool, len: usize) {
        let (_, flow) = self.draw.flow();
        let pair = if v6 { flow.ipv6() } else { flow.ipv4() };
        let id = self.draw.id();
        let macs = (flow.client_mac(), flow.server_mac());
        layers::ethernet(frame, macs, tags, pair.ether_type());
        layers::ip(frame, pair, Ip::new(id), IpNumber::UDP, 8 + len);
        let ports = (flow.client_port, flow.server_port);
        layers::udp(frame, pair, ports, self.draw.payload(len));
        layers::pad(frame);
    }

    pub(super) fn udp(&mut self, frame: &mut Vec<u8>) {
        let len = self.room(64, ETHERNET + 20 + 8);
        self.datagram(frame, &[], false, len);
    }

    pub(super) fn imix(&mut self, frame: &mut Vec<u8>) {
        let total = match self.draw.rng.below(12) {
            0..7 => 60,
            7..11 => 590,
            _ => 1514,
        };
        self.datagram(frame, &[], false, total - (ETHERNET + 20 + 8));
    }

    pub(super) fn vlan(&mut self, frame: &mut Vec<u8>) {
        let (customer, service) = (0x8100, 0x88a8);
        let id = |generator: &mut Self| 1 + generator.draw.rng.below(4094) as u16;
        let priority = self.draw.rng.below(8) as u8;
        let (outer, inner) = (id(self), id(self));
        let one = [(customer, priority, outer)];
        let q_in_q = [(service, priority, outer), (customer, 0, inner)];
        let stacked = [(customer, priority, outer), (customer, 0, inner)];
        // Id 0: a priority without a VLAN.
        let priority_only = [(customer, priority, 0)];
        let tags: &[_] = match self.draw.rng.below(8) {
            0..4 => &one,
            4..6 => &q_in_q,
            6 => &stacked,
            _ => &priority_only,
        };
        match self.draw.rng.below(8) {
            0 => self.arp_behind(frame, tags),
            1..3 => {
                let len = self.room(128, ETHERNET + tags.len() * 4 + 40 + 8);
                self.datagram(frame, tags, true, len);
            }
            _ => {
                let len = self.room(128, ETHERNET + tags.len() * 4 + 20 + 8);
                self.datagram(frame, tags, false, len);
            }
        }
    }

    pub(super) fn arp(&mut self, frame: &mut Vec<u8>) {
        self.arp_behind(frame, &[]);
    }

    fn arp_behind(&mut self, frame: &mut Vec<u8>, tags: &[(u16, u8, u16)]) {
        let (_, flow) = self.draw.flow();
        let Pair::V4 {
            source: client,
            destination: server,
        } = flow.ipv4()
        else {
            return;
        };
        let (client_mac, server_mac) = (flow.client_mac(), flow.server_mac());
        let broadcast = [0xff; 6];
        let (macs, packet) = match self.draw.rng.below(4) {
            // Who has the server's address?
            0..2 => (
                (client_mac, broadcast),
                ArpEthIpv4Packet {
                    operation: ArpOperation::REQUEST,
                    sender_mac: client_mac,
                    sender_ipv4: client,
                    target_mac: [0; 6],
                    target_ipv4: server,
                },
            ),
            2 => (
                (server_mac, client_mac),
                ArpEthIpv4Packet {
                    operation: ArpOperation::REPLY,
                    sender_mac: server_mac,
                    sender_ipv4: server,
                    target_mac: client_mac,
                    target_ipv4: client,
                },
            ),
            // An announcement (RFC 5227): a request for one's own address.
            _ => (
                (client_mac, broadcast),
                ArpEthIpv4Packet {
                    operation: ArpOperation::REQUEST,
                    sender_mac: client_mac,
                    sender_ipv4: client,
                    target_mac: [0; 6],
                    target_ipv4: client,
                },
            ),
        };
        layers::ethernet(frame, macs, tags, EtherType::ARP);
        frame.extend_from_slice(&packet.to_bytes());
        layers::pad(frame);
    }

    pub(super) fn ipip(&mut self, frame: &mut Vec<u8>) {
        let (_, inner_flow) = self.draw.flow();
        let (_, outer_flow) = self.draw.flow();
        let (outer_v6, inner_v6) = self.draw.rng.choose(&[
            (false, false),
            (false, false),
            (false, true),
            (true, false),
            (true, true),
        ]);
        let of = |flow: &Flow, v6: bool| if v6 { flow.ipv6() } else { flow.ipv4() };
        let (outer, inner) = (of(&outer_flow, outer_v6), of(&inner_flow, inner_v6));
        let (outer_len, inner_len) = (outer.header_len(), inner.header_len());
        let len = self.room(128, ETHERNET + outer_len + inner_len + 8);
        let macs = (outer_flow.client_mac(), outer_flow.server_mac());
        layers::ethernet(frame, macs, &[], outer.ether_type());
        let id = self.draw.id();
        layers::ip(
            frame,
            outer,
            Ip::new(id),
            inner.as_payload(),
            inner_len + 8 + len,
        );
        layers::ip(frame, inner, Ip::new(!id), IpNumber::UDP, 8 + len);
        let ports = (inner_flow.client_port, inner_flow.server_port);
        layers::udp(frame, inner, ports, self.draw.payload(len));
        layers::pad(frame);
    }

    /// A frame of another mix, with nothing wrong in it.
    pub(super) fn valid(&mut self, frame: &mut Vec<u8>) {
        let mix = self.draw.rng.choose(&[
            Mix::Udp,
            Mix::Udp,
            Mix::Imix,
            Mix::Tcp,
            Mix::Tcp,
            Mix::Ipv6,
            Mix::Vlan,
            Mix::Arp,
            Mix::Icmp,
            Mix::Ipip,
        ]);
        self.build(mix, frame);
    }

    pub(super) fn truncated(&mut self, frame: &mut Vec<u8>) -> Option<usize> {
        self.valid(frame);
        let whole = frame.len();
        // Half of the cuts fall into the headers, where parsers look.
        let range = if self.draw.rng.once_in(2) {
            whole.min(80)
        } else {
            whole
        };
        frame.truncate(self.draw.rng.below(range as u64) as usize);
        // Cut by the capture: the wire had it whole. Else the wire had no more.
        self.draw.rng.once_in(2).then_some(whole)
    }
}
