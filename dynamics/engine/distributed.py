"""Join the processes that share a study through `jax.distributed`."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from dynamics.errors import InputError


@contextlib.contextmanager
def join_processes(worker: int, workers: int, coordinator: str, distributed: bool, output: Path) -> Iterator[tuple[int, int]]:
    """Yield the index of this process and the number of processes, after joining `jax.distributed` if requested.

    Must be entered before JAX initialises any device. Raises `InputError` if the other processes cannot be reached.

    The processes exchange no data: each computes its own chunks on its own devices, and the others take over the chunks
    of one that dies, so no process has to die with another. JAX, however, aborts all processes when process 0 exits, so
    process 0 exits last: it waits for the locks that the others hold in `output`.
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
