"""Views of plugins and lenses, over the session: asked, stopped, failing, unavailable."""

from __future__ import annotations

import dataclasses
import importlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmkit.api import (
    Field,
    HeadGrid,
    HeadMeasure,
    Page,
    Result,
    Text,
    TextTrace,
    Token,
    TokenRow,
    TokenScores,
    View,
    hookimpl,
    progress,
)
from lmkit.errors import (
    AttentionUnavailableError,
    FieldError,
    NoSuchViewError,
    PluginError,
    ProtocolError,
    TaskError,
)
from lmkit.host import PluginHost
from lmkit.kit import Analysis, Kit
from lmkit.models import ModelStore
from lmkit.protocol.messages import (
    Advanced,
    Answered,
    CancelledAnswer,
    ErrorAnswer,
    Live,
    PanelSpec,
    Scale,
    Selected,
    Selection,
    TileAnswer,
)
from lmkit.session import Session
from lmkit.transports.snapshot import snapshot
from lmkit.views.attention import AttentionTiles, CapturedTrace
from lmkit.views.lenses import LENSES
from tests.desk import Desk
from tests.tiny import tiny_bert

TEXT = "the plot is thin, but i was moved."


class Echo(View):
    name = "echo"
    title = "Echo"
    help = "What it was asked."
    fields = (Field.integer("times", minimum=1, maximum=9, default=2),)
    follows = frozenset({"layer", "tokens"})

    def show(
        self, trace: TextTrace, *, layer: int, head: int, tokens: tuple[int, ...], times: int
    ) -> Text:
        for step in range(times):
            progress("Echoing", step + 1, times)
            time.sleep(0.06)
        return Text(text=f"{layer}.{head} {list(tokens)} x{times} {len(trace.tokens)}")


class Endless(View):
    name = "endless"
    seen = threading.Event()

    def show(self, trace: TextTrace, **values: Any) -> Text:
        for step in range(3_000):
            progress("Counting", step, 3_000)
            Endless.seen.set()
            time.sleep(0.01)
        return Text(text="the end")


class Never(View):
    name = "never"
    title = "Never"

    def unavailable(self, trace: TextTrace) -> str:
        return "it is never there."

    def show(self, trace: TextTrace, **values: Any) -> Text:
        return Text(text="")


class Wrong(View):
    name = "wrong"
    fields = (Field.choice("how", ["raise", "type", "ragged"]),)

    def show(self, trace: TextTrace, *, how: str, **selection: Any) -> Any:
        if how == "raise":
            raise ZeroDivisionError("inside the view")
        token = Token(text="a", raw="a")
        ragged = TokenScores(tokens=(token,), rows=(TokenRow(label="r", values=(1.0, 2.0)),))
        return ragged if how == "ragged" else 3


class Everything(View):
    name = "everything"

    def show(self, trace: TextTrace, **selection: Any) -> list[Result]:
        heads = tuple(tuple(0.5 for _ in range(layer.heads)) for layer in trace.layers)
        row = TokenRow(label="r", values=(0.0,) * len(trace.tokens))
        return [
            HeadGrid(measures=(HeadMeasure(name="half", title="Half", values=heads),)),
            TokenScores(tokens=trace.tokens, rows=(row,)),
            Page(html="<p>hello</p>"),
        ]


class Plugin:
    @hookimpl
    def lmkit_register_views(self, register: Callable[[type[View]], None]) -> None:
        for view in (Echo, Endless, Never, Wrong, Everything):
            register(view)


class Doubled:
    """A lens of tests: every weight twice, as amounts; the first two tokens alone."""

    name, title, help = "doubled", "Doubled", "Twice the attention."
    scale: Scale = "amount"

    def __init__(self, reason: str = "") -> None:
        self.reason = reason

    def unavailable(self, trace: CapturedTrace) -> str:
        return self.reason

    def make(self, trace: CapturedTrace) -> Any:
        class Seen:
            tokens = trace.tokens[:2]
            words, path, deviation, missing = trace.words, trace.path, trace.deviation, ()
            decoder_tokens: tuple[Token, ...] = ()
            layers = [type("L", (), {**vars(one), "queries": 2, "keys": 2}) for one in trace.layers]

            def attention(self, layer: int, head: int) -> np.ndarray:
                return 2 * trace.attention(layer, head)[:2, :2]

            def mass(self, layer: int, head: int, rows: int, columns: int) -> np.ndarray:
                return self.attention(layer, head)

            def rows(self, layer: int, head: int, rows: Any) -> np.ndarray:
                return self.attention(layer, head)[list(rows)]

        return Seen()


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


