from __future__ import annotations

import functools

import pytest
import tqdm

from lmkit.protocol.messages import Header, Progress
from lmkit.transports.terminal import terminal_progress
from lmkit.views.panel import PanelView


@pytest.fixture
def view() -> PanelView:
    return PanelView("a-view", Header(task="count", title="Count", model="none"))


def test_progress_is_drawn_on_stderr(
    view: PanelView, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmkit.transports.terminal.DELAY", 0)
    with terminal_progress(view):
        view.begin("a-run", "Waiting")
        view.advance("a-run", Progress(label="Reading", done=1, total=4))
        view.advance("a-run", Progress(label="Writing", done=2, total=4))
    drawn = capsys.readouterr().err
    assert "Reading: " in drawn
    assert "Writing: " in drawn


def test_a_user_may_turn_progress_bars_off(
    view: PanelView, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What TQDM_DISABLE does when it is set before tqdm is imported.
    monkeypatch.setattr("tqdm.tqdm", functools.partial(tqdm.tqdm, disable=True))
    with terminal_progress(view):
        view.begin("a-run", "Waiting")
        view.advance("a-run", Progress(label="Reading", done=1, total=4))
        view.advance("a-run", Progress(label="Writing", done=2, total=4))
    assert capsys.readouterr().err == ""
