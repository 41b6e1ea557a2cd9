"""Takes the picture of docs/vscode.md from a real VS Code: ``make pictures`` runs it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.chromium import find_chromium  # noqa: E402
from tests.e2e.editor import Workbench, serve  # noqa: E402

TEXT = "The plot is thin, but I was moved."
PICTURE = ROOT / "docs" / "pictures" / "vscode-light.png"


def main() -> None:
    """Analyse a selection and take the window."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "workspace").mkdir()
        (folder / "workspace" / "review.txt").write_text(TEXT + "\n")
        with serve(folder) as editor, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1400, "height": 860}, locale="en-GB")
            workbench = Workbench(page, editor)
            workbench.open("review.txt")
            workbench.analyse("The plot", "classification")
            page.locator('.activitybar a[aria-label="lmkit"]').click()
            frame = workbench.frame('[data-lmkit="token"]', count=12)
            frame.locator('[data-lmkit="cell"]').nth(18).click()
            frame.locator('[data-lmkit="token"]').nth(9).click()
            page.locator(".monaco-list-row", has_text="Starter models").wait_for()
            page.mouse.move(700, 500)
            page.wait_for_timeout(1_500)
            page.screenshot(path=PICTURE)
            browser.close()
    with Image.open(PICTURE) as picture:
        picture.convert("RGB").save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
