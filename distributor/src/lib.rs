//! Takes pushes, validates, normalises, splits, and sends records to ingesters.
