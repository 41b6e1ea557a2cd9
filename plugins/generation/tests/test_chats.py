"""Chats of several turns: in Python, as JSON, in a data set, and by replies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lmkit_generation.prompts import json_of, messages_in, reply_to, transcript

import lmkit
from lmkit.api import FieldError, TokenChoices
from lmkit.cli import main
from tests.tiny import tiny_llama

TEMPLATE = (
    "{% for m in messages %}<|s|>{{ m['role'] }}\n{{ m['content'] }}<|e|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|s|>assistant\n{% endif %}"
)
TALK = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "the film moves you"},
    {"role": "assistant", "content": 'the "plot" \u4e2d'},
    {"role": "user", "content": "we saw the river\n."},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoTokenizer

    path = tiny_llama(tmp_path_factory.mktemp("chat"))
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def kit(folder: Path) -> lmkit.Kit:
    return lmkit.load(str(folder))


def read_by(kit: lmkit.Kit, messages: list[dict[str, str]]) -> list[int]:
    made = kit.loaded("generation").tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=True
    )
    return list(made["input_ids"])


def prompt_of(analysis: Any) -> list[int]:
    trace = analysis.attention.trace
    return list(trace.sequence[: trace.generated])


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("form", ["python", "tuple", "json", "pretty"])
def test_a_chat_is_read_as_the_template_writes_it(kit: lmkit.Kit, form: str, count: int) -> None:
    talk = TALK[:count]
    given: Any = {
        "python": talk,
        "tuple": tuple(talk),
        "json": json.dumps(talk),
        "pretty": "\n  " + json.dumps(talk, indent=2, ensure_ascii=False) + "\n",
    }[form]
    made = kit.generate(given, max_new_tokens=3)
    assert prompt_of(made) == read_by(kit, talk)
    roles = [role for role, *_ in made.attention.trace.turns]
    assert roles == [*(one["role"] for one in talk), "assistant"]


def test_the_starters_chat_reads_the_turns_before() -> None:
    kit = lmkit.load("starter:chat")
    talk = [
        {"role": "user", "content": "My name is Ada. Say hello."},
        {"role": "assistant", "content": "Hello Ada!"},
        {"role": "user", "content": "What is my name?"},
    ]
    made = kit.generate(talk, max_new_tokens=12)
    assert prompt_of(made) == read_by(kit, talk)
    roles = [role for role, *_ in made.attention.trace.turns]
    assert roles == ["system", "user", "assistant", "user", "assistant"]


def test_a_preset_is_put_around_the_last_thing_that_the_user_says(kit: lmkit.Kit) -> None:
    made = kit.generate(TALK[1:], preset="dialogue", max_new_tokens=2)
    told = "You are a helpful assistant. Answer briefly and truthfully."
    assert prompt_of(made) == read_by(kit, [{"role": "system", "content": told}, *TALK[1:]])
    made = kit.generate(TALK, preset="summary", max_new_tokens=2)
    asked = f"Summarize the following text in a few sentences.\n\n{TALK[3]['content']}"
    assert prompt_of(made) == read_by(kit, [*TALK[:3], {"role": "user", "content": asked}])
    made = kit.generate(TALK[1:], system="be kind", max_new_tokens=2)
    assert prompt_of(made) == read_by(kit, [{"role": "system", "content": "be kind"}, *TALK[1:]])


def test_a_reply_adds_the_answer_and_the_next_message(kit: lmkit.Kit) -> None:
    first = kit.generate("the plot", preset="dialogue", max_new_tokens=4)
    choices = first.results[0]
    assert isinstance(choices, TokenChoices)
    assert choices.reply is not None
    messages = json.loads(choices.reply.messages)
    assert [one["role"] for one in messages] == ["system", "user", "assistant"]
    assert messages[-1]["content"] == first.text
    # as the panel does it
    messages.append({"role": "user", "content": "and the river"})
    values = {**choices.reply.values, choices.reply.field: json.dumps(messages)}
    second = kit.run("generation", **{"max_new_tokens": 4, **values})
    assert prompt_of(second) == read_by(kit, messages)
    again = second.results[0]
    assert isinstance(again, TokenChoices)
    assert again.reply is not None
    assert len(json.loads(again.reply.messages)) == 5
    plain = kit.generate("the plot", template="plain", max_new_tokens=4).results[0]
    assert isinstance(plain, TokenChoices)
    assert plain.reply is None
    assert reply_to([{"role": "user", "content": "x" * 300_000}], "y") is None
    assert reply_to(TALK, " ") is None


def test_a_branch_of_an_answer_in_a_chat_stays_in_the_chat(kit: lmkit.Kit) -> None:
    made = kit.generate(TALK, max_new_tokens=4)
    change = made.results[0].tokens[1].alternatives[2].change
    branch = kit.run("generation", **change.values)
    assert prompt_of(branch) == read_by(kit, TALK)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ('[{"role": "user", "content": "a"},', "is no JSON"),
        ("[{'role': 'user', 'content': 'a'}]", "is no JSON"),
        ('{"role": "user", "content": "a"}', "a chat is a list"),
        ('[{"role": "user"}]', "Message 1 of the prompt has no role and content"),
        ('[{"role": "user", "content": "a"}, "b"]', "Message 2"),
        ('[{"role": "user", "content": 3}]', "Message 1"),
        ('[{"role": "user", "content": " "}]', "messages of the prompt are empty"),
    ],
)
def test_what_is_nearly_a_chat_is_refused(kit: lmkit.Kit, prompt: str, said: str) -> None:
    with pytest.raises(FieldError, match=said):
        kit.generate(prompt)


@pytest.mark.parametrize(
    "text",
    ["[1, 2, 3]", "[]", "{}", "[not a list]", '{"a": 1}', "[" * 10_000, "[role]", '["role"]'],
)
def test_other_texts_are_texts(text: str) -> None:
    assert messages_in(text) is None
    assert transcript(text) == text


def test_bad_lists_in_python_and_chats_that_nothing_carries(kit: lmkit.Kit) -> None:
    for wrong in ([], ["a"], [{"role": "user"}], [3]):
        with pytest.raises(FieldError, match=r"(?i)message"):
            kit.generate(wrong)
    with pytest.raises(FieldError, match="needs a chat template"):
        kit.generate(TALK, template="plain")
    with pytest.raises(FieldError, match="two system prompts"):
        kit.generate(TALK, system="x")


def test_a_column_of_messages(kit: lmkit.Kit) -> None:
    rows: list[dict[str, Any]] = [
        {"messages": TALK},
        {"messages": json_of(TALK[1:2])},
        {"messages": "the plot"},
        {"messages": [{"role": "user"}]},
        {"messages": '[{"role": "user"}]'},
        {"messages": []},
        {"messages": 3},
    ]
    ev = kit.evaluate("generation", rows, max_new_tokens=4)
    assert [one["row"] for one in ev.rows] == [0, 1, 2]
    assert [one.row for one in ev.problems] == [3, 4, 5, 6]
    assert "Message 1" in ev.problems[0].message
    for row, prompt in zip(ev.rows, (TALK, TALK[1:2], "the plot"), strict=False):
        assert row["written"] == kit.generate(prompt, max_new_tokens=4).text
    table: Any = next(one for one in ev.results if getattr(one, "title", "") == "Rows")
    assert table.rows[0][1].startswith("system: be brief user: the film moves you")
    opened = kit.run("generation", max_new_tokens=2, **table.changes[0].values)
    assert prompt_of(opened) == read_by(kit, TALK)


def test_messages_of_an_arrow_table(kit: lmkit.Kit) -> None:
    import pyarrow

    table = pyarrow.table({"messages": [TALK, TALK[1:2]]})
    ev = kit.evaluate("generation", table, max_new_tokens=2)
    assert not ev.problems
    assert json.loads(ev.rows[0]["prompt"]) == TALK


def test_on_the_command_line(folder: Path, capsys: Any) -> None:
    talk = json.dumps(TALK[1:])
    words = ["run", "generation", "--model", str(folder), "--max-new-tokens", "2", "--prompt"]
    assert main([*words, talk]) == 0
    assert main([*words, talk[:-2]]) == 1
    assert "is no JSON" in capsys.readouterr().err
