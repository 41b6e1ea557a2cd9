"""lmkit against BertViz and CircuitsVis: one captured pass of BERT-base's shape, one browser.

The pass has random weights (12 layers x 12 heads), its scores spread as a trained model's. Each
tool gets the same attention and draws it in a Chromium page of its own. ``first paint`` is the
time from the captured pass to the picture: making the output in Python, then the page. The forward
pass is no part of it. Peers are shown as they ship, with two things in their favour: what BertViz
loads from a content delivery network comes from this machine, and the attention of all heads,
which they need as one tensor, is there before the clock starts.

CircuitsVis shows one layer; it has no way to another but to be called again.

Every tool is measured at every length, a peer once and lmkit three times; ``FULL=1`` takes the
peers three times and lmkit nine. A page that needs more than ``LIMIT`` seconds (120) or three
fifths of the memory that is free is given up: its row holds the seconds until then, ratios with
it are lower bounds, and both say so.
"""

from __future__ import annotations

import contextlib
import html
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.pages import GivenUpError, Site, Visit, visit

__all__ = ["rows"]

Row = dict[str, Any]
FULL = os.environ.get("FULL") == "1"
LIMIT = float(os.environ.get("LIMIT", "120"))
MEMORY = int(0.6 * psutil.virtual_memory().available)
LENGTHS = (32, 64, 128, 256, 512)
PEERS = ("BertViz head view", "BertViz model view", "CircuitsVis")
RUNS = 9 if FULL else 3
MAP_RUNS = 3 if FULL else 2
PEER_RUNS = 3 if FULL else 1
SWITCHES = 40
LONGEST_SCRIPT = 2**29 - 24
"""Characters of V8's longest string: no script can be longer."""
REQUIRE = "https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.6/require.min.js"
DOCS = Path(__file__).parents[1] / "docs" / "peers.md"
LMKIT = "lmkit"


# -- the pass --------------------------------------------------------------------------------------


def _kit(folder: Path) -> Any:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    import lmkit
    from tests.tiny import tiny_bert

    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(vocab_size=200, num_labels=2)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("query.weight", "key.weight")):
                parameter *= 2.5  # scores of about N(0, 4): neither flat nor one-hot
    return lmkit.load(model, AutoTokenizer.from_pretrained(tiny_bert(folder)))


def _text(tokens: int) -> str:
    words = ("the", "plot", "is", "thin", "but", "i", "was", "moved", "and", "you", "saw", "film")
    return " ".join(words[index % len(words)] for index in range(tokens - 2))


def _classify(kit: Any, tokens: int) -> Any:
    """One captured pass, without its progress bar."""
    with contextlib.redirect_stderr(io.StringIO()):
        return kit.classify(_text(tokens))


# -- lmkit -----------------------------------------------------------------------------------------

