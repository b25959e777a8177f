//! Flags, YAML file and environment to settings; per-tenant overrides.
