"""The script for a GPU, on the CPU: what it would compute there, that it runs, and that a time limit loses nothing."""

import inspect
import json
import sys
from pathlib import Path

import pytest

from dynamics.core import spec as specs
from dynamics.study.config import compose

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    """The modules gpu and gpu_studies, imported as scripts are."""
    monkeypatch.syspath_prepend(FOLDER)
    import gpu
    import gpu_studies

    yield gpu, gpu_studies
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(FOLDER)):
            del sys.modules[name]


def test_its_figure_2_is_the_one_of_paper_size(scripts):
    shipped, listed = compose("stable_minima/rates", "size=paper").runs, scripts[1].list_figure_2
    assert {run.seed for run in shipped} == set(range(inspect.signature(listed).parameters["seeds"].default))
    assert {specs.run_id(run) for run in listed(seeds=2)} == {specs.run_id(run) for run in shipped if run.seed < 2}


@pytest.mark.parametrize(
    ("name", "panel", "listed"),
    [("generalization", "shared", "list_generalization"), ("images", "leaves_patch", "list_images")],
)
def test_its_shapes_are_those_of_paper_size(scripts, name, panel, listed):
    (run, *_) = getattr(scripts[1], listed)()
    own, shipped = (
        specs.flatten(run),
        [specs.flatten(other) for other in compose(f"convolution/{name}", "size=paper").panels[panel]],
    )
    free = {path for path in own if path.startswith(("record.", "measures"))} | {"steps", "save_final", "data.num_test"}
    meant = {path: value for path, value in own.items() if path not in free}
    assert meant in [{path: value for path, value in other.items() if path not in free} for other in shipped]


def test_a_dry_run_writes_a_file_for_each_section_that_began(scripts, tmp_path, capsys, monkeypatch):
    gpu, _ = scripts
    import gpu_steps

    monkeypatch.setattr(gpu_steps, "TINY", gpu_steps.TINY[:1])
    monkeypatch.setitem(gpu.SECTIONS, "ratios", lambda setting: [{"speed": setting.product_flops}])
    gpu.main(["--dry-run", "--sections", "steps", "ratios", "--output", str(tmp_path)])
    found = {file.stem: json.loads(file.read_text()) for file in tmp_path.iterdir()}
    assert set(found) == {"steps", "ratios"}
    assert found["ratios"]["rows"] == [{"speed": found["ratios"]["ceilings"]["product_flops"]}]
    rows = found["steps"]["rows"]
    assert {row["way"] for row in rows} == {"plain", "gradient", "descend"}
    assert all(row["off_by"] < 1e-5 and row["off_64_bits"] < 1e-4 for row in rows)
    capsys.readouterr()
    gpu.main(["--dry-run", "--seconds", "0", "--output", str(tmp_path / "late")])
    told = capsys.readouterr().out
    assert all(f"{name}: left out" in told for name in gpu.SECTIONS) and not (tmp_path / "late").exists()


def test_a_plan_that_fails_is_a_row_and_not_the_end(scripts, monkeypatch):
    _, studies = scripts
    runs = studies.list_generalization(20, 8, 4, steps=2)[:1]
    whole = studies.time_plan("X1", runs, 1e9)
    assert whole["runs"] == 1 and whole["steps"] == 2 and whole["useful_flops"] > 0
    assert whole["product_share"] == pytest.approx(whole["useful_flops"] / whole["warm_seconds"] / 1e9)

    def fail(executor, plan):
        raise RuntimeError("out of memory\nand more")

    monkeypatch.setattr(studies, "_compute", fail)
    assert studies.time_plan("X1", runs, 1e9)["error"].startswith("out of memory")
