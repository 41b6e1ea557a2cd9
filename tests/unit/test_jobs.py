"""Jobs: followed for a panel, listed by the host, acted on by an editor."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest

from lmkit.api import Job, JobInfo, Result, Text, TextTrace, Tools, hookimpl
from lmkit.errors import ModelError
from lmkit.host import PluginHost
from lmkit.jobs import JobWatch
from lmkit.protocol import rpc
from lmkit.serve import Server

NO_TOOLS = cast("Tools", None)


class Counter(Job):
    """Counts the looks at it up to a step; then it is finished."""

    def __init__(self, steps: int = 3) -> None:
        self.steps = steps
        self.step = 0
        self.did: list[str] = []
        self.passes: list[Any] = []

    def info(self) -> JobInfo:
        state: Any = "running" if self.step < self.steps else "finished"
        return JobInfo(name="runs/count", title="Count", task="count", state=state, step=self.step)

    def results(self) -> Sequence[Result]:
        return [Text(text=str(self.step))]

    def act(self, name: str) -> None:
        self.did.append(name)
        self.step += 1

    def attention(self, tools: Tools) -> TextTrace | None:
        found = self.passes.pop(0) if self.passes else None
        if isinstance(found, Exception):
            raise found
        return cast("TextTrace | None", found)


def test_a_change_is_told_once_and_a_button_is_heard_at_once() -> None:
    job, seen, moved = Counter(), [], threading.Event()

    def shown(info: JobInfo, results: Sequence[Any]) -> None:
        seen.append((info.step, results[0].text))
        moved.set()

    watch = JobWatch(job, NO_TOOLS, shown, lambda trace, note: None)
    watch.begin()
    assert seen == [(0, "0")]
    for step in (1, 2, 3):
        moved.clear()
        watch.act("resume")
        assert moved.wait(30)
        assert seen[-1] == (step, str(step))
    watch.end()
    assert seen == [(n, str(n)) for n in range(4)]
    assert job.did == ["resume"] * 3


def test_a_pass_that_cannot_be_made_is_said_once_and_tried_again() -> None:
    job, told, enough = Counter(), [], threading.Event()
    problem = ModelError("There is no teacher.")
    made = object()
    job.passes = [problem, problem, made]

    def attention(trace: Any, note: str) -> None:
        told.append((trace, note))
        if trace is not None:
            enough.set()

    watch = JobWatch(job, NO_TOOLS, lambda *_: None, attention)
    watch.begin()
    while not enough.wait(0.05):
        watch._look.set()  # look again now, not in two seconds
    watch.end()
    assert told == [(None, "There is no teacher."), (made, "")]


class Slow(Counter):
    """At rest, with a pass that takes until it is let go."""

    def __init__(self) -> None:
        super().__init__(steps=0)
        self.free = threading.Event()

    def attention(self, tools: Tools) -> TextTrace | None:
        assert self.free.wait(60)
        return cast("TextTrace", object())


def test_a_cell_is_not_held_by_a_pass_unless_it_asks_for_it() -> None:
    told: list[Any] = []
    job = Slow()
    watch = JobWatch(job, NO_TOOLS, lambda *_: None, lambda trace, note: told.append(trace))
    watch.begin()  # comes back though nothing lets the pass go
    assert told == []
    watch.end()
    job.free.set()
    again = JobWatch(job, NO_TOOLS, lambda *_: None, lambda trace, note: told.append(trace))
    again.begin(patience=60)
    assert told
    again.end()


class Plugin:
    def __init__(self, jobs: Any) -> None:
        self.given = jobs

    @hookimpl
    def lmkit_list_jobs(self) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


@pytest.mark.parametrize("wrong", [["no job"], RuntimeError("no"), None])
def test_the_host_lists_jobs_and_sets_aside_who_fails_at_it(wrong: Any) -> None:
    host = PluginHost(entry_points=list)
    host.register(Plugin([Counter()]), "good")
    bad = host.register(Plugin(wrong), "bad")
    assert [job.info().name for job in host.jobs()] == ["runs/count"]
    assert bad.state == "quarantined"


def test_an_editor_lists_reads_and_acts() -> None:
    job = Counter()
    host = PluginHost(entry_points=list)
    host.register(Plugin([job]), "good")

    class Session:
        pass

    session: Any = Session()
    session.host = host
    import io

    server = Server(lambda: session, io.BytesIO(), io.BytesIO())
    assert [one.name for one in server._runs().runs] == ["runs/count"]
    read = server._read_run(rpc.RunName(name="runs/count"))
    assert (read.run.step, read.results) == (0, (Text(text="0"),))
    after = server._act_on_run(rpc.RunAct(name="runs/count", action="pause"))
    assert (after.run.step, job.did) == (1, ["pause"])
    with pytest.raises(Exception, match="no run"):
        server._read_run(rpc.RunName(name="elsewhere"))
