"""Kernels of our own where they beat what the compiler makes of plain JAX; the plain formula stays and is the fallback."""
