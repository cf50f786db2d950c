"""The notebooks run from top to bottom."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

WEEKLY = ("02", "03", "04", "05")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=[pytest.mark.weekly] if p.stem.startswith(WEEKLY) else []) for p in NOTEBOOKS],
)
@pytest.mark.filterwarnings("ignore")  # of the Jupyter packages
def test_it_runs_and_shows_what_is_committed(path, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    committed = nbformat.read(path, as_version=4)
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    assert _printed(notebook) == _printed(committed)


def _printed(notebook):
    """What each cell prints; paths, times and drawings may differ."""
    return [
        "".join(out["text"] for out in cell.outputs if out.output_type == "stream" and out.name == "stdout")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
