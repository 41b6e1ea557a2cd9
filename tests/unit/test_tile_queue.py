"""What is clicked comes before what fills in, and panning away stops what nobody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from lmkit.tile_queue import TileQueue

Stopped = Callable[[], bool]


@pytest.fixture
def tiles() -> Iterator[TileQueue]:
    made = TileQueue()
    yield made
    made.stop()


class Steps:
    """Work that asks at every step whether to go on, and writes down what happened."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.begun = threading.Event()
        self.done = threading.Event()

    def work(self, name: str, steps: int) -> Callable[[Stopped], None]:
        def run(stopped: Stopped) -> None:
            for step in range(steps):
                if stopped():
                    self.log.append(f"{name} stopped")
                    break
                self.log.append(f"{name}{step}")
                self.begun.set()
            self.done.set()

        return run


def test_the_head_just_clicked_does_not_wait_for_thumbnails(tiles: TileQueue) -> None:
    """A long thumbnail stands still until the foreground is empty, then goes on where it was."""
    log: list[str] = []
    in_the_middle, clicked, end = threading.Event(), threading.Event(), threading.Event()

    def thumbnail(stopped: Stopped) -> None:
        assert not stopped()
        log.append("first half")
        in_the_middle.set()
        clicked.wait(10)
        assert not stopped()  # comes back only when the head is done
        log.append("second half")
        end.set()

    go = threading.Event()

    def head(stopped: Stopped) -> None:
        go.wait(10)
        log.append("head")

    tiles.submit(thumbnail, rank=1)
    assert in_the_middle.wait(10)
    tiles.submit(head)
    clicked.set()
    assert not end.wait(0.1)
    go.set()
    assert end.wait(10)
    assert log == ["first half", "head", "second half"]


def test_quick_pictures_come_before_exact_ones(tiles: TileQueue) -> None:
    steps, hold, last = Steps(), threading.Event(), threading.Event()
    tiles.submit(lambda stopped: hold.wait(10) and None, rank=0)
    for rank, name in ((1, "thumb a"), (1, "thumb b"), (0, "glance a"), (0, "glance b")):
        tiles.submit(steps.work(name, 1), rank=rank)
    tiles.submit(lambda stopped: last.set(), rank=2)
    hold.set()
    assert last.wait(10)
    assert steps.log == ["glance a0", "glance b0", "thumb a0", "thumb b0"]


def test_a_quick_picture_slips_into_a_long_one(tiles: TileQueue) -> None:
    log: list[str] = []
    running, asked, end = threading.Event(), threading.Event(), threading.Event()

    def thumbnail(stopped: Stopped) -> None:
        running.set()
        asked.wait(10)
        for step in range(2):
            assert not stopped()
            log.append(f"thumb{step}")
        end.set()

    tiles.submit(thumbnail, rank=1)
    assert running.wait(10)
    tiles.submit(lambda stopped: log.append(f"glance {stopped()}"), rank=0)
    tiles.submit(lambda stopped: log.append("another thumb"), rank=1)
    asked.set()
    assert end.wait(10)
    last = threading.Event()
    tiles.submit(lambda stopped: last.set(), rank=2)
    assert last.wait(10)
    assert log == ["glance False", "thumb0", "thumb1", "another thumb"]


@pytest.mark.parametrize("rank", [None, 1])
def test_work_is_cancelled_while_it_runs_and_while_it_waits(
    tiles: TileQueue, rank: int | None
) -> None:
    running, go, end, ran = (threading.Event() for _ in range(4))
    found: list[bool] = []

    def long(stopped: Stopped) -> None:
        running.set()
        go.wait(10)
        found.append(stopped())
        end.set()

    tiles.submit(long, name=("view", "1"), rank=rank)
    tiles.submit(lambda stopped: ran.set(), name=("view", "2"), rank=rank)
    assert running.wait(10)
    assert tiles.cancel(("view", "2"))
    assert tiles.cancel(("view", "1"))
    assert not tiles.cancel(("view", "1"))
    go.set()
    assert end.wait(10)
    after = threading.Event()
    tiles.submit(lambda stopped: after.set(), rank=rank)
    assert after.wait(10)
    assert found == [True]
    assert not ran.is_set()
    assert not tiles.cancel(("view", "2"))


def test_cancelled_background_work_does_not_wait_for_the_foreground(tiles: TileQueue) -> None:
    running, asked, end, hold = (threading.Event() for _ in range(4))
    found: list[bool] = []

    def thumbnail(stopped: Stopped) -> None:
        running.set()
        asked.wait(10)
        found.append(stopped())
        end.set()

    tiles.submit(thumbnail, name=("view", "1"), rank=1)
    assert running.wait(10)
    tiles.submit(lambda stopped: hold.wait(10) and None)
    asked.set()
    assert tiles.cancel(("view", "1"))
    assert end.wait(10)
    assert found == [True]
    hold.set()


def test_stopping_ends_what_runs_and_takes_nothing_more() -> None:
    tiles = TileQueue()
    running = threading.Event()

    def endless(stopped: Stopped) -> None:
        running.set()
        while not stopped():
            pass

    tiles.submit(endless, name=("view", "1"))
    tiles.submit(endless, rank=0)
    assert running.wait(10)
    tiles.stop()
    late = threading.Event()
    tiles.submit(lambda stopped: late.set())
    assert not late.is_set()
