//! The record as bytes.

use super::{
    AdjustHead, BAR_BYTES, DecodeError, FUNCTIONS, Firmware, Maps, Record, Registers, Warning,
};

const AT_CAP: usize = 0x38;
const AT_BPF_ABI: usize = 0x80;
const AT_BPF_CAP: usize = 0x81;
const AT_BPF_MAX_LEN: usize = 0x82;
const AT_BPF_START: usize = 0x84;
const AT_BPF_DONE: usize = 0x86;
const AT_BPF_STACK_SZ: usize = 0x88;
const AT_BPF_INL_MTU: usize = 0x89;

const TYPE_FUNC: u32 = 1;
const TYPE_ADJUST_HEAD: u32 = 2;
const TYPE_MAPS: u32 = 3;
const TYPE_RANDOM: u32 = 4;
const TYPE_QUEUE_SELECT: u32 = 5;
const TYPE_ADJUST_TAIL: u32 = 6;
const TYPE_ABI_VERSION: u32 = 7;
const TYPE_CMSG_MULTI_ENT: u32 = 8;

impl Record {
    /// Reads a record as the driver does.
    ///
    /// # Errors
    /// [`DecodeError`] where the driver's BPF part would not start.
    pub fn decode(record: &[u8]) -> Result<Record, DecodeError> {
        let bar = record
            .get(..BAR_BYTES)
            .ok_or(DecodeError::Registers { len: record.len() })?;
        let half = |at: usize| u16::from_le_bytes([bar[at], bar[at + 1]]);
        let registers = Registers {
            cap: word(bar, AT_CAP),
            abi: bar[AT_BPF_ABI],
            bpf_cap: bar[AT_BPF_CAP],
            max_len_insns: half(AT_BPF_MAX_LEN),
            start_insns: half(AT_BPF_START),
            done_insns: half(AT_BPF_DONE),
            stack_units: bar[AT_BPF_STACK_SZ],
            split_units: bar[AT_BPF_INL_MTU],
        };
        let mut warnings = Vec::new();
        let blob = &record[BAR_BYTES..];
        let firmware = if blob.is_empty() {
            None
        } else {
            Some(Firmware::decode(blob, &mut warnings)?)
        };
        Ok(Record {
            registers,
            firmware,
            warnings,
        })
    }

    /// The record as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; BAR_BYTES];
        let r = &self.registers;
        out[AT_CAP..AT_CAP + 4].copy_from_slice(&r.cap.to_le_bytes());
        out[AT_BPF_ABI] = r.abi;
        out[AT_BPF_CAP] = r.bpf_cap;
        out[AT_BPF_MAX_LEN..AT_BPF_MAX_LEN + 2].copy_from_slice(&r.max_len_insns.to_le_bytes());
        out[AT_BPF_START..AT_BPF_START + 2].copy_from_slice(&r.start_insns.to_le_bytes());
        out[AT_BPF_DONE..AT_BPF_DONE + 2].copy_from_slice(&r.done_insns.to_le_bytes());
        out[AT_BPF_STACK_SZ] = r.stack_units;
        out[AT_BPF_INL_MTU] = r.split_units;
        if let Some(firmware) = &self.firmware {
            firmware.encode(&mut out);
        }
        out
    }
}

impl Firmware {
    fn decode(blob: &[u8], warnings: &mut Vec<Warning>) -> Result<Firmware, DecodeError> {
        if blob.len() < 8 {
            return Err(DecodeError::Symbol { len: blob.len() });
        }
        let mut firmware = Firmware::default();
        let mut at = 0;
        while at + 8 <= blob.len() {
            let (kind, length) = (word(blob, at), word(blob, at + 4));
            let next = at.saturating_add(8).saturating_add(length as usize);
            let value = blob
                .get(at + 8..next)
                .ok_or(DecodeError::Entry { offset: next })?;
            firmware.entry(kind, length, value, warnings)?;
            at = next;
        }
        if at == blob.len() {
            Ok(firmware)
        } else {
            Err(DecodeError::Left {
                parsed: at,
                total: blob.len(),
            })
        }
    }

