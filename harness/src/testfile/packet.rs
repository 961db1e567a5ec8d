//! Frames as text: hexadecimal digits, or layers such as
//! `eth / ipv4 dst=10.0.0.1 ttl=3 / udp dport=53 / payload=0102`.

use super::checksum;
use super::layers::{Field, Layer};

/// Bytes that a payload may have.
const MOST_PAYLOAD: usize = 1 << 16;

/// Why a text is no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Digits that are not pairs.
    #[error("`{text}` is not pairs of hexadecimal digits")]
    Hex {
        /// What stands there.
        text: String,
    },
    /// A layer that is not known.
    #[error("there is no layer `{layer}`; there are {known}")]
    Layer {
        /// Its name.
        layer: String,
        /// Those there are.
        known: String,
    },
    /// A field that the layer does not have.
    #[error("`{layer}` has no field `{field}`; it has {known}")]
    Field {
        /// The layer.
        layer: &'static str,
        /// The field.
        field: String,
        /// Those it has.
        known: String,
    },
    /// A value that does not fit.
    #[error("`{layer} {field}={value}`: {expected} was expected")]
    Value {
        /// The layer.
        layer: &'static str,
        /// The field.
        field: &'static str,
        /// The value.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// A word that is no `field=value`.
    #[error("`{word}` is no `field=value`")]
    Word {
        /// The word.
        word: String,
    },
    /// A layer behind one that nothing follows.
    #[error(
        "`{above}` cannot follow `{under}`; give the number in `{under}` and the bytes as payload"
    )]
    Order {
        /// The layer in front.
        under: &'static str,
        /// The one behind.
        above: &'static str,
    },
    /// A payload that is not the last layer.
    #[error("`payload` is the last layer, and is written `payload=HEX` or `payload bytes=N`")]
    Payload,
}

/// The bytes of hexadecimal digits, with spaces where one likes.
///
/// # Errors
/// If they are anything else.
pub fn hex(text: &str) -> Result<Vec<u8>, TextError> {
    let wrong = || TextError::Hex {
        text: text.to_owned(),
    };
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong());
    }
    Ok(pairs.iter().map(|[a, b]| (a << 4 | b) as u8).collect())
}

/// The frame that a text means. Lengths, checksums and the numbers of following layers are filled
/// in where they are not given.
///
/// # Errors
/// [`TextError`].
pub fn frame(text: &str) -> Result<Vec<u8>, TextError> {
    if text
        .chars()
        .all(|c| c.is_ascii_hexdigit() || c.is_whitespace())
    {
        return hex(text);
    }
    let mut parts: Vec<&str> = text.split('/').map(str::trim).collect();
    let payload = match parts.last() {
        Some(last) if last.starts_with("payload") => {
            let payload = payload(last)?;
            parts.pop();
            payload
        }
        _ => Vec::new(),
    };
    let written: Vec<Written> = parts.into_iter().map(written).collect::<Result<_, _>>()?;
    assemble(&written, &payload)
}

fn payload(text: &str) -> Result<Vec<u8>, TextError> {
    if let Some(digits) = text.strip_prefix("payload=") {
        return hex(digits);
    }
    let count = text.strip_prefix("payload bytes=");
    let count = count
        .and_then(|n| n.parse().ok())
        .filter(|n| *n <= MOST_PAYLOAD);
    // Numbers that count up show which byte went where.
    count
        .map(|n: usize| (0..n).map(|i| i as u8).collect())
        .ok_or(TextError::Payload)
}

