"""The tasks' notebooks run to their end, and are kept with the outputs that they give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"


def kinds(notebook: Any) -> list[list[list[str]]]:
    """The forms of each cell's outputs but for progress, which a slow machine shows."""
    return [
        [
            sorted(kind for kind in one.get("data", {}) if kind != "text/html")
            for one in cell.outputs
            if one.get("name") != "stderr"
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("name", ["classification", "generation", "ner"])
def test_a_notebook_runs_and_is_kept_with_its_outputs(name: str, tmp_path: Path) -> None:
    kept = FOLDER / f"{name}.ipynb"
    done = subprocess.run(
        [sys.executable, FOLDER / "run.py", kept, "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = nbformat.read(tmp_path / kept.name, as_version=4)
    saved = nbformat.read(kept, as_version=4)
    assert kinds(made) == kinds(saved)
    assert any(forms for cell in kinds(saved) for forms in cell)
    assert kept.stat().st_size < 1_500_000
