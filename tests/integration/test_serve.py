"""``python -m lmkit serve --stdio`` as an editor runs it: a child process and a real model."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmkit.host import PluginHost
from lmkit.kit import open_task
from lmkit.models import ModelStore
from lmkit.protocol.codec import decode_bundle
from lmkit.protocol.messages import PanelSpec, Selection
from lmkit.protocol.tiles import decode
from lmkit.serve import Server
from lmkit.session import Session
from lmkit.transports.snapshot import snapshot
from lmkit.transports.stdio import FrameReader
from lmkit.views.attention import AttentionTiles
from lmkit.views.panel import PanelView
from tests.rpc import Editor, frame
from tests.tiny import TEXT, tiny_bert

# One file shares a server, so its tests stay in one process.
pytestmark = pytest.mark.xdist_group("serve")

REQUESTS = 10_000

LOUD = """
import os, sys
print("printed while imported")
os.write(1, b"written to descriptor 1")
from lmkit.api import Field, Task, Text, hookimpl, progress

class Loud(Task):
    name = "loud"
    fields = (
        Field.text("text", body=True, required=False),
        Field.integer("steps", minimum=0, maximum=10_000, default=0),
    )

    def run(self, model, *, text, steps):
        import subprocess, time
        print("printed while running", flush=True)
        os.system("echo printed by a child")
        assert sys.stdin.read() == "" and subprocess.run(["cat"], capture_output=True).stdout == b""
        for step in range(steps):
            progress("Counting", step, steps)
            time.sleep(0.01)
        if text == "die":
            os._exit(3)
        return Text(text=text[::-1])

@hookimpl
def lmkit_register_tasks(register):
    register(Loud)
"""


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bert(tmp_path_factory.mktemp("bert"), labels=2))


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A plugin that prints everywhere, for the path of the server."""
    folder = tmp_path_factory.mktemp("loud")
    (folder / "lmkit_loud.py").write_text(LOUD)
    info = folder / "lmkit_loud-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lmkit-loud\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lmkit]\nloud = lmkit_loud\n")
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory, loud: dict[str, str]) -> Iterator[Editor]:
    """One server for all tests that leave it alive, as an editor keeps one."""
    # One arena: which of glibc's grows is a matter of timing, and memory is measured here.
    environ = {**loud, "MALLOC_ARENA_MAX": "1"}
    started = Editor(tmp_path_factory.mktemp("log") / "server.log", environ)
    yield started
    assert started.end() == 0


@pytest.fixture
def mortal(tmp_path: Path, loud: dict[str, str]) -> Iterator[Editor]:
    """A server that the test may bring to its end."""
    started = Editor(tmp_path / "server.log", loud)
    yield started
    started.end()


def opened(editor: Editor, task: str, model: str, **values: Any) -> tuple[str, dict[str, Any]]:
    """Open a task and greet its view."""
    made = editor.ask("open", {"task": task, "model": model, "values": values})
    welcome = editor.say(
        made["view"], "hello", f"hello-{made['view']}"[:60],
        session=made["session"], protocol=1, version="t",
    )  # fmt: skip
    return made["view"], welcome["message"]["spec"]


def done(editor: Editor, view: str) -> dict[str, Any]:
    event = editor.event(
        lambda one: (
            one["view"] == view
            and one["type"] == "changed"
            and one["spec"]["status"]["state"] == "done"
        )
    )
    return event["spec"]


