//! PromQL instant-vector selectors: `{a="b", c!="d", e=~"f.*"}`, `name{…}`, `{"quoted.name"="x"}`.

use crate::labels::Labels;

/// What a matcher does with its value.
#[derive(Debug, Clone)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex(regex::Regex),
    /// `!~`, anchored at both ends
    NotRegex(regex::Regex),
}

/// One matcher. An absent label counts as the empty string.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// How it is compared.
    pub op: MatchOp,
    /// The text as written.
    pub value: String,
}

/// A selector: all matchers must hold. An empty selector selects everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selector {
    /// Joined by "and".
    pub matchers: Vec<Matcher>,
}

/// The text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("1:{column}: parse error: {what}")]
pub struct InvalidSelector {
    /// Column of the first character that does not fit, from 1.
    pub column: usize,
    /// What was wrong there.
    pub what: String,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.value == other.value
            && std::mem::discriminant(&self.op) == std::mem::discriminant(&other.op)
    }
}

impl Selector {
    /// Parses PromQL's selector grammar (prometheus 3, UTF-8 names in quotes).
    pub fn parse(_text: &str) -> Result<Self, InvalidSelector> {
        todo!()
    }

    /// Whether a label set (derived labels included) is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or_default()))
    }

    /// The value that a label must be equal to, if an `=` matcher says so: lets a reader skip services unread.
    pub fn equal_to(&self, name: &str) -> Option<&str> {
        self.matchers
            .iter()
            .find(|m| m.name == name && matches!(m.op, MatchOp::Equal) && !m.value.is_empty())
            .map(|m| m.value.as_str())
    }

    /// Whether the value of one label can satisfy all matchers that name it.
    pub fn admits(&self, name: &str, value: &str) -> bool {
        self.matchers.iter().filter(|m| m.name == name).all(|m| m.matches(value))
    }
}

impl Matcher {
    /// Whether a value (empty = absent) satisfies the matcher.
    pub fn matches(&self, value: &str) -> bool {
        match &self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex(regex) => regex.is_match(value),
            MatchOp::NotRegex(regex) => !regex.is_match(value),
        }
    }
}
