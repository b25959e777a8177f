//! What became of each key, for a person.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is said in the end.
#[derive(Debug, Default)]
pub(super) struct Report {
    mapped: Vec<String>,
    by_hand: Vec<String>,
    cannot: Vec<(String, String)>,
    not_needed: Vec<(String, String)>,
    unknown: Vec<String>,
    differs: Vec<String>,
}

impl Report {
    pub(super) fn mapped(&mut self, old: &str, new: &str, value: &str, note: &str) {
        let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
        self.mapped.push(format!("{old} -> {new}: {value}{note}"));
    }

    pub(super) fn by_hand(&mut self, what: String) {
        if !self.by_hand.contains(&what) {
            self.by_hand.push(what);
        }
    }

    pub(super) fn cannot(&mut self, old: &str, instead: &str) {
        self.cannot.push((old.to_owned(), instead.to_owned()));
    }

    pub(super) fn not_needed(&mut self, old: &str, why: &str) {
        self.not_needed.push((old.to_owned(), why.to_owned()));
    }

    pub(super) fn unknown(&mut self, old: &str) {
        self.unknown.push(old.to_owned());
    }

    pub(super) fn differs(&mut self, what: &str) {
        self.differs.push(what.to_owned());
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        section(&mut text, "Taken over", &self.mapped);
        section(&mut text, "To do by hand", &self.by_hand);
        section(&mut text, "Cannot be done, and what to do instead", &by_reason(&self.cannot));
        section(&mut text, "Not needed", &by_reason(&self.not_needed));
        section(&mut text, "Unknown to Hearth and to this command, left out", &self.unknown);
        section(&mut text, "What differs", &self.differs);
        text
    }
}

/// Keys with the same reason on one line.
fn by_reason(rows: &[(String, String)]) -> Vec<String> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut order = Vec::new();
    for (key, reason) in rows {
        let keys = reasons.entry(reason).or_default();
        if keys.is_empty() {
            order.push(reason.as_str());
        }
        keys.push(key);
    }
    order.iter().map(|reason| format!("{}: {reason}", reasons[reason].join(", "))).collect()
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    _ = writeln!(text, "{title}:");
    for line in lines {
        _ = writeln!(text, "  {line}");
    }
}
