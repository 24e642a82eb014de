"""Building `gates.cc` for this very processor, once, with the C++ compiler that is there; without one nothing is built.

The library lies in the user's cache folder under a name made of the source, the compiler, the processor and jaxlib, so that
machines which share a home folder do not share machine code. `DYNAMICS_KERNELS=off` does without.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import jax
import jaxlib
from filelock import FileLock

from dynamics.errors import choose

log = logging.getLogger(__name__)

SWITCH = "DYNAMICS_KERNELS"
SOURCE = Path(__file__).with_name("gates.cc")
HEADERS = [SOURCE.with_name(name) for name in ("gates.h", "descend.h")]
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp-simd", "-pthread", "-shared", "-fPIC", "-w")
DOORS = ("gates", "moments", "sums", "descend", "line_gates", "line_moments", "line_sums")


class Unavailable(Exception):
    """Why there is no library: told where someone asks, never in the way of a run."""


@cache
def opened() -> tuple[ctypes.CDLL | None, str]:
    """The library, its calls registered with JAX, or None and the reason in one line."""
    try:
        return load(build()), ""
    except Unavailable as reason:
        return None, str(reason)


def library() -> ctypes.CDLL | None:
    """The library, or None where it cannot be had."""
    return opened()[0]


def why_not() -> str:
    """Why there is no library, in one line; empty where there is one."""
    return opened()[1]


def switched_off() -> bool:
    """Whether the user wants plain JAX only."""
    return choose(SWITCH, os.environ.get(SWITCH, "auto"), {"auto": False, "off": True})


def cache_folder() -> Path:
    """Where what is built or found out for this machine lies."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynamics" / "kernels"


def build(flags: tuple[str, ...] = FLAGS) -> Path:
    """The built library's file; raises `Unavailable`."""
    if switched_off():
        raise Unavailable(f"{SWITCH}=off")
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise Unavailable(f"written for x86-64, not for {platform.machine()}")
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "c++", "g++", "clang++"))), None)
    if compiler is None:
        raise Unavailable("no C++ compiler (set CXX)")
    told = _run([compiler, "--version"]).partition("\n")[0]
    about = "\n".join((*(file.read_text() for file in (SOURCE, *HEADERS)), told, _processor(), jaxlib.__version__, *flags))
    try:
        folder = cache_folder()
    except RuntimeError as error:  # no HOME, and a user without an entry in the system's list
        raise Unavailable(f"no cache folder: {error}") from None
    target = folder / f"gates-{hashlib.sha256(about.encode()).hexdigest()[:16]}.so"
    failed = target.with_suffix(".failed")
    try:
        if _ours_and_whole(target):
            return target
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)  # code is loaded from here
        with FileLock(target.with_suffix(".lock")):
            if not _ours_and_whole(target):
                if failed.exists():
                    raise Unavailable(f"{failed.read_text()} (noted in {failed})")
                log.info("building the CPU kernels for this processor (once)")
                with tempfile.TemporaryDirectory(dir=folder) as workshop:
                    made = Path(workshop) / target.name
                    try:
                        _run([compiler, *flags, f"-I{jax.ffi.include_dir()}", str(SOURCE), "-o", str(made)])
                    except Unavailable as reason:
                        failed.write_text(str(reason))
                        raise
                    target.with_suffix(".sha256").write_text(_digest(made))
                    made.chmod(0o700)
                    os.replace(made, target)
    except OSError as error:
        raise Unavailable(f"{folder}: {error.strerror}") from None
    return target


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _ours_and_whole(file: Path) -> bool:
    """Whether the library is there, as it was built, and nobody else could have put it there."""
    noted = file.with_suffix(".sha256")
    if not file.exists() or not noted.exists() or noted.read_text() != _digest(file):
        return False
    seen = file.stat()
    return not hasattr(os, "getuid") or (seen.st_uid == os.getuid() and not seen.st_mode & 0o022)


def load(file: Path) -> ctypes.CDLL:
    """The library in this file, its calls registered with JAX under `dynamics_*`."""
    try:
        made = ctypes.cdll.LoadLibrary(str(file))
        calls = {f"dynamics_{name}": getattr(made, f"dynamics_{name}") for name in DOORS}
    except (OSError, AttributeError) as error:
        raise Unavailable(str(error)) from None
    for name, call in calls.items():
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(call), platform="cpu")
    return made


def _run(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{Path(command[0]).name}: {(error.stderr.strip().splitlines() or ['failed'])[0]}") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{Path(command[0]).name}: {error}") from None


def _processor() -> str:
    """What the machine code depends on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {flags}"


if __name__ == "__main__":  # at installation, so that no run has to wait
    print(f"no CPU kernels ({why_not()}): plain JAX does the same, slower" if library() is None else "CPU kernels are built")
