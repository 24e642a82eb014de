"""What a process that runs many tests or experiments does between them."""

import ctypes
import gc
import sys

import jax


def free_programs() -> None:
    """Forget every compiled program, and give the memory back to the system.

    The C library keeps what compilers freed in small pieces, often more than is in use, until it is told to trim.
    """
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # not in every C library
        library.malloc_trim(0)