@pytest.fixture
def analysis(session: Session, bert: Path) -> Analysis:
    return Kit(session, str(bert), {}).run("classification", text=TEXT)


def test_a_view_is_listed_with_its_form_or_with_the_reason(analysis: Analysis) -> None:
    spec = analysis.view.spec().attention
    assert spec is not None
    listed = {one.name: one for one in spec.views}
    assert {"echo", "endless", "never", "wrong", "everything"} <= set(listed)
    assert listed["echo"].fields == Echo.fields
    assert listed["echo"].follows == ("layer", "tokens")
    assert listed["echo"].reason == ""
    assert listed["never"].reason == "it is never there."
    assert "never" not in analysis.attention.views


def test_a_view_is_asked_over_the_protocol_and_says_how_far_it_is(
    session: Session, analysis: Analysis
) -> None:
    desk = Desk(session, analysis.view.id)
    desk.hello()
    chosen = {"layer": 1, "head": 1, "tokens": [2]}
    answer, buffers = desk.ask("query", name="echo", arguments={"times": 3}, selection=chosen)
    assert isinstance(answer, Answered)
    assert buffers == []
    tokens = len(analysis.attention.tokens)
    assert answer.results == (Text(text=f"1.1 [2] x3 {tokens}"),)
    told = [one for one, _ in desk.channel.messages if isinstance(one, Advanced)]
    assert [(one.request, one.progress.label, one.progress.total) for one in told] == [
        (answer.id, "Echoing", 3)
    ] * len(told)
    assert told


def test_a_view_is_stopped_while_tiles_and_other_requests_are_answered(
    session: Session, analysis: Analysis
) -> None:
    Endless.seen.clear()
    desk = Desk(session, analysis.view.id)
    desk.hello()
    asked = desk.put("query", name="endless")
    assert Endless.seen.wait(10)
    waiting = desk.put("query", name="echo")  # behind the endless one
    answer, _ = desk.ask("tile", key="thumb/0")
    assert isinstance(answer, TileAnswer)
    answer, _ = desk.ask("cancel", target=asked)
    assert isinstance(answer, CancelledAnswer)
    stopped, _ = desk.wait(asked)
    assert isinstance(stopped, ErrorAnswer)
    assert stopped.error.code == "cancelled"
    after, _ = desk.wait(waiting)
    assert isinstance(after, Answered)


def test_what_a_view_does_wrong_is_named_and_the_session_goes_on(
    session: Session, analysis: Analysis
) -> None:
    ask = analysis.attention.view
    with pytest.raises(PluginError, match="inside the view") as failed:
        ask("wrong", how="raise")
    assert "ZeroDivisionError" in failed.value.details
    with pytest.raises(TaskError, match="View wrong of plugin tests returned a int"):
        ask("wrong", how="type")
    with pytest.raises(TaskError, match="row 0 has 2 values for 1 tokens"):
        ask("wrong", how="ragged")
    with pytest.raises(FieldError):
        ask("echo", times=10)
    with pytest.raises(AttentionUnavailableError, match=r"Never: it is never there\."):
        ask("never")
    with pytest.raises(NoSuchViewError, match="There is no view 'ecko'") as unknown:
        ask("ecko")
    assert unknown.value.hint == "Did you mean echo?"
    assert ask("echo", 1, -1, [-1], times=1)[0] == Text(
        text=f"1.3 [{len(analysis.attention.tokens) - 1}] x1 {len(analysis.attention.tokens)}"
    )
    assert next(one.state for one in session.host.plugins if one.name == "tests") == "ready"


def test_every_kind_of_result_passes_but_a_page_is_not_saved(analysis: Analysis) -> None:
    grid, scores, page = analysis.attention.view("everything")
    assert isinstance(grid, HeadGrid)
    assert isinstance(scores, TokenScores)
    assert isinstance(page, Page)
    outcome = analysis.view.outcome
    assert outcome is not None
    analysis.view._outcome = dataclasses.replace(outcome, results=(page,))
    bundle = snapshot(analysis.view, Live(session="s", view="v"))
    assert isinstance(bundle.spec, PanelSpec)
    (kept,) = bundle.spec.results
    assert isinstance(kept, Page)
    assert (kept.html, kept.title) == ("", page.title)


