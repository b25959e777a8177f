//! Where the source of a service lies: labels that say so travel in the build ids of its mappings, as the reference has it
//! (api-semantics §3.3, step 14).

use hearth_formats::pprof::Pprof;
use serde::Serialize;

use crate::labels::{self, Label};

#[derive(Debug, Serialize)]
struct Version<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    repository: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    git_ref: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    build_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    root_path: &'a str,
}

/// The build ids to use instead, by position of the mapping; empty when no label says anything.
pub(crate) fn build_ids(series: &[Label<'_>], pprof: &Pprof<'_>, strings: &[&str]) -> Vec<String> {
    let label = |name| labels::get(series, name).unwrap_or_default();
    let (repository, git_ref, root_path) =
        (label("service_repository"), label("service_git_ref"), label("service_root_path"));
    if repository.is_empty() && git_ref.is_empty() && root_path.is_empty() {
        return Vec::new();
    }
    let text = |index: i64| usize::try_from(index).ok().and_then(|at| strings.get(at)).copied();
    pprof
        .mappings
        .iter()
        .map(|mapping| {
            let build_id = text(mapping.build_id).unwrap_or_default();
            serde_json::to_string(&Version { repository, git_ref, build_id, root_path })
                .unwrap_or_else(|_| build_id.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use hearth_formats::pprof::Mapping;

    use super::*;

    #[test]
    fn build_ids_become_json() {
        let mapping = Mapping { id: 1, build_id: 1, ..Mapping::default() };
        let pprof = Pprof { mappings: vec![mapping, Mapping::default()], ..Pprof::default() };
        let series =
            [("service_git_ref".into(), "v1".into()), ("service_repository".into(), "github.com/a".into())];
        let got = build_ids(&series, &pprof, &["", "abc"]);
        let want = [
            r#"{"repository":"github.com/a","git_ref":"v1","build_id":"abc"}"#,
            r#"{"repository":"github.com/a","git_ref":"v1"}"#,
        ];
        assert_eq!(got, want);
        assert!(build_ids(&series[..0], &pprof, &["", "abc"]).is_empty());
    }
}
