//! Real processes: push, kill, restart, conformance, real clients.
