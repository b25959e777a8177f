//! Rules that stand in a tenant's limits, read: what cannot work is refused when limits are loaded, by the reader that
//! pushes use.

use std::collections::BTreeMap;

use hearth_common::limits::{RelabelAction, RelabelRule};
use regex::Regex;

use crate::selector::{InvalidSelector, Selector};

/// Most usage groups of one tenant.
pub const USAGE_GROUPS_MAX: usize = 50;
/// The usage group of series that belong to none.
pub const OTHER_USAGE_GROUP: &str = "other";

/// The usage groups of a tenant cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGroup {
    /// Too many.
    #[error("distributor_usage_groups: {0} groups are more than {USAGE_GROUPS_MAX}: leave some out")]
    TooMany(usize),
    /// A name that stands for something else.
    #[error(
        "distributor_usage_groups: '{0}' is no name of a group: it is not empty and not '{OTHER_USAGE_GROUP}'"
    )]
    Name(String),
    /// A selector that cannot be read.
    #[error("distributor_usage_groups: {name}: {source}")]
    Selector {
        /// Of this group.
        name: String,
        /// Why.
        source: InvalidSelector,
    },
}

/// The regex of a relabelling rule, anchored as Prometheus does; or why the rule cannot work.
pub fn relabel_regex(rule: &RelabelRule) -> Result<Regex, String> {
    let regex = Regex::new(&format!("^(?s:{})$", rule.regex))
        .map_err(|error| format!("regex '{}' is not valid: {error}", rule.regex))?;
    let action = rule.action;
    let needs_target = matches!(
        action,
        RelabelAction::Replace
            | RelabelAction::HashMod
            | RelabelAction::Lowercase
            | RelabelAction::Uppercase
            | RelabelAction::KeepEqual
            | RelabelAction::DropEqual
    );
    if needs_target && rule.target_label.is_empty() {
        return Err(format!("{action:?} needs a target_label"));
    }
    if action == RelabelAction::HashMod && rule.modulus == 0 {
        return Err("HashMod needs a modulus above 0".to_owned());
    }
    Ok(regex)
}

/// The selectors of usage groups, by name.
pub fn usage_groups(groups: &BTreeMap<String, String>) -> Result<Vec<(String, Selector)>, InvalidGroup> {
    if groups.len() > USAGE_GROUPS_MAX {
        return Err(InvalidGroup::TooMany(groups.len()));
    }
    let group = |(name, selector): (&String, &String)| {
        if name.trim().is_empty() || name == OTHER_USAGE_GROUP {
            return Err(InvalidGroup::Name(name.clone()));
        }
        let selector = Selector::parse(selector)
            .map_err(|source| InvalidGroup::Selector { name: name.clone(), source })?;
        Ok((name.clone(), selector))
    };
    groups.iter().map(group).collect()
}
