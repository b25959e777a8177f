//! The write-ahead log: segments of checksummed entries, group commit, replay.
