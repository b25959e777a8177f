//! Rules in limits that cannot work, found when limits are loaded and not at the first push.

use hearth_common::TenantLimits;
use hearth_common::limits::RelabelRule;
use hearth_model::tenant_rules::{relabel_regex, usage_groups};
use hearth_objstore::Encryption;

/// What is wrong with rules of relabelling and usage groups, each with its key and place.
pub fn problems(limits: &TenantLimits) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut relabelling = |key: &str, rules: &[RelabelRule]| {
        for (at, rule) in rules.iter().enumerate() {
            if let Err(problem) = relabel_regex(rule) {
                let problem = in_one_line(&problem);
                found.push((format!("{key}[{at}]"), problem));
            }
        }
    };
    relabelling("ingestion_relabeling_rules", &limits.ingestion_relabeling_rules);
    relabelling("sample_type_relabeling_rules", &limits.sample_type_relabeling_rules);
    if let Err(error) = usage_groups(&limits.distributor_usage_groups) {
        found.push(("distributor_usage_groups".to_owned(), error.to_string()));
    }
    found
}

/// Without the picture of the regex that its error draws: of its lines the last says what is wrong.
fn in_one_line(problem: &str) -> String {
    match (problem.split_once(" regex parse error:"), problem.lines().last()) {
        (Some((before, _)), Some(last)) => format!("{before} {}", last.trim_start_matches("error: ")),
        _ => problem.to_owned(),
    }
}

/// What is wrong with the encryption of a tenant's objects.
pub fn encryption_problem(limits: &TenantLimits) -> Option<String> {
    let encryption = Encryption::from_settings(&limits.s3_sse_type, &limits.s3_sse_kms_key_id);
    encryption.err().map(|error| hearth_common::error::chain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_cannot_work_are_named_by_their_place() {
        assert_eq!(problems(&TenantLimits::default()), []);
        let rule = |regex: &str| RelabelRule {
            regex: regex.to_owned(),
            target_label: "a".to_owned(),
            ..RelabelRule::default()
        };
        let limits = TenantLimits {
            ingestion_relabeling_rules: vec![rule("x"), rule("(")],
            sample_type_relabeling_rules: vec![RelabelRule::default()],
            distributor_usage_groups: [("g".to_owned(), "{a=".to_owned())].into(),
            ..TenantLimits::default()
        };
        let found = problems(&limits);
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        let want =
            ["ingestion_relabeling_rules[1]", "sample_type_relabeling_rules[0]", "distributor_usage_groups"];
        assert_eq!(keys, want);
        assert_eq!(found[0].1, "regex '(' is not valid: unclosed group");
        assert_eq!(found[1].1, "Replace needs a target_label");
    }
}
