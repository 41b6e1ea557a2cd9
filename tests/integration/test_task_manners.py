"""Each task leaves the user's model, generators and device as it found them."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from lmkit.errors import LmkitError
from lmkit.kit import Kit
from lmkit.models import ModelStore
from lmkit.session import Session
from tests.tiny import TEXT, tiny_bert, tiny_gpt2, tiny_t5


def bert(head: str) -> Callable[[Path], Any]:
    def make(path: Path) -> Any:
        folder = tiny_bert(path, 3, head=head)
        auto = getattr(transformers, f"AutoModelFor{head}" if head else "AutoModel")
        return auto.from_pretrained(folder, attn_implementation="eager")

    return make


def gpt2(path: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(
        tiny_gpt2(path, pad_token_id=0), attn_implementation="eager"
    )


def t5(path: Path) -> Any:
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(
        tiny_t5(path), attn_implementation="eager"
    )


WRITES: dict[str, Any] = {"max_new_tokens": 4, "template": "plain"}
CASES = [
    pytest.param(bert("SequenceClassification"), "classification", {}, id="classification"),
    pytest.param(bert(""), "zero-shot", {"candidates": "film, music"}, id="zero-shot"),
    pytest.param(bert("TokenClassification"), "ner", {}, id="ner"),
    pytest.param(gpt2, "generation", WRITES, id="greedy"),
    pytest.param(gpt2, "generation", WRITES | {"strategy": "sample", "seed": 3}, id="sample"),
    pytest.param(gpt2, "generation", WRITES | {"strategy": "beams", "beams": 2}, id="beams"),
    pytest.param(gpt2, "generation", {"mode": "score"}, id="score"),
    pytest.param(t5, "generation", WRITES | {"strategy": "sample"}, id="encoder-decoder"),
]


def generators() -> tuple[Any, ...]:
    state = np.random.get_state(legacy=False)
    assert isinstance(state, dict)
    return (
        torch.random.get_rng_state().tolist(),
        random.getstate(),
        state["state"]["pos"],
        state["state"]["key"].tolist(),
    )


def tensors() -> set[int]:
    gc.collect()
    return {id(one) for one in gc.get_objects() if issubclass(type(one), torch.Tensor)}


@pytest.fixture
def kit_of(tmp_path: Path, session: Session) -> Callable[[Any], tuple[Kit, Any]]:
    def make(maker: Any) -> tuple[Kit, Any]:
        model = maker(tmp_path)
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
        return Kit(session, (model, tokenizer), {}), model

    return make


@pytest.fixture
def session() -> Any:
    from lmkit.host import PluginHost

    host = PluginHost()
    host.discover()
    made = Session(host, ModelStore(device="cpu"))
    yield made
    made.stop()


@pytest.mark.parametrize(("maker", "task", "values"), CASES)
def test_modes_kernel_gradients_and_generators_are_as_before(
    kit_of: Any, maker: Any, task: str, values: dict[str, Any]
) -> None:
    kit, model = kit_of(maker)
    model.train()
    next(model.children()).eval()  # a mixture, which model.train(flag) would lose
    frozen = next(iter(model.parameters()))
    frozen.requires_grad_(False)

    def state() -> tuple[Any, ...]:
        return (
            [module.training for module in model.modules()],
            [one.requires_grad for one in model.parameters()],
            [one.grad for one in model.parameters()],
            model.config._attn_implementation,
            len(model._forward_hooks) + len(model._forward_pre_hooks),
            generators(),
        )

    random.random()
    np.random.random()
    torch.rand(1)
    before = state()
    one = kit.run(task, TEXT, **values)
    two = kit.run(task, TEXT, **values)
    assert one.results == two.results  # eval mode, and the same seed
    assert state() == before
    ev = kit.evaluate(task, [TEXT, "", "a film"], **values)
    assert [row["row"] for row in ev.rows] == [0, 2]
    assert state() == before
    with pytest.raises(LmkitError):
        kit.run(task, " ", **values)
    assert state() == before
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize(("maker", "task", "values"), CASES)
def test_nothing_is_left_where_result_and_error_are_held(
    kit_of: Any, session: Session, maker: Any, task: str, values: dict[str, Any]
) -> None:
    kit, model = kit_of(maker)
    kit.run(task, TEXT, **values)  # what the model makes once stays
    before = tensors()
    # IPython's Out and last traceback hold what the user no longer names.
    out: list[Any] = [kit.run(task, TEXT, **values)]
    assert tensors() - before
    out.append(kit.evaluate(task, [TEXT, "a film"], **values))
    calls = 0

    def fail(*_: Any) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("as a device may")

    handle = list(model.modules())[-1].register_forward_hook(fail)
    try:
        kit.run(task, TEXT, **values)
    except LmkitError as error:
        out.append(error)
    finally:
        handle.remove()
    assert calls
    assert out[2].__traceback__ is not None
    for one in out[:2]:
        session.views.close(one._panel.view.id)
    assert tensors() - before == set()
    assert out[0].results
    assert len(out[1]) == 2
