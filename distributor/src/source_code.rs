//! Where the source of a service lies: labels that say so travel in the build ids of its mappings, as the reference has it
//! (api-semantics §3.3, step 14).

use hashbrown::HashMap;
use hearth_formats::pprof::Pprof;
use serde::Serialize;

use crate::labels::{self, Label};
use crate::reject::{Reason, Rejected};
use crate::validate::TEXT_BYTES_MAX;

/// Most bytes of the texts of one profile: labels may be as long as their limits allow, and mappings as many as there is room for.
const TEXTS_BYTES_MAX: usize = 64 << 20;

/// The build ids to use instead; empty when no label says anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BuildIds {
    /// One for each build id that mappings have.
    texts: Vec<String>,
    /// Which of them, by position of the mapping.
    of_mappings: Vec<u32>,
}

impl BuildIds {
    /// That of a mapping, if any are used instead.
    pub(crate) fn get(&self, mapping: u32) -> Option<&str> {
        self.texts.get(*self.of_mappings.get(mapping as usize)? as usize).map(String::as_str)
    }
}

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

/// Makes them for the mappings of a profile.
pub(crate) fn build_ids(
    series: &[Label<'_>],
    pprof: &Pprof<'_>,
    strings: &[&str],
) -> Result<BuildIds, Rejected> {
    let label = |name| labels::get(series, name).unwrap_or_default();
    let (repository, git_ref, root_path) =
        (label("service_repository"), label("service_git_ref"), label("service_root_path"));
    if repository.is_empty() && git_ref.is_empty() && root_path.is_empty() {
        return Ok(BuildIds::default());
    }
    let text = |index: i64| usize::try_from(index).ok().and_then(|at| strings.get(at)).copied();
    let (mut made, mut numbers, mut bytes) = (BuildIds::default(), HashMap::new(), 0);
    for mapping in &pprof.mappings {
        let next = made.texts.len() as u32;
        let number = *numbers.entry(mapping.build_id).or_insert(next);
        made.of_mappings.push(number);
        if number < next {
            continue;
        }
        let build_id = text(mapping.build_id).unwrap_or_default();
        let json = serde_json::to_string(&Version { repository, git_ref, build_id, root_path })
            .ok()
            .filter(|json| json.len() <= TEXT_BYTES_MAX)
            .unwrap_or_else(|| build_id.to_owned());
        bytes += json.len();
        if bytes > TEXTS_BYTES_MAX {
            let message = format!(
                "build ids of the profile's mappings take more than {TEXTS_BYTES_MAX} bytes with the labels \
                 service_repository, service_git_ref and service_root_path: shorten these"
            );
            return Err(Rejected::invalid(Reason::ProfileSizeLimit, message));
        }
        made.texts.push(json);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use hearth_formats::pprof::Mapping;

    use super::*;

    #[test]
    fn build_ids_become_json() {
        let mapping = Mapping { id: 1, build_id: 1, ..Mapping::default() };
        let pprof = Pprof { mappings: vec![mapping, Mapping::default(), mapping], ..Pprof::default() };
        let series =
            [("service_git_ref".into(), "v1".into()), ("service_repository".into(), "github.com/a".into())];
        let made = build_ids(&series, &pprof, &["", "abc"]).expect("short");
        let got = [0, 1, 2, 3].map(|mapping| made.get(mapping));
        let of_both = Some(r#"{"repository":"github.com/a","git_ref":"v1","build_id":"abc"}"#);
        assert_eq!(got, [of_both, Some(r#"{"repository":"github.com/a","git_ref":"v1"}"#), of_both, None]);
        assert_eq!(made.texts.len(), 2);
        assert_eq!(build_ids(&series[..0], &pprof, &["", "abc"]), Ok(BuildIds::default()));
    }

    #[test]
    fn texts_of_many_mappings_are_bounded() {
        let mappings = (0..300).map(|at| Mapping { id: 1, build_id: at, ..Mapping::default() });
        let pprof = Pprof { mappings: mappings.collect(), ..Pprof::default() };
        let series = |bytes| [("service_git_ref".into(), "v".repeat(bytes).into())];
        // Too long for a block: the build id stays.
        assert_eq!(build_ids(&series(1 << 20), &pprof, &["a"]).expect("short").get(0), Some("a"));
        let series = series(400 << 10);
        let refused = build_ids(&series, &pprof, &[]).expect_err("too long");
        assert_eq!(refused.reason, Reason::ProfileSizeLimit);
    }
}
