"""Each task gives on an accelerator what it gives on the CPU: ``pytest -m gpu``.

``LMKIT_TEST_DEVICE`` names another device than ``cuda:0``: ``mps``, or ``cpu`` to try the tests.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmkit.api import Spans, TokenChoices, TokenScores
from lmkit.host import PluginHost
from lmkit.kit import Kit
from lmkit.models import ModelStore
from lmkit.session import Session
from tests.tiny import tiny_bert, tiny_llama

pytestmark = pytest.mark.gpu

DEVICE = os.environ.get("LMKIT_TEST_DEVICE", "cuda:0")
SENTENCE = "Ada Lovelace worked with Charles Babbage in London. "


def both(source: str) -> tuple[Kit, Kit]:
    """The same model on the accelerator and on the CPU."""

    def on(device: str) -> Kit:
        host = PluginHost()
        host.discover()
        return Kit(Session(host, ModelStore(device=device)), source, {})

    return on(DEVICE), on("cpu")


def spans(kit: Kit, text: str) -> list[tuple[int, int, str]]:
    (found,) = (one for one in kit.recognise(text).results if isinstance(one, Spans))
    return [(one.start, one.end, one.label) for one in found.spans]


@pytest.mark.parametrize("times", [1, 60], ids=["a window", "several windows"])
def test_entities(times: int) -> None:
    there, here = both("starter:ner")
    text = SENTENCE * times
    assert spans(there, text) == spans(here, text)
    assert len(spans(there, text)) >= 3 * times


def test_a_text_is_written_and_branched_with_its_cache(tmp_path: Path) -> None:
    texts, branches = [], []
    for kit in both(str(tiny_llama(tmp_path))):
        made = kit.run("generation", "the film", template="plain", max_new_tokens=12)
        texts.append(made.text)
        choices = made.results[0]
        assert isinstance(choices, TokenChoices)
        change = choices.tokens[5].alternatives[2].change
        assert change is not None
        branches.append(kit.run("generation", **change.values).text)
        sampled = kit.run("generation", "the film", template="plain", strategy="sample", seed=3)
        again = kit.run("generation", "the film", template="plain", strategy="sample", seed=3)
        assert sampled.text == again.text
    assert texts[0] == texts[1]
    assert branches[0] == branches[1]
    assert branches[0] != texts[0]


def test_perplexity(tmp_path: Path) -> None:
    found = [
        [
            token.probability
            for token in kit.run("generation", "the film moves you", mode="score", template="plain")
            .results[0]
            .tokens
        ]
        for kit in both(str(tiny_llama(tmp_path)))
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_a_data_set(tmp_path: Path) -> None:
    rows = [{"text": f"the plot number {n} is thin", "label": "positive"} for n in range(50)]
    rows[7]["text"] = ""
    there, here = (kit.evaluate("classification", rows) for kit in both(str(tiny_bert(tmp_path))))
    assert len(there) == len(here) == 49
    assert [str(one) for one in there.problems] == [str(one) for one in here.problems]
    for name, value in here.scores.items():
        assert there.scores[name] == pytest.approx(value, abs=1e-3, nan_ok=True)


@pytest.mark.parametrize("method", ["integrated gradients", "occlusion"])
def test_attribution(tmp_path: Path, method: str) -> None:
    found = []
    for kit in both(str(tiny_bert(tmp_path))):
        made = kit.classify("the plot is thin, but i was moved.")
        (shaded, *_) = made.attention.view("attribution", method=method, target="negative")
        assert isinstance(shaded, TokenScores)
        found.append(np.array([one.values for one in shaded.rows]).ravel())
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)


def recipe(folder: Path, precision: str) -> dict[str, Any]:
    train = folder / "train.tsv"
    if not train.exists():
        torch.manual_seed(0)
        tiny_bert(folder / "teacher", num_hidden_layers=4)
        rows = [f"the film number {n} is thin\t{n % 2}" for n in range(32)]
        train.write_text("\n".join(["text\tlabel", *rows]))
    return {
        "out": str(folder / precision),
        "teacher": {"model": str(folder / "teacher")},
        "student": {"layers": 2, "dropout": 0.0},
        "data": {"train": str(train), "dev": str(train)},
        "loss": [{"kind": "ce"}, {"kind": "kl", "temperature": 2.0}, {"kind": "relations"}],
        "train": {"steps": 6, "batch": 8, "rate": 1e-3, "precision": precision},
        "report": {"seconds": 2.0, "resamples": 100},
    }


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_distillation_in_half_precision(tmp_path: Path, precision: str) -> None:
    from lmkit_distillation.engine import Engine
    from lmkit_distillation.folder import RunFolder
    from lmkit_distillation.recipe import recipe_from

    from lmkit.tools import KernelTools

    losses = []
    for kind in ("no", precision):
        out = Engine(recipe_from(recipe(tmp_path, kind)), KernelTools()).run().parent
        losses.append([one["loss"] for one in RunFolder(out).events() if one["kind"] == "step"])
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    card = json.loads((tmp_path / precision / "report.json").read_text())
    assert card["memory"]["teacher"] > card["memory"]["student"] > 0
    assert card["energy"]["how"] in ("measured", "estimate")
    assert [row["batch"] for row in card["speed"]] == [1, 32]
