//! Rendering: one value, several forms. Nothing here decides anything.

pub mod facts;
mod finding;
mod hexdump;
pub mod html;
pub mod json;
pub mod junit;
pub mod run;
mod style;
mod table;

pub use finding::{render_finding, render_findings};
pub use hexdump::{hexdump_difference, hexdump_of};
pub use style::Style;
pub use table::Table;
