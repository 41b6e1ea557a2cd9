"""Tiles for a saved output by code that a kernel executes: of the pass that was saved, or none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmkit.errors import ProtocolError, UnknownSessionError, UnknownViewError
from lmkit.host import PluginHost
from lmkit.models import ModelStore
from lmkit.open_views import TaskPanel
from lmkit.protocol.codec import load_tile, state_of
from lmkit.protocol.messages import Bundle, Live, SavedTile, Selection
from lmkit.protocol.refill import MAX_REQUEST, REFILL_MIME, RefillRequest, decode_refill
from lmkit.protocol.tiles import decode
from lmkit.session import Session
from lmkit.transports import refill as refilling
from lmkit.transports.refill import answer, refill
from lmkit.transports.snapshot import snapshot
from tests.tiny import tiny_bert

TEXT = "the plot is thin, but i was moved."


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"), labels=2)


@pytest.fixture
def session() -> Iterator[Session]:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "classification"})
    host.discover()
    made = Session(host, ModelStore(device="cpu"))
    yield made
    made.stop()


@pytest.fixture
def panel(session: Session, bert: Path) -> TaskPanel:
    task = session.host.task("classification")
    made = session.views.open_panel(task, str(bert), model_name="tiny", values={"text": TEXT})
    session.runs.run_now(made)
    return made


def saved(session: Session, panel: TaskPanel) -> Bundle:
    """What a cell leaves in a notebook."""
    return snapshot(panel.view, Live(session=session.id, view=panel.view.id))


def asking(bundle: Bundle, *keys: str) -> RefillRequest:
    assert bundle.live is not None
    where = bundle.live
    return RefillRequest(session=where.session, view=where.view, state=where.state, keys=keys)


def numbers(tile: SavedTile) -> Any:
    return decode(load_tile(tile), tile.shape, tile.encoding)


def test_a_saved_output_gets_the_tiles_that_it_lacks(session: Session, panel: TaskPanel) -> None:
    bundle = saved(session, panel)
    assert panel.view.outcome is not None
    trace: Any = panel.view.outcome.trace
    assert answer(session, asking(bundle)).error is None
    found = answer(session, asking(bundle, "head/1/1", "rows/0/1/2-5", "head/99/0", "head/1/1"))
    assert (found.spec, found.error, found.state) == (None, None, asking(bundle).state)
    head, rows = found.tiles
    assert (head.key, rows.key) == ("head/1/1", "rows/0/1/2-5")
    exact = trace.attention(0, 1)[2:5]
    np.testing.assert_allclose(numbers(rows), exact, atol=1e-6)
    np.testing.assert_allclose(numbers(head), trace.attention(1, 1), atol=0.02)
    (refused,) = found.refused
    assert (refused.key, refused.error.code) == ("head/99/0", "protocol")


def test_a_selection_since_is_the_same_pass_and_a_run_another(
    session: Session, panel: TaskPanel
) -> None:
    bundle = saved(session, panel)
    panel.view.select(Selection(layer=1, head=1))
    found = answer(session, asking(bundle, "head/0/0"))
    assert found.tiles == ()
    assert found.spec is not None
    assert found.spec.attention.selection.head == 1  # type: ignore[union-attr]
    assert found.spec.results == bundle.spec.results  # type: ignore[union-attr]
    later = RefillRequest(
        session=session.id, view=panel.view.id, state=found.state, keys=("head/0/0",)
    )
    assert len(answer(session, later).tiles) == 1
    session.runs.run_now(panel, {"text": "dull and slow."})
    after = answer(session, later)
    assert (after.tiles, after.state) == ((), state_of(panel.view.spec()))


def test_tiles_of_a_run_that_ended_in_between_are_not_given(
    session: Session, panel: TaskPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = saved(session, panel)
    whole = session.tile

    def tile(*given: Any, **more: Any) -> Any:
        made = whole(*given, **more)
        session.runs.run_now(panel, {"text": "dull and slow."})
        return made

    monkeypatch.setattr(session, "tile", tile)
    found = answer(session, asking(bundle, "head/0/0"))
    assert found.tiles == ()
    assert found.spec is not None


def test_an_answer_is_bounded_and_the_rest_is_asked_for_again(
    session: Session, panel: TaskPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = saved(session, panel)
    monkeypatch.setattr(refilling, "ENOUGH", 1)
    found = answer(session, asking(bundle, "head/0/0", "head/0/1", "head/1/0"))
    assert [tile.key for tile in found.tiles] == ["head/0/0"]
    assert found.refused == ()
    monkeypatch.setattr(refilling, "MOST_BYTES", 10)
    (refused,) = answer(session, asking(bundle, "head/0/1")).refused
    assert "10 are sent at most" in refused.error.message


def test_another_kernel_or_view_is_named(session: Session, panel: TaskPanel) -> None:
    request = asking(saved(session, panel), "head/0/0")
    with pytest.raises(UnknownSessionError, match="another kernel"):
        answer(None, request)
    with pytest.raises(UnknownSessionError, match="another kernel"):
        answer(session, RefillRequest(session="other", view=request.view))
    with pytest.raises(UnknownViewError):
        answer(session, RefillRequest(session=session.id, view="other"))
    task = session.host.task("classification")
    empty = session.views.open_panel(task, "starter:sentiment", model_name="tiny", values={})
    with pytest.raises(ProtocolError, match="no attention"):
        answer(session, RefillRequest(session=session.id, view=empty.view.id))


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", '{"session": "a"}', '{"session": 1, "view": "v"}', "\ud800",
        '{"session": "a", "view": "' + "v" * 65 + '"}',
        '{"session": "a", "view": "v", "keys": [' + ", ".join(['"k"'] * 33) + "]}",
        '{"session": "a", "view": "v", "keys": ["' + "k" * 4_097 + '"]}',
        " " * (MAX_REQUEST + 1), "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_request_is_answered_as_an_error(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _displayed(text, monkeypatch)["error"]["code"] == "protocol"


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_any_text_has_an_answer(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert _displayed(text, patch)["error"]


def test_the_answer_is_displayed_under_a_type_of_its_own(
    session: Session, panel: TaskPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refilling, "session_if_any", lambda: session)
    where = saved(session, panel).live
    assert where is not None
    body = {"session": where.session, "view": where.view, "state": where.state}
    found = _displayed(json.dumps({**body, "keys": ["head/0/0"]}), monkeypatch)
    assert [tile["key"] for tile in found["tiles"]] == ["head/0/0"]
    assert found["error"] is None
    json.dumps(found)  # as a kernel sends it
    assert decode_refill(json.dumps(body)).keys == ()


def _displayed(text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.publish_display_data", shown.append)
    refill(text)
    (data,) = shown
    (mime,) = data
    assert mime == REFILL_MIME
    return data[mime]
