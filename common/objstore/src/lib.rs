//! The object store: opens it from a URL, put-if-absent, ranged reads, fsync, metrics.
