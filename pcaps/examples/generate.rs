//! Writes a generated capture: `generate MIX PACKETS FILE [SEED]`.

use std::fs::File;
use std::io::BufWriter;

use pcaps::generate::{Generator, Spec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mix, packets, file, rest @ ..] = arguments.as_slice() else {
        return Err("usage: generate MIX PACKETS FILE [SEED]".into());
    };
    let mut spec = Spec::new(mix.parse()?, packets.parse()?);
    if let Some(seed) = rest.first() {
        spec.seed = seed.parse()?;
    }
    Generator::new(spec)?.write_pcap(BufWriter::new(File::create(file)?))?;
    Ok(())
}
