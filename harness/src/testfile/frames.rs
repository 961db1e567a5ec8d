//! The frame that is expected to leave, held against the one that left: layer by layer, field by
//! field.

use super::expect::Failure;
use super::layers::{Field, Found, Layer, called, dissect};
use super::packet::{self, TextError};
use super::pattern::Pattern;
use crate::mapdiff::hex;

/// A frame that is expected.
#[derive(Clone, Debug)]
pub struct Wanted {
    bytes: Vec<u8>,
    /// As many: which bits count.
    mask: Vec<u8>,
    layers: Vec<Found>,
}

/// What of a frame is not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    place: Place,
    /// Which of its bits, the lowest those of the last byte; all if `None`.
    bits: Option<u128>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Bytes, the end exclusive.
    Bytes(std::ops::Range<usize>),
    /// Fields of layers of this name: of one, counted from 0, or of all.
    Field {
        layer: &'static Layer,
        number: Option<usize>,
        field: &'static Field,
    },
    /// The options of such layers.
    Options {
        layer: &'static Layer,
        number: Option<usize>,
    },
    /// What follows the last layer.
    Payload,
}

impl Wanted {
    /// A frame as it is written: digits, some of them `?`, or layers.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn parse(text: &str) -> Result<Wanted, TextError> {
        if Pattern::is_written(text) {
            let pattern = Pattern::parse(text)?;
            return Ok(Wanted {
                layers: dissect(&pattern.bytes),
                bytes: pattern.bytes,
                mask: pattern.mask,
            });
        }
        packet::frame(text).map(Wanted::exactly)
    }

    /// These bytes.
    pub fn exactly(bytes: impl Into<Vec<u8>>) -> Wanted {
        let bytes = bytes.into();
        Wanted {
            mask: vec![0xff; bytes.len()],
            layers: dissect(&bytes),
            bytes,
        }
    }

    /// The same, but for what is ignored.
    #[must_use]
    pub fn without(mut self, ignored: &[Ignored]) -> Wanted {
        for ignored in ignored {
            for (first, bits) in ignored.places(&self.layers, self.bytes.len()) {
                for at in 0..bits {
                    let shift = (bits - 1 - at) as u32;
                    let chosen = |mask: u128| mask.checked_shr(shift).unwrap_or(0) & 1 == 1;
                    let bit = first + at;
                    if let Some(mask) = self.mask.get_mut(bit / 8)
                        && ignored.bits.is_none_or(chosen)
                    {
                        *mask &= !(0x80 >> (bit % 8));
                    }
                }
            }
        }
        self
    }

    /// A frame with what need not be known as it is expected, so that it is not marked either.
    fn seen(&self, got: &[u8]) -> Vec<u8> {
        let known = self.bytes.iter().zip(&self.mask);
        let mut seen: Vec<u8> = got
            .iter()
            .zip(known)
            .map(|(got, (byte, mask))| got & mask | byte & !mask)
            .collect();
        seen.extend(&got[seen.len()..]);
        seen
    }

    /// Every field of the frame that left which differs from this one; `name` is what it is called
    /// beside `out`.
    pub fn differences(&self, name: &str, got: &[u8]) -> Vec<Failure> {
        let (expected, layers) = (&self.bytes, &self.layers);
        let seen = self.seen(got);
        if seen == *expected {
            return Vec::new();
        }
        let mut failures = Vec::new();
        let mut differ = |field: String, a: String, b: String| {
            failures.push(Failure::new(field, a, b));
        };
        if expected.len() != got.len() {
            let [a, b] = [expected.len(), got.len()].map(|n| format!("{n} bytes"));
            differ("length".to_owned(), a, b);
        }
        for (at, found) in layers.iter().enumerate() {
            let called = called(layers, at);
            for field in found.layer.fields {
                let [a, b] = [expected, &seen].map(|frame| found.number(frame, field.name));
                if a != b {
                    let [a, b] =
                        [a, b].map(|n| n.map_or_else(|| "not there".to_owned(), |n| field.text(n)));
                    differ(format!("{called}.{}", field.name), a, b);
                }
            }
            let options = |frame: &[u8]| {
                let end = found.end.min(frame.len());
                hex(&frame[found.options().min(end)..end])
            };
            let (a, b) = (options(expected), options(&seen));
            if a != b {
                differ(format!("{called}.options"), a, b);
            }
        }
        let start = layers.last().map_or(0, |found| found.end);
        let rest = |frame: &[u8]| frame.get(start..).unwrap_or_default().to_vec();
        let (a, b) = (rest(expected), rest(&seen));
        if a != b {
            let at = a.iter().zip(&b).position(|(x, y)| x != y);
            let at = at.unwrap_or(a.len().min(b.len()));
            let byte = |bytes: &[u8]| {
                let byte = bytes
                    .get(at)
                    .map_or_else(|| "end".to_owned(), |b| format!("{b:02x}"));
                format!("{byte} at byte {}", start + at)
            };
            differ("payload".to_owned(), byte(&a), byte(&b));
        }
        if let Some(last) = failures.last_mut() {
            last.frames = Some((expected.clone(), seen));
        }
        if name != "out" {
            for failure in &mut failures {
                failure.field = format!("{name}, {}", failure.field);
            }
        }
        failures
    }
}

