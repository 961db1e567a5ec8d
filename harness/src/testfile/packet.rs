//! Frames as text: hexadecimal digits, or layers such as
//! `eth / ipv4 dst=10.0.0.1 ttl=3 / udp dport=53 / payload=0102`.

use super::checksum;
use super::layers::{self, Extent, Field, Form, Found, Layer, dissect};

/// Bytes that a payload, or a frame, may have.
const MOST_BYTES: usize = 1 << 16;

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
    #[error(
        "`payload` is the last layer, and is written `payload=HEX`, `payload bytes=N` or \
         `payload text='…'`"
    )]
    Payload,
    /// Options of a layer that has none.
    #[error("`{layer}` has no options")]
    Options {
        /// The layer.
        layer: &'static str,
    },
    /// A length of the whole frame that is not as it should be.
    #[error(
        "`wire` stands behind everything else, and is written `wire bytes=N`, at most {MOST_BYTES}"
    )]
    Wire,
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
    let mut parts = parts(text);
    let wire = match parts.last() {
        Some(last) if is_named(last, "wire") => {
            let bytes = count(last, "wire bytes=").ok_or(TextError::Wire)?;
            parts.pop();
            Some(bytes)
        }
        _ => None,
    };
    let payload = match parts.last() {
        Some(last) if is_named(last, "payload") => {
            let payload = payload(last)?;
            parts.pop();
            payload
        }
        _ => Vec::new(),
    };
    let written: Vec<Written> = parts.into_iter().map(written).collect::<Result<_, _>>()?;
    let mut frame = assemble(&written, &payload)?;
    if let Some(bytes) = wire {
        frame.resize(bytes, 0);
    }
    Ok(frame)
}

/// The parts between slashes, but for those within quotes.
fn parts(text: &str) -> Vec<&str> {
    let mut quote = None;
    text.split(move |c| match (quote, c) {
        (None, '\'' | '"') => {
            quote = Some(c);
            false
        }
        (Some(open), c) => {
            quote = Some(open).filter(|open| *open != c);
            false
        }
        (None, c) => c == '/',
    })
    .map(str::trim)
    .collect()
}

fn is_named(part: &str, name: &str) -> bool {
    let rest = part.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '=']))
}

fn count(part: &str, start: &str) -> Option<usize> {
    let count = part.strip_prefix(start)?.parse().ok()?;
    Some(count).filter(|n| *n <= MOST_BYTES)
}

fn payload(text: &str) -> Result<Vec<u8>, TextError> {
    if let Some(digits) = text.strip_prefix("payload=") {
        return hex(digits);
    }
    if let Some(quoted) = text.strip_prefix("payload text=") {
        let inner = ['\'', '"']
            .into_iter()
            .find_map(|quote| quoted.strip_prefix(quote)?.strip_suffix(quote));
        return inner
            .map(|inner| inner.as_bytes().to_vec())
            .ok_or(TextError::Payload);
    }
    // Numbers that count up show which byte went where.
    count(text, "payload bytes=")
        .map(|n| (0..n).map(|i| i as u8).collect())
        .ok_or(TextError::Payload)
}

/// A layer as it is written.
struct Written {
    layer: &'static Layer,
    given: Vec<(&'static Field, u128)>,
    options: Vec<u8>,
}

impl Written {
    fn gives(&self, name: &str) -> bool {
        self.given.iter().any(|(field, _)| field.name == name)
    }

    /// Its bytes, but for what depends on other layers.
    fn bytes(&self) -> Vec<u8> {
        let layer = self.layer;
        let mut bytes = vec![0; layer.bytes()];
        for field in layer.fields {
            field.set(&mut bytes, field.default);
        }
        bytes.extend(&self.options);
        if let Extent::Counted(name, unit, more) = layer.extent {
            bytes.resize(bytes.len().next_multiple_of(unit), 0);
            if let Some(field) = layer.field(name) {
                let units = bytes.len().saturating_sub(more) / unit;
                field.set(&mut bytes, units as u128);
            }
        }
        bytes
    }
}

fn written(text: &str) -> Result<Written, TextError> {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default();
    if is_named(text, "payload") {
        return Err(TextError::Payload);
    }
    if is_named(text, "wire") {
        return Err(TextError::Wire);
    }
    let layer = Layer::by_name(name).ok_or_else(|| {
        let known: Vec<&str> = layers::ALL.iter().map(|l| l.name).collect();
        let known = format!("{}, payload, wire", known.join(", "));
        TextError::Layer {
            layer: name.to_owned(),
            known,
        }
    })?;
    let mut given = Vec::new();
    let mut options = Vec::new();
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| TextError::Word {
            word: word.to_owned(),
        })?;
        if name == "options" {
            if layer.extent == Extent::Fixed {
                return Err(TextError::Options { layer: layer.name });
            }
            options = hex(value)?;
            continue;
        }
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
    Ok(Written {
        layer,
        given,
        options,
    })
}