/// A layer as it is written.
struct Written {
    layer: &'static Layer,
    given: Vec<(&'static Field, u128)>,
}

impl Written {
    fn gives(&self, name: &str) -> bool {
        self.given.iter().any(|(field, _)| field.name == name)
    }
}

fn written(text: &str) -> Result<Written, TextError> {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default();
    if name.starts_with("payload") {
        return Err(TextError::Payload);
    }
    let layer = Layer::by_name(name).ok_or_else(|| {
        let known: Vec<&str> = super::layers::ALL.iter().map(|l| l.name).collect();
        let known = format!("{}, payload", known.join(", "));
        TextError::Layer {
            layer: name.to_owned(),
            known,
        }
    })?;
    let mut given = Vec::new();
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| TextError::Word {
            word: word.to_owned(),
        })?;
        let field = layer.field(name).ok_or_else(|| TextError::Field {
            layer: layer.name,
            field: name.to_owned(),
            known: layer
                .fields
                .iter()
                .map(|f| f.name)
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        let number = field.parse(value).ok_or_else(|| TextError::Value {
            layer: layer.name,
            field: field.name,
            value: value.to_owned(),
            expected: expected(field),
        })?;
        given.push((field, number));
    }
    Ok(Written { layer, given })
}

fn expected(field: &Field) -> String {
    match field.form {
        super::layers::Form::Number => format!("a number from 0 to {}", field.largest()),
        _ => format!("something like {}", field.text(field.default)),
    }
}

fn assemble(written: &[Written], payload: &[u8]) -> Result<Vec<u8>, TextError> {
    let mut frame = Vec::new();
    let mut starts = Vec::new();
    for (at, this) in written.iter().enumerate() {
        let layer = this.layer;
        let mut bytes = vec![0; layer.bytes];
        for field in layer.fields {
            field.set(&mut bytes, field.default);
        }
        if let Some(above) = written.get(at + 1) {
            let next = layer.next_field();
            let number = next.and_then(|_| above.layer.number_under(layer));
            match (next, number) {
                (Some(field), Some(number)) => field.set(&mut bytes, number),
                (Some(field), None) if this.gives(field.name) => {}
                _ => {
                    let (under, above) = (layer.name, above.layer.name);
                    return Err(TextError::Order { under, above });
                }
            }
        }
        for (field, number) in &this.given {
            field.set(&mut bytes, *number);
        }
        starts.push(frame.len());
        frame.extend(bytes);
    }
    frame.extend(payload);
    for (this, start) in written.iter().zip(&starts) {
        if let Some(field) = this.layer.field("length").filter(|_| !this.gives("length")) {
            let header = if this.layer.name == "ipv6" {
                this.layer.bytes
            } else {
                0
            };
            let length = frame.len() - start - header;
            field.set(&mut frame[*start..], length as u128);
        }
    }
    // Inner checksums first: those of outer datagrams cover them.
    for (sum, _) in checksum::all(&frame).into_iter().rev() {
        let given = written.iter().zip(&starts).any(|(this, start)| {
            let field = this.layer.field("checksum");
            let here = field.is_some_and(|f| start + f.bit / 8 == sum.at);
            here && this.gives("checksum")
        });
        if !given {
            let now = checksum::all(&frame);
            if let Some((sum, _)) = now.into_iter().find(|(other, _)| other.at == sum.at) {
                frame[sum.at..sum.at + 2].copy_from_slice(&sum.right.to_be_bytes());
            }
        }
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_checksums_are_those_that_etherparse_makes() {
        let ours = frame("eth / ipv4 ttl=3 id=7 / udp sport=1 dport=53 / payload=010203").unwrap();
        let mut theirs = Vec::new();
        let mut ip = etherparse::Ipv4Header::new(
            0,
            3,
            etherparse::IpNumber::UDP,
            [10, 0, 0, 1],
            [10, 0, 0, 2],
        )
        .unwrap();
        ip.identification = 7;
        ip.dont_fragment = false;
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ip(etherparse::IpHeaders::Ipv4(
                ip,
                etherparse::Ipv4Extensions::default(),
            ))
            .udp(1, 53)
            .write(&mut theirs, &[1, 2, 3])
            .unwrap();
        assert_eq!(ours, theirs);
        let ours =
            frame("eth / vlan id=5 / ipv6 hop=9 / tcp seq=1 flags=0x02 window=512 / payload=ff")
                .unwrap();
        let mut theirs = Vec::new();
        let address = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .single_vlan(5.try_into().unwrap())
            .ipv6(address(1), address(2), 9)
            .tcp(1024, 1024, 1, 512)
            .syn()
            .write(&mut theirs, &[0xff])
            .unwrap();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn what_is_no_frame_is_said() {
        let says = |text: &str, part: &str| {
            let error = frame(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        };
        says("abc", "pairs");
        says("eth / ipx", "no layer `ipx`");
        says("eth / ipv4 ttl=256", "from 0 to 255");
        says("eth / ipv4 tlt=3", "no field `tlt`");
        says("eth / ipv4 dst=10.0.0", "10.0.0.2");
        says("eth / ipv4 ttl", "field=value");
        says("eth / udp", "cannot follow");
        says("eth / payload=00 / udp", "last layer");
    }
}
