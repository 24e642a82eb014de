"""Where sweeps with faults run, and when two stores are the same."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

SWEEP = [  # with two activations and four kinds of optimizers: eight groups
    *("-m", "experiment=stable_minima/rates", "size=smoke", "~panels.stable", "data.input_dim=2", "data.num_samples=16"),
    *("model.width=16", "measures=[train_loss,weight_norm]", "record.at=[]", "record.num=12", "save_final=true"),
    *("optimizer.learning_rate=0.01,0.02", "seed=range(0,2)"),
]


WHEN = ("seconds", "compile_seconds", "created", "command", "git_commit", "git_dirty")  # what may differ


@dataclass
class Bench:
    """Where sweeps run: their length and groups, how the program is called,
    and the store that they must all come to."""

    root: Path
    steps: int = 100_000
    activations: str = "relu,gelu"
    kinds: str = "gd,momentum,adam,signgd"
    checkpoint_seconds: float = 0.2

    @property
    def groups(self) -> int:
        return len(self.kinds.split(",")) * len(self.activations.split(","))

    def command(self, output: Path, *more: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "dynamics",
            *SWEEP,
            f"model.activation={self.activations}",
            f"optimizer.kind={self.kinds}",
            f"steps={self.steps}",
            f"checkpoint_seconds={self.checkpoint_seconds}",
            f"output={output}",
            *more,
        ]

    def start(self, output: Path, *more: str, **options) -> subprocess.Popen:
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.command(output, *more), cwd=self.root, **pipe, **options)

    def run(self, output: Path, *more: str, **options) -> tuple[int, str]:
        """(exit code, what it printed on stderr) of a sweep left alone."""
        process = self.start(output, *more, **options)
        _, err = process.communicate(timeout=600)
        return process.returncode, err

    def reference(self) -> Path:
        """The output of a sweep that nothing happened to."""
        output = self.root / "reference"
        if not output.exists():
            code, err = self.run(output)
            assert code == 0, err
            assert len(parts(output)) == self.groups, "the sweep must have so many groups"
        return output

    def finish(self, output: Path) -> str:
        """Run the same command again; what it printed. Afterwards the store must be the reference's."""
        code, err = self.run(output)
        assert code == 0, err
        same_store(output, self.reference())
        return err


def parts(output: Path) -> list[Path]:
    return sorted((output / "results" / "stable_minima" / "rates" / "parts").glob("[!.]*"))


def same_store(output: Path, reference: Path) -> None:
    """Raise unless both stores hold the same, to the last bit."""
    ours, theirs = parts(output), parts(reference)
    assert [p.name for p in ours] == [p.name for p in theirs], "other parts"
    for own, other in zip(ours, theirs, strict=True):
        assert sorted(f.relative_to(own) for f in own.rglob("*")) == sorted(f.relative_to(other) for f in other.rglob("*"))
        for file in other.rglob("*.npy"):
            assert (own / file.relative_to(other)).read_bytes() == file.read_bytes(), f"{file}: another final state"
        assert (own / "records.parquet").read_bytes() == (other / "records.parquet").read_bytes(), f"{own}: other records"
        runs, expected = (pl.read_parquet(p / "runs.parquet").drop(WHEN) for p in (own, other))
        assert runs.equals(expected), f"{own}: another run table"
    left = [str(p) for p in (output / "results").rglob(".*")]
    assert not left, f"left behind: {left}"


@contextmanager
def small_disk(megabytes: float) -> Iterator[Path | None]:
    """A file system of that size, or None where none may be mounted."""
    folder = Path(tempfile.mkdtemp())
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={int(megabytes * 1024)}k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        yield folder if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)
