"""What a process that runs many tests or experiments does between them."""

import ctypes
import gc
import sys
from pathlib import Path

import jax


def free_programs() -> None:
    """Forget every compiled program, and give the memory back to the system.

    The C library keeps what compilers freed in small pieces, often more than is in use, until it is told to trim.
    """
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # not in every C library
        library.malloc_trim(0)


def read_memory(of: str) -> float:
    """Return the MB that this process holds (VmRSS) or has held at most (VmHWM); 0 where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith(of)), 0.0)
