"""How the gate kernels are built: broken compilers, caches, several processes at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from gate_nets import refusal

from dynamics.errors import InputError
from dynamics.kernels import build


def compiler(folder: Path, body: str, version: str = "fake 1.0", feature: str = "__AVX2__") -> str:
    """A compiler that tells its version and the processor's feature and otherwise does this;
    `$out` is what it should write."""
    file = folder / "fake++"
    head = f'[ "$1" = --version ] && {{ printf "%s\\n" "{version}"; exit 0; }}\n'
    head += f'case "$*" in *-dM*) echo "#define {feature} 1"; exit 0;; esac\nfor out; do :; done\n'
    file.write_text(f"#!/bin/sh\n{head}{body}\n")
    file.chmod(0o755)
    return str(file)


BROKEN = {
    "an error in two lines": ("echo 'gates.cc:1: error: no immintrin.h' >&2; echo more >&2; exit 1", "error: no immintrin.h"),
    "no word": ("exit 1", "fake++: failed"),
    "words in no known alphabet": ("printf '\\377\\376' >&2; exit 1", "fake++: "),
    "nothing written": ("exit 0", "No such file"),
    "no library": ('echo no library > "$out"', "gates-"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_compiler_that_fails_is_told_in_one_line(anew, monkeypatch, name):
    body, word = BROKEN[name]
    monkeypatch.setenv("CXX", compiler(anew, body))
    refusal(word)
    assert not [file for file in (anew / "cache").rglob("*") if file.is_dir() and file.name.startswith("tmp")]


def test_a_compiler_that_does_not_tell_its_version(anew, monkeypatch):
    monkeypatch.setenv("CXX", compiler(anew, "exit 1", version=""))
    refusal("fake++: failed")
    next((anew / "cache" / "dynamics" / "kernels").glob("*.failed")).unlink()  # its note: it is not asked again
    Path(compiler(anew, "")).write_text("#!/bin/sh\nexit 0\n")
    build.open_library.cache_clear()
    refusal("No such file")


def test_the_switch_turns_them_off_and_knows_no_third_word(anew, monkeypatch, cli):
    monkeypatch.setenv(build.SWITCH, "off")
    refusal("DYNAMICS_KERNELS=off")
    monkeypatch.setenv(build.SWITCH, "maybe")
    build.open_library.cache_clear()
    with pytest.raises(InputError, match="DYNAMICS_KERNELS = 'maybe': choose one of auto, off"):
        build.find_library()
    code, _, err = cli("experiment=stable_minima/rates", "size=smoke", "mode=plan", f"output={anew / 'out'}")
    assert code == 2 and err.startswith("error: DYNAMICS_KERNELS = 'maybe'") and len(err.splitlines()) == 1


def test_a_cache_folder_that_cannot_be_written_is_a_reason_and_no_crash(anew, monkeypatch):
    monkeypatch.setenv("CXX", compiler(anew, "exit 1"))
    (anew / "cache").write_text("a file in the folder's place")
    refusal(str(anew / "cache"))

    monkeypatch.setenv("XDG_CACHE_HOME", str(anew / ("x" * 300)))
    build.open_library.cache_clear()
    refusal("File name too long")


def test_a_user_without_a_home_has_no_cache_folder(anew, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("CXX", compiler(anew, "exit 1"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    refusal("no cache folder: Could not determine home directory")


SLOW = 'echo built >> "$(dirname "$0")/count"; sleep 1; echo library > "$out"'


def test_two_processes_at_once_build_once_and_a_third_not_at_all(anew, monkeypatch):
    monkeypatch.setenv("CXX", compiler(anew, SLOW))
    code = "import logging; logging.basicConfig(level='INFO'); from dynamics.kernels import build; print(build.build_library())"
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=600) for process in both]
    assert len({out for out, _ in outputs}) == 1
    assert sum("compiling the CPU kernels" in err for _, err in outputs) == 1
    assert (anew / "count").read_text() == "built\n"
    assert build.build_library() == Path(outputs[0][0].strip())
    assert (anew / "count").read_text() == "built\n"
    build.build_library((*build.FLAGS, "-DOTHER"))  # what is built otherwise is another library
    assert (anew / "count").read_text() == "built\n" * 2


def test_threads_that_ask_at_once_build_once(anew, monkeypatch):
    """Programs are compiled in several threads, and each asks."""
    monkeypatch.setenv("CXX", compiler(anew, SLOW))
    threads = [threading.Thread(target=build.find_library) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (anew / "count").read_text() == "built\n"


def counting(folder: Path, body: str) -> str:
    """A compiler that leaves a line for every time it is asked to compile."""
    return compiler(folder, f"echo once >> {folder / 'calls'}\n{body}")


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text().splitlines())


def test_a_compiler_that_failed_is_not_asked_again(anew, monkeypatch, capfd):
    monkeypatch.setenv("CXX", counting(anew, "echo no header >&2; exit 1"))
    refusal("fake++: no header")
    build.open_library.cache_clear()
    capfd.readouterr()
    refusal("fake++: no header (recorded in ")
    assert calls(anew) == 1
    assert capfd.readouterr().err == ""


PASSING = {
    "too slow": ("exec sleep 30", "timed out"),
    "killed": ("kill -9 $$", "fake++: failed"),
    "its parts killed": ("echo 'fatal error: Killed signal terminated program cc1plus' >&2; exit 1", "Killed signal"),
    "no memory": ("echo more >&2; echo 'virtual memory exhausted: Cannot allocate memory' >&2; exit 1", "fake++: more"),
    "no disk": ("echo 'gates.s: No space left on device' >&2; exit 1", "No space left"),
}


@pytest.mark.parametrize("cause", PASSING)
def test_a_cause_that_passes_is_not_remembered(anew, monkeypatch, cause):
    body, word = PASSING[cause]
    monkeypatch.setattr(build, "TIMEOUT", 0.3 if cause == "too slow" else 60)
    monkeypatch.setenv("CXX", compiler(anew, body))
    refusal(word)
    refusal(word)  # not tried again in this process
    assert not list((anew / "cache").rglob("*.failed"))
    compiler(anew, 'echo library > "$out"')  # the machine is well again
    assert build.build_library().read_text() == "library\n"


def test_unlike_processors_with_one_home_have_libraries_of_their_own(anew, monkeypatch):
    """Told by the compiler, so also where there is no /proc/cpuinfo."""
    names = set()
    for feature in ("__AVX2__", "__AVX512F__", "__AVX2__"):
        monkeypatch.setenv("CXX", compiler(anew, 'echo library > "$out"', feature=feature))
        names.add(build.build_library().name)
    assert len(names) == 2


def test_a_library_that_is_not_whole_or_not_ours_alone_is_built_again(anew, monkeypatch):
    monkeypatch.setenv("CXX", counting(anew, 'echo library > "$out"'))
    file = build.build_library()
    assert build.build_library() == file and calls(anew) == 1
    assert not file.parent.stat().st_mode & 0o077 and not file.stat().st_mode & 0o077
    file.write_text("lib")  # torn
    assert build.build_library().read_text() == "library\n" and calls(anew) == 2
    file.chmod(0o770)  # others may have written it
    assert build.build_library() == file and calls(anew) == 3
    file.with_suffix(".sha256").unlink()
    assert build.build_library() == file and calls(anew) == 4


def test_other_processors_are_told_without_asking_a_compiler(anew, monkeypatch, capfd):
    monkeypatch.setattr(build.platform, "machine", lambda: "aarch64")
    refusal("written for x86-64, not for aarch64")
    assert capfd.readouterr().err == ""
