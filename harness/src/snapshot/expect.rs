//! Expectations that somebody wrote by hand into a C source, as comments:
//!
//! ```c
//! // jit x86-dpu: cmp {{e[a-d]x}}, 0x800
//! // jit-next x86-dpu: je
//! // jit-not x86-dpu: call
//! SEC("xdp") int count(struct xdp_md *ctx)
//! ```
//!
//! A `jit` line must match a line of the program's code on that NIC, behind the line that the one
//! before it matched; `jit-next` the very next line; `jit-not` no line between those that its
//! neighbours match. Expectations belong to the function whose body they stand in, else to the
//! next function of the file; with one program in the object all are its own.

use super::pattern::Pattern;

/// What a line of code must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Match somewhere behind the last one.
    Later,
    /// Match the line behind the last one.
    Next,
    /// Not match before the next one.
    Not,
}

/// One expectation.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The line in the source, from 1.
    pub line: usize,
    /// The NIC.
    pub nic: String,
    /// The program; `None` if no function follows.
    pub program: Option<String>,
    /// As it stands there.
    pub text: String,
    kind: Kind,
    /// What to look for, or why it is no pattern.
    pattern: Result<Pattern, String>,
}

/// An expectation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// Its line in the source, from 1.
    pub line: usize,
    /// Its NIC.
    pub nic: String,
    /// The expectation as it stands there.
    pub text: String,
    /// Why it does not hold.
    pub why: String,
}

/// The expectations of a source, in order; `programs` are the names of the object's programs.
pub fn parse(source: &str, programs: &[&str]) -> Vec<Expectation> {
    let lines: Vec<&str> = source.lines().collect();
    let bodies = bodies(&lines, programs);
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((kind, nic, pattern)) = expectation(line) else {
            continue;
        };
        let program = match programs {
            [only] => Some(*only),
            _ => bodies
                .iter()
                .find(|(_, end)| at <= *end)
                .map(|(program, _)| *program),
        };
        found.push(Expectation {
            line: at + 1,
            nic: nic.to_owned(),
            program: program.map(str::to_owned),
            text: line.trim().to_owned(),
            kind,
            pattern: Pattern::new(pattern),
        });
    }
    found
}

/// `// jit NIC: PATTERN`, also within a longer comment.
fn expectation(line: &str) -> Option<(Kind, &str, &str)> {
    let line = line
        .trim_start()
        .trim_start_matches(['/', '*'])
        .trim_start();
    let (word, rest) = line.split_once(' ')?;
    let kind = match word {
        "jit" => Kind::Later,
        "jit-next" => Kind::Next,
        "jit-not" => Kind::Not,
        _ => return None,
    };
    let (nic, pattern) = rest.split_once(':')?;
    let nic = nic.trim();
    let is_name = !nic.is_empty() && !nic.contains(char::is_whitespace);
    is_name.then(|| (kind, nic, pattern.trim_end().trim_end_matches("*/")))
}

/// The programs that a source defines, and the last line of each (from 0), by that line.
fn bodies<'a>(lines: &[&str], programs: &[&'a str]) -> Vec<(&'a str, usize)> {
    let mut bodies: Vec<(&str, usize)> = programs
        .iter()
        .filter_map(|program| {
            let start = lines.iter().position(|line| defines(line, program))?;
            let body = lines.iter().skip(start);
            let end = body.take_while(|line| !line.starts_with('}')).count();
            Some((*program, start + end))
        })
        .collect();
    bodies.sort_by_key(|(_, end)| *end);
    bodies
}

/// Whether a line begins the definition of a function: its name as a word with a parenthesis or a
/// comma behind it (`BPF_PROG(name, …)`), in a line that is no comment and no declaration.
fn defines(line: &str, function: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let code = line.trim_start();
    !code.starts_with("//")
        && !code.starts_with('*')
        && !code.trim_end().ends_with(';')
        && line.match_indices(function).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + function.len()..]);
            !before.ends_with(is_word) && after.trim_start().starts_with(['(', ',', ')'])
        })
}

