"""What the form shows is what ``generate`` is told, whatever the model's own settings are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import lmkit
from lmkit.api import Table
from tests.tiny import tiny_llama

PROMPT = "the film moves you , and the plot"
NEUTRAL = {
    "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": None, "repetition_penalty": 1.0,
    "do_sample": False, "num_beams": 1, "num_return_sequences": 1, "max_new_tokens": 24,
}  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> lmkit.Kit:
    """Weights larger than usual: its distributions are peaked, as those of a trained model are."""
    return lmkit.load(
        str(tiny_llama(tmp_path_factory.mktemp("llama"), initializer_range=0.25, eos_token_id=None))
    )


@pytest.fixture
def shipped(llama: lmkit.Kit) -> Iterator[dict[str, Any]]:
    """Writes what is put into it into the model's generation config, for one test."""
    config = llama.loaded("generation").model.generation_config
    before = dict(vars(config))

    class Shipped(dict[str, Any]):
        def __setitem__(self, name: str, value: Any) -> None:
            setattr(config, name, value)

    yield Shipped()
    vars(config).clear()
    vars(config).update(before)


def write(kit: lmkit.Kit, **values: Any) -> Any:
    return kit.run("generation", PROMPT, template="plain", max_new_tokens=24, **values)


def ids_of(analysis: Any) -> list[int]:
    return list(analysis.attention.trace.sequence)


def reference(kit: lmkit.Kit, **options: Any) -> list[int]:
    loaded = kit.loaded("generation")
    inputs = loaded.tokenizer(PROMPT, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = loaded.model.generate(**inputs, **{**NEUTRAL, **options})
    return list(made[0].tolist())


PLAIN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.4),
        ("temperature", 2.5),
        ("top_k", 3),
        ("top_p", 0.4),
        ("min_p", 0.4),
        ("repetition_penalty", 2.0),
    ],
)
def test_each_setting_changes_a_sampled_text_as_it_does_in_generate(
    llama: lmkit.Kit, name: str, value: float
) -> None:
    # A penalty only shows where a text repeats itself, as a surer one does.
    base = {"temperature": 0.4} if name == "repetition_penalty" else {}
    plain = ids_of(write(llama, strategy="sample", seed=3, **{**PLAIN, **base}))
    made = ids_of(write(llama, strategy="sample", seed=3, **{**PLAIN, **base, name: value}))
    assert plain == reference(llama, do_sample=True, **base)
    assert made == reference(llama, do_sample=True, **base, **{name: value})
    assert made != plain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.4),
        ("top_k", 3),
        ("top_p", 0.4),
        ("min_p", 0.4),
        ("repetition_penalty", 2.0),
        ("num_beams", 3),
    ],
)
def test_what_the_model_ships_does_not_stand_in_for_what_the_form_shows(
    llama: lmkit.Kit, shipped: dict[str, Any], name: str, value: float
) -> None:
    wanted = reference(llama, do_sample=True)
    greedy = reference(llama)
    shipped[name] = value
    assert ids_of(write(llama, strategy="sample", seed=3, **PLAIN)) == wanted
    assert ids_of(write(llama)) == greedy


def test_a_greedy_text_has_the_penalty_of_the_form_alone(
    llama: lmkit.Kit, shipped: dict[str, Any]
) -> None:
    shipped["repetition_penalty"] = 1.8
    rows = llama.evaluate("generation", [PROMPT], template="plain", max_new_tokens=24).rows
    made = write(llama)
    assert ids_of(made) == reference(llama, repetition_penalty=1.0)
    assert ids_of(made) != reference(llama, repetition_penalty=1.8)
    assert rows[0]["written"] == made.text
    beams = write(llama, strategy="beams", beams=3)
    assert ids_of(beams) == reference(llama, num_beams=3, num_return_sequences=3)


def test_a_model_that_returns_several_texts_by_itself_writes_one(
    llama: lmkit.Kit, shipped: dict[str, Any]
) -> None:
    shipped["num_return_sequences"] = 3
    shipped["do_sample"] = True
    assert ids_of(write(llama)) == reference(llama)


@pytest.mark.parametrize(
    ("strategy", "name", "value", "options"),
    [
        ("greedy", "no_repeat_ngram_size", 2, {}),
        ("sample", "typical_p", 0.3, {"do_sample": True}),
        ("beams", "length_penalty", -3.0, {"num_beams": 3, "num_return_sequences": 3}),
    ],
)
def test_what_has_no_field_stays_as_the_model_has_it_and_is_said(
    llama: lmkit.Kit,
    shipped: dict[str, Any],
    strategy: str,
    name: str,
    value: float,
    options: dict[str, Any],
) -> None:
    settings = {"strategy": strategy, "seed": 3, **PLAIN, "beams": 3}
    assert write(llama, **settings).results[0].note == ""
    shipped[name] = value
    made = write(llama, **settings)
    assert ids_of(made) == reference(llama, **options, **{name: value})
    assert made.results[0].note == f"Set by the model's own generation config: {name} {value}."
    report = llama.evaluate("generation", [PROMPT], template="plain", max_new_tokens=4, **settings)
    table = report.results[0]
    assert isinstance(table, Table)
    assert f"{name} {value}" in table.note


def test_stop_sequences_are_the_models_and_the_forms(
    llama: lmkit.Kit, shipped: dict[str, Any]
) -> None:
    whole = write(llama).text
    letters = [one for one in whole if one.isascii() and one.isalpha()]
    late = next(one for one in letters if one != letters[0])
    early = letters[0]
    tokenizer = llama.loaded("generation").tokenizer
    wanted = reference(llama, stop_strings=[late], tokenizer=tokenizer)
    both = reference(llama, stop_strings=[late, early], tokenizer=tokenizer)
    shipped["stop_strings"] = [late]
    made = write(llama)
    assert ids_of(made) == wanted
    assert "stop_strings" in made.results[0].note
    assert ids_of(write(llama, stop_at=early)) == both
