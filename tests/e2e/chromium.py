"""Finds the Chromium that the browser tests drive; as a script says whether there is one."""

from __future__ import annotations

import os
import shutil
import sys

__all__ = ["MissingBrowserError", "find_chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


class MissingBrowserError(RuntimeError):
    """There is no Chromium: the tests fail, they do not skip."""


def find_chromium() -> str:
    """Path of the browser: ``$CHROMIUM``, else the first that is installed.

    Raises:
        MissingBrowserError: with what to install.
    """
    chosen = os.environ.get("CHROMIUM")
    candidates = [chosen] if chosen else [*_NAMES, *_PLACES]
    for candidate in candidates:
        found = shutil.which(candidate)
        if found:
            return found
    where = f"CHROMIUM={chosen} is no program." if chosen else "No Chromium was found."
    raise MissingBrowserError(
        f"{where} The tests drive a real browser: install Chromium (Debian and Ubuntu: "
        "apt-get install chromium chromium-driver; macOS: brew install --cask chromium), "
        "or set CHROMIUM to the path of one."
    )


if __name__ == "__main__":
    try:
        sys.stdout.write(f"Browser: {find_chromium()}\n")
    except MissingBrowserError as error:
        sys.exit(str(error))