_PAGE = """<!doctype html><meta charset="utf-8"><body><div id="view"></div><script type="module">
const loading = [import("/core.js"), fetch("/bundle.json")];
const core = await loading[0];
const decoder = new TextDecoder();
const listeners = new Set();
window.waiting = new Map(); window.received = 0; window.trips = [];
const channel = {
  send(message) {
    const sent = performance.now();
    if (message.type === "tile") window.waiting.set(message.id, message.key);
    fetch("/ask", { method: "POST", body: JSON.stringify(message) }).then(async (response) => {
      const buffer = await response.arrayBuffer();
      window.received += buffer.byteLength;
      const length = new DataView(buffer).getUint32(0);
      const answer = JSON.parse(decoder.decode(new Uint8Array(buffer, 4, length)));
      const rest = buffer.byteLength > 4 + length ? [new Uint8Array(buffer.slice(4 + length))] : [];
      if (message.type === "tile") {
        const trip = performance.now() - sent - 1000 * Number(response.headers.get("X-Seconds"));
        window.trips.push(trip);
      }
      window.waiting.delete(message.id);
      for (const listener of listeners) listener(answer, rest);
    });
  },
  listen(listener) { listeners.add(listener); return () => listeners.delete(listener); },
  onClose() { return () => {}; },
  close() {},
};
const response = await loading[1];
const bundle = JSON.parse(await response.text());
window.bundle = bundle;
window.mounted = performance.now();
core.mountBundle(document.getElementById("view"), bundle, channel);
window.shadow = document.querySelector('[data-lmkit="view"]').shadowRoot;
const colours = (canvas) => {
  if (!canvas?.style.width) return 0; // nothing was drawn yet
  // A band across the middle: looking must not cost what it measures.
  const high = Math.min(64, canvas.height);
  const top = Math.floor((canvas.height - high) / 2);
  const { data } = canvas.getContext("2d").getImageData(0, top, canvas.width, high);
  const words = new Uint32Array(data.buffer);
  let hash = 0;
  for (let i = 0; i < words.length; i += 7) if (words[i]) hash = (hash * 31 + words[i] + i) | 0;
  return hash;
};
window.picture = () => colours(shadow.querySelector('[data-lmkit="picture-canvas"]'));
window.thumbnail = () => colours(shadow.querySelector('[data-lmkit="grid"] canvas'));
const frame = () => new Promise(requestAnimationFrame);
/** Press a key and wait until the head that it leads to is drawn. */
window.press = async (key) => {
  const before = window.picture();
  const started = performance.now();
  shadow.querySelector('[data-lmkit="root"] .frame > *').dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, composed: true }));
  const arrived = () => ![...window.waiting.values()].some((one) => one.startsWith("head/"));
  while (!(arrived() && ![0, before].includes(window.picture()))) {
    if (performance.now() - started > 30000) throw new Error("nothing changed in 30 s");
    await frame();
  }
  await frame();
  return (performance.now() - started) / 1000;
};
</script>"""
_PAINTED = "window.picture?.() && window.thumbnail?.()"
_PRESS = (
    "async ({ keys, times }) => { const out = [];"
    " for (let i = 0; i < times; i += 1) {"
    " out.push(await window.press(keys[Math.floor(i / 10) % keys.length]));"
    " await new Promise((resolve) => setTimeout(resolve, 60)); } return out; }"
)
_DECODE = """async () => {
  const started = performance.now();
  for (const tile of window.bundle.tiles) {
    const packed = Uint8Array.from(atob(tile.data), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    await new Response(stream).arrayBuffer();
  }
  return (performance.now() - started) / 1000;
}"""


