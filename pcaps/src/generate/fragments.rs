//! Datagrams that come in fragments (RFC 791 section 3.2, RFC 8200 section 4.5).

use etherparse::{IpFragOffset, IpNumber, Ipv6FragmentHeader};

use super::flow::Flow;
use super::layers::{self, ETHERNET, Ip};
use super::{Draw, Generator};

/// A datagram of which some fragments are still to be sent.
#[derive(Debug, Default)]
pub(super) struct Datagram {
    flow: Option<Flow>,
    v6: bool,
    id: u16,
    /// UDP header and payload.
    bytes: Vec<u8>,
    /// How much of it has been sent; a multiple of 8 until the last fragment.
    sent: usize,
    /// Bytes of a fragment that is not the last, a multiple of 8.
    piece: usize,
}

impl Datagram {
    fn begin(&mut self, draw: &mut Draw, frame_len: Option<u16>) -> Flow {
        let (_, flow) = draw.flow();
        self.flow = Some(flow);
        self.v6 = draw.rng.once_in(4);
        self.id = draw.id();
        self.sent = 0;
        // Ethernet, IPv6 and fragment header are 62 bytes.
        let most = frame_len.map_or(1514, usize::from).max(78) - 62;
        self.piece = most / 8 * 8;
        let pieces = 2 + draw.rng.below(4) as usize;
        // The last piece has 1 to `piece` bytes; a datagram stays below 5 jumbo frames.
        let last = 1 + draw.rng.below(self.piece as u64) as usize;
        let payload = ((pieces - 1) * self.piece + last).saturating_sub(8);
        let pair = if self.v6 { flow.ipv6() } else { flow.ipv4() };
        let mut content = Vec::with_capacity(payload);
        while content.len() < payload {
            let len = (payload - content.len()).min(1024);
            content.extend_from_slice(draw.payload(len));
        }
        self.bytes.clear();
        layers::udp(
            &mut self.bytes,
            pair,
            (flow.client_port, flow.server_port),
            &content,
        );
        flow
    }
}

impl Generator {
    pub(super) fn fragment(&mut self, frame: &mut Vec<u8>) {
        let datagram = &mut self.datagram;
        let flow = match datagram.flow {
            Some(flow) => flow,
            None => datagram.begin(&mut self.draw, self.spec.frame_len),
        };
        let rest = datagram.bytes.get(datagram.sent..).unwrap_or_default();
        let piece = rest.get(..datagram.piece).unwrap_or(rest);
        let more = piece.len() < rest.len();
        let offset = (datagram.sent / 8) as u16;
        let pair = if datagram.v6 {
            flow.ipv6()
        } else {
            flow.ipv4()
        };
        layers::ethernet(
            frame,
            (flow.client_mac(), flow.server_mac()),
            &[],
            pair.ether_type(),
        );
        let mut ip = Ip::new(datagram.id);
        if datagram.v6 {
            layers::ip(
                frame,
                pair,
                ip,
                IpNumber::IPV6_FRAGMENTATION_HEADER,
                8 + piece.len(),
            );
            let offset = IpFragOffset::try_new(offset).unwrap_or_default();
            let id = u32::from(datagram.id);
            let header = Ipv6FragmentHeader::new(IpNumber::UDP, offset, more, id);
            frame.extend_from_slice(&header.to_bytes());
        } else {
            ip.fragment = Some((offset, more));
            layers::ip(frame, pair, ip, IpNumber::UDP, piece.len());
        }
        frame.extend_from_slice(piece);
        debug_assert!(frame.len() > ETHERNET);
        datagram.sent += piece.len();
        // Now and then the rest never comes.
        if !more || self.draw.rng.once_in(16) {
            datagram.flow = None;
        }
        layers::pad(frame);
    }
}
