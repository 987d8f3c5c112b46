"""The worked notebook runs from its first cell to its last."""

from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.fabricated import Sweep, fabricate

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_says(tmp_path):
    effects = {"bce": 0.0, "weighted_bce": 0.0, "focal": 0.4}
    sweep = Sweep(
        effects, datasets=("breast_cancer", "digits"), rates=(0.1, 0.2), seeds=range(3),
        columns={"split.name": "kfold", "split.fold": 0},
    )  # fmt: skip
    fabricate(tmp_path / "runs" / "demo", sweep)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs[-1].output_type == "execute_result" for cell in cells)
    shown = [output.data for cell in cells for output in cell.outputs if "data" in output]
    assert sum("image/svg+xml" in data for data in shown) == 1
    verdicts = next(data["text/plain"] for data in shown if "verdict" in data["text/plain"])
    assert "focal" in verdicts and "hinge" not in verdicts  # the filter of the question held
