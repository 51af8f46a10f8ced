//! Cross-site training: codec, deterministic outer step, the process contract.
