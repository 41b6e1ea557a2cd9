"""Writes the table of docs/architectures.md from a run of tests/integration/test_architectures.py.

``make architectures`` runs both. Each test leaves its row in ``test-artifacts/architectures`` and
fails where the words of the committed row are others; the numbers, rounded up to one digit, are
held to the limits that the page names.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.architectures import ARCHITECTURES  # noqa: E402

PAGE = ROOT / "docs" / "architectures.md"
ROWS = ROOT / "test-artifacts" / "architectures"
HEAD = (
    "architecture",
    "path",
    "roles",
    "heads to key-value heads",
    "max deviation",
    "total variation",
    "self-check",
    "remark",
)
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def main() -> None:
    """Put the rows of the last test run into the page."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in ROWS.glob("*.json")]
    found = {row[0]: row for row in rows}
    if lacking := sorted(set(ARCHITECTURES) - set(found)):
        sys.exit(f"No row of {', '.join(lacking)} in {ROWS}: run the test first.")
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    lines += [f"| {' | '.join(found[name])} |" for name in ARCHITECTURES]
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    text = f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}"
    PAGE.write_text(text, encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(found)} architectures")


if __name__ == "__main__":
    main()
