//! Frames with a lie in them, or no sense at all: what a parser must survive.

use super::Generator;
use super::layers::ETHERNET;

/// Where the headers of a frame begin of UDP over IPv4 or of TCP.
const IP: usize = ETHERNET;
/// Behind an IPv4 header without options.
const UDP4: usize = IP + 20;

impl Generator {
    pub(super) fn malformed(&mut self, frame: &mut Vec<u8>) {
        match self.draw.rng.below(16) {
            0 => self.spoil_ipv4(frame, 0, 0x05), // version 0
            1 => self.spoil_ipv4(frame, 0, 0x65), // version 6 behind EtherType 0800
            2 => {
                let ihl = self.draw.rng.below(5) as u8;
                self.spoil_ipv4(frame, 0, 0x40 | ihl);
            }
            3 => self.spoil_ipv4(frame, 0, 0x4f), // 60 bytes of header, longer than the packet
            4 => self.spoil_ipv4(frame, 2, 0xff), // total length far beyond the frame
            5 => {
                // Total length below the header's.
                self.udp(frame);
                set(frame, IP + 2, &[0, 19]);
            }
            6 => {
                // A wrong header checksum.
                self.udp(frame);
                flip(frame, IP + 10, 0x55);
            }
            7 => {
                // A UDP length that is wrong: below 8, or beyond the packet.
                self.udp(frame);
                let len = self.draw.rng.choose(&[[0, 0], [0, 7], [0xff, 0xff]]);
                set(frame, UDP4 + 4, &len);
            }
            8 => {
                // A wrong UDP checksum.
                self.udp(frame);
                flip(frame, UDP4 + 7, 0x55);
            }
            9 => {
                // A TCP data offset below 5, or one beyond the segment; IPv4 and IPv6.
                self.tcp(frame);
                let words = self.draw.rng.choose(&[0x00, 0x40, 0xf0]);
                let tcp = if frame.get(12) == Some(&0x86) {
                    IP + 40
                } else {
                    UDP4
                };
                set(frame, tcp + 12, &[words]);
                frame.truncate(tcp + 20);
            }
            10 => {
                // An EtherType that nobody knows, or a length in its place.
                self.udp(frame);
                let kind = self.draw.rng.choose(&[[0x99, 0x99], [0x05, 0xdc], [0, 0]]);
                set(frame, 12, &kind);
            }
            11 => {
                // An IPv6 payload length beyond the frame, or 0.
                self.ipv6(frame);
                let len = self.draw.rng.choose(&[[0xff, 0xff], [0, 0]]);
                set(frame, IP + 4, &len);
            }
            12 => {
                // An extension header longer than the frame.
                self.ipv6(frame);
                set(frame, IP + 6, &[60]);
                set(frame, IP + 41, &[0xff]);
            }
            13 => self.endless_chain(frame),
            14 => {
                // Tags with nothing behind them.
                self.vlan(frame);
                set(frame, 12, &[0x81, 0, 0, 1, 0x81, 0]);
                frame.truncate(ETHERNET + 4);
            }
            _ => {
                // Noise, down to nothing.
                let len = self.draw.rng.below(120) as usize;
                frame.extend_from_slice(self.draw.payload(len));
            }
        }
    }

    /// A UDP frame with one byte of its IPv4 header replaced.
    fn spoil_ipv4(&mut self, frame: &mut Vec<u8>, at: usize, value: u8) {
        self.udp(frame);
        set(frame, IP + at, &[value]);
    }

    /// IPv6 with as many empty destination options as the frame holds, and no end.
    fn endless_chain(&mut self, frame: &mut Vec<u8>) {
        self.ipv6(frame);
        let headers = 4 + self.draw.rng.below(28) as usize;
        set(frame, IP + 4, &((headers * 8) as u16).to_be_bytes());
        set(frame, IP + 6, &[60]);
        frame.truncate(IP + 40);
        for _ in 0..headers {
            // Next header 60 again, no length beyond 8 bytes, PadN of 4.
            frame.extend_from_slice(&[60, 0, 1, 4, 0, 0, 0, 0]);
        }
    }
}

/// Writes `bytes` at `at`, as far as the frame reaches.
fn set(frame: &mut [u8], at: usize, bytes: &[u8]) {
    let place = frame.get_mut(at..).unwrap_or_default();
    for (to, from) in place.iter_mut().zip(bytes) {
        *to = *from;
    }
}

/// Flips bits of the byte at `at`, if the frame has it.
fn flip(frame: &mut [u8], at: usize, bits: u8) {
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= bits;
    }
}
