"""Takes the pictures of README and docs from the real thing, light and dark.

``make pictures`` runs the quickstart's cells in a JupyterLab of its own, with the browser that the
tests drive, and writes ``docs/pictures/*.png``; ``python docs/make_pictures.py attribution`` only
those whose names begin so.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, ViewportSize, expect, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.chromium import find_chromium  # noqa: E402
from tests.e2e.lab import serve  # noqa: E402
from tests.e2e.notebook import Notebook, code, part, write  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
NAMES = "Ada Lovelace worked with Charles Babbage in London, and wrote to Mary Somerville in Paris."
PROMPT = "Give me three names for a cat."
CELLS = (
    code("%load_ext lmkit"),
    code("%lmkit"),
    code("%%lm classification --model starter:sentiment\nThe plot is thin, but I was moved."),
    code(
        """
import lmkit
openings = {"a moving and honest film": 1, "dull, long and badly acted": 0, "i laughed once": 0,
            "the best thing this year": 1, "it has a plot": 0, "warm, funny and wise": 1}
ends = ["", ", with a fine ending", ", but the music saves it", ", too long", ", to my surprise"]
rows = [{"review": a + b, "stars": stars} for a, stars in openings.items() for b in ends]
lmkit.load("starter:sentiment").evaluate("classification", rows, text="review", label="stars")
"""
    ),
    code(f"%%lm ner\n{NAMES}"),
    code(f"lmkit.load('starter:chat').generate({PROMPT!r}, max_new_tokens=24)"),
)
HOME, PANEL, DATA, NER, GENERATION = 1, 2, 3, 4, 5
WANTED = tuple(sys.argv[1:])
"""How the names of the wanted pictures begin; empty for all."""
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
WINDOW: ViewportSize = {"width": 1280, "height": 1000}
MOST_BYTES = 300_000
"""A page with pictures larger than this is slow to open."""


def take(where: Locator, name: str) -> None:
    """Write one picture, if it is wanted: all are, unless the command line names some."""
    if WANTED and not any(name.startswith(one) for one in WANTED):
        return
    path = PICTURES / f"{name}.png"
    where.screenshot(path=path)
    with Image.open(path) as picture:
        opaque = picture.convert("RGB")
    opaque.save(path, optimize=True)
    size = path.stat().st_size
    assert size <= MOST_BYTES, f"{path} has {size:,} bytes"
    sys.stdout.write(f"{path.relative_to(ROOT)}  {size // 1000} kB\n")


def take_data_set(notebook: Notebook, theme: str) -> None:
    """The report of a data set, as far as it goes on one screen."""
    # What lies below the window would be drawn as JupyterLab's empty page.
    notebook.page.set_viewport_size({"width": WINDOW["width"], "height": 1500})
    view = notebook.view(DATA)
    view.evaluate("(one) => { one.style.setProperty('--lmkit-max-height', '1150px'); }")
    notebook.page.mouse.move(5, 5)
    notebook.page.wait_for_timeout(300)
    take(view, f"data-set-{theme}")
    notebook.page.set_viewport_size(WINDOW)


def attribution(view: Locator, name: str) -> None:
    """All methods of attribution for the predicted label."""
    part(view, "views").select_option("attribution")
    view.locator('[data-lmkit="analysis"] [data-field="method"]').select_option(
        "compare all methods"
    )
    part(view, "analysis").locator('[data-lmkit="run"]').click()
    rows = view.locator('[data-lmkit="analysis"] [data-lmkit="scored-row"]')
    expect(rows).to_have_count(5, timeout=60_000)
    take(part(view, "result-token-scores"), name)


def entities(notebook: Notebook, name: str) -> None:
    """Entities with one of them chosen, and the labels of its tokens."""
    view = notebook.view(NER)
    chip = view.locator('[data-lmkit="span-chip"]').nth(1)
    if chip.get_attribute("aria-pressed") != "true":
        chip.click()
    notebook.page.mouse.move(5, 5)
    notebook.page.wait_for_timeout(300)
    take(view, name)


def generation(notebook: Notebook, name: str) -> None:
    """A text with its tokens by probability, one held: its alternatives are there."""
    view = notebook.view(GENERATION)
    if view.locator('[data-lmkit="alternative"]').count() == 0:
        view.locator('[data-lmkit="choice"]').nth(3).click()
    expect(view.locator('[data-lmkit="alternative"]').first).to_be_visible()
    notebook.page.mouse.move(5, 5)
    notebook.page.wait_for_timeout(300)
    take(view, name)


def main() -> None:
    """Take all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as lab:
        name = write(lab.root / "pictures.ipynb", CELLS)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox"]
            )
            context = browser.new_context(viewport=WINDOW, device_scale_factor=1.5, locale="en-GB")
            notebook = Notebook(context.new_page(), PICTURES)
            notebook.open(lab.page(name))
            notebook.js("await app.commands.execute('application:toggle-left-area');")
            notebook.run_all()
            view = notebook.view(PANEL)
            view.locator('[data-lmkit="cell"][data-layer="1"][data-head="6"]').click()
            view.locator('[data-lmkit="token"]').nth(9).click()
            for theme, title in THEMES.items():
                notebook.js(
                    "await app.commands.execute('apputils:change-theme', { theme: argument });",
                    title,
                )
                view = notebook.view(PANEL)
                part(view, "tab-arcs").click()
                notebook.page.mouse.move(5, 5)
                notebook.page.wait_for_timeout(800)  # the theme's own transitions
                take(view, f"panel-{theme}")
                part(view, "tab-map").click()
                notebook.page.mouse.move(5, 5)
                notebook.page.wait_for_timeout(300)
                take(view, f"map-{theme}")
                attribution(view, f"attribution-{theme}")
                home = notebook.view(HOME)
                notebook.page.wait_for_timeout(300)
                take(home, f"home-{theme}")
                take_data_set(notebook, theme)
                entities(notebook, f"ner-{theme}")
                generation(notebook, f"generation-{theme}")
            notebook.close()
            browser.close()


if __name__ == "__main__":
    main()