def test_a_text_is_analysed(editor: Editor, bert: str) -> None:
    first = editor.ask("initialize", {"protocol": 1, "client": "test"})
    assert first["executable"] == sys.executable
    tasks = {one["name"]: one for one in editor.ask("tasks")["tasks"]}
    assert tasks["classification"]["body"] == "text"
    assert tasks["classification"]["cell"]["line"] == "%%lm classification"
    assert tasks["distillation"]["cell"] == {"line": "%lm distillation", "text": ""}
    assert tasks["loud"]["fields"][1]["kind"] == "integer"
    assert editor.nameless == []
    plugins = {one["name"]: one["state"] for one in editor.ask("plugins")["plugins"]}
    assert plugins["loud"] == plugins["classification"] == "ready"

    view, spec = opened(editor, "classification", bert, text=TEXT)
    assert spec["values"]["text"] == TEXT
    answer = editor.say(view, "run", "run-1", values={"text": TEXT})
    assert answer == {"message": {"type": "accepted", "id": "run-1", "view": view}, "data": []}
    spec = done(editor, view)
    scores = {one["label"]: one["score"] for one in spec["results"][0]["scores"]}
    assert scores.keys() == {"negative", "positive"}
    assert sum(scores.values()) == pytest.approx(1)

    answer = editor.say(view, "tile", "tile-1", key="rows/1/2/0-1")
    header, (data,) = answer["message"]["tile"], answer["data"]
    row = decode(base64.b64decode(data), tuple(header["shape"]), header["encoding"])
    assert row.sum() == pytest.approx(1, abs=1e-5)
    assert np.asarray(row).shape == (1, len(spec["attention"]["tokens"]["text"]))

    bundle = decode_bundle(editor.ask("snapshot", {"view": view}))
    assert bundle.heads == bundle.heads_carried == 8
    (model,) = editor.ask("models")["models"]
    assert editor.ask("devices")["devices"][0]["name"] == "cpu"
    assert len(editor.ask("starters")["starters"]) == 5
    editor.ask("action", {"name": "unload", "argument": model["name"]})
    assert editor.ask("models")["models"] == []
    words = editor.ask("complete", {"line": "%%lm classification --mo"})["words"]
    assert words == ["--model"]
    assert editor.ask("complete", {"line": "print("})["words"] is None

    editor.ask("close", {"view": view})
    gone = editor.say(view, "tile", "tile-2", key="head/0/0")["message"]
    assert gone["error"]["code"] == "unknown-view"


def test_what_anything_prints_reaches_no_frame(editor: Editor, bert: str) -> None:
    view, _ = opened(editor, "loud", bert, text="abc")
    editor.say(view, "run", "run-1", values={"text": "abc"})
    assert done(editor, view)["results"][0]["text"] == "cba"
    log = editor.log.read_text()
    for words in ("while imported", "descriptor 1", "while running", "by a child"):
        assert words in log


def test_a_run_tells_how_far_it_is_and_stops(editor: Editor, bert: str) -> None:
    view, _ = opened(editor, "loud", bert)
    editor.say(view, "run", "run-1", values={"steps": 10_000})
    editor.event(
        lambda one: (
            one["type"] == "status" and (one["status"]["progress"] or {}).get("label") == "Counting"
        )
    )
    assert editor.say(view, "cancel", "c", target="run-1")["message"]["type"] == "cancelled"
    editor.event(lambda one: one["type"] == "status" and one["status"]["state"] == "cancelled")


def test_a_form_that_another_version_kept_opens_with_what_still_fits(
    editor: Editor, bert: str
) -> None:
    kept = {"text": "typed by me", "steps": -3, "gold": "label", "gone": True}
    _, spec = opened(editor, "loud", bert, **kept)
    assert spec["values"] == {"text": "typed by me", "steps": 0}


def test_wrong_requests_are_errors_with_a_sentence(editor: Editor) -> None:
    for method, params in [
        ("open", {"task": "no-such-task"}), ("open", {"task": 3}), ("open", None),
        ("open", [1]), ("request", {}), ("request", {"message": {"type": "tile"}}),
        ("initialize", {"protocol": 7}), ("action", {"name": "dance"}), ("close", {}),
        ("newPlugin", {"name": "Bad Name", "folder": "/"}), ("nothing", {}),
    ]:  # fmt: skip
        answer = editor.answer(editor.put(method, params))
        assert answer["error"]["message"], method
    answer = editor.answer(editor.put("open", {"task": "clasification"}))
    assert answer["error"]["data"]["hint"] == "Did you mean classification?"


