"""Students of each kind, whole runs of each task, and when training looks, keeps and ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_distillation.engine import Engine
from lmkit_distillation.errors import DistillationError, RecipeError
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.recipe import Student, recipe_from
from lmkit_distillation.student import (
    check_checkpointing,
    from_config,
    kept_layers,
    set_dropout,
    shared_vocabulary,
)
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    OPTConfig,
    OPTForCausalLM,
)

from lmkit.models import ModelStore
from lmkit.tools import KernelTools
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_roberta

from .runs import changed, failing, run, same, steps, weights, write_rows

TAGS = ("O", "B-PER", "I-PER", "B-LOC")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("students")
    tiny_bert(folder / "teacher", num_hidden_layers=3)
    tiny_roberta(folder / "other")
    tiny_llama(folder / "causal")
    tiny_llama(folder / "padded", vocab_size=704, num_hidden_layers=1)
    names = dict(enumerate(TAGS))
    tiny_bert(
        folder / "tagger", head="TokenClassification", num_hidden_layers=3,
        id2label=names, label2id={name: i for i, name in names.items()},
    )  # fmt: skip
    words = ("plot", "film", "river", "music", "unbelievable", "cinema")
    rows = [
        {"text": f"the {a} by the {b}", "label": i % 2} for i, a in enumerate(words) for b in words
    ]
    write_rows(folder / "train.jsonl", rows)
    tagged = [
        {"tokens": ["you", a, "saw", b, "films"], "tags": ["O", "B-PER", "O", "B-LOC", "O"]}
        for a in words
        for b in words[:3]
    ]
    write_rows(folder / "tagged.jsonl", tagged)
    return folder


def plain(files: Path, out: Path, **sections: Any) -> dict[str, Any]:
    data = str(files / "train.jsonl")
    base = {
        "out": str(out),
        "teacher": {"model": str(files / "teacher")},
        "student": {"layers": 1},
        "data": {"train": data, "dev": data},
        "loss": [{"kind": "kl"}],
        "train": {"steps": 4, "batch": 6, "rate": 1e-3, "threads": 1},
        "report": {"speed": False, "resamples": 100},
    }
    return changed(base, **sections)


def evaluations(out: Path) -> list[dict[str, Any]]:
    return [e for e in RunFolder(out).events() if e["kind"] == "evaluation"]


# made from a config


def test_a_student_of_other_sizes_learns_from_every_part_of_the_teacher(
    files: Path, tmp_path: Path
) -> None:
    wish = {"start": "config", "layers": 2, "hidden": 24, "heads": 2, "intermediate": 40}
    losses = [
        {"kind": "kl"},
        {"kind": "hidden"},
        {"kind": "embedding", "measure": "cosine"},
        {"kind": "relations", "relation_heads": 4, "map": "last"},
    ]
    made = run(plain(files, tmp_path / "out", student=wish, loss=losses, train={"steps": 8}))
    config = AutoConfig.from_pretrained(made)
    sizes = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads)
    assert (*sizes, config.intermediate_size) == (2, 24, 2, 40)
    found = steps(made.parent)
    assert found[-1]["loss"] < found[0]["loss"]
    assert weights(made.parent)["bert.embeddings.word_embeddings.weight"].shape == (200, 24)
    other = run(plain(files, tmp_path / "seed", student=wish, loss=losses, seed=1))
    assert not same(weights(made.parent), weights(other.parent))


def test_sizes_that_do_not_fit_are_named(files: Path, tmp_path: Path) -> None:
    llama = AutoModelForCausalLM.from_pretrained(files / "causal")
    made = from_config(llama, Student(start="config", heads=2, kv_heads=1, hidden=16), 0)
    assert made.model.layers[0].self_attn.k_proj.weight.shape == (8, 16)  # type: ignore[union-attr, index]
    for wish, words in (
        ({"hidden": 30}, "30, which 4 heads do not divide"),
        ({"heads": 4, "kv_heads": 3}, "kv_heads is 3, which does not divide 4"),
    ):
        with pytest.raises(RecipeError, match=words):
            from_config(llama, Student(start="config", **wish), 0)  # type: ignore[arg-type]
    tiny_gpt2(tmp_path / "gpt2")
    gpt2 = AutoModelForCausalLM.from_pretrained(tmp_path / "gpt2")
    with pytest.raises(RecipeError, match="kv_heads does not fit: a GPT2LMHeadModel has no"):
        from_config(gpt2, Student(start="config", kv_heads=2), 0)


# named entities


def test_named_entities_from_the_data_to_the_report(files: Path, tmp_path: Path) -> None:
    data = {"train": str(files / "tagged.jsonl"), "dev": str(files / "tagged.jsonl")}
    recipe = plain(
        files, tmp_path / "out", task="ner", teacher={"model": str(files / "tagger")}, data=data,
        student={"layers": 2}, loss=[{"kind": "ce"}, {"kind": "kl", "weight": 0.5}],
        train={"steps": 60, "rate": 5e-3, "evaluate_every": 20},
    )  # fmt: skip
    engine = Engine(recipe_from(recipe), KernelTools())
    made = engine.run()
    # Words of several pieces count once, by their first: 5 words a text, whatever its tokens.
    assert {sum(one.counted) for one in engine.texts} == {5}
    assert max(len(one.ids) for one in engine.texts) > 7
    card = json.loads((made.parent / "report.json").read_text())
    # The words say the tags here, so that a student of labels is right where the teacher is not.
    assert card["quality"]["student"]["f1"] > 0.9
    assert card["quality"]["student"]["f1"] > card["quality"]["teacher"]["f1"]
    assert {row["label"] for row in card["quality"]["per_entity"]} >= {"PER", "LOC"}
    assert evaluations(made.parent)[-1]["f1"] == pytest.approx(card["quality"]["student"]["f1"])
    student = AutoModelForTokenClassification.from_pretrained(made)
    assert [student.config.id2label[i] for i in range(4)] == list(TAGS)


# when it looks, keeps and ends


def test_evaluations_come_by_the_schedule_and_at_the_end(files: Path, tmp_path: Path) -> None:
    for every, total, expected in ((5, 12, [5, 10, 12]), (0, 20, list(range(2, 21, 2)))):
        out = tmp_path / str(every)
        run(plain(files, out, train={"steps": total, "evaluate_every": every}))
        assert [one["step"] for one in evaluations(out)] == expected


def scripted(monkeypatch: pytest.MonkeyPatch, scores: dict[int, float]) -> dict[int, Any]:
    """Let evaluations say what they are told; gives the weights at each."""
    seen: dict[int, Any] = {}

    def score(self: Engine, values: dict[str, float]) -> float:
        state = self.pair.student.state_dict()
        seen[self.step] = {name: tensor.clone() for name, tensor in state.items()}
        return scores[self.step]

    monkeypatch.setattr(Engine, "_score", score)
    return seen


def test_patience_ends_it_and_the_best_is_what_is_kept(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = scripted(monkeypatch, {1: 0.2, 2: 0.5, 3: 0.5, 4: 0.3, 5: 0.9, 6: 1.0})
    out = tmp_path / "out"
    run(plain(files, out, train={"steps": 6, "evaluate_every": 1, "patience": 2}))
    # An equal score is no better one: 3 and 4 use up the patience.
    assert sorted(seen) == [1, 2, 3, 4]
    events = RunFolder(out).events()
    (end,) = (e for e in events if e["kind"] == "early-stop")
    assert (end["step"], end["best"], end["best_step"]) == (4, 0.5, 2)
    made = weights(out)
    assert all(torch.equal(made[name], seen[2][name]) for name in made)
    assert not same(made, seen[4])
    card = json.loads((out / "report.json").read_text())
    assert (card["best_step"], card["steps"]) == (2, 4)


def test_the_best_and_the_patience_spent_outlast_a_stop(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {1: 0.2, 2: 0.5, 3: 0.4, 4: 0.3, 5: 0.9}
    train = {"steps": 5, "evaluate_every": 1, "patience": 2, "checkpoint_every": 1}
    seen = scripted(monkeypatch, scores)
    recipe = plain(files, tmp_path / "out", train=train)
    failing(recipe, monkeypatch, 3)
    run(recipe)
    assert sorted(seen) == [1, 2, 3, 4]
    made = weights(tmp_path / "out")
    assert all(torch.equal(made[name], seen[2][name]) for name in made)


# other tokenizers and vocabularies


def test_models_of_different_tokenizers_learn_by_text(files: Path, tmp_path: Path) -> None:
    student = {"start": "model", "model": str(files / "other"), "layers": 0, "align": "text"}
    recipe = plain(files, tmp_path / "out", student={**student, "dropout": 0.0}, train={"steps": 6})
    engine = Engine(recipe_from(recipe), KernelTools())
    plainly, kept = engine._step_or_halve, []

    def keep(texts: Any, micro: Any) -> Any:
        state = {k: v.clone() for k, v in engine.pair.student.state_dict().items()}
        kept.append((list(texts), state))
        return plainly(texts, micro)

    engine._step_or_halve = keep  # type: ignore[method-assign]
    engine.run()
    texts, state = kept[0]
    engine.pair.student.load_state_dict(state)
    total = 0.0
    teacher = ModelStore().get(str(files / "teacher"), "AutoModelForSequenceClassification")
    for one in texts:
        text = engine.pair.tokenizer.decode(one.ids, skip_special_tokens=True)
        with torch.no_grad():
            theirs = teacher.model(**teacher.tokenizer(text, return_tensors="pt")).logits[0]
            mine = engine.pair.student.eval()(torch.tensor([one.ids])).logits[0]
        p, q = (torch.softmax(x.double(), -1) for x in (theirs, mine))
        total += float((p * (p.log() - q.log())).sum())
    found = steps(tmp_path / "out")
    assert found[0]["loss"] == pytest.approx(total / len(texts), rel=1e-4)
    assert found[-1]["loss"] < found[0]["loss"]
    for sections, words in (
        ({"loss": [{"kind": "hidden"}]}, "compares tokens"),
        ({"task": "ner"}, "does not fit NER"),
    ):
        with pytest.raises(RecipeError, match=words):
            recipe_from(changed(recipe, **sections))


def test_a_model_that_learns_from_itself_is_not_its_own_teacher(
    files: Path, tmp_path: Path
) -> None:
    """What is trained is a copy: the teacher, and whoever else has that model, keep theirs."""
    student = {"start": "model", "model": str(files / "teacher"), "layers": 0, "dropout": 0.0}
    recipe = plain(files, tmp_path / "out", student=student, loss=[{"kind": "ce"}])
    engine = Engine(recipe_from(recipe), KernelTools())
    engine.run()
    before = AutoModelForSequenceClassification.from_pretrained(files / "teacher").state_dict()
    assert same(dict(engine.pair.teacher.state_dict()), dict(before))
    assert not same(weights(tmp_path / "out"), dict(before))
    run(changed(recipe, out=str(tmp_path / "again")))
    assert same(weights(tmp_path / "out"), weights(tmp_path / "again"))


def test_padded_vocabularies_are_cut_to_what_both_have(files: Path, tmp_path: Path) -> None:
    text = {"train": write_rows(tmp_path / "t.jsonl", [{"text": "the film moves you"}] * 6)}
    student = {"start": "model", "model": str(files / "padded"), "layers": 0}
    found = []
    for kind in ("kl", "logit-mse"):
        recipe = plain(
            files, tmp_path / kind, task="generation", teacher={"model": str(files / "causal")},
            student=student, loss=[{"kind": kind}], train={"steps": 1},
        )  # fmt: skip
        recipe["data"] = text
        engine = Engine(recipe_from(recipe), KernelTools())
        engine.run()
        assert engine.pair.head.vocabulary == engine.pair.teacher_head.vocabulary == 600
        found.append(steps(tmp_path / kind)[0]["loss"])
    ids = torch.tensor([engine.texts[0].ids])
    with torch.no_grad():
        p, q = (
            AutoModelForCausalLM.from_pretrained(files / name)(ids).logits[0, :-1, :600].double()
            for name in ("causal", "padded")
        )
    assert found[1] == pytest.approx(float((q - p).square().mean()), rel=1e-4)
    p, q = torch.softmax(p, -1), torch.softmax(q, -1)
    assert found[0] == pytest.approx(float((p * (p.log() - q.log())).sum(-1).mean()), rel=1e-4)
    # What the student has beyond is written with it as it was.
    assert weights(tmp_path / "kl")["model.embed_tokens.weight"].shape[0] == 704
    with pytest.raises(DistillationError, match="700 tokens and one of the models only 600"):
        shared_vocabulary(704, 600, 700)


@pytest.mark.parametrize(
    ("keep", "layers", "teacher", "expected"),
    [
        ("uniform", 3, 6, (1, 3, 5)),
        ("uniform", 2, 6, (2, 5)),
        ("uniform", 4, 6, (1, 2, 4, 5)),
        ("uniform", 1, 6, (5,)),
        ("spread", 3, 6, (0, 3, 5)),
        ("first", 2, 6, (0, 1)),
        ("last", 2, 6, (4, 5)),
        ((0, 4), 0, 6, (0, 4)),
    ],
)
def test_which_layers_are_kept(
    keep: str | tuple[int, ...], layers: int, teacher: int, expected: tuple[int, ...]
) -> None:
    assert kept_layers(Student(keep=keep, layers=layers), teacher) == expected


def test_a_student_keeps_the_uniform_layers_by_default() -> None:
    assert kept_layers(Student(layers=3), 12) == (3, 7, 11)


INNER = [
    {"kind": "kl"},
    {"kind": "hidden"},
    {"kind": "attention"},
    {"kind": "relations", "map": "last", "relation_heads": 2},
]


def test_activations_made_again_change_nothing_of_inner_losses(files: Path, tmp_path: Path) -> None:
    """What a capture took from inside a layer has its gradient, and is recorded once."""
    for checkpointing in (False, True):
        out = tmp_path / str(checkpointing)
        student = {"layers": 2, "dropout": 0.0, "checkpointing": checkpointing}
        run(plain(files, out, student=student, loss=INNER, train={"steps": 3}))
    for a, b in zip(steps(tmp_path / "False"), steps(tmp_path / "True"), strict=True):
        assert a["parts"] == pytest.approx(b["parts"], rel=1e-4)
        assert a["norm"] == pytest.approx(b["norm"], rel=1e-4)


def test_reentrant_checkpointing_is_refused(files: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(files / "teacher")
    check_checkpointing(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    check_checkpointing(model)
    model.gradient_checkpointing_enable({"use_reentrant": True})
    with pytest.raises(DistillationError, match="uses reentrant gradient checkpointing"):
        check_checkpointing(model)


def test_dropout_is_replaced_where_a_layer_keeps_it_as_a_number_too() -> None:
    settings = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "ffn_dim": 32}
    settings |= {"num_attention_heads": 2, "word_embed_proj_dim": 16, "pad_token_id": 1}
    config = OPTConfig(**settings, dropout=0.3, attention_dropout=0.2)
    model = OPTForCausalLM(config).train()
    ids = torch.arange(5, 25)[None]
    assert not torch.equal(model(ids).logits, model(ids).logits)
    set_dropout(model, 0.0)
    torch.testing.assert_close(model(ids).logits, model(ids).logits)
    torch.testing.assert_close(model(ids).logits, model.eval()(ids).logits)
