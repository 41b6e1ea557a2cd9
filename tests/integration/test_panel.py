"""The panel is an ipywidget in every sense: traits, links, layouts, plain widgets bound to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ipywidgets
import pytest
import traitlets

from lmkit.api import Field, Labels, LoadedModel, Task, Text, hookimpl
from lmkit.declarations import RESERVED_FIELDS, RESERVED_VERBS
from lmkit.errors import FieldError, TaskError
from lmkit.host import PluginHost
from lmkit.kit import Kit
from lmkit.models import ModelStore
from lmkit.protocol.messages import Selection
from lmkit.session import Session
from lmkit.transports.widget import Panel
from tests.tiny import tiny_bert


class Every(Task):
    """A field of each kind."""

    name = "every"
    fields = (
        Field.text("words"),
        Field.text("short", multiline=False, required=False),
        Field.integer("count", minimum=1, maximum=9, default=3),
        Field.number("ratio", minimum=0.0, maximum=1.0, default=0.5),
        Field.choice("colour", ["red", "green"]),
        Field.boolean("loud"),
    )

    def run(self, model: LoadedModel, **values: Any) -> Text:
        return Text(text=" ".join(f"{name}={value}" for name, value in values.items()))


class Own(Task):
    """A panel of plain ipywidgets."""

    name = "own"
    fields = (Field.text("text"),)
    returns: Any = None

    def run(self, model: LoadedModel, *, text: str) -> Text:
        return Text(text=text[::-1])

    def panel(self, kit: Kit, values: Mapping[str, Any]) -> Any:
        if Own.returns is not None:
            return Own.returns
        box, shown = ipywidgets.Text(value=values.get("text", "")), ipywidgets.Label()
        button = ipywidgets.Button(description="Go")

        def go(_: Any) -> None:
            shown.value = kit.run("own", text=box.value).result.text

        button.on_click(go)
        return ipywidgets.HBox([box, button, shown])


class Plugin:
    @hookimpl
    def lmkit_register_tasks(self, register: Callable[[type[Task]], None]) -> None:
        register(Every)
        register(Own)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "classification"})
    host.discover()
    host.register(Plugin(), "tests")
    session = Session(host, ModelStore(device="cpu"))
    yield Kit(session, str(tiny_bert(tmp_path_factory.mktemp("bert"))), {})
    session.stop()


def test_fields_are_traits_with_the_fields_bounds(kit: Kit) -> None:
    panel = kit.panel("every", words="hello")
    assert isinstance(panel, Panel)
    assert isinstance(panel, ipywidgets.DOMWidget)
    assert (panel.words, panel.count, panel.ratio, panel.colour, panel.loud) == (
        "hello", 3, 0.5, "red", False,
    )  # fmt: skip
    seen: list[Any] = []
    panel.observe(lambda change: seen.append(change["new"]), "count")
    panel.count = 5
    assert seen == [5]
    for name, wrong in [("count", 99), ("count", "x"), ("colour", "blue"), ("ratio", 1.5)]:
        with pytest.raises(traitlets.TraitError):
            setattr(panel, name, wrong)
    assert panel.count == 5


def test_a_run_sets_the_result_and_observers_hear_it(kit: Kit) -> None:
    panel = kit.panel("classification", text="the plot is thin")
    results: list[Any] = []
    states: list[str] = []
    panel.observe(lambda change: results.append(change["new"]), "result")
    panel.observe(lambda change: states.append(change["new"]), "state")
    returned = panel.run()
    assert isinstance(returned, Labels)
    assert panel.result == panel.value == returned
    assert panel.results == (returned,)
    assert results == [returned]
    assert states[0] == "running"
    assert states[-1] == "done"
    panel.run(text="another text")
    assert panel.text == "another text"
    assert len(results) == 2


def test_setting_a_trait_reaches_the_view_and_back(kit: Kit) -> None:
    panel = kit.panel("classification", text="a")
    view = panel._panel.view
    panel.text = "from python"
    assert view.values["text"] == "from python"
    view.edit({"text": "from the page", "threshold": 0.9})
    assert panel.text == "from the page"
    assert panel.threshold == 0.9
    panel.run()
    panel.selection = Selection(layer=1, head=2)
    assert view.selection == Selection(layer=1, head=2)
    view.select(Selection(layer=0, head=3))
    assert panel.selection == Selection(layer=0, head=3)


def test_links_with_ordinary_widgets(kit: Kit) -> None:
    panel = kit.panel("classification", text="a")
    box = ipywidgets.Textarea()
    ipywidgets.link((panel, "text"), (box, "value"))
    assert box.value == "a"
    box.value = "typed"
    assert panel.text == "typed"
    panel.text = "set"
    assert box.value == "set"
    slider = ipywidgets.FloatSlider(min=0, max=1)
    ipywidgets.dlink((slider, "value"), (panel, "threshold"))
    slider.value = 0.75
    assert panel.threshold == 0.75


def test_interactive_output_follows_a_field_and_the_result(kit: Kit) -> None:
    panel = kit.panel("classification", text="a")
    calls: list[Any] = []

    def show(text: str, result: Any) -> None:
        calls.append((text, result))

    ipywidgets.interactive_output(show, {"text": panel.widgets()["text"], "result": panel})
    assert calls == [("a", None)]
    panel.run(text="b")
    assert calls[-1] == ("b", panel.result)


def test_plain_widgets_of_every_kind_are_bound_both_ways(kit: Kit) -> None:
    panel = kit.panel("every", words="w")
    widgets = panel.widgets()
    kinds = {name: type(widget) for name, widget in widgets.items()}
    assert kinds == {
        "words": ipywidgets.Textarea,
        "short": ipywidgets.Text,
        "count": ipywidgets.IntSlider,
        "ratio": ipywidgets.FloatSlider,
        "colour": ipywidgets.Dropdown,
        "loud": ipywidgets.Checkbox,
    }
    widgets["count"].value = 7
    widgets["colour"].value = "green"
    widgets["loud"].value = True
    widgets["words"].value = "typed"
    assert (panel.count, panel.colour, panel.loud, panel.words) == (7, "green", True, "typed")
    panel.ratio = 0.25
    assert widgets["ratio"].value == 0.25
    assert panel.run().text == "words=typed short= count=7 ratio=0.25 colour=green loud=True"


def test_it_composes_with_ordinary_widgets(kit: Kit) -> None:
    panel = kit.panel("classification", text="a")
    tab = ipywidgets.Tab(
        [ipywidgets.HBox([panel, ipywidgets.Label("beside")]), ipywidgets.VBox([panel])]
    )
    state = ipywidgets.Widget.get_manager_state(widgets=[tab, *tab.children, panel])["state"]
    reference = f"IPY_MODEL_{panel.model_id}"
    assert reference in str(state[tab.children[0].model_id])
    assert state[panel.model_id]["model_module"] == "anywidget"
    assert len(panel._esm) <= 2_048


def test_no_attribute_of_a_panel_can_be_the_name_of_a_field() -> None:
    public = {name for name in dir(Panel) if not name.startswith("_")}
    assert public <= RESERVED_FIELDS


def test_a_refused_value_is_one_sentence(kit: Kit) -> None:
    panel = kit.panel("classification", text="a")
    with pytest.raises(FieldError, match=r"Threshold cannot be 7\.0; it takes 0\.0 to 1\.0"):
        panel.threshold = 7
    with pytest.raises(FieldError, match="Text cannot be 5; it takes text"):
        panel.text = 5
    assert (panel.threshold, panel.text) == (0.5, "a")


def test_a_process_with_panels_ends_quietly() -> None:
    code = (
        "from lmkit.host import PluginHost\nfrom lmkit.models import ModelStore\n"
        "from lmkit.session import Session\nfrom lmkit.kit import Kit\n"
        "host = PluginHost()\nhost.discover()\n"
        "panel = Kit(Session(host, ModelStore(device='cpu')), 'x', {}).panel('classification')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_plugin_may_bring_its_own_panel(kit: Kit) -> None:
    box = kit.panel("own", "abc")
    assert isinstance(box, ipywidgets.HBox)
    box.children[1].click()
    assert box.children[2].value == "cba"
    Own.returns = "not a widget"
    try:
        with pytest.raises(TaskError, match="returned a str as its panel"):
            kit.panel("own", "abc")
    finally:
        Own.returns = None


def test_an_observer_that_raises_does_not_stop_the_run(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    panel = kit.panel("classification", text="a")

    def broken(change: Any) -> None:
        raise RuntimeError("in the user's observer")

    panel.observe(broken, "result")
    panel.run()
    assert panel._panel.view.status.state == "done"
    assert "in the user's observer" in caplog.text


def test_bad_input_keeps_what_was_there(kit: Kit) -> None:
    panel = kit.panel("classification", text="good")
    panel.run()
    before = panel.result
    with pytest.raises(FieldError):
        panel.run(text="")
    assert panel.text == "good"
    assert panel.result == before


def test_closing_releases_the_view(kit: Kit) -> None:
    panel = kit.panel("classification", text="a")
    panel.run()
    view = panel._view
    assert view in kit.session.views._views
    panel.close()
    assert view not in kit.session.views._views


def test_the_bundle_has_its_five_parts_in_order(kit: Kit) -> None:
    panel = kit.panel("classification", text="a </script><img src=x onerror=alert(1)>")
    panel.run()
    forms, _ = panel._repr_mimebundle_()
    assert list(forms) == [
        "application/vnd.jupyter.widget-view+json",
        "application/vnd.lmkit.view.v1+json",
        "text/html",
        "image/png",
        "text/plain",
    ]
    # nbformat sorts the names when it saves; the first to match wins in VS Code
    assert sorted(forms)[:2] == list(forms)[:2]
    assert sum(len(str(form)) for form in forms.values()) < 2_000_000
    assert "<img src=x" not in forms["text/html"]
    assert forms["text/html"].count("</script>") == 3


def test_no_task_hides_behind_a_method_of_the_kit() -> None:
    public = {name for name in vars(Kit) if not name.startswith("_")}
    assert public <= RESERVED_VERBS