def test_a_lens_has_tiles_tokens_and_a_scale_of_its_own(analysis: Analysis) -> None:
    trace = analysis.attention.trace
    tiles = AttentionTiles(trace, lenses=[Doubled()])
    spec = tiles.spec(Selection(layer=1, head=1, tokens=(1, 5), lens="doubled", picture="map"))
    (lens,) = spec.lenses
    assert (lens.name, lens.scale, lens.reason) == ("doubled", "amount", "")
    assert not lens.grouped
    assert spec.selection == Selection(layer=1, head=1, tokens=(1,), lens="doubled", picture="map")
    header, data = tiles.tile("head/1/1@doubled")
    assert (header.key, header.shape, header.encoding) == ("head/1/1@doubled", (2, 2), "f32")
    exact = trace.attention(1, 1)[:2, :2]
    np.testing.assert_allclose(np.frombuffer(data, "<f4").reshape(2, 2), 2 * exact, rtol=1e-6)
    with pytest.raises(ProtocolError, match="has 2 rows"):
        tiles.tile("rows/1/1/0-3@doubled")
    with pytest.raises(ProtocolError, match="no lens 'halved'"):
        tiles.tile("head/1/1@halved")


def test_a_grouped_lens_says_which_tokens_its_rows_and_columns_stand_for(
    analysis: Analysis,
) -> None:
    trace = analysis.attention.trace
    tiles = AttentionTiles(trace, lenses=tuple(LENSES.values()))
    words = next(one for one in tiles.lens_specs if one.name == "words")
    assert words.grouped
    header, data = tiles.tile("key-groups/0@words")
    places = np.frombuffer(data, "<f4")
    assert header.shape == (len(trace.tokens),)
    seen = tiles.through("words").trace
    texts: dict[int, str] = {}
    for token, place in zip(trace.tokens, places, strict=True):
        texts[int(place)] = texts.get(int(place), "") + token.text.strip()
    assert [texts[place] for place in sorted(texts)] == [
        token.text.strip() for token in seen.tokens
    ]
    hidden = np.frombuffer(tiles.tile("query-groups/0@no-special")[1], "<f4")
    assert [place == -1 for place in hidden] == [token.special for token in trace.tokens]
    with pytest.raises(ProtocolError, match="there are no groups"):
        tiles.tile("key-groups/0")


def test_a_view_asked_through_a_lens_gets_the_tokens_of_the_pass(
    session: Session, analysis: Analysis
) -> None:
    tiles = analysis.view.tiles
    assert tiles is not None
    words = tiles.through("words").trace
    groups = words.groups_of("encoder")  # type: ignore[attr-defined]
    place = max(range(len(groups)), key=lambda index: len(groups[index]))
    desk = Desk(session, analysis.view.id)
    desk.hello()
    chosen = {"layer": 1, "head": 0, "tokens": [place], "lens": "words"}
    answer, _ = desk.ask("query", name="echo", arguments={"times": 1}, selection=chosen)
    assert isinstance(answer, Answered)
    assert answer.results[0].text.startswith(f"1.0 {list(groups[place])} x1")  # type: ignore[union-attr]


def test_the_views_that_come_with_lmkit_answer_on_a_real_panel(analysis: Analysis) -> None:
    host = analysis._session.host
    host.register(importlib.import_module("lmkit.analysis.views"), "analysis")
    (rollout,) = analysis.attention.view("rollout", tokens=[2])
    assert isinstance(rollout, TokenScores)
    assert [row.label for row in rollout.rows] == [analysis.attention.tokens[2].text]
    assert sum(rollout.rows[0].values) == pytest.approx(1, abs=1e-5)
    (grid,) = analysis.attention.view("head-map")
    assert isinstance(grid, HeadGrid)
    assert {"previous", "first"} <= {one.name.split("-")[0] for one in grid.measures}


def test_a_lens_that_is_not_there_says_why(analysis: Analysis) -> None:
    tiles = AttentionTiles(analysis.attention.trace, lenses=[Doubled("It needs a pair of texts.")])
    spec = tiles.spec(Selection(layer=0, head=0, tokens=(1,), lens="doubled"))
    assert spec.lenses[0].reason == "It needs a pair of texts."
    assert spec.selection == Selection(layer=0, head=0)
    with pytest.raises(ProtocolError, match="It needs a pair of texts"):
        tiles.tile("thumb/0@doubled")


def test_lens_and_picture_are_part_of_the_selection(session: Session, analysis: Analysis) -> None:
    desk = Desk(session, analysis.view.id)
    desk.hello()
    analysis.attention.show(1, 0, tokens=[2], picture="map")
    selected, _ = desk.channel.wait_for(lambda one: isinstance(one, Selected))
    assert isinstance(selected, Selected)
    assert selected.selection == Selection(layer=1, head=0, tokens=(2,), picture="map")
    assert "picture='map'" in analysis.view.spec().python
