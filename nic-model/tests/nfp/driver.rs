//! Images that the card's driver translated itself (`nfp-drv-kmods` 7728618f3622), word for word.

use bpf::Hook;
use bpf::map::{MapDef, MapType};
use bpf::run::{Verdict, XdpAction};
use isa::nfp::Relocation;
use isa::nfp::abi::link::{MAP_ID, NEXT_PACKET};
use isa::{Image, Symbol};

use crate::setup::{Word, image, load};

/// The words of a dump. Kinds tell where most go; `out` and `abort` are words, `maps` those that
/// load the id of map 0, `returns` those that hold a return address.
fn dumped(words: &[u64], out: usize, abort: usize, maps: &[usize]) -> Image {
    let target = |word: u64| (word >> 22 & 0x1fff) as usize;
    let mut all: Vec<Word> = Vec::new();
    for (index, marked) in words.iter().enumerate() {
        let (kind, word) = Relocation::split(*marked).unwrap();
        let symbol = match kind {
            Relocation::None if maps.contains(&index) => {
                all.push((*marked, Some((MAP_ID, Symbol::Map(0)))));
                continue;
            }
            Relocation::None => {
                all.push((*marked, None));
                continue;
            }
            Relocation::Branch => Symbol::Code(target(word) * 8),
            Relocation::GoOut => Symbol::Code(out * 8),
            Relocation::GoAbort => Symbol::Code(abort * 8),
            Relocation::NextPacket => Symbol::Runtime(NEXT_PACKET),
            Relocation::Helper => Symbol::Helper(1),
            Relocation::Immed => {
                Symbol::Code(((word >> 20 & 0xff) << 8 | word & 0xff) as usize * 8)
            }
            Relocation::GoPush | Relocation::GoPop => panic!("none of these here"),
        };
        all.push((*marked, Some((kind as u8, symbol))));
    }
    image(&all)
}

const PROLOGUE: [u64; 2] = [0x0000_00f0_03f0_5bff, 0x0000_00b4_4160_5a20];

/// The epilogue of an XDP program whose `abort` is this word.
fn epilogue(abort: u64) -> Vec<u64> {
    let mut words = vec![
        0x0600_01de_a620_8038,
        0x0000_00a0_000c_0000,
        0x0000_00c1_0c04_8a00,
        0x0000_00aa_b000_0303,
        0x0100_00d8_0040_8125 | abort << 22,
        0x0000_00f0_0220_0b82,
        0x0000_00f4_4440_0b11,
        0x0000_0081_d010_0200,
        0x0000_00aa_300c_0001,
        0x0000_0094_0024_09ff,
        0x0600_01de_a620_8038,
        0x0000_00a0_000c_0000,
        0x0000_00c1_0c00_0a00,
    ];
    words.extend([0x0000_00f0_000c_0300; 8]);
    words
}

fn whole(body: &[u64], maps: &[usize]) -> Image {
    let abort = PROLOGUE.len() + body.len();
    let words = [&PROLOGUE[..], body, &epilogue(abort as u64)].concat();
    dumped(&words, abort + 3, abort, maps)
}

fn verdicts(image: &Image, packets: &[&[u8]]) -> Vec<Verdict> {
    let mut card = load(image, &[], &Hook::XDP).unwrap();
    let batch = card.run(packets);
    assert_eq!(batch.traps, []);
    (0..packets.len())
        .map(|index| {
            let outcome = batch.outcome(index, &Hook::XDP);
            assert_eq!(outcome.r0, None);
            outcome.verdict
        })
        .collect()
}

/// `r0 = code; exit`.
fn returns(low: u64) -> Image {
    let load = 0x0000_02f0_000c_0000 | (low >> 8 & 0xff) << 20 | (low & 0xff) << 10;
    whole(&[load, 0x0000_02f0_000c_0001, 0x0200_01de_a600_8038], &[])
}

#[test]
fn a_return_code_becomes_its_action() {
    for (code, action) in [
        (0, XdpAction::Aborted),
        (1, XdpAction::Drop),
        (2, XdpAction::Pass),
        (3, XdpAction::Tx),
        (4, XdpAction::Aborted),
        (0x1234, XdpAction::Aborted),
    ] {
        assert_eq!(
            verdicts(&returns(code), &[&[0; 64]]),
            [Verdict::Xdp(action)],
            "{code}"
        );
    }
}

