"""Prompts through the tokenizer's chat template, against what the template itself gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_distillation.chat import chat_ids
from lmkit_distillation.data import Coder, Encoded, Example, read_examples
from lmkit_distillation.engine import Engine
from lmkit_distillation.errors import DataError, DistillationError, RecipeError
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.recipe import recipe_from
from lmkit_distillation.sampling import Writer
from transformers import AutoModelForCausalLM, AutoTokenizer

from lmkit.tools import KernelTools
from tests.tiny import tiny_llama

from .runs import changed, generation, messages, run, same, steps, weights, write_rows

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_END = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
STRICT = "{{ raise_exception('Only a system may begin.') }}"
THINKS = NO_END.replace("'assistant: '", "'assistant: <think>'")
ASKS = ("is the plot thin", "was i moved", "you saw the film", "the old river", "a film", "music")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    tiny_llama(folder / "plain")
    tiny_llama(folder / "chat")
    tokenizer = AutoTokenizer.from_pretrained(folder / "chat")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.eos_token, tokenizer.chat_template = "<|im_end|>", CHATML
    tokenizer.save_pretrained(folder / "chat")
    rows = [{"ask": ask, "say": f"the {ask.split()[-1]} is old ."} for ask in ASKS]
    write_rows(folder / "rows.jsonl", rows)
    write_rows(folder / "messages.jsonl", [{"messages": turns(row)} for row in rows])
    write_rows(folder / "asks.jsonl", [{"messages": turns(row)[:-1]} for row in rows])
    return folder


def turns(row: dict[str, str]) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": "be brief ."},
        {"role": "user", "content": "a film that moves you"},
        {"role": "assistant", "content": "we saw it ."},
        {"role": "user", "content": row["ask"]},
        {"role": "assistant", "content": row["say"]},
    ]


def plain(files: Path, out: Path, **sections: Any) -> dict[str, Any]:
    base = generation(
        out, files / "chat", files / "messages.jsonl",
        student={"layers": 1}, data={"prompt": "messages", "chat": True},
        loss=[{"kind": "ce"}, {"kind": "kl"}],
    )  # fmt: skip
    return changed(base, **sections)


def tokenizer_of(files: Path, template: str = CHATML) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(files / "chat")
    tokenizer.chat_template = template
    return tokenizer


def coded(files: Path, name: str, tokenizer: Any, **data: Any) -> list[Encoded]:
    recipe = recipe_from(plain(files, Path("out"), data={"train": str(files / name), **data}))
    examples = read_examples(KernelTools().rows(str(files / name)), recipe, ())
    coder = Coder(tokenizer, recipe, 256)
    return [coder(one) for one in examples]


def templated(tokenizer: Any, chat: list[dict[str, str]], *, opened: bool = False) -> list[int]:
    return list(
        tokenizer.apply_chat_template(chat, add_generation_prompt=opened, return_dict=False)
    )


def test_a_chat_is_what_the_template_gives_and_the_answer_alone_is_learnt(files: Path) -> None:
    tokenizer = tokenizer_of(files)
    for name, data in (
        ("messages.jsonl", {}),
        ("rows.jsonl", {"prompt": "ask", "completion": "say"}),
    ):
        rows = [json.loads(line) for line in (files / name).read_text().splitlines()]
        for row, one in zip(rows, coded(files, name, tokenizer, **data), strict=True):
            chat = row.get("messages") or [
                {"role": "user", "content": row["ask"]},
                {"role": "assistant", "content": row["say"]},
            ]
            whole = templated(tokenizer, chat)
            prompt = templated(tokenizer, chat[:-1], opened=True)
            assert whole[: len(prompt)] == prompt
            # The new line that ChatML writes behind the last <|im_end|> is no answer.
            end = len(whole) - whole[::-1].index(tokenizer.eos_token_id)
            assert tokenizer.decode(whole[end:]).strip() == ""
            assert list(one.ids) == whole[:end]
            assert one.prompt == len(prompt)
            learnt = [target for target in one.targets if target != -100]
            assert learnt == whole[len(prompt) : end]
            assert tokenizer.decode(learnt).strip() == chat[-1]["content"] + "<|im_end|>"
            assert one.counted.index(True) == len(prompt) - 1
            assert sum(one.counted) == len(learnt)


def test_where_a_template_closes_nothing_the_tokenizers_end_does(files: Path) -> None:
    tokenizer = tokenizer_of(files, NO_END)
    ids, prompt = chat_ids(tokenizer, [("user", "the film")], "the old river")
    assert tokenizer.decode(ids[:prompt]).strip() == "user: the film\nassistant:"
    assert tokenizer.decode(ids[prompt:]).strip() == "the old river\n<|im_end|>"
    assert ids[-1] == tokenizer.eos_token_id


def test_a_token_over_the_border_leaves_the_prompt_as_the_model_reads_it(files: Path) -> None:
    """BPE joins the prompt's last characters with the answer's first where they stand together."""
    tokenizer = tokenizer_of(files, NO_END.replace("'assistant: '", "'assistant: fil'"))
    tokenizer.chat_template = (
        "{% if add_generation_prompt %}{{ 'the fil' }}{% else %}{{ 'the film' }}{% endif %}"
    )
    ids, prompt = chat_ids(tokenizer, [("user", "x")], "m")
    alone = tokenizer("the fil", add_special_tokens=False)["input_ids"]
    assert tokenizer("the film", add_special_tokens=False)["input_ids"][: len(alone)] != alone
    assert ids[:prompt] == alone
    assert len(ids) > prompt


def test_the_first_loss_is_that_of_the_templates_tokens(files: Path, tmp_path: Path) -> None:
    recipe = recipe_from(
        plain(files, tmp_path / "out", student={"layers": 2}, loss=[{"kind": "ce"}],
              train={"steps": 1, "batch": 6})
    )  # fmt: skip
    engine = Engine(recipe, KernelTools())
    engine.run()
    tokenizer = tokenizer_of(files)
    model = AutoModelForCausalLM.from_pretrained(files / "chat").eval()
    total, places = 0.0, 0
    for line in (files / "messages.jsonl").read_text().splitlines():
        chat = json.loads(line)["messages"]
        start = len(templated(tokenizer, chat[:-1], opened=True))
        whole = templated(tokenizer, chat)
        end = len(whole) - whole[::-1].index(tokenizer.eos_token_id)
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0].double()
        logs = torch.log_softmax(logits, -1)
        total -= sum(float(logs[i - 1, whole[i]]) for i in range(start, end))
        places += end - start
    (first,) = steps(tmp_path / "out")
    assert first["loss"] == pytest.approx(total / places, rel=1e-4)
    saved = AutoTokenizer.from_pretrained(tmp_path / "out" / "student")
    assert saved.chat_template == CHATML


def test_the_teacher_answers_what_the_template_opens(files: Path, tmp_path: Path) -> None:
    """Sequence level and on-policy: prompts of messages, answers of a model."""
    asks = str(files / "asks.jsonl")
    wish = {"use": True, "max_new_tokens": 5}
    recipe = plain(files, tmp_path / "out", sequences=wish, data={"train": asks, "dev": asks})
    engine = Engine(recipe_from(recipe), KernelTools())
    engine.run()
    tokenizer = tokenizer_of(files)
    model = AutoModelForCausalLM.from_pretrained(files / "chat").eval()
    written = Writer.of(model, tokenizer)
    found = {one.ids[: one.prompt]: one for one in engine.texts}
    for line in (files / "asks.jsonl").read_text().splitlines():
        prompt = templated(tokenizer, json.loads(line)["messages"], opened=True)
        one = found[tuple(prompt)]
        assert [one.ids[one.prompt :]] == written.best([prompt], 5)
    own = plain(
        files, tmp_path / "own", data={"train": asks}, loss=[{"kind": "jsd"}],
        on_policy={"lambda": 1.0, "max_new_tokens": 4},
    )  # fmt: skip
    run(own)
    assert all(one["on_policy"] for one in steps(tmp_path / "own"))


def test_another_template_is_another_teacher_for_what_was_kept(files: Path, tmp_path: Path) -> None:
    """The ids of the texts are the same; the tokens are not."""
    shared = {"use": True, "folder": str(tmp_path / "shared")}
    whole = {"prompt": "ask", "completion": "say", "train": str(files / "rows.jsonl")}
    whole["dev"] = whole["train"]
    other = tmp_path / "other"
    AutoModelForCausalLM.from_pretrained(files / "chat").save_pretrained(other)
    tokenizer_of(files, NO_END).save_pretrained(other)
    for number, (chat, model) in enumerate(((True, "chat"), (False, "chat"), (True, str(other)))):
        teacher = {"model": str(files / model)}
        found = []
        for cache in (shared, {"use": False}):
            out = tmp_path / f"{number}-{cache['use']}"
            data = {**whole, "chat": chat}
            run(plain(files, out, data=data, cache=cache, teacher=teacher, loss=[{"kind": "kl"}]))
            found.append([one["loss"] for one in steps(out)])
        assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_what_is_no_chat_is_named(files: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(files)
    user = {"role": "user", "content": "the film"}
    said = {"role": "assistant", "content": "is old"}
    recipe = recipe_from(plain(files, tmp_path / "out"))
    for number, (value, words) in enumerate((
        ([said, said], r"row 0: the last message of messages is the assistant's"),
        ([user, {"role": "user"}], r"row 0: message 1 of messages has no role and content"),
        ([user, {"role": "user", "content": [1]}], "message 1 of messages"),
        ([], "neither a text nor a list of messages"),
        (" ", "row 0: messages is empty"),
    )):  # fmt: skip
        path = write_rows(tmp_path / f"{number}.jsonl", [{"messages": value}])
        with pytest.raises(DataError, match=words):
            read_examples(KernelTools().rows(path), recipe, ())
    for template, words in (
        (STRICT, "refuses these messages: Only a system"),
        (THINKS, "opens an"),
    ):
        with pytest.raises(DataError, match=f"row 7: the chat template {words}"):
            chat_ids(tokenizer_of(files, template), [("user", "a")], "b", "row 7")
    assert chat_ids(tokenizer_of(files, THINKS), [("user", "a")], None)[1] > 0
    with pytest.raises(DistillationError, match="plain has no chat template"):
        run(plain(files, tmp_path / "none", teacher={"model": str(files / "plain")}))
    with pytest.raises(DataError, match="row 0 has no completion, and all steps learn"):
        run(plain(files, tmp_path / "asks", data={"train": str(files / "asks.jsonl")}))
    for sections, words in (
        ({"data": {"prompt": ""}}, "data.prompt is missing"),
        ({"task": "ner", "loss": [{"kind": "kl"}]}, "task is 'ner'"),
    ):
        with pytest.raises(RecipeError, match=words):
            recipe_from(plain(files, tmp_path / "bad", **sections))
    assert tokenizer.chat_template == CHATML


def test_prompts_that_leave_no_room_for_an_answer_are_named(files: Path, tmp_path: Path) -> None:
    """A text is cut at its end: with a long template all answers may be gone."""
    short = plain(files, tmp_path / "short", data={"max_length": 30})
    with pytest.raises(DataError, match="No text has a token to be learnt"):
        run(short)
    rows = [json.loads(line) for line in (files / "rows.jsonl").read_text().splitlines()]
    rows[2]["ask"] = "the film " * 60
    path = write_rows(tmp_path / "long.jsonl", rows)
    data = {"train": path, "dev": str(files / "rows.jsonl"), "prompt": "ask", "completion": "say"}
    run(plain(files, tmp_path / "long", data=data))
    assert messages(tmp_path / "long", "left-out") == [
        "1 of 6 texts have no token to be learnt within data.max_length: nothing is learnt from "
        "them."
    ]


def test_earlier_messages_tell_chats_apart_and_a_run_goes_on(files: Path, tmp_path: Path) -> None:
    one = Example("the film", "is old")
    assert one.id == replace(one, place="elsewhere").id
    assert one.id != replace(one, before=(("system", "be brief"),)).id
    whole, cut = plain(files, tmp_path / "whole"), plain(files, tmp_path / "cut")
    run(whole)
    RunFolder(tmp_path / "cut").claim(recipe_from(cut))
    run(changed(cut))
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
