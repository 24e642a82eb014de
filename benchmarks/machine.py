"""Describe the machine and the software that a measurement was made with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGES = ("dynamics", "jax", "jaxlib", "optax", "numpy", "torch")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def provenance(device: str = "cpu") -> dict[str, Any]:
    """Return machine, versions, commit, date, and the load before the run, which affects every measurement."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "gpu": gpu() if device == "gpu" else None,
        "cpu": cpu_model(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": bool(git("status", "--porcelain")),
    }


def gpu() -> str | None:
    """Return the name of the GPU that JAX finds, or None; asked in a subprocess, because JAX reserves the device."""
    ask = "import jax; print(jax.devices()[0].device_kind)"
    environment = {**os.environ, "JAX_PLATFORMS": "cuda", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def cpu_model() -> str:
    """Return the name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    if "model name" not in named:
        return platform.processor() or "unknown"
    return f"{named['model name']} (family {named.get('cpu family')}, model {named.get('model')})"


def describe_environment(about: dict[str, Any]) -> str:
    """Return machine, versions, commit and date in one line."""
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items() if v)
    commit = about["git_commit"][:10] + ("+" if about["git_dirty"] else "")
    gpu = f"{about['gpu']}; " if about.get("gpu") else ""
    return f"{gpu}{about['cpu']}, {about['cores']} cores; {versions}; commit {commit}; {about['date']}"


def version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git(*arguments: str) -> str:
    """Return the output of a read-only git command, an empty string without git."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
