//! Builders of profiles, seeds and fakes for tests.
