"""Runs a notebook to its end without a browser, and writes it with its outputs, as HTML too.

``python notebooks/run.py notebooks/quickstart.ipynb --out demo`` writes ``demo/quickstart.ipynb``
and ``demo/quickstart.html``; ``--in-place`` renews the outputs of the notebook itself, without
their HTML forms: a file that is kept holds each view once, beside its picture.
"""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

import nbclient.exceptions
import nbformat
from jinja2 import DictLoader
from nbclient import NotebookClient
from nbconvert import HTMLExporter

__all__ = ["execute", "main", "to_html"]

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
VIEW_MIME = "application/vnd.lmkit.view.v1+json"
NEEDS_KERNEL = "[Widgets: run this cell to see them.]"

# nbconvert's own template asks the network for scripts that these pages have no use for.
OFFLINE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js_requirejs -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""


class _Client(NotebookClient):
    """Keeps no widget state, and gets by without where nbclient itself needs some.

    With ``store_widget_state=False`` its Output widgets raise KeyError: they write into the state
    that nobody made (seen in nbclient 0.11).
    """

    def reset_execution_trackers(self) -> None:
        super().reset_execution_trackers()
        self.widget_state = defaultdict(dict)

    def set_widgets_metadata(self) -> None:
        """Write none."""


PATIENCE = 200
"""Seconds for one cell before the notebook is run once more; a slow machine needs some ten."""


def execute(notebook: Any, folder: Path, *, timeout: int = 600) -> Any:
    """Run all cells in a kernel of their own that works in ``folder``.

    Widget state is not stored: HTML pages would prefer it to lmkit's own form, and ask the network
    for its renderer. Plain ipywidgets, which show nothing without it, are replaced by a note.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    client = _Client(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        store_widget_state=False,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    # A progress bar says nothing once the work is done.
    client.execute(env={**os.environ, "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            forms = output.get("data", {})
            if WIDGET_MIME in forms and VIEW_MIME not in forms:
                output["data"] = nbformat.from_dict({"text/plain": NEEDS_KERNEL})
    return notebook


def to_html(notebook: Any, title: str) -> str:
    """The notebook as one HTML page that asks no address for anything."""
    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"offline.html.j2": OFFLINE})], template_file="offline.html.j2"
    )
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    return str(page)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="folder for the notebook and the HTML page")
    where.add_argument("--in-place", action="store_true", help="renew the notebook's own outputs")
    options = parser.parse_args(argv)
    source: Path = options.notebook
    folder = source.resolve().parent
    try:
        notebook = execute(nbformat.read(source, as_version=4), folder, timeout=PATIENCE)
    except nbclient.exceptions.CellTimeoutError as error:
        # Seen once in some thirty runs on a busy machine: the kernel rests, its answer never came.
        sys.stderr.write(f"{error}\nOnce more, in a new kernel.\n")
        notebook = execute(nbformat.read(source, as_version=4), folder)
    if options.in_place:
        for cell in notebook.cells:
            for output in cell.get("outputs", ()):
                if VIEW_MIME in output.get("data", {}):
                    output["data"].pop("text/html", None)
        nbformat.write(notebook, source)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    target: Path = options.out / source.name
    nbformat.write(notebook, target)
    page = target.with_suffix(".html")
    # Written under another name first, so that a reader never meets half a page.
    half = page.with_name(f".{uuid.uuid4().hex}.html")
    half.write_text(to_html(notebook, source.stem), encoding="utf-8")
    half.replace(page)
    sys.stdout.write(f"{target}\n{page}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
