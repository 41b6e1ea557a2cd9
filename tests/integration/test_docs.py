"""Every Python block of the docs runs, in order, one namespace a page."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

import lmkit
from lmkit import hookspecs

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [page for page in sorted(DOCS.glob("*.md")) if BLOCK.search(page.read_text("utf-8"))]


def test_there_are_pages_with_code() -> None:
    assert DOCS / "plugins.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_the_docs_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = types.ModuleType(f"docs_{page.stem}")
    sys.modules[module.__name__] = module  # classes look their module up
    known = {plugin.key for plugin in lmkit.plugin_host().plugins}
    try:
        for block in BLOCK.findall(page.read_text("utf-8")):
            exec(compile(block, str(page), "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
        for plugin in lmkit.plugin_host().plugins:
            if plugin.key not in known:
                lmkit.plugin_host()._drop(plugin)
    if page.name == "plugins.md":
        assert len(eval(capsys.readouterr().out)) == 3


def test_every_hook_has_a_heading() -> None:
    text = (DOCS / "plugins.md").read_text("utf-8")
    for name in vars(hookspecs):
        if name.startswith("lmkit_"):
            assert f"### `{name}(" in text
