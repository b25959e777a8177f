//! Serves every read API: plans, asks heads and blocks, merges, renders.
