//! Pure placement: (schedule, tenant, key, profile time) to the cell that takes a record.
