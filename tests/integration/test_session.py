"""The session with a real host and real models: every request, every way a run can end."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmkit.api import Field, Labels, LabelScore, LoadedModel, Table, Task, Text, hookimpl, progress
from lmkit.errors import Cancelled, FieldError, ModelError, PluginError, TaskError
from lmkit.home import KERNEL_VIEW, open_home, open_kernel_view
from lmkit.host import PluginHost
from lmkit.kit import Kit
from lmkit.models import ModelStore
from lmkit.open_views import MAX_COPIES, TaskPanel
from lmkit.protocol.codec import to_builtins
from lmkit.protocol.messages import (
    Accepted,
    CancelledAnswer,
    Changed,
    Done,
    ErrorAnswer,
    HomeSpec,
    PanelSpec,
    Selected,
    Selection,
    TileAnswer,
    Welcome,
)
from lmkit.protocol.tiles import decode
from lmkit.session import Session
from lmkit.trace_cache import TraceCache
from lmkit.views.attention import AttentionTiles
from tests.desk import Desk
from tests.tiny import tiny_bart, tiny_bert

TEXT = "the plot is thin, but i was moved."


class Slow(Task):
    name = "slow"
    fields = (Field.text("text", required=False),)
    seen: threading.Event = threading.Event()

    def run(self, model: LoadedModel, *, text: str) -> Text:
        for step in range(2_000):
            progress("Counting", step, 2_000)
            Slow.seen.set()
            time.sleep(0.01)
        return Text(text="the end")


class Wrong(Task):
    name = "wrong"
    fields = (
        Field.choice("how", ["type", "none", "raise", "exit", "ragged", "probability", "once"]),
    )
    calls = 0

    def run(self, model: LoadedModel, *, how: str) -> Any:
        if how == "raise":
            raise ZeroDivisionError("inside the plugin")
        if how == "exit":
            raise SystemExit(3)
        if how == "ragged":
            return Table(columns=("a", "b"), rows=((1, 2), (3,)))
        if how == "probability":
            return Labels(scores=(LabelScore(label="a", score=1.5),))
        if how == "once":
            return Text(text="fine")
        return {"type": 3}.get(how)


class Plugin:
    @hookimpl
    def lmkit_register_tasks(self, register: Callable[[type[Task]], None]) -> None:
        register(Slow)
        register(Wrong)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"), labels=2)


@pytest.fixture
def session() -> Iterator[Session]:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "classification"})
    host.discover()
    host.register(Plugin(), "tests")
    made = Session(host, ModelStore(device="cpu"))
    yield made
    made.stop()


def open_panel(session: Session, task: str, bert: Path, **values: Any) -> TaskPanel:
    return session.views.open_panel(
        session.host.task(task), str(bert), model_name="tiny", values=values
    )


def test_a_view_lives_from_hello_to_tiles(session: Session, bert: Path) -> None:
    panel = open_panel(session, "classification", bert, text=TEXT)
    desk = Desk(session, panel.view.id)
    before = desk.hello().spec
    assert isinstance(before, PanelSpec)
    assert before.attention is None
    assert before.values["text"] == TEXT

    answer, _ = desk.ask("run", values={"text": TEXT})
    assert isinstance(answer, Accepted)
    changed, _ = desk.channel.wait_for(
        lambda one: isinstance(one, Changed) and one.spec.status.state == "done"
    )
    assert isinstance(changed, Changed)
    spec = changed.spec
    assert isinstance(spec, PanelSpec)
    assert spec.attention is not None
    assert spec.header.device == "cpu"
    (labels,) = spec.results
    assert isinstance(labels, Labels)
    assert sum(one.score for one in labels.scores) == pytest.approx(1)

    outcome = panel.view.outcome
    assert outcome is not None
    assert outcome.trace is not None
    exact = outcome.trace.attention(1, 1)
    tokens = len(spec.attention.tokens)

    answer, (data,) = desk.ask("tile", key="rows/1/1/1-3")
    assert isinstance(answer, TileAnswer)
    assert answer.tile.shape == (2, tokens)
    rows = np.frombuffer(data, "<f4").reshape(2, tokens)
    # A product of two rows may take another kernel of the CPU than that of all of them.
    np.testing.assert_allclose(rows, exact[1:3], rtol=1e-5, atol=1e-6)

    answer, (data,) = desk.ask("tile", key="head/1/1")
    assert isinstance(answer, TileAnswer)
    drawn = decode(data, tuple(answer.tile.shape), answer.tile.encoding)
    np.testing.assert_allclose(drawn, exact, atol=1 / 255)

    answer, (data,) = desk.ask("tile", key="sum/1/1/0,2")
    np.testing.assert_allclose(np.frombuffer(data, "<f4"), exact[[0, 2]].sum(0), atol=1e-6)
    answer, (data,) = desk.ask("tile", key="from/1/1/0,2")
    np.testing.assert_allclose(np.frombuffer(data, "<f4"), exact[:, [0, 2]].sum(1), atol=1e-6)


def test_an_encoder_decoder_has_the_tokens_of_both_sides(session: Session, tmp_path: Path) -> None:
    source = tiny_bart(tmp_path)
    panel = session.views.open_panel(
        session.host.task("classification"), str(source), model_name="bart", values={"text": TEXT}
    )
    session.runs.run_now(panel)
    spec = panel.view.spec().attention
    assert spec is not None
    assert spec.key_tokens is not None
    assert {layer.role for layer in spec.layers} == {"encoder", "decoder", "cross"}
    for layer in spec.layers:
        queries = spec.key_tokens if layer.role == "encoder" else spec.tokens
        keys = spec.tokens if layer.role == "decoder" else spec.key_tokens
        assert (layer.queries, layer.keys) == (len(queries), len(keys))


@pytest.mark.parametrize(
    "key",
    [
        "head/99/0",
        "head/0/99",
        "rows/0/0/0-999",
        "rows/0/0/5-2",
        "sum/0/0/999",
        "../etc",
        "thumb/-1",
    ],
)
def test_a_tile_that_is_not_there_is_an_error_in_words(
    key: str, session: Session, bert: Path
) -> None:
    panel = open_panel(session, "classification", bert, text=TEXT)
    session.runs.run_now(panel)
    answer, buffers = Desk(session, panel.view.id).ask("tile", key=key)
    assert isinstance(answer, ErrorAnswer)
    assert answer.error.code == "protocol"
    assert buffers == []


def test_tiles_of_the_map_and_glances_are_numbers_of_the_trace(
    session: Session, bert: Path
) -> None:
    panel = open_panel(session, "classification", bert, text=TEXT)
    session.runs.run_now(panel)
    desk = Desk(session, panel.view.id)
    desk.hello()
    tiles = panel.view.tiles
    assert tiles is not None
    trace = tiles.trace
    whole = trace.attention(1, 2)
    for key, wanted in (
        ("map/1/2/0/0/0", whole),
        ("thumb/1/1-3", trace.thumbnails(1, 24)[1:3]),
        ("glance/1", trace.thumbnails(1, 24, sample=2)),
    ):
        answer, (data,) = desk.ask("tile", key=key)
        assert isinstance(answer, TileAnswer)
        got = decode(data, answer.tile.shape, answer.tile.encoding)
        assert np.abs(got - wanted).max() < 5e-3

    class OnlyNumbers:
        """As a lens may be: no pooling of its own, and nothing handed on by accident."""

        def __getattr__(self, name: str) -> Any:
            return getattr(trace, name)

    header, data = AttentionTiles(OnlyNumbers()).tile("map/1/2/0/0/0")  # type: ignore[arg-type]
    assert np.abs(decode(data, header.shape, header.encoding) - whole).max() < 5e-3
    for key in ("map/1/2/1/0/0", "map/1/2/0/0/1", "map/1/99/0/0/0", "thumb/1/0-99", "glance/9"):
        answer, _ = desk.ask("tile", key=key)
        assert isinstance(answer, ErrorAnswer), key
        assert answer.error.code == "protocol"


def test_a_click_is_answered_while_thumbnails_are_computed(
    session: Session, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head comes at once, the thumbnail goes on after it; one that is cancelled ends."""
    panel = open_panel(session, "classification", bert, text=TEXT)
    session.runs.run_now(panel)
    desk = Desk(session, panel.view.id)
    desk.hello()
    assert panel.view.tiles is not None
    kind = type(panel.view.tiles.trace)
    plain = kind.thumbnails
    begun, goes_on = threading.Event(), threading.Event()

    def slow(self: Any, layer: int, size: int = 24, *, cancel: Any = None, **more: Any) -> Any:
        begun.set()
        while not goes_on.is_set() or layer == 1:
            if cancel():
                raise Cancelled("Stopped.")
            time.sleep(0.005)
        return plain(self, layer, size, cancel=cancel, **more)

    monkeypatch.setattr(kind, "thumbnails", slow)
    thumb = desk.put("tile", key="thumb/0")
    assert begun.wait(60)
    answer, _ = desk.ask("tile", key="head/1/2")
    assert isinstance(answer, TileAnswer)
    goes_on.set()
    assert isinstance(desk.wait(thumb)[0], TileAnswer)
    endless = desk.put("tile", key="thumb/1")
    answer, _ = desk.ask("cancel", target=endless)
    assert isinstance(answer, CancelledAnswer)
    after, _ = desk.ask("tile", key="thumb/0")
    assert isinstance(after, TileAnswer)


