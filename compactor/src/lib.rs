//! Collects what no root names any more; merges and retention come here.
