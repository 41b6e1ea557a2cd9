"""The notebook runs to its end, and says what it says as saved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat

NOTEBOOK = Path(__file__).parents[3] / "notebooks" / "attribution.ipynb"


def printed(notebook: Any) -> list[str]:
    """What each cell printed, numbers left out: their last digits are the machine's."""
    texts = (
        "".join(one.text for one in cell.outputs if one.get("name") == "stdout")
        for cell in notebook.cells
        if cell.cell_type == "code"
    )
    return ["".join(char for char in text if char.isalpha() or char == "\n") for text in texts]


def test_the_notebook_runs_and_is_saved_with_its_outputs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, NOTEBOOK.with_name("run.py"), NOTEBOOK, "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)
    saved = nbformat.read(NOTEBOOK, as_version=4)
    assert printed(made) == printed(saved)
    assert any("IntegratedgradientslabelpositiveCLS" in "".join(t.split()) for t in printed(saved))
    assert NOTEBOOK.stat().st_size < 1_500_000
