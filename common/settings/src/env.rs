//! Environment variables: `HEARTH_` and the path of a key in capitals, `HEARTH_WAL_SEGMENT_BYTES`.

use crate::nearest::nearest;

/// What all variables begin with.
pub const ENV_PREFIX: &str = "HEARTH_";

/// The variable of a key: `wal.segment_bytes` → `HEARTH_WAL_SEGMENT_BYTES`.
pub fn variable_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

/// What the environment says about `keys`, and warnings about variables that look mistyped. Other variables with the
/// prefix are left alone: Kubernetes makes some for every service of that name.
pub(crate) fn assignments(
    variables: impl IntoIterator<Item = (String, String)>,
    keys: &[String],
) -> (Vec<(String, String)>, Vec<String>) {
    let names: Vec<String> = keys.iter().map(|key| variable_name(key)).collect();
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    for (name, value) in variables {
        if !name.starts_with(ENV_PREFIX) {
            continue;
        }
        if let Some(at) = names.iter().position(|known| *known == name) {
            found.push((keys[at].clone(), value));
        } else if !name.contains("_PORT") && !name.ends_with("_SERVICE_HOST") && name != "HEARTH_CONFIG" {
            let tail = &name[ENV_PREFIX.len()..];
            let tails = names.iter().map(|known| &known[ENV_PREFIX.len()..]);
            if let Some(meant) = nearest(tail, tails) {
                warnings.push(format!("variable {name} is not known; did you mean {ENV_PREFIX}{meant}?"));
            }
        }
    }
    found.sort();
    (found, warnings)
}
