"""The notebooks of the repository, as they are kept: this lmkit reads every view in them."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from lmkit.protocol import codec
from lmkit.protocol.codec import MIME

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=[file.stem for file in NOTEBOOKS])
def test_what_a_notebook_shows_can_be_read(file: Path) -> None:
    bundles = pictures = 0
    for cell in nbformat.read(file, as_version=4).cells:
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error", output
            if MIME in output.get("data", {}):
                codec.decode_bundle(output["data"][MIME])
                bundles += 1
                pictures += "image/png" in output["data"]
    assert bundles > 0
    assert pictures == bundles
