"""Saves the pictures of docs/saving.md as a user would: ``make pictures`` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import lmkit

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
TEXT = "The plot is thin, but I was moved."


def main() -> None:
    """Save them."""
    PICTURES.mkdir(exist_ok=True)
    r = lmkit.load("starter:sentiment", device="cpu").classify(TEXT)
    saved = [
        r.attention.save(
            PICTURES / "saved-arcs-light.png", layer=1, head=6, tokens=[9], width=3.3, dpi=220
        ),
        r.attention.save(
            PICTURES / "saved-map-light.png", layer=2, head=5, picture="map", width=4, dpi=180
        ),
        r.attention.save(
            PICTURES / "saved-grid-dark.png", layer=2, head=5, picture="grid", theme="dark", dpi=144
        ),
    ]
    for one in saved:
        sys.stdout.write(f"{one.path.relative_to(ROOT)}  {one.nbytes // 1000} kB\n")


if __name__ == "__main__":
    main()
