//! Loading, against words that the card's driver relocated and sealed itself
//! (`nfp-drv-kmods` 7728618f3622: start 0x100, done 0x80, `map_lookup` at 0x1000).

use isa::nfp::abi::link::{MAP_ID, NEXT_PACKET};
use isa::nfp::{LinkError, Place, Relocation, link};
use isa::{Image, Isa, RelocationKind, Resources, Symbol};

fn image(words: &[(u64, Option<(u8, Symbol)>)]) -> Image {
    let relocations = words.iter().enumerate().filter_map(|(i, (_, at))| {
        at.map(|(kind, symbol)| isa::Relocation {
            at: i * 8,
            kind: RelocationKind::Target(kind),
            symbol,
        })
    });
    Image {
        isa: Isa::Nfp,
        code: words.iter().flat_map(|(w, _)| w.to_le_bytes()).collect(),
        instructions: words.len(),
        relocations: relocations.collect(),
        entry: 0,
        resources: Resources::default(),
        source_map: Vec::new(),
        removed: Vec::new(),
        notes: Vec::new(),
    }
}

fn place(map: &dyn Fn(usize) -> Option<u64>) -> Place<'_> {
    Place {
        start: 0x100,
        done: 0x80,
        helper: &|id| (id == 1).then_some(0x1000),
        map,
    }
}

#[test]
fn words_are_relocated_and_sealed_as_the_driver_does() {
    let kind = |kind: Relocation, symbol| Some((kind as u8, symbol));
    let image = image(&[
        (0x0000_00f0_03f0_5bff, None),
        (
            0x0200_01de_a600_8038,
            kind(Relocation::GoOut, Symbol::Code(8 * 8)),
        ),
        (
            0x0600_01de_a620_8038,
            kind(Relocation::NextPacket, Symbol::Runtime(NEXT_PACKET)),
        ),
        (
            0x0100_00d8_0640_8125,
            kind(Relocation::Branch, Symbol::Code(25 * 8)),
        ),
        (
            0x0700_01de_a660_8038,
            kind(Relocation::Helper, Symbol::Helper(1)),
        ),
        (
            0x0800_00f0_0000_030f,
            kind(Relocation::Immed, Symbol::Code(15 * 8)),
        ),
        (0x0000_02f0_000c_0402, Some((MAP_ID, Symbol::Map(0)))),
    ]);
    assert_eq!(
        link(&image, &place(&|_| Some(9))).unwrap(),
        [
            0x000f_20f0_03f0_5bff,
            0x0000_60d8_4200_8038,
            0x000c_a0d8_2020_8038,
            0x0005_80d8_4640_8125,
            0x0008_20dc_0020_8038,
            0x0009_40f0_0010_030f,
            0x0002_42f0_000c_2402,
        ]
    );
}

#[test]
fn an_image_that_contradicts_itself_is_refused() {
    let none = place(&|_| None);
    let kinds = image(&[(0x0200_01de_a600_8038, None)]);
    assert_eq!(link(&kinds, &none), Err(LinkError::Kind { word: 0 }));
    let map = image(&[(0x0000_02f0_000c_0402, Some((MAP_ID, Symbol::Map(0))))]);
    assert!(matches!(
        link(&map, &none),
        Err(LinkError::Unknown { word: 0, .. })
    ));
    let far = place(&|_| Some(0x1_0000));
    assert!(matches!(
        link(&map, &far),
        Err(LinkError::TooLarge { word: 0, .. })
    ));
}
