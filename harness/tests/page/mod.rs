//! Reads a page that nicbed wrote, and holds it to what all pages promise: nothing is loaded from
//! outside, and nothing runs.

use std::collections::BTreeSet;

use quick_xml::Reader;
use quick_xml::events::Event;

/// Elements that load or run something.
const LOADING: [&str; 14] = [
    "script", "link", "img", "image", "iframe", "object", "embed", "source", "audio", "video",
    "use", "base", "form", "frame",
];

/// Elements without an end.
const VOID: [&str; 3] = ["meta", "br", "hr"];

/// What a page has.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// Ids of elements.
    pub(crate) anchors: BTreeSet<String>,
    /// Ids that links lead to.
    pub(crate) targets: BTreeSet<String>,
}

/// Parses a page.
#[track_caller]
pub(crate) fn parse(page: &str) -> Parsed {
    let body = page.strip_prefix("<!DOCTYPE html>").unwrap();
    assert!(page.contains("default-src 'none'") || page.contains("default-src &#39;none&#39;"));
    let mut reader = Reader::from_str(body);
    reader.config_mut().check_end_names = false;
    let mut parsed = Parsed::default();
    let mut open: Vec<String> = Vec::new();
    loop {
        let event = reader.read_event().unwrap();
        match event {
            Event::Eof => break,
            Event::Start(ref start) | Event::Empty(ref start) => {
                let name = start.name().as_ref().to_string();
                assert!(!LOADING.contains(&name.as_str()), "<{name}>");
                for attribute in start.attributes().map(Result::unwrap) {
                    let key = attribute.key.as_ref().to_string();
                    let value = attribute.value.into_owned();
                    assert!(!key.starts_with("on"), "{key}");
                    match key.as_str() {
                        "href" => {
                            parsed
                                .targets
                                .insert(value.strip_prefix('#').unwrap().to_owned());
                        }
                        "id" => assert!(parsed.anchors.insert(value)),
                        "src" | "srcset" | "action" | "data" => {
                            assert!(value.is_empty(), "{key}={value}");
                        }
                        "style" => assert!(!value.contains("url("), "{value}"),
                        _ => {}
                    }
                }
                if matches!(event, Event::Start(_)) && !VOID.contains(&name.as_str()) {
                    open.push(name);
                }
            }
            Event::End(end) => {
                let name = end.name().as_ref().to_string();
                assert_eq!(open.pop(), Some(name));
            }
            Event::Text(text) if open.last().is_some_and(|name| name == "style") => {
                let text = text.to_string();
                assert!(!text.contains("url(") && !text.contains("@import"));
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
    parsed
}
