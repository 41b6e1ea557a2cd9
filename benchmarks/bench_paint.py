"""What a first look costs: bytes to the page, and time from Run to the first picture.

The time is that of a person: a cell run in a real JupyterLab in a real browser, until the canvas
of the shown head has colour, with the model loaded before. Beside it stands the plain forward pass
of the same model and text in the same kernel, so that one sees what comes on top.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

RUNS = 9
GOAL_BYTES = 300_000
WORDS = ("the", "plot", "is", "thin", "but", "i", "was", "moved", "and", "it", "made", "me", "glad")
LENGTHS = (12, 128, 510)
TIMED = (12, 128)

_FIRST_PAINT = """
const cell = panel.content.widgets[argument];
panel.content.activeCellIndex = argument;
await panel.content.scrollToItem(argument, 'start');
cell.model.clearExecution?.();
cell.model.outputs.clear();
await new Promise((resolve) => setTimeout(resolve, 200));
const started = performance.now();
void app.commands.execute('notebook:run-cell');
const painted = () => {
  const view = cell.node.querySelector('[data-lmkit="view"]');
  const canvas = view?.shadowRoot?.querySelector('[data-lmkit="picture-canvas"]');
  if (!canvas || !canvas.width) return false;
  const { width, height } = canvas;
  const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  for (let i = 3; i < pixels.length; i += 4) if (pixels[i]) return true;
  return false;
};
while (!painted()) {
  if (performance.now() - started > 60000) throw new Error('nothing was painted in a minute');
  await new Promise(requestAnimationFrame);
}
return performance.now() - started;
"""

_FORWARD = """
import statistics as _s, time as _t, torch as _torch
from lmkit.kernel_session import current_session as _session
_m = _session().models.get("starter:sentiment", "AutoModelForSequenceClassification")
_i = _m.tokenizer({text!r}, return_tensors="pt")
def _once():
    _start = _t.perf_counter()
    with _torch.no_grad():
        _m.model(**_i)
    return _t.perf_counter() - _start
_once()
_forward = _s.median(_once() for _ in range({runs}))
"""


def text_of(tokens: int) -> str:
    """A text of so many tokens between [CLS] and [SEP]: each word is one token."""
    return " ".join(WORDS[index % len(WORDS)] for index in range(tokens - 2))


def rows() -> dict[str, dict[str, Any]]:
    """Bytes at three lengths, times at two."""
    return {**_bytes(), **_times()}


def _bytes() -> dict[str, dict[str, Any]]:
    import lmkit
    from lmkit.protocol.codec import MIME
    from lmkit.transports.mimebundle import mimebundle

    kit = lmkit.load("starter:sentiment")
    out = {}
    for tokens in LENGTHS:
        result = kit.classify(text_of(tokens))
        forms = mimebundle(kit.session, result.view)
        count = len(result.attention.tokens)
        seen = len(json.dumps(forms[MIME], ensure_ascii=False).encode())
        whole = len(json.dumps(forms, ensure_ascii=False).encode())
        out[f"paint/bytes that are drawn, {count} tokens, 72 heads"] = _row(
            seen, "B", GOAL_BYTES, 1
        )
        out[f"paint/bytes of all forms, {count} tokens, 72 heads"] = _row(whole, "B", 2_000_000, 1)
    return out


def _times() -> dict[str, dict[str, Any]]:
    from playwright.sync_api import sync_playwright

    from tests.e2e.chromium import find_chromium
    from tests.e2e.lab import serve
    from tests.e2e.notebook import Notebook, code, write

    out = {}
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as lab:
        warm_up = "%load_ext lmkit\nimport lmkit\nlmkit.load().classify('x').labels"
        cells = [code(warm_up)]
        cells += [
            code(f"%%lm classification --model starter:sentiment\n{text_of(tokens)}")
            for tokens in TIMED
        ]
        name = write(lab.root / "paint.ipynb", cells)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            notebook = Notebook(page, Path(folder) / "shots")
            notebook.open(lab.page(name))
            notebook.run(0)
            for index, tokens in enumerate(TIMED, start=1):
                notebook.js(_FIRST_PAINT, index)  # the first one loads the extension's code
                times = [notebook.js(_FIRST_PAINT, index) / 1_000 for _ in range(RUNS)]
                notebook.execute(_FORWARD.format(text=text_of(tokens), runs=RUNS))
                forward = float(notebook.ask("_forward"))
                median = statistics.median(times)
                out[f"paint/run to first picture, {tokens} tokens"] = _row(median, "s", None, RUNS)
                out[f"paint/of which the plain forward pass, {tokens} tokens"] = _row(
                    forward, "s", None, RUNS
                )
                out[f"paint/run to first picture over plain forward, {tokens} tokens"] = _row(
                    median / forward, "x", None, RUNS
                )
            notebook.close()
            browser.close()
    return out


def _row(value: float, unit: str, goal: float | None, runs: int) -> dict[str, Any]:
    return {"value": value, "unit": unit, "goal": goal, "better": "lower", "runs": runs}
