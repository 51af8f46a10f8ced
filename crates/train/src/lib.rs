//! The loop: data order, optimiser, checkpoints, metrics.