def test_selection_reaches_python_and_the_other_copies(session: Session, bert: Path) -> None:
    panel = open_panel(session, "classification", bert, text=TEXT)
    session.runs.run_now(panel)
    here, there = Desk(session, panel.view.id), Desk(session, panel.view.id)
    here.hello()
    there.hello()
    chosen = {"layer": 1, "head": 1, "tokens": [2, 3]}
    answer, _ = here.ask("select", selection=chosen)
    assert isinstance(answer, Done)
    assert panel.view.selection == Selection(layer=1, head=1, tokens=(2, 3))
    event, _ = there.channel.wait_for(lambda one: isinstance(one, Selected))
    assert isinstance(event, Selected)
    assert event.selection.tokens == (2, 3)
    here.ask("select", selection={"layer": 9_999, "head": 9_999, "tokens": [1, 1, 88_888]})
    assert panel.view.selection == Selection(layer=1, head=3, tokens=(1,))


def test_pages_that_were_reloaded_are_forgotten(session: Session, bert: Path) -> None:
    panel = open_panel(session, "classification", bert, text=TEXT)
    desks = [Desk(session, panel.view.id) for _ in range(MAX_COPIES + 3)]
    for desk in desks:
        desk.hello()
    assert len(session.views._subscriptions) == MAX_COPIES
    panel.view.select(Selection(layer=0, head=0, tokens=(1,)))
    heard = [any(isinstance(one, Selected) for one, _ in d.channel.messages) for d in desks]
    assert heard == [False] * 3 + [True] * MAX_COPIES


