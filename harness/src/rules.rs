//! The pages of `nicbed explain`: one Markdown file a rule in `docs/rules/`, embedded.

/// All rule ids, sorted.
pub fn all() -> impl Iterator<Item = &'static str> {
    std::iter::empty()
}

/// The page of a rule.
pub fn page(id: &str) -> Option<&'static str> {
    let _ = id;
    None
}
