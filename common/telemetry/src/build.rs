//! Which build this is.

/// Version and origin of the running program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// `0.1.0`.
    pub version: &'static str,
    /// Commit, if the build knew it.
    pub revision: &'static str,
    /// Branch, if the build knew it.
    pub branch: &'static str,
}

impl BuildInfo {
    /// What the compiler was told.
    pub const CURRENT: Self = Self {
        version: env!("CARGO_PKG_VERSION"),
        revision: match option_env!("HEARTH_BUILD_REVISION") {
            Some(revision) => revision,
            None => "unknown",
        },
        branch: match option_env!("HEARTH_BUILD_BRANCH") {
            Some(branch) => branch,
            None => "unknown",
        },
    };
}
