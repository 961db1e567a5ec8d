//! What only a whole profile shows: facts that are missing, stand in the wrong layer, or
//! contradict each other.

use crate::profile::{Caps, Place, ProfileError, RecordFormat};
use crate::schema::{self, Need};
use crate::value::{Bound, By};

/// Holds a whole profile against the schema: is everything there, does it go together?
pub(crate) fn complete(
    caps: &Caps,
    file: &str,
    place: &dyn Fn(&str) -> Place,
) -> Result<(), ProfileError> {
    let costs_unknown = caps.facts.contains_key("model.cycles");
    for row in schema::ROWS {
        let must = match row.need {
            Need::Always | Need::Model => true,
            Need::Cost => !costs_unknown,
            Need::Nfp => caps.record == RecordFormat::Nfp,
            Need::NfpOptional | Need::ModelOptional | Need::Optional => false,
        };
        if must && caps.layers(row.key).next().is_none() {
            let key = match row.need {
                Need::Model | Need::Cost => schema::full_key(By::Model, row.key),
                _ if caps.record == RecordFormat::Nfp && !crate::record::nfp::declares(row.key) => {
                    schema::full_key(By::Driver, row.key)
                }
                _ => row.key.to_owned(),
            };
            return Err(ProfileError::Missing {
                file: file.to_owned(),
                key,
                doc: row.doc,
            });
        }
    }
    for key in caps.facts.keys() {
        let (by, rest) = By::split(key);
        if by != By::Device {
            continue;
        }
        let declarable = match (caps.record, schema::find(key)) {
            (RecordFormat::Nicbed, Some(found)) => found.row.tag != 0,
            (RecordFormat::Nfp, Some(found)) => crate::record::nfp::declares(found.row.key),
            (_, None) => true,
        };
        if !declarable {
            return Err(ProfileError::NotDeclarable {
                at: place(key),
                key: rest.to_owned(),
                record: caps.record.name(),
            });
        }
    }
    consistent(caps, place)
}

/// Values that contradict each other.
fn consistent(caps: &Caps, place: &dyn Fn(&str) -> Place) -> Result<(), ProfileError> {
    let pairs = [
        (
            "packet.headroom_usable_bytes",
            "packet.headroom_bytes",
            "that is more than packet.headroom_bytes",
        ),
        (
            "packet.frame_min_bytes",
            "packet.frame_max_bytes",
            "that is more than packet.frame_max_bytes",
        ),
        (
            "queues_default",
            "queues_max",
            "that is more than model.queues_max",
        ),
    ];
    for (low, high, why) in pairs {
        if let (Bound::Known(a), Bound::Known(b)) = (caps.bound(low), caps.bound(high))
            && a > b
        {
            let key = caps
                .layers(low)
                .next()
                .map_or_else(|| low.to_owned(), |(by, _)| schema::full_key(by, low));
            return Err(ProfileError::Conflict {
                at: place(&key),
                key,
                value: a.to_string(),
                why,
            });
        }
    }
    if caps.record == RecordFormat::Nfp {
        crate::record::nfp::expressible(caps).map_err(|(key, why)| ProfileError::Conflict {
            at: place(key),
            key: key.to_owned(),
            value: caps
                .fact(key)
                .map_or_else(String::new, |fact| fact.value.to_string()),
            why,
        })?;
    }
    Ok(())
}
