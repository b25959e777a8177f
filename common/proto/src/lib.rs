//! Generated wire types; nothing here is written by hand but conversions.