def test_edits_are_checked_and_kept(session: Session, bert: Path) -> None:
    panel = open_panel(session, "classification", bert, text=TEXT)
    desk = Desk(session, panel.view.id)
    answer, _ = desk.ask("edit", values={"threshold": 0.25, "text": ""})
    assert isinstance(answer, Done)
    assert panel.view.values["threshold"] == 0.25
    answer, _ = desk.ask("edit", values={"threshold": 7})
    assert isinstance(answer, ErrorAnswer)
    assert "0.0 to 1.0" in answer.error.message
    answer, _ = desk.ask("edit", values={"nonsense": 1})
    assert isinstance(answer, ErrorAnswer)
    answer, _ = desk.ask("run", values={"text": "  \0 "})
    assert isinstance(answer, ErrorAnswer)
    assert answer.error.code == "field"
    assert panel.view.values["threshold"] == 0.25


def test_stop_is_heard_while_a_run_computes_and_results_stay(session: Session, bert: Path) -> None:
    Slow.seen.clear()
    panel = open_panel(session, "slow", bert)
    desk = Desk(session, panel.view.id)
    desk.hello()
    run = desk.put("run", values={})
    assert isinstance(desk.wait(run)[0], Accepted)
    assert Slow.seen.wait(60)
    answer, _ = desk.ask("cancel", target=run)
    assert isinstance(answer, CancelledAnswer)
    desk.status("cancelled")
    assert panel.view.outcome is None
    assert panel.work is None
    again, _ = desk.ask("cancel", target=run)
    assert isinstance(again, CancelledAnswer)  # a run that has ended cannot be stopped twice


def test_stop_ends_a_forward_pass_between_layers(session: Session, bert: Path) -> None:
    panel = open_panel(session, "classification", bert, text=TEXT)
    session.runs.run_now(panel)
    kept = panel.view.outcome

    def stop_soon(event: Any) -> None:
        status = getattr(event, "status", None)
        if status is not None and status.progress is not None and status.progress.total:
            assert panel.work is not None
            panel.work.cancel()

    panel.view.listen(stop_soon)
    with pytest.raises(Cancelled):
        session.runs.run_now(panel, {"text": "another text"})
    assert panel.view.outcome is kept
    assert panel.view.status.state == "cancelled"