fn expected(field: &Field) -> String {
    match field.form {
        Form::Number | Form::Hex => format!("a number from 0 to {}", field.largest()),
        Form::Mac | Form::Ipv4 | Form::Ipv6 => {
            format!("something like {}", field.text(field.default))
        }
    }
}

fn assemble(written: &[Written], payload: &[u8]) -> Result<Vec<u8>, TextError> {
    let mut frame = Vec::new();
    let mut found = Vec::new();
    for (at, this) in written.iter().enumerate() {
        let layer = this.layer;
        let mut bytes = this.bytes();
        if let Some(above) = written.get(at + 1) {
            let always =
                matches!(layer.next, layers::Next::Always(name) if name == above.layer.name);
            match (layer.next_field(), above.layer.number_under(layer)) {
                (Some(field), Some(number)) => field.set(&mut bytes, number),
                (Some(field), None) if this.gives(field.name) => {}
                _ if always => {}
                _ => {
                    let (under, above) = (layer.name, above.layer.name);
                    return Err(TextError::Order { under, above });
                }
            }
        }
        for (field, number) in &this.given {
            field.set(&mut bytes, *number);
        }
        let start = frame.len();
        frame.extend(bytes);
        found.push(Found {
            layer,
            start,
            end: frame.len(),
        });
    }
    frame.extend(payload);
    for (this, found) in written.iter().zip(&found) {
        if let Some(field) = this.layer.field("length").filter(|_| !this.gives("length")) {
            // That of IPv6 does not count its own header.
            let from = if this.layer.name == "ipv6" {
                found.end
            } else {
                found.start
            };
            let length = frame.len() - from;
            field.set(&mut frame[found.start..], length as u128);
        }
    }
    // Inner checksums first: those of outer datagrams cover them.
    for at in (0..written.len()).rev() {
        if written[at].gives("checksum") {
            continue;
        }
        let sums = checksum::all(&frame, &found);
        if let Some(sum) = sums.into_iter().find(|sum| sum.layer == at) {
            frame[sum.at..sum.at + 2].copy_from_slice(&sum.right.to_be_bytes());
        }
    }
    Ok(frame)
}

/// The text that [`frame`] makes these bytes of: layers where they say it, else digits. What is
/// filled in, or is as where nothing is given, is left out.
pub fn describe(bytes: &[u8]) -> String {
    let layers = dissect(bytes);
    let rest = &bytes[layers.last().map_or(0, |last| last.end)..];
    let mut parts: Vec<Written> = layers
        .iter()
        .map(|found| Written {
            layer: found.layer,
            given: given(bytes, found, |field, number| {
                !found.layer.fills_in(field) && number != field.default
            }),
            options: bytes[found.options()..found.end].to_vec(),
        })
        .collect();
    // What is not what would be filled in has to be given: checksums last, from the innermost on,
    // since they cover the rest.
    let is_sum = |field: &Field| field.name == "checksum";
    let rounds = [(0..parts.len(), false)]
        .into_iter()
        .chain((0..parts.len()).rev().map(|at| (at..at + 1, true)));
    for (range, sums) in rounds {
        let Ok(plain) = assemble(&parts, rest) else {
            return crate::mapdiff::hex(bytes);
        };
        for at in range {
            let found = &layers[at];
            parts[at].given.extend(given(bytes, found, |field, number| {
                is_sum(field) == sums
                    && found.layer.fills_in(field)
                    && found.number(&plain, field.name) != Some(number)
            }));
        }
    }
    let mut texts: Vec<String> = parts.iter().map(text_of).collect();
    let is_text = |byte: &u8| (byte.is_ascii_graphic() && *byte != b'\'') || *byte == b' ';
    if !rest.is_empty() && rest.iter().all(is_text) {
        let rest = String::from_utf8_lossy(rest);
        texts.push(format!("payload text='{rest}'"));
    } else if !rest.is_empty() {
        texts.push(format!("payload={}", crate::mapdiff::hex(rest)));
    }
    let text = texts.join(" / ");
    match frame(&text) {
        Ok(again) if again == bytes && !layers.is_empty() => text,
        _ => crate::mapdiff::hex(bytes),
    }
}

fn given(
    bytes: &[u8],
    found: &Found,
    says: impl Fn(&Field, u128) -> bool,
) -> Vec<(&'static Field, u128)> {
    let fields = found.layer.fields.iter();
    fields
        .filter_map(|field| Some((field, found.number(bytes, field.name)?)))
        .filter(|(field, number)| says(field, *number))
        .collect()
}

