//! The process beside a cluster: claims jobs, runs them, meters them.
