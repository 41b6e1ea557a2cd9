"""The notebook's way in, in a real kernel: magics, completion, outputs, errors, comms."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.integration.kernels import Comm, Kernel, start
from tests.tiny import TEXT, tiny_bert

FORMS = [
    "application/vnd.jupyter.widget-view+json",
    "application/vnd.lmkit.view.v1+json",
    "text/html",
    "image/png",
    "text/plain",
]
VIEW = FORMS[1]
QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"
EXPLORER = QUICKSTART.with_name("explorer.ipynb")
DISTILLATION = QUICKSTART.with_name("distillation.ipynb")
SLOW = """
import threading, time
import lmkit
from lmkit.api import Field, Task, Text, hookimpl, progress

counting = threading.Event()


class Count(Task):
    name = "count"
    fields = (Field.integer("steps", minimum=1, maximum=100_000, default=100_000),)

    def run(self, model, *, steps):
        for step in range(steps):
            progress("Counting", step, steps)
            counting.set()
            time.sleep(0.01)
        return Text(text="counted")


class Plugin:
    @hookimpl
    def lmkit_register_tasks(self, register):
        register(Count)


lmkit.plugin_host().register(Plugin(), "slow");
"""

pytestmark = pytest.mark.xdist_group("notebook")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with start(tmp_path_factory.mktemp("kernel")) as running:
        ran = running.run("%load_ext lmkit")
        assert ran.status == "ok", ran.error
        yield running


def test_loading_imports_nothing_heavy(tmp_path: Path) -> None:
    with start(tmp_path) as fresh:
        assert fresh.run("%load_ext lmkit").status == "ok"
        heavy = "sorted(__import__('sys').modules.keys() & {'torch', 'transformers'})"
        assert fresh.value(heavy) == []


def test_outputs_hold_the_five_forms_in_order(kernel: Kernel, tiny: Path) -> None:
    for cell in (
        "%lmkit",
        f"%%lm classification --model {tiny}\n{TEXT}",
        f"%lm classification -m {tiny}",
    ):
        ran = kernel.run(cell)
        assert ran.status == "ok", ran.error
        (shown,) = ran.shown
        assert list(shown) == FORMS
        assert shown[VIEW]["live"]["view"]
    size = len(json.dumps(kernel.run(f"%%lm classification --model {tiny}\n{TEXT}").shown))
    assert size < 2_000_000


def test_the_magic_takes_a_variable_that_holds_a_model(kernel: Kernel, tiny: Path) -> None:
    ran = kernel.run(
        "from transformers import AutoModelForSequenceClassification as M, AutoTokenizer\n"
        f"model = M.from_pretrained({str(tiny)!r}), AutoTokenizer.from_pretrained({str(tiny)!r})"
    )
    assert ran.status == "ok", ran.error
    ran = kernel.run(f"%%lm classification --model model\n{TEXT}")
    assert ran.status == "ok", ran.error
    assert ran.shown[0][VIEW]["spec"]["status"]["state"] == "done"


@pytest.mark.parametrize(
    ("cell", "sentence", "hint"),
    [
        ("%%lm clasification\nx", "no task 'clasification'.", "Did you mean classification?"),
        ("%%lm classification --modle x\ny", "unrecognized arguments", "Did you mean --model?"),
        ("%%lm classification --model /no/such/folder\nx", "/no/such/folder", ""),
        ("%%lm classification --model starter:sentimnt\nx", "sentimnt", ""),
        ("%%lm classification -m TINY --threshold 7\nx", "Threshold cannot be 7", "0.0 to 1.0"),
        ("%%lm classification --model TINY\n   ", "Text is empty.", "Write something"),
        ("%%lm classification --model TINY --text a\nb", "Text was given twice", "--text"),
        ('%%lm classification --model "x\ny', "cannot be read", "quotation mark"),
        ("%lmkit modles", "no command 'modles'", "%lmkit models"),
        ("%lmkit plugins nobody", "no plugin 'nobody'", "Found: "),
        ("%lmkit device quantum", "quantum", ""),
    ],
)  # fmt: skip
def test_errors_are_a_sentence(
    kernel: Kernel, tiny: Path, cell: str, sentence: str, hint: str
) -> None:
    ran = kernel.run(cell.replace("TINY", str(tiny)))
    assert ran.status == "error"
    assert sentence in ran.error
    assert hint in ran.error
    assert "Traceback" not in ran.error
    assert ".py" not in ran.error
    assert len(ran.error.splitlines()) <= 3
    # and the session goes on
    assert kernel.run("%lmkit models").status == "ok"


def test_help_lists_fields_and_tasks(kernel: Kernel) -> None:
    assert "classification" in kernel.run("%%lm --help\n ").text
    options = kernel.run("%%lm classification --help\n ").text
    for option in ("--model", "--device", "--text", "--pair", "--threshold", "--background"):
        assert option in options
    assert "%lmkit rescan" in kernel.run("%lmkit help").text
    assert "classification" in kernel.run("%lmkit tasks  # a comment, as behind any line").text
    assert kernel.run("%lmkit plugins ''").status == "error"  # in words, not an IndexError


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("%%lm cl", ["%%lm classification"]),
        ("%lm cl", ["%lm classification"]),
        ("%%lm classification --mo", ["%%lm classification --model"]),
        ("%%lm classification --t", ["--trust-remote-code", "--text", "--threshold"]),
        ("%%lm classification --model starter:se", ["starter:sentiment"]),
        ("%%lm classification -m starter:n", ["starter:news", "starter:ner"]),
        ("%%lm classification --dtype ", ["float32", "bfloat16", "float16"]),
        ("%%lm classification --thr", ["--threshold"]),
        ("%lmkit mod", ["%lmkit models"]),
        ("%lmkit starter ", ["%lmkit starter install"]),
    ],
)
def test_tab_completes_and_offers_nothing_else(
    kernel: Kernel, typed: str, completed: list[str]
) -> None:
    found = kernel.complete(typed)
    assert len(found) == len(completed)
    for wanted in completed:
        assert any(one.endswith(wanted) for one in found), found


def test_python_completes_as_before(kernel: Kernel) -> None:
    assert "import" in kernel.complete("impor")


def test_a_data_set_is_evaluated_by_one_line(kernel: Kernel, tiny: Path, tmp_path: Path) -> None:
    data = tmp_path / "reviews.csv"
    data.write_text("review,stars\na fine film,LABEL_1\na dull one,LABEL_0\n", encoding="utf-8")
    columns = f"--model {tiny} --text review --label stars"
    ran = kernel.run(f"%lmkit evaluate classification {data} {columns} --json")
    assert ran.status == "ok", ran.error
    found = json.loads(ran.text.strip().splitlines()[-1])
    assert found["rows"] == 2
    # a variable stands for a data set, as it does for a model; the report is the cell's output
    kernel.run("rows = [{'review': 'a fine film', 'stars': 'LABEL_1'}] * 3")
    ran = kernel.run(f"%lmkit evaluate classification rows {columns}")
    assert ran.status == "ok", ran.error
    assert len(ran.shown) >= 1
    assert kernel.value("len(_)") == 3
    assert "evaluate TASK DATA" in kernel.run("%lmkit evaluate").text
    assert kernel.complete("%lmkit evaluate cl") == ["%lmkit evaluate classification"]


def test_background_runs_after_the_cell(kernel: Kernel, tiny: Path) -> None:
    assert kernel.run(SLOW).status == "ok"
    ran = kernel.run(f"%lm count --model {tiny}")
    assert ran.shown[0][VIEW]["spec"]["status"]["state"] == "idle"
    ran = kernel.run(f"%%lm classification --model {tiny} --background\n{TEXT}")
    assert ran.status == "ok", ran.error
    state = _state(ran.shown[0][VIEW]["live"]["view"])
    for _ in range(600):
        if kernel.value(f"{state}.status.state") == "done":
            break
        kernel.run("import time; time.sleep(0.05)")
    assert kernel.value(f"{state}.status.state") == "done"
    assert kernel.value(f"len({state}.outcome.results[0].scores)") == 2


def test_an_interrupted_cell_says_stopped_and_the_next_runs(kernel: Kernel, tiny: Path) -> None:
    assert kernel.run(SLOW).status == "ok"
    interrupt = (
        "import _thread\n"
        "def interrupt():\n"
        "    counting.wait(60)\n"
        "    _thread.interrupt_main()\n"
        "counting.clear()\n"
        "threading.Thread(target=interrupt).start()\n"
        "try:\n"
        f"    get_ipython().run_cell_magic('lm', 'count --model {tiny}', ' ')\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')"
    )
    ran = kernel.run(interrupt)
    assert ran.text.strip().endswith("interrupted"), ran.error
    assert ran.shown[0][VIEW]["spec"]["status"]["state"] == "cancelled"
    ran = kernel.run(f"%%lm classification --model {tiny}\n{TEXT}")
    assert ran.status == "ok", ran.error


# -- the comm -------------------------------------------------------------------------------------


def _state(view: str) -> str:
    module = "__import__('lmkit.kernel_session').kernel_session"
    return f"{module}.current_session().views.view({view!r})"


def ask(
    comm: Comm, live: dict[str, str], kind: str, **more: Any
) -> tuple[dict[str, Any], list[bytes]]:
    """Send a request and give its answer, past the events that come between."""
    identity = uuid.uuid4().hex
    comm.send({"type": kind, "id": identity, "view": live["view"], **more})
    return comm.until(id=identity)


def hello(comm: Comm, live: dict[str, str], state: str = "") -> dict[str, Any]:
    about = {"session": live["session"], "protocol": 1, "version": "0.1.0", "state": state}
    answer, _ = ask(comm, live, "hello", **about)
    return answer


def test_a_view_says_hello_and_gets_tiles(kernel: Kernel, tiny: Path) -> None:
    live = kernel.run(f"%%lm classification --model {tiny}\n{TEXT}").shown[0][VIEW]["live"]
    comm = kernel.open_comm()
    welcome = hello(comm, live, state=live["state"])
    assert (welcome["type"], welcome["spec"]) == ("welcome", None)  # the page has it
    welcome = hello(comm, live)
    assert welcome["spec"]["values"]["text"] == TEXT
    answer, buffers = ask(comm, live, "tile", key="head/1/2")
    count = len(welcome["spec"]["attention"]["tokens"]["text"])
    assert answer["tile"]["shape"] == [count, count]
    assert len(buffers[0]) == count * count
    answer, buffers = ask(comm, live, "tile", key="rows/0/1/0-2")
    assert (answer["tile"]["encoding"], len(buffers[0])) == ("f32", 2 * count * 4)
    answer, _ = ask(comm, live, "tile", key="head/99/0")
    assert answer["type"] == "error"
    assert "99" in answer["error"]["message"]
    selection = {"layer": 1, "head": 3, "tokens": [2]}
    assert ask(comm, live, "select", selection=selection)[0]["type"] == "done"
    there = hello(comm, live, state=live["state"])["spec"]["attention"]["selection"]
    assert (there["layer"], there["head"], there["tokens"]) == (1, 3, [2])
    selected = f"{_state(live['view'])}.selection"
    assert kernel.value(f"({selected}.layer, {selected}.head, {selected}.tokens)") == (1, 3, (2,))


def test_a_later_look_is_saved_with_the_notebook(kernel: Kernel, tiny: Path) -> None:
    ran = kernel.run(f"%%lm classification --model {tiny}\n{TEXT}")
    shown = ran.outputs[0]["transient"]["display_id"]
    before = ran.shown[0][VIEW]["spec"]["attention"]["selection"]
    live = ran.shown[0][VIEW]["live"]
    comm = kernel.open_comm()
    hello(comm, live)
    chosen = {"layer": 1, "head": 2, "tokens": [3], "lens": "", "picture": "map"}
    assert chosen != before
    ask(comm, live, "select", selection=chosen)
    forms = kernel.update(shown)
    assert forms[VIEW]["spec"]["attention"]["selection"] == chosen
    assert any(tile["key"] == "head/1/2" for tile in forms[VIEW]["tiles"])


def test_a_view_runs_edits_and_cancels(kernel: Kernel, tiny: Path) -> None:
    live = kernel.run(f"%%lm classification --model {tiny}\n{TEXT}").shown[0][VIEW]["live"]
    comm = kernel.open_comm()
    hello(comm, live)
    assert ask(comm, live, "run", values={"text": "the old film"})[0]["type"] == "accepted"
    while (event := comm.until(type="changed")[0])["spec"]["status"]["state"] != "done":
        pass
    assert event["spec"]["values"]["text"] == "the old film"

    assert kernel.run(SLOW).status == "ok"
    live = kernel.run(f"%lm count --model {tiny}").shown[0][VIEW]["live"]
    assert hello(comm, live)["type"] == "welcome"
    run = uuid.uuid4().hex
    comm.send({"type": "run", "id": run, "view": live["view"], "values": {}})
    assert comm.until(id=run)[0]["type"] == "accepted"
    while True:
        status = comm.until(type="status")[0]["status"]
        if (status["progress"] or {}).get("label") == "Counting":
            break
    assert ask(comm, live, "cancel", target=run)[0]["type"] == "cancelled"
    while status["state"] == "running":
        status = comm.until(type="status")[0]["status"]
    assert status["state"] == "cancelled"


def test_strangers_get_an_error_each(kernel: Kernel, tiny: Path) -> None:
    live = kernel.run(f"%%lm classification --model {tiny}\n{TEXT}").shown[0][VIEW]["live"]
    comm = kernel.open_comm()
    gone = {"session": str(uuid.uuid4()), "view": live["view"]}
    assert hello(comm, gone)["error"]["code"] == "unknown-session"
    elsewhere = {"session": live["session"], "view": str(uuid.uuid4())}
    assert hello(comm, elsewhere)["error"]["code"] == "unknown-view"
    answer, _ = ask(comm, live, "hello", session=live["session"], protocol=99, version="9.9")
    assert "protocol 99" in answer["error"]["message"]
    comm.send({"type": "explode", "id": "one", "view": live["view"]})
    assert comm.until(id="one")[0]["error"]["code"] == "protocol"
    comm.send(["not", "a", "request"])  # type: ignore[arg-type]
    assert comm.next()[0]["type"] == "error"
    assert hello(comm, live)["type"] == "welcome"


# -- notebooks that are run without a browser -----------------------------------------------------


def test_run_all_without_a_browser_saves_outputs_whole(tmp_path: Path, tiny: Path) -> None:
    cells = ["%load_ext lmkit", f"%%lm classification --model {tiny}\n{TEXT}", "%lmkit"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells])
    client = NotebookClient(
        notebook, kernel_name="python3", store_widget_state=False, timeout=300,
        resources={"metadata": {"path": str(tmp_path)}},
    )  # fmt: skip
    client.execute()
    assert "widgets" not in notebook.metadata
    (output,) = lasting(notebook.cells[1])
    assert set(output.data) == set(FORMS)
    spec = output.data[VIEW]["spec"]
    assert spec["status"]["state"] == "done"
    assert len(spec["results"][0]["scores"]) == 2
    assert output.data[VIEW]["headsCarried"] == output.data[VIEW]["heads"] == 8


@pytest.mark.parametrize(
    ("path", "size", "count"), [(QUICKSTART, 1.5e6, 3), (EXPLORER, 3e6, 9), (DISTILLATION, 1e6, 1)]
)
def test_notebooks_are_saved_with_their_outputs(path: Path, size: float, count: int) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    assert path.stat().st_size < size
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    views = [one for cell in cells for one in cell.outputs if VIEW in one.get("data", {})]
    assert len(views) == count
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            # a widget alone would show nothing without its kernel
            assert FORMS[0] not in output.get("data", {}) or VIEW in output.data


def lasting(cell: Any) -> list[Any]:
    """The outputs of a cell; on a slow machine a progress bar has come and gone on stderr."""
    return [one for one in cell.outputs if one.get("name") != "stderr"]


def kinds(notebook: Any) -> list[list[list[str]]]:
    """Of each cell, of each output: its forms, or what stream it is, but for progress bars.

    A view's HTML form is left out: notebooks that are kept in the repository hold none.
    """

    def forms(output: Any) -> list[str]:
        names = output.get("data", [output.get("name", output.output_type)])
        return sorted(name for name in names if VIEW not in names or name != "text/html")

    return [
        [forms(one) for one in lasting(cell)] for cell in notebook.cells if cell.cell_type == "code"
    ]


@pytest.mark.parametrize(("path", "count"), [(QUICKSTART, 3), (EXPLORER, 9)])
def test_notebooks_run_to_their_end_and_their_pages_ask_no_address(
    tmp_path: Path, path: Path, count: int
) -> None:
    done = subprocess.run(
        [sys.executable, path.with_name("run.py"), path, "--out", tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = nbformat.read(tmp_path / path.name, as_version=4)
    assert "widgets" not in made.metadata
    assert kinds(made) == kinds(nbformat.read(path, as_version=4))

    page = (tmp_path / path.name).with_suffix(".html").read_text(encoding="utf-8")
    assert page.count('class="lmkit-output"') == count
    fetched = re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:|#)([^"'\s>]+)""", page)
    assert [one for one in fetched if one.startswith(("http:", "https:", "//"))] == []
    assert re.findall(r"@import|url\(\s*['\"]?(?:https?:)?//", page) == []
