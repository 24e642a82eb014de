"""C++ and Pallas kernels for two-layer ReLU nets; plain JAX formulas elsewhere serve as the fallback."""
