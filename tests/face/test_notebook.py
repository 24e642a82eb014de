"""The public face in a fresh kernel: what a notebook shows of studies, figures and claims."""

import nbformat
import pytest
from nbclient import NotebookClient

RUN = """
study = dyn.run("atlas/catapult", size="smoke", output="here")
study
"""
SPEC = """
small = dyn.Training(data=dyn.Data(num_samples=8), model=dyn.Model(width="2n"), steps=4, measures=["train_loss"])
axes = {"optimizer.learning_rate": dyn.logspace(0.01, 0.8, 3), "seed": range(2)}
swept = dyn.sweep(small, axes, output="here", progress=True)
swept.select(learning_rate=0.8).final
"""
TRIPLE = """
my_dynamics = dyn.Dynamics(
    init=lambda key, hyper: (hyper, hyper["start"]),
    step=lambda x, hyper, key: x - hyper["rate"] * x**3,
    observe=lambda x, hyper: {"loss": x**4 / 4},
)
own = dyn.sweep(my_dynamics, {"rate": [0.1, 0.2], "start": 1.0}, seeds=2, schedule=(0, 10, 100))
own.grid("loss", "rate", "seed", "step")[0].shape
"""
BACKEND = "import matplotlib; matplotlib.get_backend().lower()"
CELLS = ["import dynamics as dyn", RUN, "study.figure()", "study.claims()", SPEC, TRIPLE, BACKEND]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> list[list]:
    """What each cell showed."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    folder = str(tmp_path_factory.mktemp("notebook"))
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    return [cell.outputs for cell in notebook.cells]


def shown(cell: list) -> dict:
    """What a cell's last line was shown as, by kind."""
    (result,) = [output for output in cell if output.output_type == "execute_result"]
    return dict(result.data)


def test_a_study_is_shown_as_a_table_of_its_axes(outputs):
    page = shown(outputs[1])["text/html"]
    assert "edge_ratio" in page and "ok" in page and "catapult" in page


def test_claims_are_shown_as_a_table_of_verdicts(outputs):
    page = shown(outputs[3])["text/html"]
    assert "<table" in page and "holds" in page


def test_a_sweep_of_a_spec_and_of_a_triple(outputs):
    assert "shape: (2," in shown(outputs[4])["text/plain"]
    assert "(2, 2, 3)" in shown(outputs[5])["text/plain"]


def test_progress_is_shown_where_it_is_asked_for_and_nothing_else_is_written(outputs):
    streams = ["".join(o.text for o in cell if o.output_type == "stream") for cell in outputs]
    assert "100 %" in streams[4]
    assert [text for i, text in enumerate(streams) if i != 4 and text] == []


def test_a_figure_is_shown_inline(outputs):
    assert shown(outputs[2]).keys() & {"image/png", "text/html"}


def test_the_notebooks_own_backend_stays(outputs):
    assert "inline" in shown(outputs[6])["text/plain"]
