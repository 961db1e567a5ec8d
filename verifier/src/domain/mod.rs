//! Abstract values. Domains know order, join and meet, and no instruction.

mod range;
mod tnum;

pub use range::Range;
pub use tnum::Tnum;
