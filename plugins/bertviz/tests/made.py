"""Passes of tiny models for the tests, and what a page carries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lmkit.api import Page, View
from lmkit.models import ModelStore
from lmkit.models.text_trace import ModelTrace

DATA = re.compile(r'<script type="application/json" id="lmkit-data">(.*?)</script>', re.DOTALL)


def trace_of(folder: Path, text: str, pair: str | None = None, head: str = "") -> ModelTrace:
    """One pass of a model in a folder."""
    made = ModelStore(device="cpu").get(str(folder), f"AutoModel{head}").trace(text, pair)
    assert isinstance(made, ModelTrace)
    return made


def page_of(view: type[View], trace: Any, layer: int = 0, head: int = 0, **fields: str) -> Page:
    """What a view shows, with its fields at their defaults."""
    defaults = {field.name: field.default for field in view.fields}
    shown = view().show(trace, layer=layer, head=head, tokens=(), **{**defaults, **fields})
    page = shown if isinstance(shown, Page) else shown[0]  # type: ignore[index]
    assert isinstance(page, Page)
    return page


def data_of(page: Page) -> dict[str, Any]:
    """The JSON of a page."""
    (found,) = DATA.findall(page.html)
    data = json.loads(found)
    assert isinstance(data, dict)
    return data
