"""What keeps people with disabilities out of lmkit's own elements, by axe-core's rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

__all__ = ["violations"]

_AXE = Path(__file__).parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"
_RUN = """async (where) => {
    const found = await window.axe.run(
        { include: [[where]] }, { iframes: false, resultTypes: ['violations'] });
    return found.violations.map(({ id, help, nodes }) => (
        { id, help, nodes: nodes.slice(0, 3).map(({ target, failureSummary }) => (
            { target, failureSummary })) }));
}"""


def violations(page: Page, where: str = '[data-lmkit="view"]') -> list[dict[str, Any]]:
    """What axe-core finds in the views of a page; pages of plugins in their frames left out."""
    if not page.evaluate("typeof window.axe === 'object'"):
        source = _AXE.read_text("utf-8")
        page.evaluate(
            "(source) => { const define = window.define; window.define = undefined;"
            " try { (0, eval)(source); } finally { window.define = define; } }",
            source,
        )
    found: list[dict[str, Any]] = page.evaluate(_RUN, where)
    return found
