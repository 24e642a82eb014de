"""Compile `gates.cc` once for this processor, if there is a C++ compiler.

The library is stored in the user's cache folder under a hash of the source, compiler, jaxlib version and what the
compiler takes the processor to be able to do, so that unlike machines with a common home folder do not share machine
code. A compiler's refusal of the source is noted there too and not asked for again, unless its cause may pass (time,
memory, disk). `DYNAMICS_KERNELS=off` disables it.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import re
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
HEADERS = [SOURCE.with_name(name) for name in ("gates.h", "descend.h", "workers.h")]
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp-simd", "-pthread", "-shared", "-fPIC", "-w")
TIMEOUT = 300  # seconds
CALLS = ("gates", "moments", "sums", "descend", "line_gates", "line_moments", "line_sums")


# What a compiler says, and clang's or gcc's driver of it, when it was the machine that failed and not the source.
PASSING = re.compile(
    r"out of memory|memory exhausted|allocate memory|bad_alloc|\bKilled\b|signal terminated|due to signal"
    r"|No space left|quota exceeded|temporarily unavailable",
    re.IGNORECASE,
)


class Unavailable(Exception):
    """Raised when the library cannot be built or loaded; runs then use plain JAX.

    passes: whether the cause may be gone the next time: a limit of time, memory or disk
    """

    def __init__(self, reason: str, *, passes: bool = False):
        super().__init__(reason)
        self.passes = passes


@cache
def open_library() -> tuple[ctypes.CDLL | None, str]:
    """Return the library with its calls registered in JAX and an empty string, or None and the reason in one line."""
    try:
        return load_library(build_library()), ""
    except Unavailable as reason:
        return None, str(reason)


def find_library() -> ctypes.CDLL | None:
    """Return the library, built on first use, or None if it is unavailable."""
    return open_library()[0]


def explain_missing_library() -> str:
    """Return in one line why there is no library; an empty string if there is one."""
    return open_library()[1]


def is_switched_off() -> bool:
    """Return whether `DYNAMICS_KERNELS=off` is set; raises `InputError` for a value other than auto and off."""
    return choose(SWITCH, os.environ.get(SWITCH, "auto"), {"auto": False, "off": True})


def cache_folder() -> Path:
    """Return the folder for compiled libraries and backend timings of this machine."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynamics" / "kernels"


def build_library(flags: tuple[str, ...] = FLAGS) -> Path:
    """Compile the library unless it exists and return its file; raises `Unavailable`.

    flags: command-line flags of the compiler
    """
    if is_switched_off():
        raise Unavailable(f"{SWITCH}=off")
    if platform.machine().lower() not in ("x86_64", "amd64"):
        raise Unavailable(f"written for x86-64, not for {platform.machine()}")
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "c++", "g++", "clang++"))), None)
    if compiler is None:
        raise Unavailable("no C++ compiler (set CXX)")
    told = _run([compiler, "--version"]).partition("\n")[0]
    able = _processor_features(compiler)
    about = "\n".join((*(file.read_text() for file in (SOURCE, *HEADERS)), told, able, jaxlib.__version__, *flags))
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
                    raise Unavailable(f"{failed.read_text()} (recorded in {failed}; delete that file to try again)")
                log.info("compiling the CPU kernels for this processor (once)")
                with tempfile.TemporaryDirectory(dir=folder) as workshop:
                    made = Path(workshop) / target.name
                    try:
                        _run([compiler, *flags, f"-I{jax.ffi.include_dir()}", str(SOURCE), "-o", str(made)])
                    except Unavailable as reason:
                        if not reason.passes:
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
    """Return whether the library exists, matches its checksum, and is writable by this user only."""
    noted = file.with_suffix(".sha256")
    if not file.exists() or not noted.exists() or noted.read_text() != _digest(file):
        return False
    seen = file.stat()
    return not hasattr(os, "getuid") or (seen.st_uid == os.getuid() and not seen.st_mode & 0o022)


def load_library(file: Path) -> ctypes.CDLL:
    """Load a library file, register its calls in JAX as `dynamics_*` and return it; raises `Unavailable`."""
    try:
        made = ctypes.cdll.LoadLibrary(str(file))
        calls = {f"dynamics_{name}": getattr(made, f"dynamics_{name}") for name in CALLS}
    except (OSError, AttributeError) as error:
        raise Unavailable(str(error)) from None
    for name, call in calls.items():
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(call), platform="cpu")
    return made


def _run(command: list[str]) -> str:
    """Return what a command prints; raises `Unavailable` if it fails."""
    name = Path(command[0]).name
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=True
        ).stdout
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["failed"]
        passes = error.returncode < 0 or any(PASSING.search(line) for line in lines)
        raise Unavailable(f"{name}: {lines[0]}", passes=passes) from None
    except (OSError, subprocess.SubprocessError) as error:  # no process to be had, or it took too long
        raise Unavailable(f"{name}: {error}", passes=True) from None


def _processor_features(compiler: str) -> str:
    """Return the architecture and the macros by which the compiler knows this processor,
    which machine code depends on."""
    macros = _run([compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull]).splitlines()
    return "\n".join((platform.machine(), *sorted(line for line in macros if line.startswith("#define __"))))


if __name__ == "__main__":  # run at installation, so that no run has to wait for the compiler
    print(
        f"no CPU kernels ({explain_missing_library()}): runs use plain JAX, which is slower"
        if find_library() is None
        else "CPU kernels are built"
    )
