"""Every notebook runs."""

import json
from pathlib import Path

import matplotlib
import pytest

from tests.compilation import too_slow_in_python

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@too_slow_in_python
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])
def test_a_notebook_runs_from_top_to_bottom_and_is_committed_with_its_outputs(path):
    matplotlib.use("Agg")
    cells = [
        c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"
    ]
    assert cells
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in cells:
        assert cell["outputs"], "a cell was committed without its output"
        assert not any(o["output_type"] == "error" for o in cell["outputs"])
        exec("".join(cell["source"]), names)