#[test]
fn instructions_and_empty_branch_slots_are_counted() {
    let mut card = load(&returns(1), &[], &Hook::XDP).unwrap();
    let cost = card.run(&[&[0; 64]]).frames[0].cost;
    // 2 prologue, 2 for r0, the branch out; of the epilogue the 10 from `out` on.
    assert_eq!(cost.instructions, 15);
    // Two branches are taken: one with no slot filled, one with two.
    assert_eq!(cost.cycles, 15 + 3 + 1);
    assert_eq!(cost.packet_accesses, 0);
}

#[test]
fn ipv6_is_dropped_by_its_ether_type() {
    let image = whole(
        &[
            0x0000_02a0_0048_8800,
            0x0000_02f0_000c_0005,
            0x0000_02a0_c060_5a22,
            0x0000_02f0_000c_0007,
            0x0000_02f0_000c_0800,
            0x0000_02f0_000c_0001,
            0x0000_02a0_0080_1000,
            0x0000_02a0_0090_1400,
            0x0000_02a0_808c_3808,
            0x0000_02a8_809c_0009,
            0x0000_00aa_b000_2006,
            0x0000_00a6_b000_2407,
            0x0100_00d8_0640_8125,
            0x0000_105c_1008_b004,
            0x0000_02c0_0312_000a,
            0x0000_02f0_000c_000b,
            0x0000_00f0_0dd0_5786,
            0x0000_00ac_3000_540a,
            0x0100_00d8_0640_8121,
            0x0000_00ac_300c_000b,
            0x0100_00d8_0640_8121,
            0x0000_02f0_000c_0400,
            0x0000_02f0_000c_0001,
            0x0200_01de_a600_8038,
        ],
        &[],
    );
    let mut ipv6 = [0; 64];
    ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
    let mut ipv4 = [0; 64];
    ipv4[12..14].copy_from_slice(&[0x08, 0x00]);
    let short = &ipv6[..13];
    assert_eq!(
        verdicts(&image, &[&ipv6, &ipv4, short, &ipv6[..14]]),
        [
            XdpAction::Drop,
            XdpAction::Pass,
            XdpAction::Pass,
            XdpAction::Drop
        ]
        .map(Verdict::Xdp)
    );
}

#[test]
fn packets_are_counted_in_an_array() {
    let image = whole(
        &[
            0x0000_02f0_000c_0002,
            0x0000_02f0_000c_0003,
            0x0000_00a0_2010_0800,
            0x0000_02a0_804c_2016,
            0x0000_02f0_000c_0005,
            0x0000_02aa_804c_1004,
            0x0000_02a6_805c_0005,
            0x0000_02f0_000c_2402,
            0x0000_02f0_000c_0003,
            0x0000_00fc_0660_1300,
            0x0700_01de_a660_8038,
            0x0000_00a0_4000_0002,
            0x0800_00f0_0000_030f,
            0x0000_00fc_066c_0016,
            0x0000_00f0_000c_0300,
            0x0000_00f0_000c_0300,
            0x0000_00f0_000c_0300,
            0x0000_00aa_3000_0400,
            0x0100_00d8_0680_8120,
            0x0000_02f0_000c_0402,
            0x0000_02f0_000c_0003,
            0x0000_00f0_00ce_4015,
            0x0000_00c1_0c00_0a15,
            0x0000_0647_0008_0700,
            0x0000_02f0_000c_0800,
            0x0000_02f0_000c_0001,
            0x0200_01de_a600_8038,
        ],
        &[9],
    );
    let count = MapDef {
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        ..MapDef::new("count", MapType::Array)
    };
    let mut card = load(&image, &[count], &Hook::XDP).unwrap();
    let batch = card.run(&[&[0; 64], &[0; 64], &[0; 64]]);
    assert_eq!(batch.traps, []);
    assert_eq!(
        batch.outcome(2, &Hook::XDP).verdict,
        Verdict::Xdp(XdpAction::Pass)
    );
    let counted = card.maps.get(0).unwrap().host_lookup(&[0; 4]).unwrap();
    assert_eq!(counted, 3_u64.to_le_bytes());
}
