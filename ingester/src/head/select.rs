//! A series through the labels that users see for one of its types, without building those.

use hearth_model::labels::{
    PERIOD_TYPE, PERIOD_UNIT, PROFILE_TYPE, SERVICE_NAME, SERVICE_NAME_COPY, TYPE, UNIT,
};
use hearth_model::{Labels, ProfileType, Selector};

/// Labels that only steer ingestion: not visible.
const STEERING: [&str; 3] = ["__delta__", "__otel__", "__order__"];
/// Labels that every series may have beside those sent.
pub(crate) const DERIVED: [&str; 6] = [PROFILE_TYPE, TYPE, UNIT, PERIOD_TYPE, PERIOD_UNIT, SERVICE_NAME_COPY];

/// A series as [`Labels::with_type`] shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) ty: &'a ProfileType,
    /// The type's id as text.
    pub(crate) type_id: &'a str,
}

impl<'a> View<'a> {
    /// The value of a visible label.
    pub(crate) fn get(self, name: &str) -> Option<&'a str> {
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

    /// Whether a selector selects it.
    pub(crate) fn matches(self, selector: &Selector) -> bool {
        selector.matchers.iter().all(|m| m.matches(self.get(&m.name).unwrap_or_default()))
    }

    /// Whether one of the alternatives selects it; no alternative = yes.
    pub(crate) fn matches_any(self, selectors: &[Selector]) -> bool {
        selectors.is_empty() || selectors.iter().any(|selector| self.matches(selector))
    }

    /// The labels named, those that exist.
    pub(crate) fn project<S: AsRef<str>>(self, names: &[S]) -> Labels {
        let each = names.iter().filter_map(|name| Some((name.as_ref(), self.get(name.as_ref())?)));
        Labels::from_pairs(each)
    }
}