    fn entry(
        &mut self,
        kind: u32,
        length: u32,
        value: &[u8],
        warnings: &mut Vec<Warning>,
    ) -> Result<(), DecodeError> {
        match kind {
            TYPE_FUNC => {
                let [id, address] = words(value).ok_or(DecodeError::Function { length })?;
                if FUNCTIONS.contains(&id) {
                    self.functions.insert(id, address);
                }
            }
            TYPE_ADJUST_HEAD => {
                let [flags, off_min, off_max, guaranteed_sub, guaranteed_add] =
                    words(value).ok_or(DecodeError::AdjustHead { length })?;
                if off_min > off_max {
                    return Err(DecodeError::AdjustHeadRange);
                }
                self.adjust_head = if off_max > 255 {
                    warnings.push(Warning::AdjustHeadOffsets);
                    AdjustHead::default()
                } else {
                    AdjustHead {
                        flags,
                        off_min,
                        off_max,
                        guaranteed_sub,
                        guaranteed_add,
                    }
                };
            }
            TYPE_MAPS => {
                let [
                    types,
                    max_maps,
                    max_elems,
                    max_key_bytes,
                    max_value_bytes,
                    max_elem_bytes,
                ] = words(value).ok_or(DecodeError::Maps { length })?;
                self.maps = Maps {
                    types,
                    max_maps,
                    max_elems,
                    max_key_bytes,
                    max_value_bytes,
                    max_elem_bytes,
                };
            }
            TYPE_RANDOM => self.random = true,
            TYPE_QUEUE_SELECT => self.queue_select = true,
            TYPE_ADJUST_TAIL => self.adjust_tail = true,
            TYPE_ABI_VERSION => {
                let [version] = words(value).ok_or(DecodeError::AbiVersion { length })?;
                if (2..=3).contains(&version) {
                    self.abi_version = Some(version);
                } else {
                    warnings.push(Warning::AbiVersion { version });
                    self.abi_version = Some(0);
                }
            }
            TYPE_CMSG_MULTI_ENT => self.multi_entry_messages = true,
            kind => warnings.push(Warning::UnknownType { kind }),
        }
        Ok(())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut entry = |kind: u32, words: &[u32]| {
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&(4 * words.len() as u32).to_le_bytes());
            for word in words {
                out.extend_from_slice(&word.to_le_bytes());
            }
        };
        for (&id, &address) in &self.functions {
            entry(TYPE_FUNC, &[id, address]);
        }
        let h = &self.adjust_head;
        if *h != AdjustHead::default() {
            entry(
                TYPE_ADJUST_HEAD,
                &[
                    h.flags,
                    h.off_min,
                    h.off_max,
                    h.guaranteed_sub,
                    h.guaranteed_add,
                ],
            );
        }
        let m = &self.maps;
        // Always there, so that no blob is empty: an empty one would read as none.
        entry(
            TYPE_MAPS,
            &[
                m.types,
                m.max_maps,
                m.max_elems,
                m.max_key_bytes,
                m.max_value_bytes,
                m.max_elem_bytes,
            ],
        );
        for (kind, there) in [
            (TYPE_RANDOM, self.random),
            (TYPE_QUEUE_SELECT, self.queue_select),
            (TYPE_ADJUST_TAIL, self.adjust_tail),
            (TYPE_CMSG_MULTI_ENT, self.multi_entry_messages),
        ] {
            if there {
                entry(kind, &[]);
            }
        }
        if let Some(version) = self.abi_version {
            entry(TYPE_ABI_VERSION, &[version]);
        }
    }
}

/// The u32 at byte `at`, which the caller has checked.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The first `N` u32 of a value; a longer value is fine.
fn words<const N: usize>(value: &[u8]) -> Option<[u32; N]> {
    let value = value.get(..4 * N)?;
    let mut out = [0; N];
    for (i, word_out) in out.iter_mut().enumerate() {
        *word_out = word(value, 4 * i);
    }
    Some(out)
}
