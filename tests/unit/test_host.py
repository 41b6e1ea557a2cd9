"""The host's door: every way in which a plugin can be broken, and what the user reads."""

from __future__ import annotations

import importlib.metadata
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmkit.api import Field, Labels, LabelScore, Task, hookimpl
from lmkit.errors import (
    DuplicateNameError,
    NoSuchViewError,
    PluginError,
    RegistrationError,
    UnknownTaskError,
)
from lmkit.host import ALLOW_VARIABLE, BLOCK_VARIABLE, PluginHost

GOOD = """
from lmkit.api import Field, Text, Task, hookimpl

class {cls}(Task):
    name = "{task}"
    fields = (Field.text("text"),)

    def run(self, model, *, text):
        return Text(text=text)

@hookimpl
def lmkit_register_tasks(register):
    register({cls})
"""

Install = Callable[..., None]


def good(task: str) -> str:
    return GOOD.format(cls=task.capitalize(), task=task)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path that stands for site-packages; its modules are forgotten after."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Install:
    """Put a distribution with one plugin module where importlib.metadata finds it."""

    def put(name: str, source: str, *, distribution: str = "", version: str = "1.0") -> None:
        distribution = distribution or f"dist-{name}"
        module = f"{distribution}_{name}_plugin".replace("-", "_")
        (site / f"{module}.py").write_text(textwrap.dedent(source))
        for old in site.glob(f"{distribution.replace('-', '_')}-*.dist-info"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        (info / "entry_points.txt").write_text(f"[lmkit]\n{name} = {module}\n")

    return put


def host_of(site: Path, **environ: str) -> PluginHost:
    def found() -> list[importlib.metadata.EntryPoint]:
        distributions = importlib.metadata.distributions(path=[str(site)])
        return [point for one in distributions for point in one.entry_points]

    host = PluginHost(found, environ)
    host.discover()
    return host


def state(host: PluginHost) -> dict[str, str]:
    return {plugin.name: plugin.state for plugin in host.plugins}


def error_of(host: PluginHost, name: str) -> PluginError:
    error = next(plugin.error for plugin in host.plugins if plugin.name == name)
    assert isinstance(error, PluginError)
    return error


BROKEN = {
    "raises at import": ("raise RuntimeError('boom at import')", "boom at import"),
    "exits at import": ("import sys\nsys.exit(3)", "SystemExit"),
    "cannot be parsed": ("def (:", "SyntaxError"),
    "imports what is not there": ("import surely_not_installed_xyz", "surely_not_installed_xyz"),
    "misspelt hook": (
        """
        from lmkit.api import hookimpl
        @hookimpl
        def lmkit_register_task(register): ...
        """,
        "lmkit_register_task",
    ),
    "wrong signature": (
        """
        from lmkit.api import hookimpl
        @hookimpl
        def lmkit_register_tasks(registry): ...
        """,
        "registry",
    ),
    "no hook": ("x = 1", "implements no hook"),
    "raises in the hook": (
        """
        from lmkit.api import hookimpl
        @hookimpl
        def lmkit_register_tasks(register): 1 / 0
        """,
        "ZeroDivisionError",
    ),
    "returns instead of registering": (
        """
        from lmkit.api import Task, hookimpl
        @hookimpl
        def lmkit_register_tasks(register): return [Task]
        """,
        "register(MyTask)",
    ),
    "registers no task": (
        """
        from lmkit.api import hookimpl
        @hookimpl
        def lmkit_register_tasks(register): register("classification")
        """,
        "not a subclass",
    ),
    "registers no view": (
        """
        from lmkit.api import Task, hookimpl
        @hookimpl
        def lmkit_register_views(register): register(Task)
        """,
        "not a subclass of lmkit.api.View",
    ),
    "a view without show": (
        """
        from lmkit.api import View, hookimpl
        class Nothing(View):
            name = "nothing"
        @hookimpl
        def lmkit_register_views(register): register(Nothing)
        """,
        "defines no show",
    ),
    "a view that forgets a keyword": (
        """
        from lmkit.api import Field, Text, View, hookimpl
        class Short(View):
            name = "short"
            fields = (Field.boolean("loud"),)
            def show(self, trace, *, layer, head, tokens): return Text(text="")
        @hookimpl
        def lmkit_register_views(register): register(Short)
        """,
        "does not take its fields",
    ),
    "a view with a field named layer": (
        """
        from lmkit.api import Field, Text, View, hookimpl
        class Twice(View):
            name = "twice"
            fields = (Field.boolean("layer"),)
            def show(self, trace, **values): return Text(text="")
        @hookimpl
        def lmkit_register_views(register): register(Twice)
        """,
        "is taken by lmkit itself",
    ),
    "a view that follows the moon": (
        """
        from lmkit.api import Text, View, hookimpl
        class Moon(View):
            name = "moon"
            follows = frozenset({"moon"})
            def show(self, trace, **values): return Text(text="")
        @hookimpl
        def lmkit_register_views(register): register(Moon)
        """,
        "follows",
    ),
    "host too old": (
        "lmkit_host_api = '>=2'\n" + GOOD.format(cls="A", task="a"),
        "host API >=2; this lmkit has 1.0",
    ),
    "no range": (
        "lmkit_host_api = 'whatever'\n" + GOOD.format(cls="A", task="a"),
        "which is no range",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_named_and_the_others_work(
    case: str, site: Path, install: Install
) -> None:
    source, words = BROKEN[case]
    install("aaa", good("first"))
    install("broken", source)
    install("zzz", good("last"))
    host = host_of(site)
    assert state(host) == {"aaa": "ready", "broken": "quarantined", "zzz": "ready"}
    assert [one.task.name for one in host.tasks] == ["first", "last"]
    error = error_of(host, "broken")
    assert words in str(error)
    assert "broken" in error.message
    assert "Traceback" in error.details


def test_a_task_that_clashes_names_both_plugins(site: Path, install: Install) -> None:
    install("one", good("same"))
    install("two", good("same"))
    host = host_of(site)
    assert state(host) == {"one": "ready", "two": "quarantined"}
    error = error_of(host, "two")
    assert isinstance(error, DuplicateNameError)
    assert "one (dist-one 1.0)" in error.message
    assert "two (dist-two 1.0)" in error.message
    assert host.task("same").plugin.name == "one"


def test_two_plugins_of_one_name_are_told_apart(site: Path, install: Install) -> None:
    install("twin", good("alpha"), distribution="dist-a")
    install("twin", good("beta"), distribution="dist-b")
    host = host_of(site)
    assert [plugin.state for plugin in host.plugins] == ["ready", "quarantined"]
    error = host.plugins[1].error
    assert error is not None
    assert "dist-a" in error.message
    assert "dist-b" in error.message


def test_allow_and_block_lists(site: Path, install: Install) -> None:
    install("one", good("one"))
    install("two", "raise SystemExit('must never be imported')")
    install("three", good("three"))
    assert state(host_of(site, **{ALLOW_VARIABLE: "one, three"})) == {
        "one": "ready",
        "three": "ready",
        "two": "blocked",
    }
    blocked = host_of(site, **{BLOCK_VARIABLE: "one,two"})
    assert state(blocked) == {"one": "blocked", "three": "ready", "two": "blocked"}
    assert BLOCK_VARIABLE in str(error_of(blocked, "two"))


def test_a_rescan_leaves_a_blocked_plugin_to_who_imported_it(site: Path, install: Install) -> None:
    install("one", good("one"))
    blocked = host_of(site, **{BLOCK_VARIABLE: "one"})
    module = importlib.import_module("dist_one_one_plugin")
    blocked.rescan()
    assert sys.modules.get(module.__name__) is module


def test_rescan_finds_what_was_installed_upgraded_and_removed(site: Path, install: Install) -> None:
    install("old", good("old"))
    install("fixed", "raise ValueError('not yet')")
    host = host_of(site)
    assert state(host) == {"fixed": "quarantined", "old": "ready"}

    install("new", good("new"))
    install("fixed", good("fixed"))
    install("old", good("renamed"), version="2.0")
    changed = {plugin.name for plugin in host.rescan()}
    assert changed == {"fixed", "new", "old"}
    assert [one.task.name for one in host.tasks] == ["fixed", "new", "renamed"]
    assert host.rescan() == []

    for file in site.glob("dist_new*/*"):
        file.unlink()
    host.rescan()
    assert "new" not in state(host)
    with pytest.raises(UnknownTaskError):
        host.task("new")


def test_an_unknown_task_offers_the_nearest_and_names_the_broken(
    site: Path, install: Install
) -> None:
    install("one", good("classification"))
    install("bad", "raise ValueError")
    host = host_of(site)
    with pytest.raises(UnknownTaskError) as caught:
        host.task("clasification")
    assert "Did you mean classification?" in caught.value.hint
    assert "bad" in caught.value.hint


def test_an_upgrade_behind_a_submodule_runs_the_new_code(site: Path) -> None:
    import os

    package = site / "nestp"
    package.mkdir()
    (package / "__init__.py").write_text("")

    def put(version: str) -> None:
        (package / "helper.py").write_text(f"TITLE = {version!r}\n")
        (package / "plugin.py").write_text(
            "from nestp.helper import TITLE\n"
            + good("nest").replace('name = "nest"', 'name = "nest"\n    title = TITLE')
        )
        later = (package / "helper.py").stat().st_mtime + float(version)
        os.utime(package / "helper.py", (later, later))  # pyc files are told apart by the second
        for old in site.glob("nest_dist-*/*"):
            old.unlink()
        info = site / f"nest_dist-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: nest-dist\nVersion: {version}\n"
        )
        (info / "entry_points.txt").write_text("[lmkit]\nnest = nestp.plugin\n")

    put("1.0")
    host = host_of(site)
    assert host.task("nest").task.title == "1.0"
    put("20.0")
    for stale in site.glob("nest_dist-1.0.dist-info"):
        stale.rmdir()
    host.rescan()
    assert host.task("nest").task.title == "20.0"


def test_a_broken_first_plugin_does_not_stand_in_the_way_of_its_namesake(
    site: Path, install: Install
) -> None:
    install("twin", "raise ValueError('broken')", distribution="dist-a")
    install("twin", good("beta"), distribution="dist-b")
    host = host_of(site)
    assert [plugin.state for plugin in host.plugins] == ["quarantined", "ready"]
    assert host.task("beta").plugin.distribution == "dist-b"


class _Echo(Task):
    name = "echo"
    fields = (Field.text("text"),)

    def run(self, model: object, *, text: str) -> Labels:
        return Labels(scores=(LabelScore(label=text, score=1.0),))


class _Plugin:
    def __init__(self, task: type) -> None:
        self._task = task

    @hookimpl
    def lmkit_register_tasks(self, register: Callable[[type], None]) -> None:
        register(self._task)


def declared(**changes: object) -> type:
    return type("Changed", (_Echo,), {"__module__": "somewhere", **changes})


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (declared(name=""), "name"),
        (declared(name="Has Capitals"), "'Has Capitals'"),
        (declared(name=3), "3"),
        (declared(auto_class="BertModel"), "auto_class"),
        (declared(verb="run"), "'run'"),
        (declared(verb="class"), "'class'"),
        (declared(fields=("text",)), "not a field"),
        (declared(fields=(Field.text("model"),)), "taken by lmkit"),
        (declared(fields=(Field.text("a b"),)), "'a b'"),
        (declared(fields=(Field.text("text"), Field.text("text"))), "two fields"),
        (declared(fields=(Field.integer("n", minimum=1, maximum=0),)), "minimum"),
        (declared(fields=(Field.number("n", minimum=0, maximum=1, default=2),)), "out of its"),
        (declared(fields=(Field.choice("c", ["x"], default="y"),)), "no option"),
        (declared(fields=(Field.choice("c", []),)), "'c'"),
        (declared(fields=(Field.text("other"),)), "does not take its fields"),
        (declared(fields=(Field.boolean("a"), Field.text("no_a"))), "switched off"),
        (declared(run=Task.run), "defines no run"),
    ],
)
def test_an_unsound_declaration_is_refused_with_the_reason(task: type, words: str) -> None:
    host = PluginHost(lambda: (), {})
    with pytest.raises(RegistrationError) as caught:
        host.register(_Plugin(task), "hand")
    assert words in str(caught.value)
    assert state(host) == {"hand": "quarantined"}
    assert host.tasks == []


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_hook_that_raises_by_hand_is_named_and_quarantined(error: type[BaseException]) -> None:
    class Raises:
        @hookimpl
        def lmkit_register_tasks(self, register: Callable[[type], None]) -> None:
            raise error("in the hook")

    host = PluginHost(lambda: (), {})
    with pytest.raises(PluginError, match="hand"):
        host.register(Raises(), "hand")
    assert state(host) == {"hand": "quarantined"}
    assert "Traceback" in error_of(host, "hand").details


