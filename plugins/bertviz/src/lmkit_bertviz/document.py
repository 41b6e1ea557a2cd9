"""A whole HTML document around one of BertViz's scripts, which fetches nothing.

BertViz's scripts run unchanged. What they expect of a notebook is put in their place: ``require``
hands out the d3 and jQuery of this package, and the parameters that BertViz's Python would write
into the script are made in the page from one JSON element.
"""

from __future__ import annotations

import html
import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lmkit.api import LmkitError

__all__ = ["bertviz_script", "document", "script_json"]

_HERE = Path(__file__).parent
_LIBRARIES = ("d3.min.js", "jquery.slim.min.js")
_PARAMETERS = "PYTHON_PARAMS"
_CONTROLS = {"head": ("layer",), "model": (), "neuron": ("layer", "att_head")}
_LABELS = {"layer": "Layer", "att_head": "Head", "filter": "Attention"}


def script_json(value: object) -> str:
    """JSON that cannot end the script element that it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


@cache
def bertviz_script(view: str) -> str:
    """BertViz's own script of a view, from the installed package, which is not imported for it.

    Args:
        view: ``"head"``, ``"model"`` or ``"neuron"``.

    Raises:
        LmkitError: BertViz is not installed, or is not the version that this package knows.
    """
    found = importlib.util.find_spec("bertviz")
    places = list(found.submodule_search_locations or ()) if found else []
    if not places:
        raise LmkitError("BertViz is not installed.", hint="pip install 'bertviz>=1.4,<1.5'")
    file = Path(places[0], f"{view}_view.js")
    source = file.read_text(encoding="utf-8") if file.is_file() else ""
    # The neuron view reads window.bertviz_params by itself.
    source = source.replace(_PARAMETERS, "window.bertviz_params", 1)
    if "window.bertviz_params" not in source or "</script" in source.lower():
        raise LmkitError(
            f"The installed BertViz has no {view} view that lmkit-bertviz can use.",
            hint="pip install 'bertviz>=1.4,<1.5'",
        )
    return source


@cache
def _own(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def document(view: str, title: str, data: Mapping[str, Any]) -> str:
    """The document of one view.

    Args:
        view: ``"head"``, ``"model"`` or ``"neuron"``.
        title: For the head of the document.
        data: What ``page.js`` makes BertViz's parameters from: ``layers``, ``heads`` (their
            numbers), ``total_heads``, ``left``, ``right`` (tokens), ``attention`` and for the
            neuron view ``queries`` and ``keys`` (as :mod:`lmkit_bertviz.numbers` gives them),
            ``second`` (where the second text begins, or None), ``head``, ``causal``.

    Raises:
        LmkitError: there is no fitting BertViz.
    """
    names = [*_CONTROLS[view], *(["filter"] if data["second"] is not None else [])]
    controls = "\n".join(
        f'<label class="dropdown-label">{_LABELS[name]}: <select id="{name}"></select></label>'
        for name in names
    )
    libraries = "\n".join(f"<script>{_own('vendor/' + name)}</script>" for name in _LIBRARIES)
    return f"""<html lang="en">
<title>{html.escape(title)}</title>
<style>{_own("page.css")}</style>
<p id="problem" role="alert"></p>
<div id="bertviz">
{controls}
<div id="vis"></div>
</div>
<script type="application/json" id="lmkit-data">{script_json({"view": view, **data})}</script>
{libraries}
<script>{_own("page.js")}</script>
<script>{bertviz_script(view)}</script>
<script>window.lmkit.label();</script>
</html>"""
