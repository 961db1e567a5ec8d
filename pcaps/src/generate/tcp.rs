//! TCP connections, one per flow, each frame its connection's next.

use etherparse::{IpNumber, TcpHeader, TcpOptions};

use super::Generator;
use super::layers::{self, ETHERNET, Ip};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connection {
    stage: Stage,
    /// How many connections this flow has had.
    round: u16,
    /// Next sequence number of either side.
    client: u32,
    server: u32,
    data_left: u8,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Syn,
    SynAck,
    Established,
    Data,
    Acknowledge {
        client_sent: bool,
    },
    ClientFin,
    ServerFin,
    LastAck,
}

/// One segment as the stages decide it.
#[expect(clippy::struct_excessive_bools, reason = "they are TCP's flags")]
struct Segment {
    from_client: bool,
    syn: bool,
    ack: bool,
    fin: bool,
    rst: bool,
    data: bool,
}

impl Segment {
    const ACK: Self = Self {
        from_client: true,
        syn: false,
        ack: true,
        fin: false,
        rst: false,
        data: false,
    };
}

impl Generator {
    pub(super) fn tcp(&mut self, frame: &mut Vec<u8>) {
        let (index, flow) = self.draw.flow();
        if self.connections.is_empty() {
            self.connections
                .resize(self.spec.flows as usize, Connection::default());
        }
        let Some(connection) = self.connections.get(index as usize).copied() else {
            return;
        };
        let (segment, mut after) = self.advance(connection);
        // Every fourth flow is IPv6, whichever way it goes.
        let pair = if index % 4 == 3 {
            flow.ipv6()
        } else {
            flow.ipv4()
        };
        // A new connection comes from the next port.
        let client_port = 1024 + (flow.client_port - 1024).wrapping_add(after.round) % 64_000;
        let client_macs = (flow.client_mac(), flow.server_mac());
        let (pair, macs, ports, sequence, acknowledgement) = if segment.from_client {
            let ports = (client_port, flow.server_port);
            (pair, client_macs, ports, after.client, after.server)
        } else {
            let macs = (client_macs.1, client_macs.0);
            let ports = (flow.server_port, client_port);
            (pair.reversed(), macs, ports, after.server, after.client)
        };
        let mut header = TcpHeader::new(ports.0, ports.1, sequence, 0xfaf0);
        header.syn = segment.syn;
        header.ack = segment.ack;
        header.fin = segment.fin;
        header.rst = segment.rst;
        header.psh = segment.data;
        if segment.ack {
            header.acknowledgment_number = acknowledgement;
        }
        if segment.syn {
            // Maximum segment size 1460, selective acknowledgements, window scale 7.
            header.options = TcpOptions::from([2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 1, 1]);
        }
        let headers = pair.header_len() + header.header_len();
        let len = match (segment.data, self.spec.frame_len) {
            (false, _) => 0,
            (true, Some(_)) => self.room(0, ETHERNET + headers).max(1),
            (true, None) => 1 + self.draw.rng.below(1500 - headers as u64) as usize,
        };
        let advance = len as u32 + u32::from(segment.syn) + u32::from(segment.fin);
        if segment.from_client {
            after.client = after.client.wrapping_add(advance);
        } else {
            after.server = after.server.wrapping_add(advance);
        }
        if let Some(connection) = self.connections.get_mut(index as usize) {
            *connection = after;
        }
        let id = self.draw.id();
        layers::ethernet(frame, macs, &[], pair.ether_type());
        layers::ip(
            frame,
            pair,
            Ip::new(id),
            IpNumber::TCP,
            headers - pair.header_len() + len,
        );
        layers::tcp(frame, pair, header, self.draw.payload(len));
        layers::pad(frame);
    }

    /// The segment that comes next, and the connection as it is after, sequence numbers apart.
    fn advance(&mut self, before: Connection) -> (Segment, Connection) {
        let mut after = before;
        let rng = &mut self.draw.rng;
        let segment = match before.stage {
            Stage::Syn => {
                after.client = rng.next() as u32;
                after.server = rng.next() as u32;
                after.data_left = 1 + rng.below(12) as u8;
                after.round = before.round.wrapping_add(1);
                after.stage = Stage::SynAck;
                Segment {
                    syn: true,
                    ack: false,
                    ..Segment::ACK
                }
            }
            Stage::SynAck => {
                after.stage = Stage::Established;
                Segment {
                    from_client: false,
                    syn: true,
                    ..Segment::ACK
                }
            }
            Stage::Established => {
                after.stage = Stage::Data;
                Segment::ACK
            }
            Stage::Data => {
                after.data_left = before.data_left.saturating_sub(1);
                // Requests are fewer than answers.
                let from_client = rng.once_in(3);
                after.stage = Stage::Acknowledge {
                    client_sent: from_client,
                };
                Segment {
                    from_client,
                    data: true,
                    ..Segment::ACK
                }
            }
            Stage::Acknowledge { client_sent } => {
                let reset = rng.once_in(64);
                after.stage = match before.data_left {
                    _ if reset => Stage::Syn,
                    0 => Stage::ClientFin,
                    _ => Stage::Data,
                };
                Segment {
                    from_client: !client_sent,
                    rst: reset,
                    ..Segment::ACK
                }
            }
            Stage::ClientFin => {
                after.stage = Stage::ServerFin;
                Segment {
                    fin: true,
                    ..Segment::ACK
                }
            }
            Stage::ServerFin => {
                after.stage = Stage::LastAck;
                Segment {
                    from_client: false,
                    fin: true,
                    ..Segment::ACK
                }
            }
            Stage::LastAck => {
                after.stage = Stage::Syn;
                Segment::ACK
            }
        };
        (segment, after)
    }
}