@contextlib.contextmanager
def serving(
    session: Callable[[], Session],
) -> Iterator[tuple[Server, Callable[[int, str, Any], None], FrameReader]]:
    """A server in this process: itself, how to ask it, and its answers in the order they come."""
    (from_editor, to_server), (from_server, to_editor) = os.pipe(), os.pipe()
    with (
        os.fdopen(from_editor, "rb") as reader, os.fdopen(to_editor, "wb") as writer,
        os.fdopen(to_server, "wb", buffering=0) as ask, os.fdopen(from_server, "rb") as answers,
    ):  # fmt: skip
        server = Server(session, reader, writer)
        thread = threading.Thread(target=server.endpoint.serve)
        thread.start()

        def put(number: int, method: str, params: Any = None) -> None:
            ask.write(frame({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))

        try:
            yield server, put, FrameReader(answers)
        finally:
            ask.close()
            thread.join(60)
            server.stop()
    assert not thread.is_alive()


def test_a_ping_is_answered_while_the_rest_waits() -> None:
    """So an editor can tell a server that computes from one that hangs."""
    go_on = threading.Event()

    def session() -> Session:
        assert go_on.wait(60)
        return Session(PluginHost(), ModelStore())

    with serving(session) as (_, put, answers):
        put(0, "initialize", {"protocol": 1, "client": "test"})
        put(1, "ping", None)
        assert answers.read() == {"jsonrpc": "2.0", "id": 1, "result": None}
        go_on.set()
        assert answers.read()["id"] == 0


def test_a_snapshot_holds_up_nothing_and_ends_with_its_view(
    bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()
    tile = AttentionTiles.tile

    def slow(self: AttentionTiles, *args: Any, **options: Any) -> Any:
        made = tile(self, *args, **options)
        begun.release()
        assert go_on.wait(60)
        return made

    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "classification"})
    host.discover()
    session = Session(host, ModelStore(device="cpu"))
    with serving(lambda: session) as (_, put, answers):
        put(0, "open", {"task": "classification", "model": bert, "values": {"text": TEXT}})
        view = answers.read()["result"]["view"]
        panel = session.views.panel(view)
        session.runs.run_now(panel)
        monkeypatch.setattr(AttentionTiles, "tile", slow)
        put(1, "snapshot", {"view": view})
        assert begun.acquire(timeout=60)
        put(2, "tasks", None)
        first = answers.read()
        assert first["id"] == 2
        assert {one["name"] for one in first["result"]["tasks"]} >= {"classification"}
        put(3, "complete", {"line": "%%lm "})
        assert answers.read()["id"] == 3
        go_on.set()
        kept = answers.read()
        assert kept["id"] == 1
        assert decode_bundle(kept["result"]).heads_carried == 8

        go_on.clear()
        while begun.acquire(blocking=False):
            pass
        put(4, "snapshot", {"view": view})
        assert begun.acquire(timeout=60)
        put(5, "close", {"view": view})
        assert answers.read()["id"] == 5
        go_on.set()
        gone = answers.read()
        assert gone["id"] == 4
        assert gone["error"]["data"]["code"] == "unknown-view"
        assert panel.view.tiles is not None
        assert panel.view.tiles.trace.released, "no pass is made again for a view that is closed"  # type: ignore[attr-defined]


