//! How fast a capture is read: `read_rate FILE [ROUNDS]`, best of the rounds for read(2) alone and
//! for each way that the reader gives packets. Run it in release mode.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures and prints"
)]

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use pcaps::CaptureReader;
use pcaps::rss::{DEFAULT_KEY, Rss};

/// Reads the whole file once and gives a sum.
type Pass<'a> = &'a dyn Fn() -> Result<u64, Box<dyn std::error::Error>>;

fn best(rounds: u32, mut run: impl FnMut() -> u64) -> (u64, Duration) {
    let mut best = Duration::MAX;
    let mut answer = 0;
    for _ in 0..rounds {
        let begin = Instant::now();
        answer = run();
        best = best.min(begin.elapsed());
    }
    (answer, best)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: read_rate FILE [ROUNDS]")?;
    let rounds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let mut reader = CaptureReader::open(&file)?;
    while let Some(chunk) = reader.chunk()? {
        chunk.for_each(drop);
    }
    let packets = reader.packets();
    let rows: [(&str, Pass<'_>); 6] = [
        ("read(2) alone", &|| {
            let mut input = File::open(&file)?;
            let mut buffer = vec![0; 256 * 1024];
            let mut sum = 0;
            loop {
                let n = input.read(&mut buffer)?;
                if n == 0 {
                    return Ok(sum);
                }
                sum += n as u64;
            }
        }),
        ("chunk", &|| {
            let mut reader = CaptureReader::open(&file)?;
            let mut sum = 0;
            while let Some(chunk) = reader.chunk()? {
                for record in chunk {
                    sum += record.data.len() as u64;
                }
            }
            Ok(sum)
        }),
        ("chunk_mut, all of Meta used", &|| {
            let mut reader = CaptureReader::open(&file)?;
            let mut sum = 0u64;
            while let Some(chunk) = reader.chunk_mut()? {
                for record in chunk {
                    let meta = record.meta;
                    sum = sum
                        .wrapping_add(record.data.len() as u64 ^ meta.number ^ meta.time_ns)
                        .wrapping_add(meta.arrival_ns ^ meta.offset)
                        .wrapping_add(u64::from(meta.original_len ^ meta.interface));
                }
            }
            Ok(sum)
        }),
        ("chunk, and its queue of 8", &|| {
            let rss = Rss::new(&DEFAULT_KEY, 8);
            let mut reader = CaptureReader::open(&file)?;
            let mut queues = [0; 8];
            while let Some(chunk) = reader.chunk()? {
                for record in chunk {
                    if let Some(count) = queues.get_mut(rss.queue(record.data) as usize) {
                        *count += 1u64;
                    }
                }
            }
            Ok(queues.iter().sum())
        }),
        ("take_chunk", &|| {
            let mut reader = CaptureReader::open(&file)?;
            let (mut memory, mut packets) = (Vec::new(), Vec::new());
            let mut sum = 0;
            while reader.take_chunk(&mut memory, &mut packets, usize::MAX)? {
                sum += packets
                    .iter()
                    .map(|packet| packet.range.len() as u64)
                    .sum::<u64>();
            }
            Ok(sum)
        }),
        ("next", &|| {
            let mut reader = CaptureReader::open(&file)?;
            let mut sum = 0;
            while let Some(record) = reader.next()? {
                sum += record.data.len() as u64;
            }
            Ok(sum)
        }),
    ];
    println!("{packets} packets, best of {rounds}");
    for (name, run) in rows {
        run()?;
        let (sum, time) = best(rounds, || run().unwrap_or_default());
        let seconds = time.as_secs_f64();
        let mpps = packets as f64 / seconds / 1e6;
        let ns = seconds * 1e9 / packets as f64;
        println!("{name:28} {mpps:7.1} Mpps {ns:6.2} ns/packet   (sum {sum})");
    }
    Ok(())
}
