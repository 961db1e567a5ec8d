//! The numbers of a tc packet's context that are expected, by their names in `struct __sk_buff`.

use std::collections::BTreeMap;

use bpf::context::{Field, FieldKind, SK_BUFF};
use bpf::skb::Skb;
use serde_json::Value;

use super::expect::{Failure, Key};
use super::format::ContextIs;

/// Fields that lie in network order; here they are as on the wire.
const NETWORK_ORDER: [&str; 2] = ["protocol", "vlan_proto"];

/// What of a context is not as expected.
///
/// # Errors
/// If there is no field of a name, or no context.
pub fn failures(
    expected: &BTreeMap<String, ContextIs>,
    got: Option<&Skb>,
) -> Result<Vec<Failure>, String> {
    let mut failures = Vec::new();
    for (name, is) in expected {
        let skb = got.ok_or("`context`: only tc programs have one that is kept")?;
        let field = field(name)?;
        let (expected, got) = match is {
            ContextIs::Number(number) if field.size <= 8 => {
                (Value::from(*number), Value::from(number_at(skb, field)))
            }
            ContextIs::Words(words) if field.size > 8 => {
                let all = usize::from(field.size) / 4;
                if words.len() > all {
                    return Err(format!("`context`: {name} has {all} words"));
                }
                let first = usize::from(field.offset) / 4;
                let got = skb.words.iter().skip(first).take(words.len());
                (Value::from(words.as_slice()), got.copied().collect())
            }
            ContextIs::Number(_) => {
                return Err(format!("`context`: {name} is a list of words, [0, 0, …]"));
            }
            ContextIs::Words(_) => return Err(format!("`context`: {name} is a number")),
        };
        if expected != got {
            let text = |value: &Value| match value.as_u64() {
                Some(number) => format!("{number} ({number:#x})"),
                None => value.to_string(),
            };
            let failure = Failure::new(format!("context {name}"), text(&expected), text(&got));
            failures.push(failure.now(Key::Context(name.clone()), got));
        }
    }
    Ok(failures)
}

fn field(name: &str) -> Result<&'static Field, String> {
    let numbers = || {
        SK_BUFF
            .iter()
            .filter(|field| field.kind == FieldKind::Scalar)
    };
    numbers().find(|field| field.name == name).ok_or_else(|| {
        let names: Vec<&str> = numbers().map(|field| field.name).collect();
        format!(
            "`context`: there is no {name}; there are {}",
            names.join(", ")
        )
    })
}

fn number_at(skb: &Skb, field: &Field) -> u64 {
    let number = skb
        .load(field.offset.into(), field.size.into())
        .unwrap_or(0);
    if NETWORK_ORDER.contains(&field.name) {
        u64::from(u16::from_be(number as u16))
    } else {
        number
    }
}
