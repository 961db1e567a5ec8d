//! Patterns of expectations: text, in which `{{…}}` is a regular expression.

use regex::Regex;

/// A pattern, compiled.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern. Blanks stand for one or more blanks, `{{…}}` for what the regular
    /// expression matches, everything else for itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(text: &str) -> Result<Pattern, String> {
        let mut regex = String::new();
        let mut rest = text.trim();
        while let Some((plain, after)) = rest.split_once("{{") {
            push_plain(&mut regex, plain);
            let end = after.find("}}").ok_or("`{{` without `}}`")?;
            // `{{a{2}}}` ends with the last of the braces.
            let end = end + after[end + 2..].bytes().take_while(|b| *b == b'}').count();
            regex.push_str(&format!("(?:{})", &after[..end]));
            rest = &after[end + 2..];
        }
        push_plain(&mut regex, rest);
        if regex.is_empty() {
            return Err("it is empty".to_owned());
        }
        match Regex::new(&regex) {
            Ok(regex) => Ok(Pattern(regex)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether some part of a line matches.
    pub(super) fn matches(&self, line: &str) -> bool {
        self.0.is_match(line)
    }
}

/// Adds text that stands for itself.
fn push_plain(regex: &mut String, text: &str) {
    let mut blank = false;
    for part in text.split_inclusive(char::is_whitespace) {
        let word = part.trim_end();
        if !word.is_empty() {
            if blank {
                regex.push_str(r"\s+");
            }
            blank = false;
            regex.push_str(&regex::escape(word));
        }
        blank |= word.len() < part.len();
    }
    if blank {
        regex.push_str(r"\s+");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_for_itself_and_braces_for_a_regular_expression() {
        let pattern = Pattern::new("mov {{r[0-9]+}},  [rbp{{.*}}]").unwrap();
        assert!(pattern.matches("  mov r12,\t[rbp - 8]"));
        assert!(!pattern.matches("mov eax, [rbp - 8]"));
        assert!(!pattern.matches("mov r12,[rbp - 8]"));
        assert!(Pattern::new("a.c").unwrap().matches("a.c"));
        assert!(!Pattern::new("a.c").unwrap().matches("abc"));
        assert!(Pattern::new("x{{a{2}}}y").unwrap().matches("xaay"));
        assert!(Pattern::new("{{^}}mov").unwrap().matches("mov"));
        assert!(!Pattern::new("{{^}}mov").unwrap().matches("cmov"));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        assert!(Pattern::new("a {{b").unwrap_err().contains("}}"));
        assert!(Pattern::new("a {{(}}").unwrap_err().contains("regex"));
        assert!(Pattern::new("  ").is_err());
    }
}
