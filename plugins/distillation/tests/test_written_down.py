"""What a run writes down for others to read: TensorBoard's files, and parts that are marked."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_distillation.curves import charts
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.history import History
from lmkit_distillation.tensorboard import EventWriter, crc32c

from lmkit.api import Chart
from tests.tiny import tiny_bert, tiny_llama

from .runs import failing, generation, run, write_rows


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15) | (crc << 17)) + 0xA282EAD8 & 0xFFFFFFFF


def varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        value |= (data[place] & 0x7F) << shift
        place += 1
        if data[place - 1] < 0x80:
            break
    return value, place


def message(data: bytes) -> list[tuple[int, Any]]:
    """A protocol buffer's fields, after the format's own description."""
    found, place = [], 0
    while place < len(data):
        key, place = varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = varint(data, place)
            found.append((key >> 3, value))
            continue
        length = {1: 8, 5: 4}.get(kind, 0)
        if kind == 2:
            length, place = varint(data, place)
        part = data[place : place + length]
        assert len(part) == length
        number = {1: "<d", 5: "<f"}.get(kind)
        found.append((key >> 3, struct.unpack(number, part)[0] if number else part))
        place += length
    return found


def events(file: Path) -> Iterator[dict[int, Any]]:
    data, place = file.read_bytes(), 0
    while place < len(data):
        length, mark = struct.unpack_from("<QI", data, place)
        assert mark == masked(data[place : place + 8])
        body = data[place + 12 : place + 12 + length]
        assert struct.unpack_from("<I", data, place + 12 + length) == (masked(body),)
        yield dict(message(body))
        place += 16 + length


def scalars(folder: Path, *, live: list[tuple[int, str, float]] | None = None) -> Any:
    """(step, tag, value) as TensorBoard has them: a START drops what it holds from its step on."""
    found = [] if live is None else live
    for file in sorted(folder.glob("events.out.tfevents.*")):
        first, *others = events(file)
        assert first[3] == b"brain.Event:2"
        for event in others:
            step = event.get(2, 0)
            if dict(message(event.get(7, b""))).get(1) == 1:
                found[:] = [one for one in found if one[0] < step]
            for _, value in message(event.get(5, b"")):
                fields = dict(message(value))
                found.append((step, fields[1].decode(), fields[2]))
    return found


def test_the_checksum_is_that_of_the_rfc() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    torch.manual_seed(0)
    tiny_bert(folder / "teacher")
    tiny_llama(folder / "causal")
    write_rows(folder / "texts.jsonl", [{"text": f"the plot is thin {n}"} for n in range(12)])
    return folder


def plain(files: Path, out: Path, **train: Any) -> dict[str, Any]:
    losses = [{"kind": "kl"}, {"kind": "relations", "map": "final"}]
    recipe = generation(out, files / "causal", files / "texts.jsonl", loss=losses)
    recipe["student"] = {"layers": 1}
    recipe["train"] |= {"steps": 5, "evaluate_every": 2, "checkpoint_every": 2, **train}
    return recipe


def test_each_step_is_once_in_tensorboards_files_after_a_resume(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(plain(files, tmp_path / "whole"))
    whole = scalars(tmp_path / "whole" / "tensorboard")
    assert {step for step, _, _ in whole} == {1, 2, 3, 4, 5}
    assert {"loss", "loss/relations", "rate", "evaluation/agreement"} <= {
        tag for _, tag, _ in whole
    }
    board = tmp_path / "run" / "tensorboard"
    recipe = plain(files, tmp_path / "run")
    failing(recipe, monkeypatch, 3)  # of three steps two are kept in a checkpoint
    seen = scalars(board)
    assert {step for step, _, _ in seen} == {1, 2, 3}
    (half,) = board.iterdir()
    with half.open("ab") as file:
        file.write(b"\x20\0\0\0")  # a kill in the middle of a record
    failing(recipe, monkeypatch, 4)
    run(recipe)
    found = scalars(board)

    def timeless(rows: Any) -> Any:
        return [one for one in rows if one[1] != "texts_per_second"]

    assert timeless(found) == timeless(whole)
    assert len(found) == len(whole)
    # A TensorBoard that read the files as they grew shows the same.
    assert timeless(scalars(board, live=seen)) == timeless(whole)
    assert not [one for one in board.iterdir() if one.name.startswith(".")]


def test_old_files_that_a_kill_left_beside_the_new_one_count_no_more(tmp_path: Path) -> None:
    for step in range(1, 4):
        first = EventWriter(tmp_path)
        first.add(step, {"loss": float(step)})
    old = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    second = EventWriter(tmp_path)
    second.forget_after(2)
    for name, body in old.items():
        (tmp_path / name).write_bytes(body)
    second.add(3, {"loss": 9.0})
    expected = [(1, "loss", 1.0), (2, "loss", 2.0), (3, "loss", 9.0)]
    assert scalars(tmp_path) == expected
    third = EventWriter(tmp_path)
    third.forget_after(3)  # nothing is made again: nothing is rewritten
    assert len(list(tmp_path.iterdir())) == len(old) + 1
    third.forget_after(1)
    assert scalars(tmp_path) == expected[:1]
    assert len(list(tmp_path.iterdir())) == 1


def test_relations_after_rotary_positions_are_marked_and_keep_their_name(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    failing(plain(files, out), monkeypatch, 3)
    run(plain(files, out))
    told = RunFolder(out).events()
    (marked,) = (one for one in told if one["kind"] == "post-rotary")
    assert (marked["parts"], marked["step"]) == (["relations"], 1)
    assert "post-rotary" in marked["message"]
    assert all(set(one["parts"]) == {"kl", "relations"} for one in told if one["kind"] == "step")
    history = History(RunFolder(out).events_file)
    history.read()
    loss = next(one for one in charts(history) if isinstance(one, Chart))
    assert [one.label for one in loss.series][:3] == ["loss", "kl", "relations (post-rotary)"]


def test_values_are_not_turned_and_bert_turns_nothing(files: Path, tmp_path: Path) -> None:
    values = [{"kind": "kl"}, {"kind": "relations", "of": ["v"], "map": "final"}]
    recipe = plain(files, tmp_path / "values", steps=1)
    run({**recipe, "loss": values})
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": "the plot", "label": 1}) + "\n")
    bert = plain(files, tmp_path / "bert", steps=1)
    bert |= {"task": "classification", "teacher": {"model": str(files / "teacher")}}
    bert["data"] = {"train": str(tmp_path / "d.jsonl")}
    run(bert)
    for name in ("values", "bert"):
        kinds = {one["kind"] for one in RunFolder(tmp_path / name).events()}
        assert "finished" in kinds
        assert "post-rotary" not in kinds
