"""What a cell's output held is let go when the cell has run again, or was deleted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.kernels import Kernel, start
from tests.tiny import TEXT, tiny_bert

pytestmark = pytest.mark.xdist_group("notebook")
LOADED = "m = Model.from_pretrained(path); refs.append(weakref.ref(m)); kit = lmkit.load(m, tok)\n"
SHOWN = {
    "result": f"r = kit.classify({TEXT!r}); r",
    "without a name": f"kit.classify({TEXT!r})",
    "attention": f"kit.classify({TEXT!r}).attention",
    "panel": f"kit.panel('classification', {TEXT!r})",
    "named panel": f"p = kit.panel('classification', {TEXT!r}); p",
    "evaluation": f"e = kit.evaluate('classification', [{TEXT!r}] * 3); e",
    "explorer": f"x = kit.explore({TEXT!r}); x",
    "displayed": f"r = kit.classify({TEXT!r}); display(r)",
}
ALIVE = "(__import__('gc').collect(), [one() is not None for one in refs])[1]"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    model = tiny_bert(tmp_path_factory.mktemp("models") / "tiny")
    with start(tmp_path_factory.mktemp("kernel")) as running:
        ran = running.run(
            f"import lmkit, weakref; path = {str(model)!r}\n"
            "from transformers import AutoModelForSequenceClassification as Model, AutoTokenizer\n"
            "tok = AutoTokenizer.from_pretrained(path); refs = []"
        )
        assert ran.status == "ok", ran.error
        yield running


@pytest.fixture
def kernel(started: Kernel) -> Kernel:
    started.run("refs = []")
    return started


def ran(kernel: Kernel, code: str, cell: str, **more: list[str]) -> None:
    done = kernel.run(code, cell=cell, **more)
    assert done.status == "ok", done.error


def rolled(kernel: Kernel) -> None:
    """IPython keeps the last three results as ``_``, ``__`` and ``___``."""
    for _ in range(3):
        kernel.run("'another result'")


@pytest.mark.parametrize("shown", SHOWN.values(), ids=[*SHOWN])
def test_a_cell_that_runs_again_lets_go_of_what_it_showed(kernel: Kernel, shown: str) -> None:
    for _ in range(3):
        ran(kernel, LOADED + shown, "cell")
    rolled(kernel)
    assert kernel.value(ALIVE) == [False, False, True]
    # its own result stays, and a deleted cell's goes
    assert kernel.run("kit.classify('again').labels").status == "ok"
    ran(kernel, "m = kit = r = p = e = x = None", "other", deleted=["cell"])
    rolled(kernel)
    assert kernel.value(ALIVE) == [False, False, False]


def test_what_a_variable_holds_stays(kernel: Kernel) -> None:
    kernel.run("class App: pass\nkept, panels, apps = [], {}, []")
    keeping = f"r = kit.classify({TEXT!r}); kept.append(r); display(r)\n"
    keeping += "p = kit.panel('classification', 'b'); panels[len(kept)] = p; p"
    for _ in range(2):
        ran(kernel, LOADED + keeping, "keeping")
    assert kernel.value(ALIVE) == [True, True]
    assert kernel.value("(kept[0].attention[0, 0].shape, panels[1].run(text='c') is not None)") == (
        kernel.value("kept[1].attention[0, 0].shape"), True,
    )  # fmt: skip
    ran(kernel, "app = App(); app.one = kit.panel('classification', 'c'); app.one", "app")
    ran(kernel, "app.two = kit.panel('classification', 'd'); app.two", "app")
    ran(kernel, "app.one", "app")
    assert kernel.value("app.one.run(text='e') is not None")
    ran(kernel, "display(kept[0], panels[1])", "once more")
    ran(
        kernel,
        "kept.clear(); panels.clear(); r = p = m = kit = app = None",
        "end",
        deleted=["once more"],
    )
    rolled(kernel)
    assert kernel.value(ALIVE)[0] is False


def test_what_another_cell_shows_stays(kernel: Kernel) -> None:
    ran(kernel, LOADED + f"r = kit.classify({TEXT!r})\nr", "one")
    ran(kernel, "r", "two")
    ran(kernel, "r = kit = m = None", "one")
    rolled(kernel)
    assert kernel.value(ALIVE) == [True]
    ran(kernel, "1", "two")
    rolled(kernel)
    assert kernel.value(ALIVE) == [False]


def test_what_is_shown_again_stays_without_a_variable(kernel: Kernel) -> None:
    kernel.run("kept = []")
    for _ in range(2):
        ran(kernel, LOADED + f"r = kit.classify({TEXT!r}); kept.append(r); display(r)", "one")
    ran(kernel, "display(kept[0])", "two")
    ran(kernel, "kept.clear(); r = kit = m = None", "three")
    rolled(kernel)
    assert kernel.value(ALIVE) == [True, True]
    ran(kernel, "1", "two")
    assert kernel.value(ALIVE) == [False, True]


def test_without_a_cells_id_nothing_is_closed(kernel: Kernel) -> None:
    for _ in range(2):
        ran(kernel, LOADED + f"kit.classify({TEXT!r})", "")
    rolled(kernel)
    assert kernel.value(ALIVE) == [True, True]
