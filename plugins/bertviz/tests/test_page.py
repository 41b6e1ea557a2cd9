"""The pages in a real Chromium, in the frame that lmkit puts them in, with the network cut."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lmkit_bertviz
import pytest
from lmkit_bertviz import HeadView, ModelView, NeuronView
from playwright.sync_api import Browser, ConsoleMessage, Frame, expect, sync_playwright

from lmkit.api import Page, Token
from tests import tiny
from tests.e2e.chromium import find_chromium

from .made import data_of, page_of, trace_of

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("bertviz")]

ROOT = Path(__file__).parents[3]
VENDOR = Path(lmkit_bertviz.__file__).parent / "vendor"
HASHES = {
    "d3.min.js": "bdad5585ef9a965ff25458738309b006058c55f2c78d794d25fbecae35014609",
    "jquery.slim.min.js": "9261efb3407e3a9096e4654750d8eff6b3a663422f48845c7fbcc65034c340cf",
}
HOSTILE = (
    "</script><script>parent.pwned = pwned = 1</script>",
    "<img src=x onerror='pwned=1'>",
    "]]><!--<script>",
    "\u2028${pwned=1}`",
)
TEXT = "the plot is thin, but i was moved."


@dataclass
class Opened:
    """A page in its frame, and all that went wrong around it."""

    frame: Frame
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def count(self, selector: str) -> int:
        return self.frame.locator(selector).count()

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bert(tmp_path_factory.mktemp("bert"))


def policy() -> str:
    """The policy of the frame, from the source of lmkit's front end."""
    source = (ROOT / "js/core/src/panel/page.ts").read_text("utf-8")
    found = re.search(r'POLICY =\s*"(default-src \'none\';[^"]+)"', source)
    assert found
    return found[1]


def open_page(browser: Browser, page: Page) -> Opened:
    """Mount a page as js/core does."""
    tab = browser.new_page(viewport={"width": 1200, "height": 900})
    tab.route("**/*", lambda route: route.abort())
    tab.set_content('<iframe sandbox="allow-scripts" style="width:1100px;height:850px"></iframe>')
    opened = Opened(tab.frames[-1])
    tab.on("request", lambda request: opened.requests.append(request.url))
    tab.on("console", opened.hear)
    tab.on("pageerror", lambda error: opened.complaints.append(str(error)))
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy()}">'
    document = f'<!doctype html><meta charset="utf-8">{meta}{page.html}'
    tab.evaluate("(html) => { document.querySelector('iframe').srcdoc = html; }", document)
    expect(tab.frame_locator("iframe").locator("#vis svg")).to_have_count(1)
    opened.frame = tab.frames[-1]
    return opened


def sound(opened: Opened) -> None:
    """Nothing was asked of anybody, nothing failed."""
    assert [url for url in opened.requests if not url.startswith("about:")] == []
    assert opened.complaints == []
    assert opened.frame.locator("#problem").inner_text() == ""
    opened.frame.page.close()


def test_the_head_view_is_drawn_and_switches_layer(browser: Browser, bert: Path) -> None:
    trace = trace_of(bert, TEXT)
    page = page_of(HeadView, trace, layers="0-1")
    opened = open_page(browser, page)
    tokens = [token.text for token in trace.tokens]
    assert opened.frame.locator("#vis text").all_text_contents() == tokens * 2
    assert opened.count("#attention line") == 4 * len(tokens) ** 2
    for layer in (0, 1):
        opened.frame.locator("#layer").select_option(str(layer))
        drawn = opened.frame.locator("#attention line").evaluate_all(
            "(lines) => lines.map((line) => Number(line.getAttribute('stroke-opacity')))"
        )
        carried = [
            weight / 4
            for head in data_of(page)["attention"][layer]
            for row in head
            for weight in row
        ]
        assert drawn == pytest.approx(carried, abs=1e-6)
    sound(opened)


