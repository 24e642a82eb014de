"""Where a result came from: device, kernels, versions, commit and command."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path


@cache
def provenance() -> dict[str, str | bool | int]:
    """Device, kernels, versions, git commit with its dirty flag, and command line: columns of every run table."""
    import jax

    from dynamics.kernels.build import find_library

    device = jax.local_devices()[0]
    commit = _git("rev-parse", "HEAD")
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "num_devices": jax.local_device_count(),
        "kernels": find_library() is not None,  # those for CPUs, if any were wanted
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "version_dynamics": version("learning-dynamics"),
        **{f"version_{name}": version(name) for name in ("jax", "jaxlib", "optax", "numpy")},
        "git_commit": commit or "",
        "git_dirty": bool(_git("status", "--porcelain")) if commit else False,
        "command": shlex.join(sys.orig_argv),
    }


def code_version() -> str:
    """Return the commit of this code, with `-dirty` if files have changed since, or its version outside a checkout."""
    made_by = provenance()
    if not made_by["git_commit"]:
        return str(made_by["version_dynamics"])
    return f"{made_by['git_commit']}{'-dirty' if made_by['git_dirty'] else ''}"


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _git(*args: str) -> str | None:
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
