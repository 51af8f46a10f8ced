//! The event log and its read side on SQLite, and the artifact folder.
