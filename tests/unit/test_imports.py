"""Who may import whom, in both languages, and that nothing heavy is imported until it is used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "lmkit"

# A module may import those named before it in its row, and the rooms named for it below.
CHAIN = (
    "version", "errors", "settings", "protocol", "work", "rows", "api", "run_record",
    "declarations", "fields", "cells", "hookspecs", "host", "runner", "trace_cache", "tile_queue",
    "lending", "jobs", "open_views", "task_runs", "shown_outputs", "session", "home",
    "kernel_session", "tools", "fonts", "transports", "saving", "in_process", "attention",
    "explorer", "evaluation", "kit", "arguments", "reports", "completion", "scaffold", "remains",
    "cell_texts", "strip", "serve", "magics", "cli",
)  # fmt: skip
ROOMS = {
    "capture": {"errors", "protocol"},
    "datasets": {"errors", "protocol", "work", "rows", "api"},
    "models": {"errors", "protocol", "work", "rows", "api", "capture"},
    "views": {"errors", "protocol", "work", "rows", "api", "capture"},
    "analysis": {"views", "errors", "protocol", "work", "api", "capture"},
    "panels": {"errors", "protocol", "api"},
}
OPEN_TO = {
    # rooms beside the chain, and from which link of the chain on they may be used
    "datasets": "runner",
    "views": "runner",
    "analysis": "runner",
    "models": "lending",
    "panels": "transports",
}
FREE = {"__init__", "__main__", "testing"}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(file: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
            if node.module == "lmkit":
                names = [f"lmkit.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "lmkit" and len(parts) > 1:
                rooms.add(parts[1])
    return rooms


def allowed(room: str) -> set[str]:
    if room in ROOMS:
        return ROOMS[room] | {room}
    position = CHAIN.index(room)
    rooms = set(CHAIN[: position + 1])
    for other, first in OPEN_TO.items():
        if position >= CHAIN.index(first):
            rooms.add(other)
    return rooms


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.name))
def test_python_imports_go_one_way(file: Path) -> None:
    room = room_of(file)
    if room in FREE:
        return
    assert room in CHAIN or room in ROOMS, f"{room} has no place in the import order yet"
    wrong = imported_rooms(file) - allowed(room)
    assert not wrong, f"{file.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("file", sorted((ROOT / "plugins").glob("*/src/**/*.py")), ids=str)
def test_plugins_use_no_private_door(file: Path) -> None:
    assert imported_rooms(file) <= {"api", "views", "testing"}


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "ipywidgets", "anywidget", "numpy"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
"""


def run(code: str) -> str:
    done = subprocess.run(  # a fresh interpreter: this one has imported everything already
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_up_to_the_host_imports_without_the_heavy_packages() -> None:
    modules = [f"lmkit.{name}" for name in CHAIN[: CHAIN.index("host") + 1]]
    found = run(BLOCK + f"import {', '.join(modules)}, lmkit.protocol.codec\nprint('ok')")
    assert found == "ok\n"


def test_the_analyses_are_declared_without_the_heavy_packages() -> None:
    code = (
        "import lmkit.analysis, lmkit.analysis.views, lmkit.analysis.head_map\n"
        "import lmkit.analysis.ablation, lmkit.analysis.statistics\nprint('ok')"
    )
    assert run(BLOCK + code) == "ok\n"


def test_discovering_plugins_imports_nothing_heavy() -> None:
    code = (
        "from lmkit.host import PluginHost\n"
        "h = PluginHost()\nh.discover()\n"
        "names = ('attribution', 'bertviz', 'classification', 'distillation')\n"
        "print([p.state for p in h.plugins if p.name in names])"
    )
    assert run(BLOCK + code) == "['ready', 'ready', 'ready', 'ready']\n"


def test_the_extension_loads_without_torch() -> None:
    code = (
        "import sys\nfrom IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\nshell.run_line_magic('load_ext', 'lmkit')\n"
        "print([n for n in ('torch', 'transformers', 'ipywidgets', 'numpy') if n in sys.modules])"
    )
    assert run(code).splitlines()[-1] == "[]"


JS = ROOT / "js"
JS_ALLOWED = {
    "protocol": set(),
    "core": {"protocol"},
    "widget": {"protocol", "core"},
    "jupyterlab": {"protocol", "core"},
    "vscode": {"protocol", "core"},
}
JS_FOREIGN = re.compile(r"@jupyter|@lumino|@jupyterlab|vscode|anywidget")
JS_IMPORT = re.compile(r"""(?:from|import)\s*\(?\s*["']([^"']+)["']""")


@pytest.mark.parametrize("package", JS_ALLOWED)
def test_typescript_imports_go_one_way(package: str) -> None:
    files = sorted((JS / package / "src").rglob("*.ts"))
    assert files
    for file in files:
        for name in JS_IMPORT.findall(file.read_text(encoding="utf-8")):
            ours = re.match(r"@lmkit/(\w+)", name)
            if ours:
                assert ours[1] in JS_ALLOWED[package], f"{file.name} imports {name}"
            elif package in ("protocol", "core"):
                assert not JS_FOREIGN.match(name), f"{file.name} imports {name}"
            if name.startswith(".."):
                target = (file.parent / name).resolve()
                assert (JS / package) in target.parents, f"{file.name} leaves its package: {name}"
