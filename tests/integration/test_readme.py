"""The README's lines, run as one who copies them would."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

from notebooks.run import execute

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def cells() -> list[str]:
    """What the README says to put into cells: magics, and Python."""
    found = []
    for language, source in BLOCK.findall(README):
        if language == "python" or (language == "" and source.startswith("%")):
            found.append(source)
    return found


def test_the_cells_of_the_readme_run_in_their_order(tmp_path: Path) -> None:
    sources = cells()
    assert len(sources) == 4, sources
    sources[2] += "\nassert set(r.labels) == {'positive', 'negative'}"
    sources[2] += "\nassert r.attention[2, 5].shape[0] == len(r.attention.tokens)"
    sources[2] += "\nassert len(trace.layers) == 6"
    sources[3] = sources[3].replace("kit.evaluate", "done = kit.evaluate", 1)
    sources[3] += "\nassert len(done.rows) == 2 and not done.problems"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    ran = execute(notebook, tmp_path)
    kinds = [output["output_type"] for cell in ran.cells for output in cell["outputs"]]
    assert "error" not in kinds
    shown = [output.get("data", {}) for cell in ran.cells[:2] for output in cell["outputs"]]
    assert sum("application/vnd.lmkit.view.v1+json" in one for one in shown) == 2
