"""``lmkit strip --names``: texts stay readable, names are nowhere in the file."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lmkit_ner import kernel_key

from lmkit.cli import main
from lmkit.protocol.codec import MIME
from lmkit.strip import StripError, named, strip_notebook

GOLDEN = Path(__file__).parents[3] / "tests" / "golden" / "bundles.json"
NAMES = ("lovelace", "babbage", "london", "ada ")


@pytest.fixture(autouse=True)
def _own_names() -> Iterator[None]:
    """The command runs in this process: its names are not those of other tests."""
    kernel_key.forget()
    yield
    kernel_key.forget()


def output(text: str) -> dict[str, Any]:
    """The golden bundle with a text wherever one may stand, whole and in pieces."""
    data = copy.deepcopy(json.loads(GOLDEN.read_text(encoding="utf-8"))[0]["given"])
    spec = data["spec"]
    spec["values"] = {**spec["values"], "text": text}
    tokens = spec["attention"]["tokens"]["text"]
    tokens[:2] = ["love", "##lace"]
    spec["attention"]["tokens"]["raw"] = ["Lovelace"] * len(tokens)
    spec["results"][2]["text"] = text.upper()
    spec["status"] = {"state": "error", "error": {"code": "x", "message": text}}
    spec["warnings"] = [text]
    spec["python"] = f"kit.classify({text!r})"
    data["record"]["fields"]["text"] = text
    return {
        "output_type": "display_data",
        "data": {MIME: data, "text/html": [f"<img alt='{text}'>"], "text/plain": [text]},
        "metadata": {"image/png": {"alt": text}},
    }


def notebook(*outputs: dict[str, Any]) -> dict[str, Any]:
    state = {"a": {"state": {"_session": "s", "_view": "v", "_esm": "", "text": "Ada Lovelace"}}}
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": state}}
    cell = {"cell_type": "code", "source": ["r"], "outputs": list(outputs), "metadata": {}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"widgets": widgets}, "cells": [cell]}


def values(stripped: Any) -> list[str]:
    data = [one["data"][MIME]["spec"]["values"]["text"] for one in stripped["cells"][0]["outputs"]]
    return [str(one) for one in data]


def test_names_are_placeholders_in_every_output_and_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "a.ipynb"
    hostile = output("<script>alert(1)</script> [PERSON 7] met Ada Lovelace in London.")
    unread = {"output_type": "display_data", "data": {MIME: "Ada Lovelace"}, "metadata": {}}
    given = notebook(
        output("Ada Lovelace worked with Charles Babbage in London."),
        output("Yesterday Ada Lovelace wrote."),
        hostile,
        output("  "),
    )
    given["cells"].append({**given["cells"][0], "outputs": [unread]})
    file.write_text(json.dumps(given), encoding="utf-8")
    assert main(["strip", "--names", str(file)]) == 0
    kept = file.read_text(encoding="utf-8")
    assert [name for name in NAMES if name in kept.lower()] == []
    assert "##lace" not in kept
    first, second, third, blank = values(json.loads(kept))
    assert first == "[PERSON 1] worked with [PERSON 2] in [LOCATION 1]."
    assert second == "Yesterday [PERSON 1] wrote."
    assert third == "<script>alert(1)</script> [PERSON 7] met [PERSON 1] in [LOCATION 1]."
    assert blank == ""
    forms = json.loads(kept)["cells"][0]["outputs"][0]["data"]
    assert list(forms) == [MIME, "text/html", "image/png", "text/plain"]
    assert first in forms["text/plain"]
    assert "[PERSON 1] worked with" in forms["text/html"]
    assert base64.b64decode(forms["image/png"]).startswith(b"\x89PNG")
    assert "<script>alert(1)" not in json.loads(kept)["cells"][0]["outputs"][2]["data"]["text/html"]
    assert main(["strip", "--names", "--check", str(file)]) == 0


def test_what_is_left_are_places_with_names(tmp_path: Path, capsys: Any) -> None:
    given = notebook(output("In the end of all this Ada Lovelace wrote it down by hand."))
    sources = ["In the end of all this", "x = 'this Ada Lovelace wrote'", "it down by hand."]
    given["cells"] += [{"cell_type": "code", "source": [one], "outputs": []} for one in sources]
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps(given), encoding="utf-8")
    assert main(["strip", "--names", str(file)]) == 0
    assert "Names of them stand elsewhere too" in (said := capsys.readouterr().out)
    assert said.endswith("yours to change: source of cell 3\n")


def test_what_fails_to_replace_changes_nothing(tmp_path: Path) -> None:
    given = notebook(output("Ada Lovelace"))
    before = copy.deepcopy(given)
    with pytest.raises(StripError):
        strip_notebook(given, named(given, lambda texts: []))
    assert given == before
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps(given), encoding="utf-8")
    assert main(["strip", "--names", "--model", "starter:nothing", str(file)]) == 1
    assert json.loads(file.read_text(encoding="utf-8")) == before


def cells(*sources: str) -> list[dict[str, Any]]:
    return [
        {"cell_type": "code", "source": [source], "outputs": [], "metadata": {}, "id": f"c{at}"}
        for at, source in enumerate(sources)
    ]


TOLD = "Ada Lovelace worked with Charles Babbage in London."


def shared_notebook() -> dict[str, Any]:
    """The usual one: a magic, code with strings and comments, markdown, what was printed."""
    given = notebook(output(TOLD))
    given["cells"] += cells(
        f"%%lm ner --model starter:ner\n{TOLD}\n",
        f"# {TOLD}\ntext = {TOLD!r}\nrows = [text, f'{{text}} Ada Lovelace was there.']\nlen(rows)",
        "%lm ner --text 'Charles Babbage lived in London.'",
    )
    printed = {"output_type": "stream", "name": "stdout", "text": [f"{TOLD}\n", "2 rows\n"]}
    table = {
        "output_type": "execute_result",
        "execution_count": 1,
        "metadata": {},
        "data": {
            "text/plain": ["  name\n", "0 Ada Lovelace\n"],
            "text/html": ["<table><td>Ada Lovelace</td></table>"],
        },
    }
    given["cells"][2]["outputs"] = [printed, table]
    given["cells"].append(
        {"cell_type": "markdown", "metadata": {}, "source": ["## Names\n", f"{TOLD}\n"], "id": "m"}
    )
    given["metadata"]["authors"] = [{"name": "Ada Lovelace"}]
    return given


def test_with_sources_no_name_is_left_in_the_file_and_the_key_brings_them_back(
    tmp_path: Path, capsys: Any
) -> None:
    given = shared_notebook()
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps(given), encoding="utf-8")
    assert main(["strip", "--names", "--sources", "--check", str(file)]) == 1
    assert json.loads(file.read_text(encoding="utf-8")) == given
    kernel_key.forget()
    capsys.readouterr()
    assert main(["strip", "--names", "--sources", str(file)]) == 0
    said = capsys.readouterr().out
    assert "names replaced in source of cell 2, source of cell 3, output of cell 3" in said
    assert "elsewhere" not in said
    kept = file.read_text(encoding="utf-8")
    assert [name for name in NAMES if name in kept.lower()] == []
    made = json.loads(kept)
    told = "[PERSON 1] worked with [PERSON 2] in [LOCATION 1]."
    assert values({"cells": made["cells"][:1]}) == [told]
    magic, code, line, prose = made["cells"][1:]
    assert magic["source"] == ["%%lm ner --model starter:ner\n", f"{told}\n"]
    assert line["source"] == ["%lm ner --text '[PERSON 2] lived in [LOCATION 1].'"]
    assert prose["source"] == ["## Names\n", f"{told}\n"]
    source = "".join(code["source"])
    compile(source, "cell", "exec")
    assert source.endswith("text, f'{text} [PERSON 1] was there.']\nlen(rows)")
    assert code["outputs"][0]["text"] == [f"{told}\n", "2 rows\n"]
    for at in (1, 2, 3, 4):
        before = "".join(given["cells"][at]["source"])
        assert kernel_key.restore("".join(made["cells"][at]["source"])) == before
    # another run, of another process, finds nothing more to do
    kernel_key.forget()
    assert main(["strip", "--names", "--sources", "--check", str(file)]) == 0


def test_a_word_of_a_name_in_a_filter_is_no_more_there(tmp_path: Path) -> None:
    given = notebook(output(TOLD))
    given["cells"] += cells(
        "found = [row for row in rows if 'Babbage' in row]\nfound[\"Lovelace\"]"
    )
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps(given), encoding="utf-8")
    assert main(["strip", "--names", "--sources", str(file)]) == 0
    kept = file.read_text(encoding="utf-8")
    assert [name for name in NAMES if name in kept.lower()] == []
    source = "".join(json.loads(kept)["cells"][1]["source"])
    restored = kernel_key.restore(source)
    assert restored == "found = [row for row in rows if 'Babbage' in row]\nfound[\"Lovelace\"]"


def test_a_name_of_the_code_is_left_and_said(tmp_path: Path, capsys: Any) -> None:
    given = notebook(output(TOLD))
    given["cells"] += cells("London = 'Charles Babbage lived here'\nLondon")
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps(given), encoding="utf-8")
    assert main(["strip", "--names", "--sources", str(file)]) == 0
    assert "yours to change: source of cell 2" in capsys.readouterr().out
    (source,) = json.loads(file.read_text(encoding="utf-8"))["cells"][1]["source"][:1]
    assert source == "London = '[PERSON 2] lived here'\n"


def test_only_chosen_kinds(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps(shared_notebook()), encoding="utf-8")
    assert main(["strip", "--names", "--sources", "--kinds", "loc", str(file)]) == 0
    kept = file.read_text(encoding="utf-8")
    assert "London" not in kept
    assert "Ada Lovelace worked with Charles Babbage in [LOCATION 1]." in kept
    assert main(["strip", "--names", "--kinds", "FOOD", str(file)]) == 1
    assert "no kind 'FOOD'" in capsys.readouterr().err
    assert main(["strip", "--sources", str(file)]) == 2
    assert "--sources goes with --names" in capsys.readouterr().err
