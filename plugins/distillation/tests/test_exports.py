"""Other forms of a student: int8 and ONNX, and rows that say why there is none."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from lmkit_distillation.data import Batch, Encoded, collate
from lmkit_distillation.exports import Export, make_exports
from transformers import BertConfig, BertForSequenceClassification

PACKAGES = ("onnxruntime", "onnxscript")
INSTALLED = all(importlib.util.find_spec(name) is not None for name in PACKAGES)


def student() -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def batch(*lengths: int) -> Batch:
    texts = [
        Encoded(id=str(n), ids=tuple(range(5, 5 + n)), types=(0,) * n, label=0) for n in lengths
    ]
    return collate(texts, 0)


def made(name: str, model: torch.nn.Module, folder: Path) -> Export:
    (found,) = make_exports([name], model, batch(4, 7), folder)
    return found


def apart(export: Export, model: torch.nn.Module, given: Batch) -> float:
    assert export.logits is not None
    with torch.no_grad():
        return float((export.logits(given) - model(**given.inputs).logits).abs().max())


def test_int8_answers_as_the_student_does_and_is_smaller(tmp_path: Path) -> None:
    model = student()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    found = made("int8", model, tmp_path)
    assert found.problem == ""
    assert 0 < apart(found, model, batch(3, 9, 2)) < 0.05
    assert found.bytes == (tmp_path / "int8.pt").stat().st_size
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())


def test_a_model_without_torchs_linear_layers_has_a_row_that_says_so(tmp_path: Path) -> None:
    found = made("int8", torch.nn.Embedding(3, 2), tmp_path)
    assert (found.logits, found.problem) == (
        None,
        "The model has no linear layers of torch's own kind.",
    )


def test_onnx_answers_as_the_student_does_or_names_what_is_missing(tmp_path: Path) -> None:
    model = student()
    found = made("onnx", model, tmp_path)
    if not INSTALLED:
        assert "is not installed: pip install lmkit-distillation[onnx]" in found.problem
        return
    assert found.problem == ""
    # Other sizes than those that it was made with.
    assert apart(found, model, batch(3, 9, 2)) < 1e-4
    assert found.bytes == sum(one.stat().st_size for one in tmp_path.glob("student.onnx*")) > 0


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_is_missing_is_named_with_how_to_get_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in PACKAGES:
        monkeypatch.setitem(sys.modules, each, None if each == name else sys.modules[__name__])
    found = made("onnx", student(), tmp_path)
    assert found.logits is None
    assert found.problem == f"{name} is not installed: pip install lmkit-distillation[onnx]."