impl Ignored {
    /// `layer.field`, `layer[number].field`, `layer.options`, `payload` or `FROM..TO`, and behind it
    /// `&MASK` for some of the bits.
    ///
    /// # Errors
    /// Why the text means nothing.
    pub fn parse(text: &str) -> Result<Ignored, String> {
        let wrong = |why: &str| format!("`ignore`: `{text}`: {why}");
        let (place, mask) = match text.split_once('&') {
            None => (text, None),
            Some((place, mask)) => (place.trim(), Some(mask.trim())),
        };
        let bits = mask
            .map(|mask| {
                let digits = mask.strip_prefix("0x");
                digits
                    .and_then(|digits| u128::from_str_radix(digits, 16).ok())
                    .ok_or_else(|| wrong("behind & stands a mask, as in ipv4.tos&0x03"))
            })
            .transpose()?;
        Ok(Ignored {
            place: Place::parse(place).map_err(|why| wrong(&why))?,
            bits,
        })
    }

    /// First bit in the frame and number of bits, of all places that are meant.
    fn places(&self, layers: &[Found], length: usize) -> Vec<(usize, usize)> {
        let of = |layer: &Layer, number: Option<usize>| {
            let found = layers.iter().filter(move |found| found.layer == layer);
            let skip = number.unwrap_or(0);
            let most = number.map_or(usize::MAX, |_| 1);
            found.skip(skip).take(most).copied().collect::<Vec<_>>()
        };
        let bytes = |range: std::ops::Range<usize>| (8 * range.start, 8 * range.len());
        match &self.place {
            Place::Bytes(range) => vec![bytes(range.clone())],
            Place::Payload => {
                let start = layers.last().map_or(0, |found| found.end);
                vec![bytes(start..length)]
            }
            Place::Field {
                layer,
                number,
                field,
            } => {
                let found = of(layer, *number).into_iter();
                found
                    .map(|f| (8 * f.start + field.bit, field.bits))
                    .collect()
            }
            Place::Options { layer, number } => {
                let found = of(layer, *number).into_iter();
                found.map(|f| bytes(f.options()..f.end)).collect()
            }
        }
    }
}

impl Place {
    fn parse(text: &str) -> Result<Place, String> {
        if text == "payload" {
            return Ok(Place::Payload);
        }
        if let Some((from, to)) = text.split_once("..")
            && let (Ok(from), Ok(to)) = (from.parse::<usize>(), to.parse::<usize>())
            && from < to
            && to <= 1 << 16
        {
            return Ok(Place::Bytes(from..to));
        }
        let (layer, field) = text.split_once('.').unwrap_or((text, ""));
        let (layer, number) = match layer.split_once('[') {
            None => (layer, Some(None)),
            Some((layer, number)) => {
                let number = number.strip_suffix(']').and_then(|n| n.parse().ok());
                (layer, number.map(Some))
            }
        };
        let (Some(layer), Some(number)) = (Layer::by_name(layer), number) else {
            return Err(
                "expected layer.field as in ipv4.id or ipv4[1].id, payload, or bytes FROM..TO"
                    .to_owned(),
            );
        };
        if field == "options" {
            return Ok(Place::Options { layer, number });
        }
        let field = layer.field(field).ok_or_else(|| {
            let names: Vec<&str> = layer.fields.iter().map(|f| f.name).collect();
            format!("{} has {}", layer.name, names.join(", "))
        })?;
        Ok(Place::Field {
            layer,
            number,
            field,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUNNEL: &str = "eth / ipv4 tos=0xb8 / ipv4 ttl=9 / udp / payload=0102";

    fn fields(ignore: &[&str], got: &str) -> Vec<String> {
        let ignored: Vec<Ignored> = ignore.iter().map(|i| Ignored::parse(i).unwrap()).collect();
        let wanted = Wanted::parse(TUNNEL).unwrap().without(&ignored);
        let got = packet::frame(got).unwrap();
        let differences = wanted.differences("out", &got).into_iter();
        differences.map(|failure| failure.field).collect()
    }

    #[test]
    fn fields_are_told_by_layer_and_ignored_by_layer_and_bit() {
        let got = "eth / ipv4 tos=0xbb checksum=0 / ipv4 ttl=8 checksum=0 / udp / payload=0103";
        let got = got.replace("udp", "udp checksum=0");
        let sums = ["ipv4.checksum", "udp.checksum"];
        let of = |more: &[&str]| fields(&[&sums[..], more].concat(), &got);
        assert_eq!(of(&[]), ["ipv4[0].tos", "ipv4[1].ttl", "payload"]);
        assert_eq!(
            of(&["ipv4[0].ttl", "payload"]),
            ["ipv4[0].tos", "ipv4[1].ttl"]
        );
        assert_eq!(of(&["ipv4.tos&0x03", "ipv4[1].ttl", "62..64"]), [""; 0]);
        assert_eq!(
            of(&["ipv4.tos&0x01", "ipv4.ttl", "payload"]),
            ["ipv4[0].tos"]
        );
    }

    #[test]
    fn what_cannot_be_ignored_is_said() {
        for (text, part) in [
            ("ipv4", "ipv4 has version"),
            ("ipv4.tlt", "ttl"),
            ("ipx.id", "ipv4[1].id"),
            ("9..3", "FROM..TO"),
            ("ipv4.tos&3", "0x03"),
        ] {
            let why = Ignored::parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
