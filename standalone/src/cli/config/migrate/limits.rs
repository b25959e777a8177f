//! Limits: the same keys, for all tenants and in the overrides.

use hearth_common::TenantLimits;
use hearth_common::limits::ignored::{Why, own_key, why};
use serde_json::{Map, Value};

use super::output::Setting;
use super::report::Report;
use super::{shown, tree};

const RETENTION: &str = "Pyroscope 2 keeps 31d if nothing is said, Hearth for ever";

/// One limit: its key and value here, if it can be had. `of` is the tenant's place in the overrides.
pub(super) fn limit(key: &str, value: &Value, of: &str, report: &mut Report) -> Option<(String, Value)> {
    let old = if of.is_empty() { format!("limits.{key}") } else { format!("{of}.{key}") };
    let known = serde_json::to_value(TenantLimits::default()).unwrap_or_default();
    match why(key) {
        Some(why) => {
            ignored(&old, why, report);
            return None;
        }
        None if known.get(own_key(key)).is_none() => {
            report.unknown(&old);
            return None;
        }
        None => {}
    }
    let new = own_key(key);
    let note = if new == "compactor_blocks_retention_period" && new != key { RETENTION } else { "" };
    if tree::has_variable(value) {
        let place = if of.is_empty() {
            format!(
                "give it to Hearth's processes as {}",
                hearth_settings::variable_name(&format!("limits.{new}"))
            )
        } else {
            "write it into the overrides file, which takes no variables".to_owned()
        };
        report.by_hand(format!("{old} is {}: {place}", shown(key, value)));
        return None;
    }
    let value = without_unknown(&known[new], value, (key, &old), report);
    let tried = Value::Object(Map::from_iter([(new.to_owned(), value.clone())]));
    let limits = match serde_json::from_value::<TenantLimits>(tried) {
        Ok(limits) => limits,
        Err(error) => {
            report.cannot(&old, &format!("Hearth's {new} does not take its value: {error}"));
            return None;
        }
    };
    if let Some((place, problem)) = hearth_node::tenant_rules::problems(&limits).into_iter().next() {
        report.cannot(&old, &format!("{place} would be refused: {problem}"));
        return None;
    }
    let here = if of.is_empty() { format!("limits.{new}") } else { format!("{of}.{new}") };
    report.mapped(&old, &here, &shown(key, &value), note);
    Some((new.to_owned(), value))
}

fn ignored(old: &str, why: Why, report: &mut Report) {
    match why {
        Why::NotNeeded(why) => report.not_needed(old, why),
        Why::Lacking(instead) => report.cannot(old, instead),
    }
}

/// A map of known keys without those that are not. It stands under `key`, and under `old` in the file.
fn without_unknown(known: &Value, value: &Value, (key, old): (&str, &str), report: &mut Report) -> Value {
    let (Some(known), Value::Object(map)) = (known.as_object().filter(|known| !known.is_empty()), value)
    else {
        return value.clone();
    };
    let mut kept = map.clone();
    kept.retain(|inner, _| {
        let is_known = known.contains_key(inner);
        match why(&format!("{key}.{inner}")) {
            Some(why) => ignored(&format!("{old}.{inner}"), why, report),
            None if !is_known => report.unknown(&format!("{old}.{inner}")),
            None => {}
        }
        is_known
    });
    Value::Object(kept)
}

/// The overrides file.
pub(super) fn overrides(tree: &Value, report: &mut Report) -> Vec<Setting> {
    let mut found = Vec::new();
    for (section, entries) in tree.as_object().into_iter().flatten() {
        let Some(tenants) = entries.as_object().filter(|_| section == "overrides") else {
            report.unknown(&format!("{section} (overrides file)"));
            continue;
        };
        for (tenant, entry) in tenants {
            let of = format!("overrides.{tenant}");
            if let Err(error) = hearth_common::TenantId::parse(tenant) {
                report.cannot(&of, &format!("no tenant has this name: {error}"));
                continue;
            }
            for (key, value) in entry.as_object().into_iter().flatten() {
                if let Some((new, value)) = limit(key, value, &of, report) {
                    let path = vec!["overrides".to_owned(), tenant.clone(), new];
                    found.push(Setting { path, value, from: key.clone() });
                }
            }
        }
    }
    found
}