class _Kernel:
    """Answers a page as a kernel would: the real session on its own threads."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self, message: dict[str, Any]) -> tuple[dict[str, Any], Sequence[bytes]]:
        from lmkit.protocol.codec import to_builtins
        from tests.desk import Recorder

        desk = Recorder()
        self._session.receive(message, desk)
        answer, buffers = desk.wait_for(lambda one: getattr(one, "id", None) == message["id"])
        return to_builtins(answer), buffers


@dataclass
class Ours:
    """What one length costs lmkit; seconds and bytes, each a median or a maximum."""

    parts: dict[str, float]
    sent: int
    paint: float
    layer: float
    heads: list[float]
    memory: int


def _lmkit(playwright: Any, site: Site, kit: Any, tokens: int) -> Ours:
    from lmkit.protocol.codec import MIME
    from lmkit.transports.mimebundle import mimebundle

    static = Path(__import__("lmkit").__file__).parent / "static"
    site.files["/core.js"] = ("text/javascript", (static / "core.js").read_bytes())
    url = site.html("/lmkit.html", _PAGE)
    site.ask = _Kernel(kit.session)
    parts: dict[str, list[float]] = {}
    paints, layers, heads, sent, memory = [], [], [], 0, 0
    for run in range(RUNS):
        started = time.perf_counter()
        result = _classify(kit, tokens)
        parts.setdefault("forward", []).append(time.perf_counter() - started)
        trace = result.attention.trace
        assert len(trace.tokens) == tokens
        pooling = _timed(trace, ("thumbnails", "mass"))
        started = time.perf_counter()
        data = json.dumps(mimebundle(kit.session, result.view)[MIME], ensure_ascii=False).encode()
        made = time.perf_counter() - started
        site.files["/bundle.json"] = ("application/json", data)
        parts.setdefault("pooling", []).append(pooling[0])
        parts.setdefault("encoding", []).append(made - pooling[0])
        with visit(playwright, url, _PAINTED, limit=LIMIT, memory=MEMORY) as seen:
            paints.append(made + seen.seconds)
            sent = max(sent, len(data) + seen.page.evaluate("window.received"))
            mounted = seen.page.evaluate("window.mounted") / 1000
            layers += seen.measure(_PRESS, {"keys": ["]", "["], "times": 10})
            if run == 0:
                heads = seen.measure(_PRESS, {"keys": [".", ","], "times": SWITCHES})
            trips = seen.page.evaluate("window.trips")
            decoding = seen.measure(_DECODE)
            memory = max(memory, seen.memory)
        parts.setdefault("page and scripts", []).append(mounted)
        parts.setdefault("decoding", []).append(decoding)
        parts.setdefault("drawing", []).append(max(0.0, seen.seconds - mounted - decoding))
        parts.setdefault("comm, one tile", []).append(statistics.median(trips) / 1000)
        kit.session.views.close(result.view.id)
    return Ours(
        {name: statistics.median(values) for name, values in parts.items()},
        sent,
        statistics.median(paints),
        statistics.median(layers),
        heads,
        memory,
    )


def _timed(trace: Any, names: Sequence[str]) -> list[float]:
    """Adds up the seconds spent in some methods of an object."""
    spent = [0.0]

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **keywords: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*args, **keywords)
            finally:
                spent[0] += time.perf_counter() - started

        return run

    for name in names:
        setattr(trace, name, timed(getattr(trace, name)))
    return spent


_MOVE = """async () => {
  const canvas = shadow.querySelector('[data-lmkit="picture-canvas"]');
  const box = canvas.getBoundingClientRect();
  const at = { clientX: box.left + 0.6 * box.width, clientY: box.top + 0.6 * box.height };
  const sent = { bubbles: true, composed: true, cancelable: true };
  const options = { ...sent, pointerId: 7, isPrimary: true };
  // A pointer that no hand holds cannot be captured.
  Element.prototype.setPointerCapture = () => {};
  const point = (type, shift) => canvas.dispatchEvent(new PointerEvent(type, {
    ...options, clientX: at.clientX - shift, clientY: at.clientY - shift }));
  const wheel = (deltaY) => canvas.dispatchEvent(new WheelEvent("wheel", {
    ...options, ...at, ctrlKey: true, deltaY }));
  const pictures = new Set();
  const times = [];
  const play = async (count, move) => {
    let last = await frame();
    for (let i = 0; i < count; i += 1) {
      move(i);
      const now = await frame();
      times.push(now - last);
      last = now;
      if (i % 10 === 0) pictures.add(window.picture());
    }
  };
  const frame = () => new Promise(requestAnimationFrame);
  await play(80, () => wheel(-6));
  point("pointerdown", 0);
  await play(80, (i) => point("pointermove", 3 * (i + 1)));
  point("pointerup", 240);
  await play(80, () => wheel(6));
  return { seconds: times.reduce((a, b) => a + b, 0) / 1000, frames: times.length,
    pictures: pictures.size };
}"""


def _map_row(playwright: Any, site: Site, folder: Path) -> dict[str, Row]:
    """Frames a second while the map of 4,096 tokens is zoomed in to single cells, moved, left."""
    import lmkit
    from lmkit.protocol.codec import MIME
    from lmkit.transports.mimebundle import mimebundle
    from tests.tiny import tiny_bert

    tokens = 4096
    model = tiny_bert(folder, head="", max_position_embeddings=tokens)
    kit = lmkit.load(str(model))
    with contextlib.redirect_stderr(io.StringIO()):
        result = kit.attention(_text(tokens))
    assert len(result.attention.tokens) == tokens
    result.attention.show(0, 0, picture="map")
    site.ask = _Kernel(kit.session)
    data = json.dumps(mimebundle(kit.session, result.view)[MIME])
    site.files["/bundle.json"] = ("application/json", data.encode())
    rates = []
    for _ in range(MAP_RUNS):
        with visit(
            playwright, site.url("/lmkit.html"), _PAINTED, limit=LIMIT, memory=MEMORY
        ) as seen:
            seen.page.wait_for_timeout(1_000)  # the thumbnails have come
            moved = seen.measure(_MOVE)
            assert moved["pictures"] > 10, "the map did not move"
            rates.append(moved["frames"] / moved["seconds"])
    kit.session.views.close(result.view.id)
    rate = statistics.median(rates)
    return {
        f"peers/pan and zoom, {tokens} tokens, {LMKIT}": _row(rate, "/s", MAP_RUNS, 50, "higher"),
    }


# -- the peers -------------------------------------------------------------------------------------


@dataclass
class Theirs:
    """What one length costs a peer; where it was given up, the seconds until then and why."""

    sent: int
    paint: float
    layer: float | None
    memory: int
    failure: str = ""
    layer_failure: str = ""


_SWITCH = """async (layer) => {
  const select = document.querySelector("select#layer");
  const started = performance.now();
  select.value = String(layer);
  window.jQuery(select).trigger("change");
  for (let i = 0; i < 2; i += 1) await new Promise(requestAnimationFrame);
  return (performance.now() - started) / 1000;
}"""
_LINES = "document.querySelector('#vis line') && document.readyState === 'complete'"
_CANVASES = """(() => {
  const all = [...document.querySelectorAll("canvas")];
  return all.length >= 13 && all.every((canvas) => canvas.width > 0 &&
    canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean));
})()"""


def _attention(trace: Any) -> list[Any]:
    """All attention, as transformers would return it: a (1, heads, n, n) tensor a layer."""
    import numpy as np
    import torch

    return [
        torch.from_numpy(np.stack([trace.attention(index, head) for head in range(layer.heads)]))[
            None
        ]
        for index, layer in enumerate(trace.layers)
    ]


def _bertviz(view: str, attention: list[Any], tokens: list[str]) -> str:
    import bertviz

    made: str = getattr(bertviz, view)(attention, tokens, html_action="return").data
    return made


def _bertviz_bytes(attention: list[Any]) -> int:
    """Bytes of BertViz's numbers without holding them all: its template has its JSON twice."""
    return 2 * sum(len(json.dumps(layer[0].tolist())) for layer in attention)


