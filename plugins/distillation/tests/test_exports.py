"""Other forms of a student: int8 and ONNX, and rows that say why there is none."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

import pytest
import torch
from lmkit_distillation.data import Batch, Encoded, collate
from lmkit_distillation.exports import FORMS, Export, keep_exports, make_exports
from torch.ao.quantization import quantize_dynamic
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
)

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


def loaded_again(folder: Path, weights: Path) -> torch.nn.Module:
    """As docs/distillation.md does it, with nothing of lmkit."""
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = quantize_dynamic(plain, {torch.nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
        small.load_state_dict(torch.load(weights))
    return small  # type: ignore[no-any-return]


def test_what_was_kept_is_loaded_again_and_answers_as_before(tmp_path: Path) -> None:
    model = student()
    model.save_pretrained(tmp_path / "student")
    target = tmp_path / "exports"
    target.mkdir()
    (target / "of an older student").touch()
    found = {one.name: one for one in keep_exports(list(FORMS), model, batch(4, 7), target)}
    given = batch(3, 9, 2)

    assert found["int8"].logits is not None
    small = loaded_again(tmp_path / "student", target / found["int8"].file)
    with torch.no_grad():
        assert torch.equal(small(**given.inputs).logits, found["int8"].logits(given))
    assert not (target / "of an older student").exists()
    if not INSTALLED:
        assert found["onnx"].file == ""
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(str(target / found["onnx"].file))
    values = {one.name: given.inputs[one.name].numpy() for one in session.get_inputs()}
    assert found["onnx"].logits is not None
    again = torch.from_numpy(session.run(["logits"], values)[0])
    assert torch.allclose(again, found["onnx"].logits(given), atol=1e-6)


def test_a_form_that_fails_leaves_no_file_and_none_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(model: torch.nn.Module, example: Batch, folder: Path) -> Export:
        (folder / "half").write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setitem(FORMS, "onnx", fails)
    int8, onnx = keep_exports(["int8", "onnx"], student(), batch(4, 7), tmp_path / "some")
    assert (int8.problem, onnx.problem) == ("", "No space left on device")
    assert [one.name for one in (tmp_path / "some").iterdir()] == ["int8.pt"]
    keep_exports(["onnx"], student(), batch(4, 7), tmp_path / "none")
    assert [one.name for one in tmp_path.iterdir()] == ["some"]


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
