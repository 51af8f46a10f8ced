//! The hub: REST, background work.
