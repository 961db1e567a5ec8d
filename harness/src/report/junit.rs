//! JUnit XML, in the form that test reporters of CI systems read (the schema of Jenkins' xUnit
//! plugin). No times and no host stand in it: equal runs give equal bytes.

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use crate::error::Error;

/// A suite.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Name.
    pub name: String,
    /// Cases, in order.
    pub cases: Vec<Case>,
}

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name within its class.
    pub name: String,
    /// What the case belongs to: a file.
    pub class: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Otherwise.
    Failed {
        /// One line.
        message: String,
        /// The rest.
        detail: String,
    },
    /// It could not be run.
    Error(String),
    /// It was not run, and why.
    Skipped(String),
}

/// The document of some suites.
///
/// # Errors
/// If it cannot be written, which needs memory to run out.
pub fn document(name: &str, suites: &[Suite]) -> Result<String, Error> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(&mut writer, name, suites)
        .map_err(|e| Error::input(format!("the result cannot be written as XML: {e}")))?;
    let mut text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    text.push('\n');
    Ok(text)
}

fn write(writer: &mut Writer<Vec<u8>>, name: &str, suites: &[Suite]) -> std::io::Result<()> {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all: Vec<&Case> = suites.iter().flat_map(|suite| &suite.cases).collect();
    writer.write_event(Event::Start(counted("testsuites", name, &all)))?;
    for suite in suites {
        writer.write_event(Event::Start(counted(
            "testsuite",
            &suite.name,
            &suite.cases.iter().collect::<Vec<_>>(),
        )))?;
        for case in &suite.cases {
            write_case(writer, case)?;
        }
        writer.write_event(Event::End(BytesEnd::new("testsuite")))?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuites")))
}

fn counted<'a>(element: &'a str, name: &str, cases: &[&Case]) -> BytesStart<'a> {
    let count = |is: fn(&Outcome) -> bool| {
        cases
            .iter()
            .filter(|case| is(&case.outcome))
            .count()
            .to_string()
    };
    let mut start = BytesStart::new(element);
    start.push_attribute(("name", clean(name).as_str()));
    start.push_attribute(("tests", count(|_| true).as_str()));
    let failures = count(|o| matches!(o, Outcome::Failed { .. }));
    start.push_attribute(("failures", failures.as_str()));
    let errors = count(|o| matches!(o, Outcome::Error(_)));
    start.push_attribute(("errors", errors.as_str()));
    if element == "testsuite" {
        let skipped = count(|o| matches!(o, Outcome::Skipped(_)));
        start.push_attribute(("skipped", skipped.as_str()));
    }
    start
}

fn write_case(writer: &mut Writer<Vec<u8>>, case: &Case) -> std::io::Result<()> {
    let mut start = BytesStart::new("testcase");
    start.push_attribute(("name", clean(&case.name).as_str()));
    start.push_attribute(("classname", clean(&case.class).as_str()));
    let (element, message, detail) = match &case.outcome {
        Outcome::Passed => return writer.write_event(Event::Empty(start)),
        Outcome::Failed { message, detail } => ("failure", message, detail.as_str()),
        Outcome::Error(message) => ("error", message, ""),
        Outcome::Skipped(message) => ("skipped", message, ""),
    };
    writer.write_event(Event::Start(start))?;
    let mut inner = BytesStart::new(element);
    inner.push_attribute(("message", clean(message).as_str()));
    if detail.is_empty() {
        writer.write_event(Event::Empty(inner))?;
    } else {
        writer.write_event(Event::Start(inner))?;
        writer.write_event(Event::Text(BytesText::new(&clean(detail))))?;
        writer.write_event(Event::End(BytesEnd::new(element)))?;
    }
    writer.write_event(Event::End(BytesEnd::new("testcase")))
}

/// Characters that XML 1.0 does not allow at all, even escaped, become U+FFFD.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t'
            | '\n'
            | '\r'
            | '\u{20}'..='\u{D7FF}'
            | '\u{E000}'..='\u{FFFD}'
            | '\u{10000}'.. => c,
            _ => '\u{FFFD}',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_forbids_is_replaced_and_the_rest_escaped() {
        let suite = Suite {
            name: "a\"b".into(),
            cases: vec![Case {
                name: "c<d".into(),
                class: "e\u{1}f".into(),
                outcome: Outcome::Failed {
                    message: "m".into(),
                    detail: "1 < 2 ]]>".into(),
                },
            }],
        };
        let text = document("n", &[suite]).unwrap();
        assert!(
            text.contains("a&quot;b") && text.contains("c&lt;d") && text.contains("e\u{FFFD}f")
        );
        assert!(text.contains("1 &lt; 2 ]]&gt;"));
        assert!(text.contains(r#"tests="1" failures="1" errors="0" skipped="0""#));
    }
}
