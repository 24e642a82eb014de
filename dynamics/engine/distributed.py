"""Processes that share a study joined by `jax.distributed`."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from dynamics.errors import InputError


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
