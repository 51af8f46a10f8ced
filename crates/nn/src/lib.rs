//! Tensors on a CPU: kernels, layers, losses and their derivatives.