fn text_of(written: &Written) -> String {
    let mut text = written.layer.name.to_owned();
    let mut given = written.given.clone();
    given.sort_by_key(|(field, _)| field.bit);
    for (field, number) in given {
        text.push_str(&format!(" {}={}", field.name, field.text(number)));
    }
    if !written.options.is_empty() {
        text.push_str(&format!(
            " options={}",
            crate::mapdiff::hex(&written.options)
        ));
    }
    text
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
    fn tags_and_extension_headers_are_those_that_etherparse_makes() {
        use etherparse::{DoubleVlanHeader, EtherType, SingleVlanHeader, VlanHeader};
        let tag = |id: u16, kind| SingleVlanHeader {
            pcp: 0.try_into().unwrap(),
            drop_eligible_indicator: false,
            vlan_id: id.try_into().unwrap(),
            ether_type: kind,
        };
        let ours = frame("eth / svlan id=9 / vlan id=5 / ipv4 / icmp type=8 id=1 seq=2").unwrap();
        let mut theirs = Vec::new();
        let mut ip = etherparse::Ipv4Header::new(
            0,
            64,
            etherparse::IpNumber::ICMP,
            [10, 0, 0, 1],
            [10, 0, 0, 2],
        )
        .unwrap();
        ip.dont_fragment = false;
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .vlan(VlanHeader::Double(DoubleVlanHeader {
                outer: tag(9, EtherType::VLAN_TAGGED_FRAME),
                inner: tag(5, EtherType::IPV4),
            }))
            .ip(etherparse::IpHeaders::Ipv4(
                ip,
                etherparse::Ipv4Extensions::default(),
            ))
            .icmpv4_echo_request(1, 2)
            .write(&mut theirs, &[])
            .unwrap();
        assert_eq!(ours, theirs);

        let ours = frame("eth / ipv6 / hopopts / fragment id=7 / icmpv6 id=1 seq=2 / payload=ab");
        let ours = ours.unwrap();
        let parsed = etherparse::PacketHeaders::from_ethernet_slice(&ours).unwrap();
        let etherparse::NetHeaders::Ipv6(ip, extensions) = parsed.net.unwrap() else {
            unreachable!("an IPv6 header");
        };
        assert_eq!(usize::from(ip.payload_length), ours.len() - 54);
        assert!(extensions.hop_by_hop_options.is_some());
        assert_eq!(extensions.fragment.unwrap().identification, 7);
        let Some(etherparse::TransportHeader::Icmpv6(icmp)) = parsed.transport else {
            unreachable!("an ICMPv6 header");
        };
        let right = icmp
            .icmp_type
            .calc_checksum(ip.source, ip.destination, &[0xab]);
        assert_eq!(icmp.checksum, right.unwrap());
    }

    #[test]
    fn checksums_inside_tunnels_are_filled_in() {
        for text in [
            "eth / ipv4 / udp / vxlan vni=7 / eth / ipv6 / tcp dport=80 / payload=00",
            "eth / ipv6 / udp / geneve options=0102030405060708 / eth / vlan / ipv4 / udp",
            "eth / ipv4 / gre has_key=1 options=00000007 / ipv4 / icmp",
            "eth / ipv4 / ipv4 options=01010101 / ipv6 / icmpv6 / payload bytes=3",
        ] {
            let bytes = frame(text).unwrap();
            let layers = dissect(&bytes);
            let of = text.matches('/').count() + 1 - usize::from(text.contains("payload"));
            assert_eq!(layers.len(), of, "{text}: all layers are found again");
            let sums = checksum::all(&bytes, &layers);
            let with = layers
                .iter()
                .filter(|l| l.layer.field("checksum").is_some());
            assert_eq!(sums.len(), with.count(), "{text}");
            assert!(sums.iter().all(checksum::Checksum::holds), "{text}");
            assert_eq!(frame(&describe(&bytes)).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn frames_can_be_wrong_on_purpose() {
        let bytes =
            frame("eth / ipv4 length=999 checksum=1 / udp length=3 / wire bytes=50").unwrap();
        assert_eq!(bytes.len(), 50);
        assert_eq!(bytes[16..18], [0x03, 0xe7]);
        assert_eq!(bytes[24..26], [0, 1]);
        assert_eq!(bytes[38..40], [0, 3]);
        assert_eq!(frame("eth / ipv4 / wire bytes=20").unwrap().len(), 20);
        assert_eq!(
            frame("eth type=0x88b5 / payload text='a/b c'").unwrap()[14..],
            *b"a/b c"
        );
    }

    #[test]
    fn a_frame_is_described_by_what_it_is_made_of() {
        for text in [
            "eth / ipv4 ttl=9 / udp dport=53 / payload=0102",
            "eth / vlan id=7 / ipv6 hop=3 / tcp flags=0x02 options=020405b4",
            "eth / ipv4 length=999 checksum=0x0001 / udp length=3",
            "eth / arp op=2",
            "eth / ipv4 / udp dport=53 / payload text='GET / HTTP'",
            "0102030405",
        ] {
            assert_eq!(describe(&frame(text).unwrap()), text);
        }
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
        says("eth / ipv4 / udp options=00", "`udp` has no options");
        says("eth / wire bytes=99999", "at most 65536");
    }
}
