//! `--set KEY=VALUE`: a profile with one key changed.

use crate::profile::{Caps, Place, ProfileError};
use crate::read;
use crate::schema::{self, Kind, Need, full_key};
use crate::value::{Bound, By, Fact, Names, Trust, Value};

/// What the source of a changed fact says.
const SOURCE: &str = "modelled: set on the command line";

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Replace,
    Add,
    Remove,
}

/// The profile with one key changed: `KEY=VALUE`, and for lists also `KEY+=NAMES` and
/// `KEY-=NAMES`. A value is written as in a profile's `value`; quotes and brackets may be left
/// out (`helpers+=bpf_fib_lookup,bpf_redirect`), a limit keeps its unit (`image.length=4096`).
///
/// # Errors
/// [`ProfileError`]: an unknown key with its near matches, a value its key does not take, or one
/// that contradicts another.
pub fn apply_set(caps: &Caps, assignment: &str) -> Result<Caps, ProfileError> {
    let malformed = || ProfileError::Assignment {
        text: assignment.to_owned(),
    };
    let (left, text) = assignment.split_once('=').ok_or_else(malformed)?;
    let (key, how) = match left.as_bytes().last() {
        Some(b'+') => (&left[..left.len() - 1], How::Add),
        Some(b'-') => (&left[..left.len() - 1], How::Remove),
        _ => (left, How::Replace),
    };
    let (key, text) = (key.trim(), text.trim());
    if key.is_empty() {
        return Err(malformed());
    }
    let at = Place {
        file: format!("--set {key}"),
        line: None,
    };
    let mut changed = caps.clone();
    match (key, how) {
        ("summary", How::Replace) => text.clone_into(&mut changed.summary),
        ("vendor", How::Replace) => text.clone_into(&mut changed.vendor),
        ("backend", How::Replace) => text.clone_into(&mut changed.backend),
        ("record", How::Replace) => changed.record = read::record_format(text, at.clone())?,
        _ => {
            let found =
                schema::find(key).ok_or_else(|| read::unknown_key(key.to_owned(), at.clone()))?;
            read::check_helper(&found, key, &at)?;
            let before = caps.fact(key).map(|fact| &fact.value);
            let value = read::set_value(key, found.row.kind, text, before)?;
            let value = match how {
                How::Replace => value,
                How::Add | How::Remove => merged(key, found.row.kind, how, before, value, &at)?,
            };
            make_room(&mut changed, found.row.need, key);
            changed.facts.insert(
                key.to_owned(),
                Fact {
                    value,
                    source: SOURCE.to_owned(),
                    trust: Trust::Modelled,
                },
            );
        }
    }
    read::complete(&changed, &at.file, &|_| at.clone())?;
    Ok(changed)
}

/// Costs are unknown as a whole or each by itself: a cost that is set makes the others unknown
/// one by one, and the whole takes their place.
fn make_room(caps: &mut Caps, need: Need, key: &str) {
    const WHOLE: &str = "model.cycles";
    if key == WHOLE {
        caps.facts
            .retain(|known, _| !known.starts_with("model.cycles."));
    } else if need == Need::Cost
        && let Some(whole) = caps.facts.remove(WHOLE)
    {
        for row in schema::ROWS.iter().filter(|row| row.need == Need::Cost) {
            let fact = Fact {
                value: Value::Number(Bound::Unknown),
                ..whole.clone()
            };
            caps.facts.insert(full_key(By::Model, row.key), fact);
        }
    }
}

/// A list with names added or taken away.
fn merged(
    key: &str,
    kind: Kind,
    how: How,
    before: Option<&Value>,
    change: Value,
    at: &Place,
) -> Result<Value, ProfileError> {
    let (Kind::Names(domain), Value::Names(Names::List(change))) = (kind, change) else {
        return Err(ProfileError::Type {
            at: at.clone(),
            key: key.to_owned(),
            found: "no list".to_owned(),
            expected: "a list of names for += and -=".to_owned(),
        });
    };
    let mut list: Vec<String> = match before {
        Some(Value::Names(Names::List(list))) => list.clone(),
        Some(Value::Names(Names::All)) => domain.names().into_iter().map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    match how {
        How::Remove => list.retain(|name| !change.contains(name)),
        How::Add | How::Replace => {
            for name in change {
                if !list.contains(&name) {
                    list.push(name);
                }
            }
        }
    }
    Ok(Value::Names(Names::List(list)))
}