/// Which expectations do not hold of the code, whose lines `code` are. After one that does not
/// hold the following ones are looked for from where the last one matched.
pub fn unmet<'a>(
    expectations: impl IntoIterator<Item = &'a Expectation>,
    code: &[&str],
) -> Vec<Unmet> {
    let mut unmet = Vec::new();
    let mut at = 0;
    let mut forbidden: Vec<(&Expectation, &Pattern)> = Vec::new();
    for expectation in expectations {
        let pattern = match &expectation.pattern {
            Ok(pattern) => pattern,
            Err(why) => {
                unmet.push(expectation.unmet(format!("this is no pattern: {why}")));
                continue;
            }
        };
        let rest = code.get(at..).unwrap_or_default();
        let found = match expectation.kind {
            Kind::Not => {
                forbidden.push((expectation, pattern));
                continue;
            }
            Kind::Later => rest.iter().position(|line| pattern.matches(line)),
            Kind::Next => rest
                .first()
                .and_then(|line| pattern.matches(line).then_some(0)),
        };
        let Some(found) = found else {
            let behind = match at.checked_sub(1).and_then(|last| code.get(last)) {
                Some(last) => format!("behind `{}`", last.trim()),
                None => "in the code".to_owned(),
            };
            unmet.push(expectation.unmet(match (expectation.kind, rest.first()) {
                (Kind::Next, Some(next)) => format!("the line {behind} is `{}`", next.trim()),
                _ => format!("no line {behind} matches"),
            }));
            continue;
        };
        none(&mut forbidden, &rest[..found], &mut unmet);
        at += found + 1;
    }
    none(
        &mut forbidden,
        code.get(at..).unwrap_or_default(),
        &mut unmet,
    );
    unmet.sort_by_key(|u: &Unmet| u.line);
    unmet
}

/// Forbidden patterns must not match a line of these.
fn none(forbidden: &mut Vec<(&Expectation, &Pattern)>, lines: &[&str], unmet: &mut Vec<Unmet>) {
    for (expectation, pattern) in forbidden.drain(..) {
        if let Some(line) = lines.iter().find(|line| pattern.matches(line)) {
            unmet.push(expectation.unmet(format!("it matches `{}`", line.trim())));
        }
    }
}

impl Expectation {
    /// That it does not hold, and why.
    pub fn unmet(&self, why: impl Into<String>) -> Unmet {
        Unmet {
            line: self.line,
            nic: self.nic.clone(),
            text: self.text.clone(),
            why: why.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
// jit x86-dpu: push
SEC(\"xdp\")
int first(struct xdp_md *ctx)
{
\t// jit-next x86-dpu: mov {{r..}}, rdi
\treturn 1;
}

/* jit hbpf: r0 = 2 */
int BPF_PROG(second, int arg)
{
}
// jit nowhere: ret
";

    #[test]
    fn expectations_belong_to_the_function_around_or_behind_them() {
        let found = parse(SOURCE, &["second", "first"]);
        let told: Vec<_> = found
            .iter()
            .map(|e| (e.line, e.nic.as_str(), e.program.as_deref(), e.kind))
            .collect();
        assert_eq!(
            told,
            [
                (1, "x86-dpu", Some("first"), Kind::Later),
                (5, "x86-dpu", Some("first"), Kind::Next),
                (9, "hbpf", Some("second"), Kind::Later),
                (13, "nowhere", None, Kind::Later),
            ]
        );
        let only = parse(SOURCE, &["first"]);
        assert!(only.iter().all(|e| e.program.as_deref() == Some("first")));
    }

    fn why(source: &str, code: &[&str]) -> Vec<String> {
        let found = parse(source, &["only"]);
        unmet(&found, code).into_iter().map(|u| u.why).collect()
    }

    #[test]
    fn lines_match_in_order() {
        let code = ["push rbp", "mov eax, 1", "pop rbp", "ret"];
        let holds = "// jit n: push\n// jit-next n: mov\n// jit-not n: call\n// jit n: ret\n";
        assert_eq!(why(holds, &code), Vec::<String>::new());
        assert_eq!(
            why("// jit n: ret\n// jit n: push\n", &code),
            ["no line behind `ret` matches"]
        );
        assert_eq!(
            why("// jit n: push\n// jit-next n: ret\n", &code),
            ["the line behind `push rbp` is `mov eax, 1`"]
        );
        assert_eq!(
            why("// jit n: push\n// jit-not n: mov\n// jit n: pop\n", &code),
            ["it matches `mov eax, 1`"]
        );
        // Beyond its neighbours it may match.
        let around = "// jit n: mov\n// jit-not n: push\n// jit-not n: mov\n";
        assert_eq!(why(around, &code), Vec::<String>::new());
    }
}