def test_a_snapshot_is_of_one_run(bert: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends while a snapshot is made changes nothing in it."""
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "classification"})
    host.discover()
    session = Session(host, ModelStore(device="cpu"))
    panel = open_task(session, host.task("classification"), bert, {"text": "plot"}, {})
    session.runs.run_now(panel)
    other = threading.Thread(target=session.runs.run_now, args=(panel, {"text": TEXT}))
    spec = PanelView.spec

    def meddled(self: PanelView, selection: Selection | None = None) -> PanelSpec:
        made = spec(self, selection)
        if other.ident is None:
            other.start()
            other.join(2)
        return made

    monkeypatch.setattr(PanelView, "spec", meddled)
    bundle = snapshot(panel.view, None)
    other.join(60)
    session.stop()
    assert panel.view.values["text"] == TEXT
    assert isinstance(bundle.spec, PanelSpec)
    assert bundle.spec.values["text"] == "plot"
    assert bundle.record is not None
    assert bundle.record.fields is not None
    assert bundle.record.fields["text"] == "plot"
    assert bundle.spec.attention is not None
    count = len(bundle.spec.attention.tokens)
    shapes = {tile.shape for tile in bundle.tiles if tile.key.startswith("head/")}
    assert shapes == {(count, count)}


def test_the_server_ends_with_its_editor(mortal: Editor, bert: str) -> None:
    view, _ = opened(mortal, "loud", bert)
    mortal.say(view, "run", "run-1", values={"steps": 10_000})
    assert mortal.end() == 0


def test_a_new_plugin_works_as_it_is_written(editor: Editor, tmp_path: Path) -> None:
    made = editor.ask("newPlugin", {"name": "key-words", "folder": str(tmp_path)})
    again = editor.answer(editor.put("newPlugin", {"name": "key-words", "folder": str(tmp_path)}))
    assert "there already" in again["error"]["message"]
    source = Path(made["main"]).parents[1]
    code = (
        "import lmkit, lmkit_key_words as plugin\n"
        "lmkit.plugin_host().register(plugin, 'key-words')\n"
        f"r = lmkit.load().run('key-words', {TEXT!r}, k=3)\nprint(len(r.result.spans))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert ran.stdout.strip().endswith("3"), ran.stderr


MALFORMED = [
    b"Content-Length: 7\r\n\r\n{broken", b"nonsense\r\n\r\n", b"Content-Length: x\r\n\r\n",
    b"Content-Length: 99999999999\r\n\r\n", b"Content-Length: 4\r\n\r\n\xff\xfe\xfd\xfc",
    b"\x00" * 50, frame(None), frame([]), frame({"id": {}, "method": "tasks"}),
    b"Content-Length: 500\r\n\r\n{}",
]  # fmt: skip


def memory(editor: Editor) -> int:
    """Bytes that the server holds."""
    for line in Path(f"/proc/{editor.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_thousands_of_requests_with_malformed_frames_and_cancels(editor: Editor, bert: str) -> None:
    chance = random.Random(20)
    view, _ = opened(editor, "classification", bert, text=TEXT)
    editor.say(view, "run", "run-first", values={"text": TEXT})
    done(editor, view)
    bodies: list[dict[str, Any]] = [
        {"type": "tile", "key": "head/0/1"}, {"type": "tile", "key": "thumb/1"},
        {"type": "tile", "key": "rows/1/1/0-2"}, {"type": "tile", "key": "../../etc/passwd"},
        {"type": "tile", "key": "head/99/99"}, {"type": "select", "selection": {"layer": 1}},
        {"type": "query", "name": "head-map"}, {"type": "query", "name": "nothing"},
        {"type": "edit", "values": {"text": "another"}}, {"type": "edit", "values": {"no": 1}},
        {"type": "run", "values": {"text": TEXT}}, {"type": "run", "values": {"text": 7}},
        {"type": "export", "format": "json"}, {"type": "dance"}, {"type": "tile"}, {},
        {"type": "tile", "key": "head/0/0", "view": "no-such-view"},
    ]  # fmt: skip
    weights = [20, 10, 20, 5, 5, 10, 3, 3, 5, 3, 2, 3, 1, 5, 5, 3, 5]
    others = ["tasks", "plugins", "models", "complete", "nothing", "open", "snapshot"]
    sent: list[int] = []
    settled = memory(editor)
    for number in range(REQUESTS):
        if chance.random() < 0.05:
            editor.write(chance.choice(MALFORMED))
        if chance.random() < 0.1:
            sent.append(editor.put(chance.choice(others), {"line": "%%lm "}))
        else:
            (body,) = chance.choices(bodies, weights)
            message = {"id": f"m{number}", "view": view, **body}
            sent.append(editor.put("request", {"message": message}))
        if chance.random() < 0.2:
            target = chance.choice(sent[-20:])
            if chance.random() < 0.5:
                cancel = {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": target}}
                editor.write(frame(cancel))
            else:
                message = {"type": "cancel", "id": f"c{number}", "view": view,
                           "target": f"m{chance.randrange(number + 1)}"}  # fmt: skip
                sent.append(editor.put("request", {"message": message}))
        if number % 200 == 199:
            editor.until(lambda: all(one in editor.answers for one in sent))
        if number == REQUESTS // 2:
            settled = memory(editor)
    editor.until(lambda: all(one in editor.answers for one in sent))
    for one in sent:
        (answer,) = editor.answers[one]
        assert ("result" in answer) != ("error" in answer)
    assert editor.nameless, "malformed frames were reported"
    # Still there, still right, and no larger than half-way.
    editor.ask("tasks")
    assert editor.say(view, "tile", "last", key="head/0/0")["message"]["type"] == "tile"
    assert editor.process.poll() is None
    grown = memory(editor) - settled
    print(f"{REQUESTS // 2:,} requests: {grown / 2**20:+.1f} MiB")
    assert grown < 25 * 2**20, f"{grown:,} bytes"  # 5 kB a request
    assert "Traceback" not in json.dumps(editor.log.read_text())


def test_a_server_that_dies_ends_its_stream(mortal: Editor, bert: str) -> None:
    view, _ = opened(mortal, "loud", bert)
    message = {"type": "run", "id": "r", "view": view, "values": {"text": "die"}}
    mortal.put("request", {"message": message})
    assert mortal.process.wait(timeout=60) == 3
