//! Self-contained pages: what all of them have.
//!
//! Nothing is loaded from outside, and the page says so to the browser (a content security
//! policy that allows nothing but its own style). Pages need no script, and are readable in light
//! and dark.

mod packet;
pub mod plot;
pub mod record;
pub mod run;

use bpf::finding::Finding;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The style, in the colours of light and dark pages.
const STYLE: &str = include_str!("style.css");

/// A page with this title and heading.
pub fn page(title: &str, heading: &str, summary: &Markup, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (heading) }
                    (summary)
                }
                main { (body) }
                footer { "nicbed " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    page.into_string()
}

/// A finding; `about` says what it is about beside its place.
pub fn finding(finding: &Finding, about: &str) -> Markup {
    html! {
        span class=(finding.severity.name()) {
            b { (finding.rule) } " " (finding.message)
        }
        " " small { (about) }
        @if !finding.why.is_empty() { br; small { "why: " (finding.why) } }
        @if !finding.help.is_empty() { br; small { "help: " (finding.help) } }
    }
}
