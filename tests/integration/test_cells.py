"""The cell that is inserted for each installed task runs in a kernel as it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lmkit.cells import cell_source
from lmkit.host import PluginHost
from lmkit.protocol.messages import TaskCell
from tests.integration.kernels import Kernel, start
from tests.tiny import tiny_gpt2

ROOT = Path(__file__).parents[2]
VIEW = "application/vnd.lmkit.view.v1+json"
TASKS = ["attention", "classification", "distillation", "generation", "ner", "redact", "zero-shot"]

pytestmark = pytest.mark.xdist_group("notebook")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with start(tmp_path_factory.mktemp("kernel")) as running:
        ran = running.run("%load_ext lmkit")
        assert ran.status == "ok", ran.error
        yield running


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """In place of a task's default where that takes its time."""
    folder = tmp_path_factory.mktemp("a model's folder")  # which a shell's line has to quote
    return {"generation": str(tiny_gpt2(folder / "gpt2"))}


@pytest.fixture(scope="module")
def cells(kernel: Kernel) -> dict[str, TaskCell]:
    """As JupyterLab learns of them, by the expression that it has a kernel evaluate."""
    source = (ROOT / "js" / "jupyterlab" / "src" / "probe.ts").read_text(encoding="utf-8")
    found = re.search(r"const LOOK = `(.*?)`", source, re.DOTALL)
    assert found is not None
    look = " ".join(line.strip() for line in found[1].splitlines())
    tasks: list[dict[str, Any]] = json.loads(kernel.value(look))["tasks"]
    return {one["name"]: msgspec.convert(one["cell"], TaskCell) for one in tasks}


def test_every_installed_task_is_looked_at() -> None:
    host = PluginHost()
    host.discover()
    assert sorted(one.task.name for one in host.tasks) == TASKS


@pytest.mark.parametrize("text", ["", "Ada Lovelace wrote it in London,\nlong ago."])
@pytest.mark.parametrize("task", TASKS)
def test_the_cell_of_a_task_runs(
    kernel: Kernel, cells: dict[str, TaskCell], models: dict[str, str], task: str, text: str
) -> None:
    cell = cells[task]
    ran = kernel.run(cell_source(cell, text, models.get(task, "")))
    assert ran.status == "ok", ran.error
    spec = ran.shown[0][VIEW]["spec"]
    assert spec["header"]["task"] == task
    assert spec["status"]["error"] is None
    if not cell.text:
        assert spec["status"]["state"] == "idle", "its panel is open and asks for what it needs"
        return
    assert spec["status"]["state"] == "done"
    assert spec["results"] or spec["attention"]
    body = next(one["name"] for one in spec["fields"] if one.get("body"))
    if task != "redact":  # whose form has placeholders afterwards
        assert spec["values"][body] == (text or cell.text)


def test_what_takes_a_file_takes_no_selection(cells: dict[str, TaskCell]) -> None:
    assert cells["distillation"] == TaskCell(line="%lm distillation")
    assert all(cell.text for name, cell in cells.items() if name != "distillation")


def test_the_launchers_notebook_has_classifications_cell(cells: dict[str, TaskCell]) -> None:
    """It is made before there is a kernel to ask."""
    written = ROOT / "js" / "jupyterlab" / "src" / "side-panel-plugin.ts"
    source = json.dumps(cell_source(cells["classification"]))
    assert source in written.read_text(encoding="utf-8")