def test_an_interrupt_passes_on_and_leaves_the_session_usable(session: Session, bert: Path) -> None:
    panel = open_panel(session, "slow", bert)

    def interrupt(event: Any) -> None:
        progress = getattr(getattr(event, "status", None), "progress", None)
        if progress is not None and progress.label == "Counting":
            raise KeyboardInterrupt

    undo = panel.view.listen(interrupt)
    with pytest.raises(KeyboardInterrupt):
        session.runs.run_now(panel)
    undo()
    assert panel.view.status.state == "cancelled"
    other = open_panel(session, "classification", bert, text=TEXT)
    session.runs.run_now(other)
    assert other.view.status.state == "done"


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("type", TaskError, "returned a int"),
        ("none", TaskError, "returned None"),
        ("probability", TaskError, "not sound"),
        ("raise", PluginError, "ZeroDivisionError: inside the plugin"),
        ("exit", PluginError, "SystemExit"),
        ("ragged", TaskError, "row 1 has 1 cells for 2 columns"),
    ],
)
def test_a_plugin_that_fails_in_a_call_is_named_and_set_aside(
    how: str, error: type, words: str, session: Session, bert: Path
) -> None:
    panel = open_panel(session, "wrong", bert)
    with pytest.raises(error) as caught:
        session.runs.run_now(panel, {"how": how})
    assert words in str(caught.value)
    assert "tests" in str(caught.value)
    plugin = session.host.task("wrong").plugin
    assert plugin.state == "quarantined"
    assert plugin.error is not None
    assert "Traceback" in plugin.error.details
    assert panel.view.status.state == "error"
    session.runs.run_now(open_panel(session, "classification", bert, text=TEXT))

    session.runs.run_now(panel, {"how": "once"})  # the user tries again, and it works
    assert plugin.state == "ready"


def test_pressing_run_again_supersedes_the_run_in_progress(session: Session, bert: Path) -> None:
    Slow.seen.clear()
    panel = open_panel(session, "slow", bert)
    desk = Desk(session, panel.view.id)
    desk.hello()
    first = desk.put("run", values={})
    assert Slow.seen.wait(60)
    second = desk.put("run", values={"text": "again"})
    desk.wait(second)
    assert panel.view.status.run == second
    end = time.monotonic() + 60
    while first in session.runs._works:  # it sleeps between two looks
        assert time.monotonic() < end
        time.sleep(0.01)
    Slow.seen.clear()
    assert Slow.seen.wait(60)  # the second one counts now
    assert panel.view.status.run == second
    session.runs.cancel(second)
    desk.status("cancelled")


def test_a_run_that_waits_behind_another_can_be_stopped_at_once(
    session: Session, bert: Path
) -> None:
    Slow.seen.clear()
    busy = open_panel(session, "slow", bert)
    running = session.runs.start(busy)
    assert Slow.seen.wait(60)
    waiting = open_panel(session, "classification", bert, text=TEXT)
    desk = Desk(session, waiting.view.id)
    desk.hello()
    run = desk.put("run", values={})
    desk.wait(run)
    desk.ask("cancel", target=run)
    assert desk.status("cancelled")
    assert waiting.work is None
    assert busy.view.status.run == running  # still at work
    session.runs.cancel(running)


def test_the_home_panel_says_what_there_is_and_its_buttons_work(
    session: Session, bert: Path
) -> None:
    with pytest.raises(PluginError):
        session.host.register(object(), "broken")
    session.runs.run_now(open_panel(session, "classification", bert, text=TEXT))
    desk = Desk(session, open_home(session).id)
    spec = desk.hello().spec
    assert isinstance(spec, HomeSpec)
    states = {one.name: one.state for one in spec.plugins if one.state != "blocked"}
    assert states == {"broken": "quarantined", "classification": "ready", "tests": "ready"}
    broken = next(plugin.error for plugin in spec.plugins if plugin.name == "broken")
    assert broken is not None
    assert "no hook" in broken.message
    assert [device.name for device in spec.devices if device.chosen] == ["cpu"]
    assert {one.name for one in spec.starters} >= {"sentiment", "news", "ner", "chat", "encoder"}
    (model,) = spec.models
    assert model.parameters > 0

    answer, _ = desk.ask("action", name="unload", argument=model.name)
    assert isinstance(answer, Done), answer
    changed, _ = desk.channel.wait_for(lambda one: isinstance(one, Changed))
    assert isinstance(changed, Changed)
    assert isinstance(changed.spec, HomeSpec)
    assert changed.spec.models == ()
    answer, _ = desk.ask("action", name="device", argument="cuda:99")
    assert isinstance(answer, ErrorAnswer)
    assert answer.error.code == "device"
    answer, _ = desk.ask("action", name="rescan")
    assert isinstance(answer, Done)
    for name in ("explode", "unload"):
        answer, _ = desk.ask("action", name=name, argument="nothing")
        assert isinstance(answer, ErrorAnswer)


