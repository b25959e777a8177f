//! Makes profiles durable and queryable at once, cuts blocks, publishes them.
