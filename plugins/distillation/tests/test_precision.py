"""Half precision: near to float32, resumed in the same bits, a step that overflows left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_distillation import checkpoints
from lmkit_distillation.folder import RunFolder

from tests.tiny import tiny_bert

from .runs import failing, run, same, steps, weights

TEXTS = ("the plot is thin", "i was moved", "the film is old but you", "river", "the old river")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("precision")
    torch.manual_seed(0)
    tiny_bert(folder / "teacher", num_hidden_layers=4)
    rows = [f"{TEXTS[n % 5]} {TEXTS[n % 3]}\t{n % 2}" for n in range(16)]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel", *rows]))
    return folder


def recipe(files: Path, out: Path, precision: str, weight: float = 0.5) -> dict[str, Any]:
    train = str(files / "train.tsv")
    return {
        "out": str(out),
        "teacher": {"model": str(files / "teacher")},
        "student": {"layers": 2, "dropout": 0.0},
        "data": {"train": train, "dev": train},
        "loss": [
            {"kind": "ce", "weight": weight},
            {"kind": "kl", "temperature": 2.0},
            {"kind": "hidden"},
            {"kind": "attention"},
            {"kind": "relations", "map": "last"},
        ],
        "train": {
            "steps": 6,
            "batch": 8,
            "rate": 1e-3,
            "checkpoint_every": 2,
            "threads": 1,
            "precision": precision,
        },
        "report": {"speed": False, "resamples": 100},
    }


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_the_same_and_resumes_in_the_same_bits(
    files: Path, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(recipe(files, tmp_path / "float32", "no"))
    whole = tmp_path / "whole"
    run(recipe(files, whole, precision))
    for half, full in zip(steps(whole), steps(tmp_path / "float32"), strict=True):
        # bf16 keeps 8 bits of a number: 2^-8 = 0.4 % in each product.
        assert half["parts"] == pytest.approx(full["parts"], rel=0.03, abs=3e-3)
        assert half["parts"] != full["parts"]
    # Weights stay in float32, as autocast wants it; only the arithmetic is shorter.
    assert {one.dtype for one in weights(whole).values()} == {torch.float32}
    failing(recipe(files, tmp_path / "parts", precision), monkeypatch, 3)
    run(recipe(files, tmp_path / "parts", precision))
    assert same(weights(tmp_path / "parts"), weights(whole))


def test_a_step_whose_gradients_are_beyond_fp16_is_left_out_and_the_scale_halved(
    files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run(recipe(files, out, "fp16", weight=30.0))
    state, *_ = checkpoints.latest(RunFolder(out))
    assert state is not None
    lost = [step for step in steps(out) if step["norm"] is None]
    assert 0 < len(lost) < 6
    assert state["scaler"]["scale"] == 2.0 ** (16 - len(lost))
    # What was left out moved nothing: the optimiser counts only the steps that it took.
    taken = {int(one["step"]) for one in state["optimizer"]["state"].values()}
    assert taken == {state["step"] - len(lost)}
