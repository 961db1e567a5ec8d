//! Which conversation a packet belongs to: [`Picker`] draws a flow's index, [`Flow`] is what the
//! index stands for.

use super::Distribution;
use super::layers::Pair;
use super::rng::{Rng, mix};

/// How many servers all flows talk to.
const SERVERS: u64 = 16;
/// The ports they serve.
const PORTS: [u16; 8] = [53, 80, 123, 443, 3478, 5001, 8080, 9000];

/// Draws flow indices.
#[derive(Debug)]
pub(super) struct Picker {
    flows: u32,
    /// For Zipf: the sum of the weights up to and including each flow.
    cumulative: Vec<u64>,
}

impl Picker {
    pub(super) fn new(flows: u32, distribution: Distribution) -> Self {
        let cumulative = match distribution {
            Distribution::Uniform => Vec::new(),
            // Weights 2^32 / rank, whole numbers; their sum over 2^20 flows is below 2^36.
            Distribution::Zipf => (1..=u64::from(flows))
                .scan(0, |sum, rank| {
                    *sum += (1 << 32) / rank;
                    Some(*sum)
                })
                .collect(),
        };
        Self { flows, cumulative }
    }

    pub(super) fn pick(&self, rng: &mut Rng) -> u32 {
        match self.cumulative.last() {
            None => rng.below(u64::from(self.flows)) as u32,
            Some(&total) => {
                let drawn = rng.below(total);
                self.cumulative.partition_point(|&sum| sum <= drawn) as u32
            }
        }
    }
}

/// One conversation between a client and a server. Clients are in 10.0.0.0/8 and one address
/// each; servers are 198.18.0.1 to 198.18.0.16, the range that RFC 2544 keeps for benchmarks. In
/// IPv6 both are in `2001:2::/48` (RFC 5180).
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    index: u32,
    server: u8,
    pub(super) client_port: u16,
    pub(super) server_port: u16,
}

impl Flow {
    pub(super) fn new(seed: u64, index: u32) -> Self {
        let drawn = mix(seed ^ mix(u64::from(index)));
        let [port_low, port_high, server, service, ..] = drawn.to_le_bytes();
        let port = u16::from_le_bytes([port_low, port_high]);
        Self {
            index,
            server: (u64::from(server) % SERVERS) as u8 + 1,
            client_port: 1024 + port % (u16::MAX - 1024),
            server_port: PORTS
                .get(usize::from(service) % PORTS.len())
                .copied()
                .unwrap_or(9),
        }
    }

    /// From client to server.
    pub(super) fn ipv4(&self) -> Pair {
        // Multiplying by an odd number permutes the 2^24 hosts of 10.0.0.0/8.
        let [_, a, b, c] = (self.index.wrapping_mul(0x009e_3779) & 0x00ff_ffff).to_be_bytes();
        Pair::V4 {
            source: [10, a, b, c],
            destination: [198, 18, 0, self.server],
        }
    }

    /// From client to server.
    pub(super) fn ipv6(&self) -> Pair {
        let [a, b, c, d] = self.index.to_be_bytes();
        let source = [0x20, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, a, b, c, d];
        let destination = [0x20, 1, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, self.server];
        Pair::V6 {
            source,
            destination,
        }
    }

    /// The client's address, of the locally administered kind.
    pub(super) fn client_mac(&self) -> [u8; 6] {
        let [a, b, c, d] = self.index.to_be_bytes();
        [2, 0, a, b, c, d]
    }

    /// The server's address.
    pub(super) fn server_mac(&self) -> [u8; 6] {
        [2, 1, 0, 0, 0, self.server]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Distribution, Flow, Picker, Rng};

    #[test]
    fn flows_differ() {
        let addresses: BTreeSet<_> = (0..100_000)
            .map(|index| format!("{:?}", Flow::new(5, index).ipv4()))
            .collect();
        assert!(addresses.len() >= 100_000);
    }

    #[test]
    fn zipf_gives_the_first_flow_its_share() {
        let picker = Picker::new(1000, Distribution::Zipf);
        let mut rng = Rng::new(3);
        let mut seen = [0u32; 1000];
        for _ in 0..100_000 {
            seen[picker.pick(&mut rng) as usize] += 1;
        }
        // 1 / H(1000), H(1000) = 7.4855: 13.36 %, then half of it, a third, a tenth.
        for (rank, expected) in [(1, 13_359u32), (2, 6_680), (3, 4_453), (10, 1_336)] {
            let got = seen[rank - 1];
            assert!(
                got.abs_diff(expected) < expected / 10 + 50,
                "rank {rank}: {got}"
            );
        }
    }

    #[test]
    fn uniform_gives_every_flow_the_same() {
        let picker = Picker::new(10, Distribution::Uniform);
        let mut rng = Rng::new(3);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[picker.pick(&mut rng) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
    }
}
