"""Frames and the endpoint: whatever comes, each request has one answer and reading goes on."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.errors import LmkitError
from lmkit.transports.stdio import Call, Endpoint, FrameReader, RpcError
from tests.rpc import frame


class Trickle(io.RawIOBase):
    """A stream that gives its bytes in pieces, as a pipe may."""

    def __init__(self, data: bytes, pieces: list[int]) -> None:
        self._data, self._pieces = data, pieces

    def read(self, size: int = -1) -> bytes:
        take = self._pieces.pop() if self._pieces else len(self._data)
        piece, self._data = self._data[: max(1, take)], self._data[max(1, take) :]
        return piece


def read_all(stream: Any, limit: int = 1_000_000) -> tuple[list[Any], int]:
    frames, messages, errors = FrameReader(stream, limit), [], 0
    for _ in range(10_000):
        try:
            message = frames.read()
        except RpcError:
            errors += 1
            continue
        except EOFError:
            return messages, errors
        messages.append(message)
    raise AssertionError("reading does not end")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
OBJECTS = st.lists(st.dictionaries(st.text(), JSON, min_size=1), max_size=8)


@settings(max_examples=40, deadline=None)
@given(OBJECTS, st.lists(st.integers(1, 40), max_size=60))
def test_frames_arrive_whole_however_they_are_cut(messages: list[Any], pieces: list[int]) -> None:
    data = b"".join(frame(one) for one in messages)
    assert read_all(Trickle(data, pieces)) == (messages, 0)


JUNK = st.binary(max_size=60).filter(lambda data: b"content-length" not in data.lower())


@settings(max_examples=60, deadline=None)
@given(JUNK, st.lists(st.integers(1, 40), max_size=60))
def test_a_frame_behind_junk_is_found(junk: bytes, pieces: list[int]) -> None:
    data = frame({"n": 1}) + junk + frame({"n": 2})
    messages, _ = read_all(Trickle(data, pieces))
    assert messages == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    "broken",
    [
        b"Content-Length: 7\r\n\r\n{broken",
        b"Content-Length: 999999999\r\n\r\n",
        b"Content-Length: 99999999999999999999\r\n\r\n",
        b"Content-Length: -4\r\n\r\n",
        b"Content-Length: abc\r\n\r\n",
        b"Content-Length: 60\r\n\r\n{}",  # says too much: the next frame is inside
        b"Content-Length:\r\n\r\n",
        b"Content-Type: text\r\n\r\n{}",
        b"Content-Length: 4\r\n\r\n\xff\xfe\xfd\xfc",
        b"Content-Length: 3\r\n\r\nNaN",
        b"x" * 9_000,
        b"Content-Length: 9" + b"X: y\r\n" * 2_000 + b"\r\n",
        b"Content-Length: 200000\r\n\r\n" + b"[" * 200_000,
    ],
    ids=range(13),
)
def test_what_is_no_frame_is_said_and_passed_over(broken: bytes) -> None:
    messages, errors = read_all(io.BytesIO(broken + frame({"n": 2}) + frame({"n": 3})))
    assert errors >= 1
    assert messages == [{"n": 2}, {"n": 3}]


def test_the_end_within_a_frame_is_said() -> None:
    assert read_all(io.BytesIO(frame({"n": 1}) + b"Content-Length: 10\r\n\r\n{")) == ([{"n": 1}], 1)
    assert read_all(io.BytesIO(b"Content-Le")) == ([], 1)
    assert read_all(io.BytesIO(b"")) == ([], 0)
    lying = b"Content-Length: 900\r\n\r\n{}" + frame({"n": 1})
    assert read_all(io.BytesIO(lying)) == ([{"n": 1}], 1)


def talk(*messages: Any, **methods: Any) -> list[Any]:
    out = io.BytesIO()
    Endpoint(io.BytesIO(b"".join(frame(one) for one in messages)), out, methods).serve()
    answers, errors = read_all(io.BytesIO(out.getvalue()))
    assert errors == 0
    return answers


def ask(identity: Any, method: str, params: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "method": method, "params": params}


def double(call: Call, params: Any) -> None:
    call.answer(params * 2)


def test_a_request_is_answered_under_its_id() -> None:
    answers = talk(ask(1, "double", 4), ask("a", "double", "x"), double=double)
    assert answers == [
        {"jsonrpc": "2.0", "id": 1, "result": 8},
        {"jsonrpc": "2.0", "id": "a", "result": "xx"},
    ]


@pytest.mark.parametrize(
    ("message", "identity", "number"),
    [
        (ask(1, "nothing"), 1, -32601),
        ([ask(1, "double", 1)], None, -32600),
        ("text", None, -32600),
        (None, None, -32600),
        ({"id": 1}, 1, -32600),
        ({"method": 3, "id": 1}, 1, -32600),
        (ask(None, "double", 1), None, -32600),
        (ask(1.5, "double", 1), None, -32600),
        (ask(True, "double", 1), None, -32600),
        (ask({}, "double", 1), None, -32600),
        (ask(2**70, "double", 1), None, -32600),
        (ask("\ud800", "double", 1), None, -32600),
        (ask(1, "double", None), 1, -32000),
    ],
    ids=range(13),
)
def test_what_cannot_be_done_is_an_error(message: Any, identity: Any, number: int) -> None:
    (answer,) = talk(message, double=double)
    assert (answer["id"], answer["error"]["code"]) == (identity, number)


def test_an_error_of_lmkit_keeps_its_hint() -> None:
    def fail(call: Call, params: Any) -> None:
        raise LmkitError("It went wrong.", hint="Try again.")

    (answer,) = talk(ask(1, "fail"), fail=fail)
    assert answer["error"]["data"]["hint"] == "Try again."


def test_an_answer_that_is_no_json_becomes_an_error() -> None:
    def odd(call: Call, params: Any) -> None:
        call.answer(object() if params else "\ud800")

    answers = talk(ask(1, "odd", 1), ask(2, "odd", 0), odd=odd)
    assert [(one["id"], one["error"]["code"]) for one in answers] == [(1, -32603), (2, -32603)]


def test_a_cancelled_request_has_one_answer() -> None:
    kept: list[Call] = []

    def wait(call: Call, params: Any) -> None:
        call.cancel = call.drop
        kept.append(call)

    cancel = {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 1}}
    answers = talk(ask(1, "wait"), cancel, cancel, ask(2, "wait"), wait=wait)
    assert [(one["id"], one["error"]["code"]) for one in answers] == [(1, -32800)]
    assert not kept[0].answer("late")
    assert kept[1].endpoint.calls == 1


def test_an_id_in_use_is_refused_and_the_first_is_answered() -> None:
    kept: list[Call] = []

    def later(call: Call, params: Any) -> None:
        kept.append(call)

    answers = talk(ask(1, "wait"), ask(1, "wait"), wait=later)
    assert [one["error"]["code"] for one in answers] == [-32600]
    assert kept[0].answer("fine")


def test_exit_ends_it_and_other_notifications_are_passed_over() -> None:
    messages = [{"method": "$/setTrace", "params": 3}, ask(1, "double", 1), {"method": "exit"}]
    answers = talk(*messages, ask(2, "double", 1), double=double)
    assert [one["id"] for one in answers] == [1]


def test_answers_from_the_other_side_are_passed_over() -> None:
    assert talk({"id": 7, "result": None}, {"id": 8, "error": {}}) == []


def test_a_reader_of_json_gets_what_was_meant() -> None:
    text = "é\u2028\U0001f600</script>"
    (answer,) = talk(ask(1, "double", [text]), double=double)
    assert json.loads(json.dumps(answer))["result"] == [text, text]
