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
from playwright.sync_api import Locator, expect, sync_playwright

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
)
HOME, PANEL = 1, 2
WANTED = tuple(sys.argv[1:])
"""How the names of the wanted pictures begin; empty for all."""
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
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
                attribution(view, f"attribution-{theme}")
                home = notebook.view(HOME)
                notebook.page.wait_for_timeout(300)
                take(home, f"home-{theme}")
            notebook.close()
            browser.close()


if __name__ == "__main__":
    main()
