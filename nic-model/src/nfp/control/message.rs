//! Control messages as bytes: big-endian, a header of type, version and tag, then words, then
//! entries of a key field and a value field.

/// Version in each header.
const VERSION: u8 = 1;
/// Bit of the type that tells an answer.
const ANSWER: u8 = 0x80;
const ALLOC: u8 = 1;
const FREE: u8 = 2;
/// Bytes before the entries, in requests and answers.
const HEAD_BYTES: usize = 16;

/// Widths of the fields of an entry, in bytes. With ABI 2 both are 64; with ABI 3 they are the
/// longest key and value that the firmware declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Of the key.
    pub key_bytes: usize,
    /// Of the value.
    pub value_bytes: usize,
}

impl Fields {
    /// What a device's record says.
    pub fn of(record: &caps::record::nfp::Record) -> Fields {
        match (record.abi_version(), &record.firmware) {
            (3, Some(firmware)) => Fields {
                key_bytes: firmware.maps.max_key_bytes as usize,
                value_bytes: firmware.maps.max_value_bytes as usize,
            },
            _ => Fields {
                key_bytes: 64,
                value_bytes: 64,
            },
        }
    }

    /// Bytes of a message with this many entries.
    pub const fn message_bytes(self, entries: usize) -> usize {
        HEAD_BYTES + entries * (self.key_bytes + self.value_bytes)
    }

    /// How many entries fit into a message of this size.
    pub const fn entries_in(self, bytes: usize) -> usize {
        let entry = self.key_bytes + self.value_bytes;
        if entry == 0 {
            return 0;
        }
        bytes.saturating_sub(HEAD_BYTES) / entry
    }
}

/// What is done with entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The value of a key.
    Lookup,
    /// Sets a value.
    Update,
    /// Takes a key away.
    Delete,
    /// The keys behind one, with their values.
    GetNext,
    /// The first keys, with their values.
    GetFirst,
}

impl Op {
    const ALL: [(u8, Op); 5] = [
        (3, Op::Lookup),
        (4, Op::Update),
        (5, Op::Delete),
        (6, Op::GetNext),
        (7, Op::GetFirst),
    ];

    fn number(self) -> u8 {
        let row = Op::ALL.iter().find(|(_, op)| *op == self);
        row.map_or(0, |(number, _)| *number)
    }

    fn from_number(number: u8) -> Option<Op> {
        let row = Op::ALL.iter().find(|(known, _)| *known == number);
        row.map(|(_, op)| *op)
    }
}

/// A new table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alloc {
    /// Key in bytes.
    pub key_size: u32,
    /// Value in bytes.
    pub value_size: u32,
    /// Elements.
    pub max_entries: u32,
    /// Number of the map type in linux/bpf.h.
    pub kind: u32,
}

/// A key and its value, in the card's byte order, without what fills up their fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

/// From host to card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A new table.
    Alloc(Alloc),
    /// A table is not needed any more.
    Free {
        /// Which.
        table: u32,
    },
    /// Something is done with entries of a table.
    Entries {
        /// What.
        op: Op,
        /// Which table.
        table: u32,
        /// How many entries are wanted.
        count: u32,
        /// Flags of an update.
        flags: u32,
        /// The key, and the value of an update.
        entry: Entry,
    },
}

/// Result that the firmware puts into an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// No such table.
    NoTable,
    /// No such key.
    NoEntry,
    /// The request means nothing.
    Invalid,
    /// The card failed.
    Failed,
    /// The key is there already.
    Exists,
    /// No room.
    NoMemory,
    /// Too large.
    TooLarge,
    /// One that the driver does not know.
    Unknown(u32),
}

impl Status {
    const ALL: [Status; 8] = [
        Status::Ok,
        Status::NoTable,
        Status::NoEntry,
        Status::Invalid,
        Status::Failed,
        Status::Exists,
        Status::NoMemory,
        Status::TooLarge,
    ];

    fn number(self) -> u32 {
        match self {
            Status::Unknown(number) => number,
            known => {
                let at = Status::ALL.iter().position(|status| *status == known);
                at.unwrap_or(0) as u32
            }
        }
    }

    fn from_number(number: u32) -> Status {
        let known = Status::ALL.get(number as usize);
        known.copied().unwrap_or(Status::Unknown(number))
    }
}

/// From card to host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A table was made.
    Alloc {
        /// Result.
        status: Status,
        /// Which.
        table: u32,
    },
    /// A table is gone.
    Free {
        /// Result.
        status: Status,
        /// Elements that it had.
        count: u32,
    },
    /// Something was done with entries.
    Entries {
        /// What.
        op: Op,
        /// Result.
        status: Status,
        /// What was asked for.
        entries: Vec<Entry>,
    },
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends too early.
    #[error("control message of {len} bytes, {needed} are needed")]
    Short {
        /// Its length.
        len: usize,
        /// What it takes.
        needed: usize,
    },
    /// Another version.
    #[error("control message of version {version}, only 1 is known")]
    Version {
        /// The version.
        version: u8,
    },
    /// A type that is not known here.
    #[error("control message of unknown type {kind:#04x}")]
    Kind {
        /// The type.
        kind: u8,
    },
}

