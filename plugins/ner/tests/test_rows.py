"""Data sets from the outside: two processes, cells that are no texts, usual names, real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmkit.cli import main
from lmkit.errors import LmkitError
from lmkit.host import PluginHost
from lmkit.kit import Kit
from lmkit.models import ModelStore
from lmkit.session import Session
from tests.tiny import tiny_bert

ROOT = Path(__file__).parents[3]
WORDS = ["Ada", "Lovelace", "met", "Mary", "Somerville", "in", "London", "."]
TAGS = ["B-PER", "I-PER", "O", "B-PER", "I-PER", "O", "B-LOC", "O"]


@pytest.fixture(scope="module")
def kit() -> Kit:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "ner"})
    host.discover()
    return Kit(Session(host, ModelStore(device="cpu")), "starter:ner", {})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A token classifier of 64 positions, so that short texts have many windows."""
    names = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
    return tiny_bert(
        tmp_path_factory.mktemp("model"), 5, head="TokenClassification",
        id2label=names, label2id={name: index for index, name in names.items()},
    )  # fmt: skip


def test_two_processes_find_what_one_does_windows_included(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    rows: list[dict[str, Any]] = [
        {"text": " ".join((WORDS * (1 + 37 * index % 30))[index % 5 :])} for index in range(46)
    ]
    rows[7]["text"] = None
    rows[11]["text"] = 4.5
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    environ = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",  # accelerate's own default: sums of more threads round otherwise
        "LMKIT_PLUGINS_ALLOW": "ner",
        "TQDM_DISABLE": "1",
    }

    def evaluate(launcher: list[str], out: str) -> dict[str, bytes]:
        command = [
            *launcher, "-m", "lmkit", "evaluate", "ner", str(data), "--model", str(model),
            "--stride", "16", "--device", "cpu", "--out", str(tmp_path / out),
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("44 of 46 rows") == 1, done.stdout
        names = ("rows.jsonl", "problems.csv", "report.json")
        return {name: (tmp_path / out / name).read_bytes() for name in names}

    two = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
    ]  # fmt: skip
    whole = evaluate([sys.executable], "one")
    assert evaluate(two, "two") == whole
    assert whole["rows.jsonl"].count(b'"entities"') == 44


def test_cells_that_are_no_texts_are_told_by_row_and_column(kit: Kit) -> None:
    texts = [
        "Ada Lovelace lived in London.", "", "  \n", None, float("nan"), 7, True, ["Ada"],
        "王小明在北京工作。", "سافر أحمد إلى القاهرة.", "🎉👩‍👩‍👧 Mary Somerville 🇬🇧 in London 🎉",
        "Ada " + "x" * 300 + " met Mary in London", "\ud800 London", "\0\0",
    ]  # fmt: skip
    bad = {1, 2, 3, 4, 5, 6, 7, 13}
    done = kit.evaluate("ner", [{"sentence": text} for text in texts])
    assert [problem.row for problem in done.problems] == sorted(bad)
    assert {problem.column for problem in done.problems} == {"sentence"}
    assert "Missing" in done.problems[3].message
    assert "int 7" in str(done.problems[4])
    found = done.results[0]
    assert {row[1] for row in found.rows} >= {"Ada Lovelace", "London"}
    assert len(done.rows) == len(texts) - len(bad)


def test_labels_that_the_model_does_not_know(kit: Kit) -> None:
    rows = [
        {"words": WORDS, "tags": TAGS},
        {"words": WORDS, "tags": ["B-FOOD", *TAGS[1:]]},
        {"words": WORDS, "tags": [99, *[0] * 7]},
        {"words": WORDS, "tags": [*TAGS[:7], float("nan")]},
        {"words": [*WORDS[:7], None], "tags": TAGS},
        {"words": [], "tags": []},
    ]
    done = kit.evaluate("ner", rows)
    told = [(problem.row, problem.column) for problem in done.problems]
    assert told == [(2, "tags"), (3, "tags"), (4, "words"), (5, "words")]
    assert "99" in done.problems[0].message
    assert done.scores["texts"] == 2


def test_a_megabyte_is_read_to_its_end(kit: Kit) -> None:
    # words of 300 characters are one token each: a long text and a short run
    text = ("x" * 300 + " ") * 3_400 + "Ada Lovelace lived in London."
    assert len(text) > 1_000_000
    done = kit.evaluate("ner", [{"text": text}, {"text": "Mary Somerville"}], stride=4)
    assert not done.problems
    found = done.results[0]
    assert {"London", "Mary Somerville"} <= {row[1] for row in found.rows}


def test_a_data_set_without_texts_says_what_to_do(kit: Kit) -> None:
    with pytest.raises(LmkitError, match="no column of texts"):
        kit.evaluate("ner", [{"number": 1}])


@pytest.mark.parametrize(
    ("columns", "entities"),
    [
        ({"tokens": WORDS, "ner_tags": TAGS}, 3),
        ({"Words": WORDS, "Labels": TAGS}, 3),
        ({"sentence": " ".join(WORDS), "entities": [[0, 12, "PER"]]}, 1),
        ({"content": " ".join(WORDS), "spans": [{"start": 0, "end": 12, "label": "PER"}]}, 1),
        ({"tokens": WORDS, "text": " ".join(WORDS), "ner": TAGS}, 3),
    ],
)
def test_usual_names_of_columns_are_known(kit: Kit, columns: dict[str, Any], entities: int) -> None:
    done = kit.evaluate("ner", [columns])
    assert not done.problems
    assert done.scores["entities"] == entities


def test_the_command_line_reads_a_text_and_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "ner", "--text", "Ada Lovelace lived in London."]) == 0
    assert "Ada Lovelace" in capsys.readouterr().out
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"tokens": WORDS, "ner_tags": TAGS}) + "\n", encoding="utf-8")
    assert main(["evaluate", "ner", str(data), "--out", str(tmp_path / "out")]) == 0
    assert "1 of 1 rows" in capsys.readouterr().out
