//! The pages of `nicbed explain`: one Markdown file a rule in `docs/rules/`, embedded.

/// All rule ids, sorted.
pub fn all() -> impl Iterator<Item = &'static str> {
    caps::rules::explained()
}

/// The page of a rule.
pub fn page(id: &str) -> Option<&'static str> {
    caps::explain(id)
}