def _circuitsvis(attention: list[Any], tokens: list[str]) -> str:
    from circuitsvis.attention import attention_heads

    made: str = attention_heads(attention=attention[0][0], tokens=tokens).local_src
    return made


def _libraries(site: Site) -> None:
    """What BertViz asks a content delivery network for, from the plugin's own copies."""
    import lmkit_bertviz

    vendor = Path(lmkit_bertviz.__file__).parent / "vendor"
    both = "\n".join(file.read_text("utf-8") for file in sorted(vendor.glob("*.js")))
    both += (
        "\nwindow.requirejs = window.require = (names, use) => use(window.jQuery, window.d3);"
        "window.require.config = () => {};"
    )
    site.files["/require.js"] = ("text/javascript", both.encode())


def _peer(playwright: Any, site: Site, name: str, attention: list[Any]) -> Theirs:
    tokens = [f"t{index}" for index in range(attention[0].shape[-1])]
    if name == "CircuitsVis":
        make: Callable[[], str] = lambda: _circuitsvis(attention, tokens)  # noqa: E731
        painted = _CANVASES
    else:
        view = "head_view" if "head" in name else "model_view"
        make = lambda: _bertviz(view, attention, tokens)  # noqa: E731
        painted = _LINES
        if attention[0].shape[-1] > 256:
            size = _bertviz_bytes(attention)
            assert size > LONGEST_SCRIPT
            return Theirs(size, LIMIT, None, 0, "its script is longer than a browser's strings")
    started = time.perf_counter()
    made = make()
    seconds = time.perf_counter() - started
    sent = len(made.encode())
    body = made.replace(REQUIRE, "/require.js")
    del made
    url = site.html("/peer.html", f'<!doctype html><meta charset="utf-8"><body>{body}')
    del body
    seen: Visit | None = None
    try:
        with visit(playwright, url, painted, limit=LIMIT, memory=MEMORY) as seen:
            layer = None
            if name == "BertViz head view":
                layer = seen.measure(_SWITCH, 1)
            elif name == "CircuitsVis":
                layer = seconds + seen.seconds  # another output
            return Theirs(sent, seconds + seen.seconds, layer, seen.memory)
    except GivenUpError as failure:
        if seen is not None:  # drawn, but not switched
            paint = seconds + seen.seconds
            return Theirs(sent, paint, failure.seconds, seen.memory, layer_failure=str(failure))
        return Theirs(sent, seconds + failure.seconds, None, 0, str(failure))
    finally:
        site.files.pop("/peer.html", None)


# -- rows ------------------------------------------------------------------------------------------


def _row(
    value: float, unit: str, runs: int, goal: float | None = None, better: str = "lower",
    note: str = "",
) -> Row:  # fmt: skip
    row: Row = {"value": value, "unit": unit, "goal": goal, "better": better, "runs": runs}
    return {**row, "note": note} if note else row


