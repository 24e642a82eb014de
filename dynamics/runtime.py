"""The machine: how JAX is set up on it, and what a result says about where it came from.

`prepare` must run before anything touches a device, so the command line calls it first; library users may.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from filelock import FileLock

from dynamics.errors import InputError

cores_of_a_device = ContextVar("cores_of_a_device", default=1)  # that a program which is traced meanwhile may use


def prepare(devices: int = 0, cache_folder: str | None = None) -> None:
    """Set JAX up: one device per core on a CPU, full-precision products, every program cached on disk.

    devices: how many CPU devices (0: one per available core). A variable that the user has set is left alone.
    """
    flag = "--xla_cpu_multi_thread_eigen=false"  # a device is one core; its products must not fight over the others
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{flag} {os.environ.get('XLA_FLAGS', '')}".strip()
    os.environ.setdefault("NPROC", "1")  # as above, for XLA's own threads: a lone device runs 1.8 times faster without them
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import jax

    if "xla_force_host_platform_device_count" not in os.environ["XLA_FLAGS"]:
        with contextlib.suppress(RuntimeError):  # the devices are already up: they stay as they are
            jax.config.update("jax_num_cpu_devices", devices or available_cores())
    jax.config.update("jax_default_matmul_precision", "highest")
    folder = cache_folder or os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(Path.home() / ".cache" / "dynamics" / "jax")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@contextlib.contextmanager
def joined(worker: int, workers: int, coordinator: str, distributed: bool, output: Path) -> Iterator[tuple[int, int]]:
    """(which process this is, of how many), joined to the others by `jax.distributed` if asked, before any device is up.

    There is nothing that runs of different processes would have to tell each other: every process computes chunks of its
    own on its own devices, and what one that dies leaves undone the others take. So none is told to die with another; but
    JAX aborts all when process 0 is gone, so that one leaves last: it waits for the locks that the others hold in `output`.
    """
    if not distributed:
        yield worker, workers
        return
    import jax

    output.mkdir(parents=True, exist_ok=True)
    own = FileLock(output / f".worker-{platform.node()}-{os.getpid()}.lock")
    own.acquire()
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_recoverability", True)
    given = {"coordinator_address": coordinator, "num_processes": workers, "process_id": worker} if coordinator else {}
    try:
        try:
            jax.distributed.initialize(**given)
        except (RuntimeError, ValueError) as error:
            allowed = f"could not join the other processes ({str(error).splitlines()[0]})"
            raise InputError("coordinator", coordinator, allowed) from None
        yield jax.process_index(), jax.process_count()
        if jax.process_index() == 0:
            for file in output.glob(".worker-*.lock"):
                if str(file) != own.lock_file:
                    with FileLock(file):
                        file.unlink(missing_ok=True)
        jax.distributed.shutdown()
    finally:
        own.release()
        Path(own.lock_file).unlink(missing_ok=True)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def provenance() -> dict[str, str | bool | int]:
    """Device, kernels, versions, git commit with its dirty flag, and command line: columns of every run table."""
    import jax

    from dynamics.kernels.build import library

    device = jax.local_devices()[0]
    commit = _git("rev-parse", "HEAD")
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "num_devices": jax.local_device_count(),
        "kernels": library() is not None,  # those for CPUs, if any were wanted
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{f"version_{name}": version(name) for name in ("dynamics", "jax", "jaxlib", "optax", "numpy")},
        "git_commit": commit or "",
        "git_dirty": bool(_git("status", "--porcelain")) if commit else False,
        "command": shlex.join(sys.orig_argv),
    }


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _git(*args: str) -> str | None:
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
