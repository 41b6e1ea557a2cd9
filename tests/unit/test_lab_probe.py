"""What JupyterLab asks a kernel, in Pythons with our lmkit, with another one, and with none."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "js" / "jupyterlab" / "src" / "probe.ts"
METADATA = "lmkit_core-9.8.7.dist-info"


def asked() -> str:
    """The expression that the page sends."""
    found = re.search(r"const LOOK = `([^`]*)`", SOURCE.read_text(encoding="utf-8"))
    assert found is not None
    assert "\\" not in found.group(1), "an escape of TypeScript is none of Python's"
    return " ".join(line.strip() for line in found.group(1).splitlines())


def answer(*folders: Path) -> Any:
    """What a kernel answers that imports from these folders alone."""
    code = (
        f"import sys; sys.path[:0] = {[str(folder) for folder in folders]!r}\n"
        "get_ipython = lambda: None\n"
        f"print(repr(eval({asked()!r})), 'lmkit' in sys.modules)"
    )
    done = subprocess.run(  # without site-packages, PYTHONPATH and folder at hand
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    shown, _, imported = done.stdout.strip().rpartition(" ")
    assert imported == "False", "asking imports nothing of that name"
    return json.loads(ast.literal_eval(shown))


def package(folder: Path, *modules: str) -> Path:
    (folder / "lmkit").mkdir(parents=True)
    for name in ("__init__", *modules):
        (folder / "lmkit" / f"{name}.py").write_text("raise RuntimeError('imported')\n")
    return folder


def described(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METADATA).mkdir()
    (folder / METADATA / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: lmkit-core\nVersion: 9.8.7\n"
    )
    return folder


def test_ours_is_known_by_its_distribution(tmp_path: Path) -> None:
    found = answer(described(package(tmp_path / "site", "kernel_session")))
    assert (found["version"], found["tasks"]) == ("9.8.7", None)


def test_ours_without_metadata_is_there_all_the_same(tmp_path: Path) -> None:
    assert answer(package(tmp_path / "tree", "kernel_session"))["version"] == "?"


@pytest.mark.parametrize("installed", [False, True], ids=["alone", "before ours"])
def test_another_distribution_of_the_name_is_not_ours(tmp_path: Path, installed: bool) -> None:
    folders = [package(tmp_path / "foreign")]
    if installed:
        folders.append(described(package(tmp_path / "site", "kernel_session")))
    found = answer(*folders)
    assert found["version"] is None
    assert found["python"]


def test_an_environment_without_any(tmp_path: Path) -> None:
    assert answer(tmp_path)["version"] is None
    # a file of that name beside the notebook is no package of ours either
    (tmp_path / "lmkit.py").write_text("")
    assert answer(tmp_path)["version"] is None