def test_messages_that_are_none_are_answered(session: Session, bert: Path) -> None:
    desk = Desk(session, "no-such-view")
    answer, _ = desk.ask("hello", session=session.id, protocol=1, version="")
    assert isinstance(answer, ErrorAnswer)
    assert answer.error.code == "unknown-view"
    answer, _ = desk.ask("hello", session="of another kernel", protocol=1, version="")
    assert isinstance(answer, ErrorAnswer)
    assert answer.error.code == "unknown-session"
    answer, _ = desk.ask("hello", session=session.id, protocol=7, version="9.9")
    assert isinstance(answer, ErrorAnswer)
    assert "protocol 7" in answer.error.message
    for junk in (None, 3, "x", [], {}, {"type": "tile"}, {"id": 5}, {"type": "run", "id": "q"}):
        session.receive(junk, desk.channel)
    answer, _ = desk.ask("tile", key="thumb/0")
    assert isinstance(answer, ErrorAnswer)
    errors = [one for one, _ in desk.channel.messages if isinstance(one, ErrorAnswer)]
    assert len(errors) == 3 + 8 + 1


def test_a_capture_beyond_the_budget_is_made_again_with_the_same_numbers(
    session: Session, bert: Path
) -> None:
    session = Session(session.host, session.models, TraceCache(budget=1))
    first = open_panel(session, "classification", bert, text=TEXT)
    second = open_panel(session, "classification", bert, text="something else entirely")
    session.runs.run_now(first)
    before = session.tile(first.view.id, "rows/0/0/0-4")
    session.runs.run_now(second)
    assert first.view.tiles is not None
    assert first.view.tiles.trace.released  # type: ignore[attr-defined]
    assert session.tile(first.view.id, "rows/0/0/0-4") == before
    assert second.view.tiles is not None
    assert second.view.tiles.trace.released  # type: ignore[attr-defined]


def test_the_python_way(session: Session, bert: Path) -> None:
    kit = Kit(session, str(bert), {})
    result = kit.classify(TEXT)
    assert sum(result.labels.values()) == pytest.approx(1)
    assert result.attention[0, 1].shape == (len(result.attention.tokens),) * 2
    np.testing.assert_array_equal(result.attention[-1, -1], result.attention[1, 3])
    with pytest.raises(IndexError):
        result.attention[2, 0]
    assert "Classification" in repr(result)
    assert "classify" in dir(kit)
    with pytest.raises(AttributeError, match="Did you mean classify"):
        kit.clasify("x")
    for place in (0, (0,), (0, slice(None)), (0, 1.5), ("a", 0)):
        with pytest.raises(IndexError, match=r"attention\[layer, head\]"):
            result.attention[place]  # type: ignore[index]
    result.attention.show(-1, -1, [-1])
    last = len(result.attention.tokens) - 1
    assert result.view.selection == Selection(layer=1, head=3, tokens=(last,))
    with pytest.raises(IndexError, match="no token 99"):
        result.attention.show(0, 0, [99])
    result.view.select(Selection(layer=-3, head=-1, tokens=(-5, 1)))
    assert result.view.selection == Selection(layer=0, head=0, tokens=(1,))
    with pytest.raises(FieldError):
        kit.classify("")
    with pytest.raises(FieldError, match="thresh"):
        kit.classify("x", thresh=0.1)
    assert kit.classify("x", threshold=0.1).result.threshold == 0.1


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_holds_a_model_is_neither_pickled_nor_copied(
    session: Session, bert: Path, how: Callable[[Any], Any]
) -> None:
    kit = Kit(session, str(bert), {})
    result, rows = kit.classify(TEXT), kit.evaluate("classification", [TEXT])
    said = {
        kit: "lmkit.load", result: "result.results", result.attention: "save('heads.npz'",
        kit.explore(TEXT): "save('heads.npz'", rows: "to_pandas()",
    }  # fmt: skip
    for one, instead in said.items():
        with pytest.raises(TypeError, match="holds a loaded model") as caught:
            how([one] if how is not copy.copy else one)
        assert instead in str(caught.value)
    assert pickle.loads(pickle.dumps(result.results)) == result.results
    assert pickle.loads(pickle.dumps(rows.rows)) == rows.rows


