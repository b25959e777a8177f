//! A series through the labels that users see for one of its types, without building those.

use crate::labels::{PERIOD_TYPE, PERIOD_UNIT, PROFILE_TYPE, SERVICE_NAME, SERVICE_NAME_COPY, TYPE, UNIT};
use crate::{Labels, ProfileType, Selector};

/// Labels that every series may have beside those sent.
const DERIVED: [&str; 6] = [PROFILE_TYPE, TYPE, UNIT, PERIOD_TYPE, PERIOD_UNIT, SERVICE_NAME_COPY];

/// Labels that only steer ingestion: not visible.
const STEERING: [&str; 3] = ["__delta__", "__otel__", "__order__"];

/// A series as [`Labels::with_type`] shows it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// As sent.
    pub labels: &'a Labels,
    /// One of its types.
    pub ty: &'a ProfileType,
    /// The type's id as text.
    pub type_id: &'a str,
}

impl<'a> View<'a> {
    /// The value of a visible label.
    pub fn get(self, name: &str) -> Option<&'a str> {
        let derived = match name {
            PROFILE_TYPE => self.type_id,
            TYPE => &self.ty.sample_type,
            UNIT => &self.ty.sample_unit,
            PERIOD_TYPE => &self.ty.period_type,
            PERIOD_UNIT => &self.ty.period_unit,
            SERVICE_NAME_COPY => self.labels.get(SERVICE_NAME).unwrap_or_default(),
            _ if STEERING.contains(&name) => "",
            _ => return self.labels.get(name),
        };
        (!derived.is_empty()).then_some(derived)
    }

    /// The names of all visible labels, some perhaps twice.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        let sent = self.labels.iter().map(|(name, _)| name);
        sent.chain(DERIVED).filter(move |name| self.get(name).is_some())
    }

    /// Whether a selector selects it.
    pub fn matches(self, selector: &Selector) -> bool {
        selector.matchers.iter().all(|m| m.matches(self.get(&m.name).unwrap_or_default()))
    }

    /// Whether one of the alternatives selects it; no alternative = yes.
    pub fn matches_any(self, selectors: &[Selector]) -> bool {
        selectors.is_empty() || selectors.iter().any(|selector| self.matches(selector))
    }

    /// The labels named, those that exist: what `with_type` and `project` would give.
    pub fn project<S: AsRef<str>>(self, names: &[S]) -> Labels {
        Labels::from_pairs(names.iter().filter_map(|name| Some((name.as_ref(), self.get(name.as_ref())?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_equals_the_labels_it_stands_for() {
        let sets = [
            vec![("service_name", "a"), ("pod", "x"), ("__delta__", "false"), ("empty", "")],
            vec![("__type__", "mine"), ("__name__", "n")],
            vec![("__service_name__", "other"), ("service_name", ""), ("__order__", "1")],
        ];
        let types = [ProfileType::new("n", "cpu", "ns", "", ""), ProfileType::new("n", "a", "b", "c", "d")];
        let names = [
            "service_name",
            "pod",
            "__delta__",
            "empty",
            "__type__",
            "__name__",
            "__service_name__",
            "absent",
        ];
        let derived =
            [PROFILE_TYPE, TYPE, UNIT, PERIOD_TYPE, PERIOD_UNIT, SERVICE_NAME_COPY, "__order__", "__otel__"];
        for set in sets {
            let labels = Labels::from_pairs(set);
            for ty in &types {
                let (full, type_id) = (labels.with_type(ty), ty.id());
                let view = View { labels: &labels, ty, type_id: &type_id };
                for name in names.iter().chain(&derived) {
                    assert_eq!(view.get(name), full.get(name), "{name} of {labels}");
                    assert_eq!(view.project(&[name]), full.project(&[name]), "{name} of {labels}");
                }
            }
        }
    }
}