def test_the_chosen_layer_keeps_its_number(browser: Browser, bert: Path) -> None:
    opened = open_page(browser, page_of(HeadView, trace_of(bert, TEXT), layer=1))
    assert opened.frame.locator("#layer option").all_inner_texts() == ["1"]
    sound(opened)
    opened = open_page(browser, page_of(NeuronView, trace_of(bert, TEXT), layer=1, head=2))
    assert opened.frame.locator("#layer option").all_inner_texts() == ["1"]
    assert opened.frame.locator("#att_head").input_value() == "2"
    sound(opened)


def test_the_model_view_is_drawn_and_enlarges_a_head(browser: Browser, bert: Path) -> None:
    trace = trace_of(bert, TEXT)
    opened = open_page(browser, page_of(ModelView, trace, heads="1-3"))
    cells = len(trace.tokens) ** 2
    assert opened.count("#vis line") == 2 * 3 * cells
    opened.frame.locator("#attn_background_1_2 ~ rect").click()
    assert opened.frame.locator("text.detail").first.text_content() == "Layer 1, Head 3"
    tokens = [token.text for token in trace.tokens]
    assert opened.frame.locator("text.token").all_text_contents() == tokens * 2
    assert opened.count("#vis line") == 7 * cells
    sound(opened)


def test_the_neuron_view_computes_a_pair(browser: Browser, bert: Path) -> None:
    trace = trace_of(bert, TEXT)
    opened = open_page(browser, page_of(NeuronView, trace, layer=1, head=3))
    opened.frame.locator("#collapsed #leftText > g").nth(4).hover()
    opened.frame.locator("#collapsed #leftText .plus-sign + rect").nth(4).click()
    expect(opened.frame.locator("#expanded")).to_have_attribute("visibility", "visible")
    count = len(trace.tokens)
    assert opened.count("#keys .element") == 8 * count
    scores = opened.frame.locator("#dotproducts rect").evaluate_all(
        "(boxes) => boxes.map((box) => Number(box.getAttribute('data-value')))"
    )
    real = [trace.qk(1, 3, 4, key).score for key in range(count)]
    assert scores == pytest.approx(real, abs=1e-4)
    sound(opened)


def test_a_pair_of_texts_is_filtered(browser: Browser, bert: Path) -> None:
    trace = trace_of(bert, "the plot is thin.", "i was moved.")
    for view in (HeadView, ModelView, NeuronView):
        opened = open_page(browser, page_of(view, trace))
        names = opened.frame.locator("#filter option").all_inner_texts()
        assert names[0] == "All"
        assert len(names) == 5
        before = opened.count("#vis line")
        opened.frame.locator("#filter").select_option(label="Sentence A -> Sentence B")
        assert 0 < opened.count("#vis line") < before
        sound(opened)


def test_hostile_tokens_are_drawn_as_text(browser: Browser, bert: Path) -> None:
    trace = trace_of(bert, "the plot")  # four tokens
    trace.tokens = tuple(Token(text=text, raw=text) for text in HOSTILE)
    for view in (HeadView, ModelView, NeuronView):
        page = page_of(view, trace)
        opened = open_page(browser, page)
        if view is ModelView:
            opened.frame.locator("#attn_background_0_0 ~ rect").click()
        drawn = opened.frame.locator("#vis text").all_text_contents()
        left = data_of(page)["left"]
        assert left[0].startswith("</script><script>parent.pwned")
        assert left[1].startswith("<img·src=x·onerror=")
        assert set(left) <= set(drawn)
        assert opened.frame.evaluate("[typeof pwned, document.images.length]") == ["undefined", 0]
        sound(opened)


def test_the_libraries_are_the_published_ones() -> None:
    found = {file.name: file.read_bytes() for file in VENDOR.glob("*.js")}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == HASHES
    assert all(len(data) < 1_500_000 for data in found.values())
    # As script elements they must neither end early nor open a comment around the rest.
    for data in found.values():
        assert b"</script" not in data.lower()
        assert b"<!--" not in data
    assert {file.stem for file in VENDOR.glob("*.LICENSE")} == {"d3", "jquery"}