impl Request {
    /// As bytes.
    pub fn encode(&self, tag: u16, fields: Fields) -> Vec<u8> {
        match self {
            Request::Alloc(alloc) => {
                let flags = 0;
                words(
                    ALLOC,
                    tag,
                    &[
                        alloc.key_size,
                        alloc.value_size,
                        alloc.max_entries,
                        alloc.kind,
                        flags,
                    ],
                )
            }
            Request::Free { table } => words(FREE, tag, &[*table]),
            Request::Entries {
                op,
                table,
                count,
                flags,
                entry,
            } => {
                let mut out = words(op.number(), tag, &[*table, *count, *flags]);
                put(&mut out, entry, fields);
                out
            }
        }
    }

    /// From bytes, with the tag.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8], fields: Fields) -> Result<(u16, Request), MessageError> {
        let (kind, tag) = head(bytes)?;
        let request = match kind {
            ALLOC => Request::Alloc(Alloc {
                key_size: word(bytes, 4)?,
                value_size: word(bytes, 8)?,
                max_entries: word(bytes, 12)?,
                kind: word(bytes, 16)?,
            }),
            FREE => Request::Free {
                table: word(bytes, 4)?,
            },
            kind => Request::Entries {
                op: Op::from_number(kind).ok_or(MessageError::Kind { kind })?,
                table: word(bytes, 4)?,
                count: word(bytes, 8)?,
                flags: word(bytes, 12)?,
                entry: entry(bytes, HEAD_BYTES, fields)?,
            },
        };
        Ok((tag, request))
    }
}

impl Reply {
    /// As bytes.
    pub fn encode(&self, tag: u16, fields: Fields) -> Vec<u8> {
        match self {
            Reply::Alloc { status, table } => {
                words(ALLOC | ANSWER, tag, &[status.number(), *table])
            }
            Reply::Free { status, count } => words(FREE | ANSWER, tag, &[status.number(), *count]),
            Reply::Entries {
                op,
                status,
                entries,
            } => {
                let head = [status.number(), entries.len() as u32, 0];
                let mut out = words(op.number() | ANSWER, tag, &head);
                for entry in entries {
                    put(&mut out, entry, fields);
                }
                out
            }
        }
    }

    /// From bytes, with the tag.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8], fields: Fields) -> Result<(u16, Reply), MessageError> {
        let (kind, tag) = head(bytes)?;
        if kind & ANSWER == 0 {
            return Err(MessageError::Kind { kind });
        }
        let status = Status::from_number(word(bytes, 4)?);
        let number = word(bytes, 8)?;
        let reply = match kind & !ANSWER {
            ALLOC => Reply::Alloc {
                status,
                table: number,
            },
            FREE => Reply::Free {
                status,
                count: number,
            },
            other => {
                let op = Op::from_number(other).ok_or(MessageError::Kind { kind })?;
                // Not more than the bytes can hold, whatever the count says.
                let most = fields.entries_in(bytes.len());
                if number as usize > most {
                    return Err(MessageError::Short {
                        len: bytes.len(),
                        needed: fields.message_bytes(number as usize),
                    });
                }
                let width = fields.key_bytes + fields.value_bytes;
                let entries = (0..number as usize)
                    .map(|index| entry(bytes, HEAD_BYTES + index * width, fields));
                Reply::Entries {
                    op,
                    status,
                    entries: entries.collect::<Result<_, _>>()?,
                }
            }
        };
        Ok((tag, reply))
    }
}

fn words(kind: u8, tag: u16, words: &[u32]) -> Vec<u8> {
    let mut out = vec![kind, VERSION];
    out.extend_from_slice(&tag.to_be_bytes());
    for word in words {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out
}

/// An entry in its fields: what is longer is cut, what is shorter filled up with zeros.
fn put(out: &mut Vec<u8>, entry: &Entry, fields: Fields) {
    for (bytes, width) in [
        (&entry.key, fields.key_bytes),
        (&entry.value, fields.value_bytes),
    ] {
        let taken = bytes.len().min(width);
        out.extend_from_slice(&bytes[..taken]);
        out.resize(out.len() + width - taken, 0);
    }
}

fn head(bytes: &[u8]) -> Result<(u8, u16), MessageError> {
    let &[kind, version, high, low, ..] = bytes else {
        return Err(MessageError::Short {
            len: bytes.len(),
            needed: 4,
        });
    };
    if version != VERSION {
        return Err(MessageError::Version { version });
    }
    Ok((kind, u16::from_be_bytes([high, low])))
}

fn word(bytes: &[u8], at: usize) -> Result<u32, MessageError> {
    match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(MessageError::Short {
            len: bytes.len(),
            needed: at + 4,
        }),
    }
}

fn entry(bytes: &[u8], at: usize, fields: Fields) -> Result<Entry, MessageError> {
    let middle = at + fields.key_bytes;
    let end = middle + fields.value_bytes;
    let short = MessageError::Short {
        len: bytes.len(),
        needed: end,
    };
    Ok(Entry {
        key: bytes.get(at..middle).ok_or(short)?.to_vec(),
        value: bytes.get(middle..end).ok_or(short)?.to_vec(),
    })
}
