//! What travels between the hub and everyone else, and a typed client.