def test_copied_lines_load_the_model_as_it_was_loaded(session: Session, bert: Path) -> None:
    kit = Kit(session, str(bert), {"dtype": "float16", "device": "cpu"})
    assert f"lmkit.load({str(bert)!r}, dtype='float16', device='cpu')" in (
        kit.classify(TEXT).view.spec().python
    )


def test_logits_that_are_no_numbers_are_the_models_fault(session: Session, bert: Path) -> None:
    import torch

    model = session.models.get(str(bert), "AutoModelForSequenceClassification")
    with torch.no_grad():
        model.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        Kit(session, model, {}).classify(TEXT)
    assert session.host.task("classification").plugin.state == "ready"


def test_a_tasks_default_model_is_named_where_the_user_named_none(session: Session) -> None:
    kit = Kit(session, None, {})
    assert kit.name == ""
    assert "each task's default model" in repr(kit)
    lines = kit.classify(TEXT).view.spec().python
    assert "lmkit.load('starter:sentiment')" in lines


def test_a_capture_made_again_for_python_counts_in_the_budget(session: Session, bert: Path) -> None:
    first, second = (Kit(session, str(bert), {}).classify(text) for text in (TEXT, "another"))
    session.traces.budget = 1
    first.attention[0, 0]
    second.attention[0, 0]
    assert first.attention.trace.released  # type: ignore[attr-defined]
    assert session.traces.nbytes == second.attention.trace.nbytes  # type: ignore[attr-defined]


def test_a_result_that_is_dropped_leaves_no_view_behind(session: Session, bert: Path) -> None:
    kit = Kit(session, str(bert), {})
    before = len(session.views._views)
    for number in range(3):
        kit.classify(f"text {number}")
    import gc

    gc.collect()
    assert len(session.views._views) == before
    with pytest.raises(FieldError):
        kit.classify("")
    assert len(session.views._views) == before


def test_specs_are_json(session: Session, bert: Path) -> None:
    import json

    panel = open_panel(session, "classification", bert, text="<b> \u202e \0 é 🙂 </script>")
    session.runs.run_now(panel)
    json.dumps(to_builtins(panel.view.spec()), allow_nan=False)


def test_a_side_panel_asks_for_the_kernel_by_name_and_follows_it(
    session: Session, bert: Path
) -> None:
    session.views.offer(KERNEL_VIEW, lambda: open_kernel_view(session))
    desk = Desk(session, KERNEL_VIEW)
    answer, _ = desk.ask("hello", session="kernel", protocol=1, version="t")
    assert isinstance(answer, Welcome), answer
    assert isinstance(answer.spec, HomeSpec)
    assert answer.spec.views == ()
    assert session.views.panels == ()

    long = "word " * 100
    panel = open_panel(session, "classification", bert, text=long)
    session.runs.run_now(panel)

    def lists_the_run(one: object) -> bool:
        return isinstance(one, Changed) and isinstance(one.spec, HomeSpec) and bool(one.spec.models)

    changed, _ = desk.channel.wait_for(lists_the_run)
    assert isinstance(changed, Changed)
    assert isinstance(changed.spec, HomeSpec)
    (shown,) = changed.spec.views
    assert (shown.view, shown.title) == (panel.view.id, "Classification")
    assert long.startswith(shown.text.removesuffix("…"))
    assert len(shown.text) == 81
    # what a cell's %lmkit saves holds no beginnings of texts
    assert open_home(session).spec().views == ()

    session.views.close(panel.view.id)

    def lists_no_view(one: object) -> bool:
        return lists_the_run(one) and one.spec.views == ()  # type: ignore[attr-defined]

    assert desk.channel.wait_for(lists_no_view)