def test_a_plugin_registered_by_hand_can_be_registered_again() -> None:
    host = PluginHost(lambda: (), {})
    host.register(_Plugin(_Echo), "hand")
    host.register(_Plugin(declared(name="echo", title="Better")), "hand")
    assert host.task("echo").task.title == "Better"
    host.rescan()
    assert host.task("echo").task.title == "Better"


VIEW = """
from lmkit.api import Text, View, hookimpl

class Shown(View):
    name = "{name}"
    title = "Shown"

    def show(self, trace, *, layer, head, tokens):
        return Text(text="")

@hookimpl
def lmkit_register_views(register):
    register(Shown)
"""


def test_views_are_registered_and_two_of_one_name_are_an_error_naming_both(
    site: Path, install: Install
) -> None:
    install("aaa", VIEW.format(name="one"))
    install("bbb", VIEW.format(name="one"))
    install("ccc", VIEW.format(name="two"))
    host = host_of(site)
    assert state(host) == {"aaa": "ready", "bbb": "quarantined", "ccc": "ready"}
    assert [one.view.name for one in host.views] == ["one", "two"]
    assert next(one.info().views for one in host.plugins if one.name == "ccc") == ("two",)
    error = error_of(host, "bbb")
    assert isinstance(error, DuplicateNameError)
    assert "bbb" in str(error)
    assert "aaa" in str(error)
    with pytest.raises(NoSuchViewError, match="Did you mean two"):
        host.view("twoo")


