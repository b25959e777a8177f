//! Logs, metrics registry and probes.
