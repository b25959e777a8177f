//! Keys of symbols: uploads of programs, and where names of addresses come from when a query is answered.

use std::time::Duration;

use hearth_common::units::GoDuration;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::size::ByteSize;

/// Beyond `upload_stale_period` an upload counts as going on for this long: clocks differ, and the file has to be sent.
const UPLOAD_GRACE: Duration = Duration::from_secs(120);
/// Most files of symbols that may be read at once.
const BUILDS_MAX: usize = 64;

/// Uploads of programs and debug files (distributors).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DebugInfo {
    /// Whether uploads are taken.
    pub enabled: bool,
    /// Most bytes of one file.
    pub max_upload_size_bytes: ByteSize,
    /// An upload that was begun longer ago, and two minutes more, and never finished does not keep others from beginning.
    pub upload_stale_period: GoDuration,
    /// The longest that the transfer of one file takes; at most `upload_stale_period` and two minutes.
    pub upload_timeout: GoDuration,
}

impl Default for DebugInfo {
    fn default() -> Self {
        Self {
            enabled: true,
            max_upload_size_bytes: ByteSize::mib(1 << 10),
            upload_stale_period: GoDuration::from_secs(300),
            upload_timeout: GoDuration::from_secs(120),
        }
    }
}

impl DebugInfo {
    /// An upload that was begun longer ago than this and never finished is as good as none.
    pub fn stale_after(&self) -> Duration {
        self.upload_stale_period.0.saturating_add(UPLOAD_GRACE)
    }
}

/// Names of addresses when a query is answered (queriers).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Symbolizer {
    /// A debuginfod server that is asked for programs that nobody uploaded, such as `https://debuginfod.elfutils.org`. It
    /// learns the build ids of what is profiled. Empty: nothing is asked outside.
    pub debuginfod_url: String,
    /// How long a query waits for names. What is not known by then stays `binary!0x…`; reading goes on for the next query.
    pub timeout: GoDuration,
    /// Memory for line tables of programs that were used before.
    pub cache_bytes: ByteSize,
    /// Files of symbols that are read at once, over all queries: each is in memory as a whole meanwhile.
    pub builds: usize,
}

impl Default for Symbolizer {
    fn default() -> Self {
        Self {
            debuginfod_url: String::new(),
            timeout: GoDuration::from_secs(20),
            cache_bytes: ByteSize::mib(256),
            builds: 1,
        }
    }
}

/// What a type cannot say.
pub(crate) fn check(debug_info: &DebugInfo, symbolizer: &Symbolizer) -> Result<(), Error> {
    let invalid =
        |key, value: &dyn ToString, message| Err(Error::Invalid { key, value: value.to_string(), message });
    let DebugInfo { max_upload_size_bytes, upload_timeout, .. } = debug_info;
    if max_upload_size_bytes.0 == 0 {
        return invalid("debug_info.max_upload_size_bytes", max_upload_size_bytes, "it is above 0");
    }
    if upload_timeout.is_zero() || upload_timeout.0 > debug_info.stale_after() {
        let message = "it is above 0 and at most debug_info.upload_stale_period and two minutes";
        return invalid("debug_info.upload_timeout", upload_timeout, message);
    }
    let Symbolizer { debuginfod_url, timeout, builds, .. } = symbolizer;
    let is_url = debuginfod_url.starts_with("http://") || debuginfod_url.starts_with("https://");
    if !debuginfod_url.is_empty() && !is_url {
        let message = "write http://… or https://…, or leave it empty";
        return invalid("symbolizer.debuginfod_url", debuginfod_url, message);
    }
    if timeout.is_zero() {
        return invalid("symbolizer.timeout", timeout, "it is above 0");
    }
    if !(1..=BUILDS_MAX).contains(builds) {
        return invalid("symbolizer.builds", builds, "it is 1 to 64");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: impl Fn(&mut DebugInfo, &mut Symbolizer)) -> String {
        let (mut debug_info, mut symbolizer) = (DebugInfo::default(), Symbolizer::default());
        change(&mut debug_info, &mut symbolizer);
        check(&debug_info, &symbolizer).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(said(|_, _| ()), "");
        let longer = |d: &mut DebugInfo, _: &mut Symbolizer| d.upload_timeout = GoDuration::from_secs(421);
        assert!(said(longer).contains("debug_info.upload_timeout"));
        assert_eq!(said(|d, _| d.upload_timeout = GoDuration::from_secs(420)), "");
        assert!(said(|_, s| s.debuginfod_url = "ftp://x".to_owned()).contains("symbolizer.debuginfod_url"));
        assert_eq!(said(|_, s| s.debuginfod_url = "http://127.0.0.1:8002".to_owned()), "");
        assert!(said(|_, s| s.builds = 0).contains("symbolizer.builds"));
    }
}
