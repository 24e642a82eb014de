"""Configure JAX on this machine: devices, precision, compilation cache.

`prepare` must run before anything touches a device; the command line calls it first,
and so do `dyn.run` and `dyn.sweep`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from dynamics.core.checked_arguments import check_arguments
from dynamics.errors import require

MOST_DEVICES = 4096


@check_arguments("prepare")
def prepare(devices: int = 0, cache_folder: str | os.PathLike[str] | None = None) -> None:
    """Set JAX up: one device per core on a CPU, full-precision products, every program cached on disk.

    `dyn.run` and `dyn.sweep` call it, so it is only needed before JAX work of one's own that comes before them. What is
    set already is left alone: variables of the environment, a number of devices, a cache folder, devices that are up.

    devices: how many CPU devices (0: one per available core)
    cache_folder: of compiled programs; by default JAX_COMPILATION_CACHE_DIR, or ~/.cache/dynamics/jax

    >>> import dynamics as dyn
    >>> dyn.prepare()
    """
    require(0 <= devices <= MOST_DEVICES, "prepare devices", devices, f"must be from 0 to {MOST_DEVICES}")
    flag = "--xla_cpu_multi_thread_eigen=false"  # one device per core: matrix products must not use the other cores
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{flag} {os.environ.get('XLA_FLAGS', '')}".strip()
    os.environ.setdefault("NPROC", "1")  # the same for XLA's own threads: a single device is 1.8 times faster without them
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import jax

    if "xla_force_host_platform_device_count" not in os.environ["XLA_FLAGS"]:
        with contextlib.suppress(RuntimeError):  # devices are initialised already and stay as they are
            chosen = getattr(jax.config, "jax_num_cpu_devices", -1)  # -1 until somebody chooses
            jax.config.update("jax_num_cpu_devices", int(devices) or (chosen if chosen > 0 else available_cores()))
    jax.config.update("jax_default_matmul_precision", "highest")
    folder = os.fspath(cache_folder) if cache_folder else os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = folder or getattr(jax.config, "jax_compilation_cache_dir", None)
    folder = folder or str(Path.home() / ".cache" / "dynamics" / "jax")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
