//! Which blocks exist: the root of a tenant, its pages, and the commit that publishes.
