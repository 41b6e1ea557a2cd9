"""Takes the pictures of README and docs from the real thing, light and dark.

``make pictures`` runs the quickstart's cells in a JupyterLab of its own, with the browser that the
tests drive, and writes ``docs/pictures/*.png``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.chromium import find_chromium  # noqa: E402
from tests.e2e.lab import serve  # noqa: E402
from tests.e2e.notebook import Notebook, code, part, write  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
CELLS = (
    code("%load_ext lmkit"),
    code("%lmkit"),
    code("%%lm classification --model starter:sentiment\nThe plot is thin, but I was moved."),
    code(
        """
import lmkit
openings = {"a moving and honest film": 1, "dull, long and badly acted": 0, "i laughed once": 0,
            "the best thing this year": 1, "it has a plot": 0, "warm, funny and wise": 1}
ends = ["", ", with a fine ending", ", but the music saves it", ", and too long", ", to my surprise"]
rows = [{"review": a + b, "stars": stars} for a, stars in openings.items() for b in ends]
lmkit.load("starter:sentiment").evaluate("classification", rows, text="review", label="stars")
"""
    ),
)
HOME, PANEL, DATA = 1, 2, 3
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
MOST_BYTES = 300_000
"""A page with pictures larger than this is slow to open."""


def take(where: Locator, name: str) -> None:
    """Write one picture."""
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
    view = notebook.view(DATA)
    view.evaluate("(one) => { one.style.setProperty('--lmkit-max-height', '1150px'); }")
    notebook.page.mouse.move(5, 5)
    notebook.page.wait_for_timeout(300)
    take(view, f"data-set-{theme}")


def main() -> None:
    """Take all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as lab:
        name = write(lab.root / "pictures.ipynb", CELLS)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox"]
            )
            context = browser.new_context(
                viewport={"width": 1280, "height": 1000}, device_scale_factor=1.5, locale="en-GB"
            )
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
                home = notebook.view(HOME)
                notebook.page.wait_for_timeout(300)
                take(home, f"home-{theme}")
                take_data_set(notebook, theme)
            notebook.close()
            browser.close()


if __name__ == "__main__":
    main()