def test_a_rescan_leaves_lmkit_itself_as_it_is() -> None:
    points = [
        point
        for point in importlib.metadata.entry_points(group="lmkit")
        if point.module.startswith("lmkit.")
    ]
    assert points  # the views that come with lmkit
    host = PluginHost(lambda: points, {})
    host.discover()
    for plugin in host.plugins:
        host.quarantine(plugin, RuntimeError("so that a rescan loads it anew"))
    before = {name: module for name, module in sys.modules.items() if name.startswith("lmkit")}
    host.rescan()
    assert {name: sys.modules.get(name) for name in before} == before


def test_commands_are_registered_called_by_name_and_dropped() -> None:
    from lmkit.api import Command

    class Count(Command):
        name = "count-words"
        help = "counts"

        def main(self, tools: Any, words: Sequence[str]) -> int:
            return len(words)

    class Brings:
        @hookimpl
        def lmkit_register_commands(self, register: Any) -> None:
            register(Count)

    host = PluginHost(list, {})
    host.register(Brings(), "first")
    assert [one.command for one in host.commands] == [Count]
    found = host.command("count-words")
    assert found is not None
    assert found.command().main(None, ["a", "b"]) == 2  # type: ignore[arg-type]
    with pytest.raises(DuplicateNameError, match="count-words"):
        host.register(Brings(), "second")
    assert host.command("run") is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "run", "main": lambda *_: 0}, "which lmkit uses itself"),
        ({"name": "No Name", "main": lambda *_: 0}, "has the name"),
        ({"name": "fine"}, "defines no main"),
    ],
)
def test_a_command_that_does_not_fit_is_named(body: dict[str, Any], words: str) -> None:
    from lmkit.api import Command

    made = type("Made", (Command,), body)

    class Brings:
        @hookimpl
        def lmkit_register_commands(self, register: Any) -> None:
            register(made)

    with pytest.raises(PluginError, match=words):
        PluginHost(list, {}).register(Brings(), "one")
