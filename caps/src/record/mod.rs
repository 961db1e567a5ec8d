//! The binary record in which a device declares its capabilities, in two formats: encoding is
//! the device's side, decoding the driver's.
//!
//! What is checked is what the device says: a pipeline reads the record from the device
//! ([`Caps::to_record`] made it) and puts it in place of the profile's device facts
//! ([`Caps::with_record`]). What the driver knows and what is modelled stays.

pub mod nfp;
pub mod nicbed;

use crate::profile::{Caps, RecordFormat};
use crate::schema::{self, Kind, Need};
use crate::value::{Bound, By, Fact, Limit, Trust, Value};

/// What facts say that a record gave and the profile does not know.
const FROM_RECORD: &str = "the device's record";
/// What facts say that the record should have given.
const NOT_IN_RECORD: &str = "not in the device's record";

/// Why a record cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The `nicbed` record is malformed.
    #[error("device record: {0}")]
    Nicbed(#[from] nicbed::DecodeError),
    /// The NFP's record is malformed.
    #[error("device record: {0}")]
    Nfp(#[from] nfp::DecodeError),
}

impl Caps {
    /// The record that a device with these capabilities serves: what it declares, nothing that
    /// only the driver knows or that is modelled.
    pub fn to_record(&self) -> Vec<u8> {
        match self.record {
            RecordFormat::Nicbed => nicbed::encode(self),
            RecordFormat::Nfp => nfp::Record::of(self).encode(),
        }
    }

    /// These capabilities with what the device declares taken from `record`. A fact that the
    /// record should give and does not becomes unknown.
    ///
    /// # Errors
    /// [`RecordError`] if the record is malformed.
    pub fn with_record(&self, record: &[u8]) -> Result<Caps, RecordError> {
        let declared = match self.record {
            RecordFormat::Nicbed => nicbed::decode(record)?.facts,
            RecordFormat::Nfp => nfp::Record::decode(record)?.facts(),
        };
        let mut caps = self.clone();
        caps.facts.retain(|key, _| By::split(key).0 != By::Device);
        for (key, value) in declared {
            let known = self.facts.get(&key).filter(|fact| fact.value == value);
            let fact = known.cloned().unwrap_or_else(|| Fact {
                value,
                source: FROM_RECORD.to_owned(),
                trust: Trust::Read,
            });
            caps.facts.insert(key, fact);
        }
        for row in schema::ROWS {
            if row.need == Need::Always && caps.layers(row.key).next().is_none() {
                let value = match row.kind {
                    Kind::Number(..) => Value::Number(Bound::Unknown),
                    Kind::Limit(units, scope) => Value::Limit(Limit {
                        value: Bound::Unknown,
                        unit: units[0],
                        scope,
                        granule: 1,
                    }),
                    _ => Value::Unknown,
                };
                caps.facts.insert(
                    row.key.to_owned(),
                    Fact {
                        value,
                        source: NOT_IN_RECORD.to_owned(),
                        trust: Trust::Read,
                    },
                );
            }
        }
        Ok(caps)
    }
}
