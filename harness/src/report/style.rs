//! Colour, on or off.

use anstyle::{AnsiColor, Color, Style as Ansi};

/// How text is coloured; plain text where it is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether escape sequences are written.
    pub colour: bool,
}

impl Style {
    /// No colour.
    pub const PLAIN: Style = Style { colour: false };

    fn paint(self, text: &str, ansi: Ansi) -> String {
        if self.colour {
            format!("{ansi}{text}{ansi:#}")
        } else {
            text.to_owned()
        }
    }

    /// Bad.
    pub fn bad(self, text: &str) -> String {
        self.paint(
            text,
            Ansi::new()
                .bold()
                .fg_color(Some(Color::Ansi(AnsiColor::Red))),
        )
    }

    /// Good.
    pub fn good(self, text: &str) -> String {
        self.paint(
            text,
            Ansi::new()
                .bold()
                .fg_color(Some(Color::Ansi(AnsiColor::Green))),
        )
    }

    /// Worth a look.
    pub fn warn(self, text: &str) -> String {
        self.paint(
            text,
            Ansi::new()
                .bold()
                .fg_color(Some(Color::Ansi(AnsiColor::Yellow))),
        )
    }

    /// A heading.
    pub fn head(self, text: &str) -> String {
        self.paint(text, Ansi::new().bold())
    }

    /// Of less weight.
    pub fn dim(self, text: &str) -> String {
        self.paint(text, Ansi::new().dimmed())
    }
}