def _say(what: str) -> None:
    """A line for those who wait: the table comes minutes later."""
    sys.stderr.write(f"   {what}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def _desk() -> Iterator[tuple[Any, Site, Any, Path]]:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = Site()
        try:
            yield playwright, site, _kit(Path(folder, "short")), Path(folder)
        finally:
            site.close()


def rows() -> dict[str, Row]:
    """All measurements; writes the table of docs/peers.md too."""
    out: dict[str, Row] = {}
    ours: dict[int, Ours] = {}
    theirs: dict[tuple[str, int], list[Theirs]] = {}
    with _desk() as (playwright, site, kit, folder):
        _libraries(site)
        _classify(kit, 32)
        for tokens in LENGTHS:
            _say(f"{tokens} tokens: {LMKIT}")
            ours[tokens] = _lmkit(playwright, site, kit, tokens)
            result = _classify(kit, tokens)
            attention = _attention(result.attention.trace)
            kit.session.views.close(result.view.id)
            for name in PEERS:
                for _ in range(PEER_RUNS):
                    _say(f"{tokens} tokens: {name}")
                    one = _peer(playwright, site, name, attention)
                    theirs.setdefault((name, tokens), []).append(one)
                    if one.failure or one.layer_failure:
                        break  # the next would only take as long
        _say("4,096 tokens: the map")
        out.update(_map_row(playwright, site, folder / "long"))
    for tokens, mine in ours.items():
        out.update(_own_rows(tokens, mine))
    for (name, tokens), runs in theirs.items():
        out.update(_peer_rows(name, tokens, runs, ours[tokens]))
    _write_docs(out)
    return out


def _own_rows(tokens: int, mine: Ours) -> dict[str, Row]:
    heads = sorted(mine.heads)
    at = f"{tokens} tokens, {LMKIT}"
    out = {
        f"peers/first paint, {at}": _row(mine.paint, "s", RUNS),
        f"peers/switch layer, {at}": _row(mine.layer, "s", 10 * RUNS),
        f"peers/bytes to the browser, {at}": _row(mine.sent, "B", RUNS, 300_000),
        f"peers/browser memory, {at}": _row(mine.memory / 1e6, "MB", RUNS, 150),
        f"peers/switch head with a live kernel, 95 of 100, {at}": _row(
            1000 * heads[int(0.95 * len(heads))], "ms", len(heads), 100 if tokens == 512 else None
        ),
    }
    for part, seconds in mine.parts.items():
        out[f"peers/of which {part}, {at}"] = _row(1000 * seconds, "ms", RUNS)
    return out


GOALS = {
    ("first paint", "BertViz head view", 128): 25,
    ("first paint", "BertViz model view", 128): 100,
    ("switch layer", "BertViz head view", 256): 200,
}


def _peer_rows(name: str, tokens: int, runs: list[Theirs], mine: Ours) -> dict[str, Row]:
    note = next((one.failure for one in runs if one.failure), "")
    at = f"{tokens} tokens, {name}"
    paint = statistics.median(one.paint for one in runs)
    out = {
        f"peers/bytes to the browser, {at}": _row(runs[0].sent, "B", len(runs)),
        f"peers/first paint, {at}": _row(paint, "s", len(runs), note=note),
        f"peers/first paint, {at} / {LMKIT}": _row(
            paint / mine.paint, "x", len(runs), GOALS.get(("first paint", name, tokens)), "higher",
            f"at least: {note}" if note else "",
        ),
    }  # fmt: skip
    memories = [one.memory for one in runs if one.memory]
    if memories:
        used = statistics.median(memories) / 1e6
        out[f"peers/browser memory, {at}"] = _row(used, "MB", len(memories))
    layers = [one.layer for one in runs if one.layer is not None]
    if layers:
        layer = statistics.median(layers)
        note = next((one.layer_failure for one in runs if one.layer_failure), "")
        out[f"peers/switch layer, {at}"] = _row(layer, "s", len(layers), note=note)
        out[f"peers/switch layer, {at} / {LMKIT}"] = _row(
            layer / mine.layer, "x", len(layers), GOALS.get(("switch layer", name, tokens)),
            "higher", f"at least: {note}" if note else "",
        )  # fmt: skip
    return out


def _write_docs(found: dict[str, Row]) -> None:
    """The table of docs/peers.md, between its two marks."""
    lines = ["| what | tokens | " + " | ".join(names := (LMKIT, *PEERS)) + " |"]
    lines.append("|---|---:|" + "---:|" * len(names))
    for what in ("first paint", "switch layer", "bytes to the browser", "browser memory"):
        for tokens in LENGTHS:
            cells = [_cell(found.get(f"peers/{what}, {tokens} tokens, {name}")) for name in names]
            lines.append(f"| {what} | {tokens} | {' | '.join(cells)} |")
    start, end = "<!-- table -->\n", "<!-- end -->"
    if DOCS.exists():
        text = DOCS.read_text("utf-8")
        before, _, rest = text.partition(start)
        after = rest.partition(end)[2]
        DOCS.write_text(before + start + "\n".join(lines) + "\n" + end + after, "utf-8")


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    value, unit = row["value"], row["unit"]
    if unit == "B":
        shown = f"{value / 1e6:.3g} MB"
    else:
        shown = f"{value * 1000:.0f} ms" if unit == "s" and value < 1 else f"{value:.3g} {unit}"
    return f"> {shown}: {html.escape(row['note'])}" if row.get("note") else shown
