"""``lmkit strip``: nothing of a text stays in any form of an output; everything else does."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lmkit.cli import main
from lmkit.protocol.codec import MIME, decode_bundle
from lmkit.protocol.messages import Bundle, PanelSpec
from lmkit.strip import NOTE, StripError, strip_file, strip_notebook

SECRET = "Frau Kowalski"
GOLDEN = Path(__file__).parents[1] / "golden" / "bundles.json"


def saved() -> dict[str, Any]:
    """The golden bundle with a name wherever a text may stand."""
    data = copy.deepcopy(json.loads(GOLDEN.read_text(encoding="utf-8"))[0]["given"])
    spec = data["spec"]
    spec["values"] = {**spec["values"], "text": SECRET, "how": "fast"}
    spec["attention"]["tokens"]["text"][0] = SECRET
    spec["attention"]["tokens"]["raw"] = [SECRET] * len(spec["attention"]["tokens"]["text"])
    spec["results"][2]["text"] = SECRET
    spec["status"] = {"state": "error", "error": {"code": "x", "message": SECRET}}
    spec["warnings"] = [SECRET]
    spec["python"] = f"kit.classify({SECRET!r})"
    data["record"]["fields"]["text"] = SECRET
    return data


def notebook(bundle: Any) -> dict[str, Any]:
    output = {
        "output_type": "display_data",
        "data": {
            "application/vnd.jupyter.widget-view+json": {"model_id": "abc"},
            MIME: bundle,
            "text/html": [f'<img alt="{SECRET}">'],
            "image/png": "iVBORw0KGgo=",
            "text/plain": [SECRET],
        },
        "metadata": {"image/png": {"alt": SECRET}},
    }
    printed = {"output_type": "stream", "name": "stdout", "text": ["kept\n"]}
    state = {
        "abc": {"state": {"_session": "s", "_view": "v", "_esm": "", "text": SECRET}},
        "def": {"state": {"value": "a slider's"}},
    }
    return {
        "nbformat": 4, "nbformat_minor": 5,
        "metadata": {
            "widgets": {"application/vnd.jupyter.widget-state+json": {"state": state}},
            "kernelspec": {"name": "python3"},
        },
        "cells": [
            {"cell_type": "markdown", "source": ["# kept"], "metadata": {}},
            {"cell_type": "code", "source": ["r"], "outputs": [printed, output], "metadata": {}},
        ],
    }  # fmt: skip


def test_nothing_of_the_text_stays_in_any_form() -> None:
    stripped = notebook(saved())
    assert SECRET in json.dumps(stripped)
    found = strip_notebook(stripped)
    assert (found.outputs, found.changed) == (1, 1)
    assert SECRET not in json.dumps(stripped)
    printed, output = stripped["cells"][1]["outputs"]
    assert printed["text"] == ["kept\n"]
    assert output["metadata"] == {}
    assert set(output["data"]) == {MIME, "text/plain"}
    bundle = decode_bundle(output["data"][MIME])
    assert isinstance(bundle.spec, PanelSpec)
    assert bundle.tiles == ()
    assert bundle.record is None
    assert bundle.live is None
    assert bundle.spec.attention is None
    assert bundle.spec.results == ()
    assert bundle.spec.attention_note == NOTE
    # what ran stays
    assert bundle.spec.header.task == "classification"
    assert bundle.spec.values["k"] == 5
    assert bundle.spec.values["how"] == "fast"
    widgets = stripped["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]
    assert list(widgets["state"]) == ["def"]


def test_stripping_twice_changes_nothing_more() -> None:
    stripped = notebook(saved())
    strip_notebook(stripped)
    before = copy.deepcopy(stripped)
    assert strip_notebook(stripped).changed == 0
    assert stripped == before


@pytest.mark.parametrize("bundle", [{"protocol": 99, "text": SECRET}, SECRET, None, [SECRET]])
def test_an_output_that_cannot_be_read_keeps_a_note_alone(bundle: Any) -> None:
    stripped = notebook(bundle)
    strip_notebook(stripped)
    assert stripped["cells"][1]["outputs"][1]["data"] == {"text/plain": NOTE}
    assert SECRET not in json.dumps(stripped)


def test_another_rewriting_decides_what_stays() -> None:
    def placeholder(bundle: Bundle) -> dict[str, Any]:
        return {"text/plain": f"[NAME] in {bundle.version}"}

    stripped = notebook(saved())
    strip_notebook(stripped, placeholder)
    data = stripped["cells"][1]["outputs"][1]["data"]
    assert data == {"text/plain": "[NAME] in 0.1.0"}


def test_the_command_changes_the_file_in_one_step(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps(notebook(saved())), encoding="utf-8")
    file.chmod(0o640)
    assert main(["strip", "--check", str(file)]) == 1
    assert SECRET in file.read_text(encoding="utf-8")
    assert main(["strip", str(file), "--out", str(tmp_path / "b.ipynb")]) == 0
    assert SECRET in file.read_text(encoding="utf-8")
    assert SECRET not in (tmp_path / "b.ipynb").read_text(encoding="utf-8")
    assert (tmp_path / "b.ipynb").stat().st_mode & 0o777 == 0o640
    assert main(["strip", str(file)]) == 0
    assert file.stat().st_mode & 0o777 == 0o640
    assert SECRET not in file.read_text(encoding="utf-8")
    assert main(["strip", "--check", str(file)]) == 0
    assert "1 of 1 outputs stripped" in capsys.readouterr().out
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.ipynb", "b.ipynb"]


def test_what_the_user_wrote_and_printed_is_named_and_left(tmp_path: Path, capsys: Any) -> None:
    said = "Frau Kowalski called twice\non Monday about her invoice."
    bundle = saved()
    bundle["spec"]["values"]["text"] = said
    given = notebook(bundle)
    raised = {
        "output_type": "error", "ename": "ValueError", "evalue": "on MONDAY  about her",
        "traceback": [],
    }  # fmt: skip
    table = {
        "output_type": "execute_result", "metadata": {}, "execution_count": 1,
        "data": {"application/json": {"rows": [["kowalski called", "twice on"]]}},
    }  # fmt: skip
    given["cells"] += [
        {"cell_type": "code", "source": ["%%lm classification\n", said], "outputs": []},
        {"cell_type": "code", "source": ["1 / 0"], "outputs": [raised]},
        {"cell_type": "code", "source": ["on Monday"], "outputs": [table], "metadata": {}},
        {"cell_type": "markdown", "source": ["About her"], "attachments": {"a.txt": {"x": said}}},
    ]
    given["metadata"]["title"] = "Frau Kowalski called twice"
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps(given), encoding="utf-8")
    left = (
        "source of cell 3", "output of cell 4", "output of cell 5", "metadata of cell 6",
        "notebook's metadata",
    )  # fmt: skip
    assert strip_file(file, write=False).left == left
    assert main(["strip", str(file)]) == 0
    assert f"yours to change: {', '.join(left)}\n" in capsys.readouterr().out
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["cells"][2:] == given["cells"][2:]


def test_the_text_of_an_explorer_is_that_of_its_tokens(tmp_path: Path) -> None:
    bundle = saved()
    bundle["spec"]["values"] = {}
    bundle["spec"]["fields"] = []
    own = decode_bundle(bundle).spec
    assert isinstance(own, PanelSpec)
    assert own.attention is not None
    words = "".join(one.text for one in own.attention.tokens.all if not one.special)
    given = notebook(bundle)
    given["cells"][0]["source"] = [words]
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps(given), encoding="utf-8")
    assert strip_file(file).left == ("source of cell 1",)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": [], "nbformat": 3}', "[" * 9_000])
def test_what_is_no_notebook_is_left_as_it_is(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.ipynb"
    file.write_text(text)
    with pytest.raises(StripError):
        strip_file(file)
    assert file.read_text() == text
    with pytest.raises(StripError):
        strip_file(tmp_path / "missing.ipynb")
