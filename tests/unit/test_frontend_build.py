"""What the wheel carries of the front end: present, small, and without a way to the network."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lmkit.version import __version__

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "lmkit" / "static"
LABEXTENSION = ROOT / "lmkit" / "labextension"

#: Anything that runs text as code or markup, or reaches out of the page.
FORBIDDEN = [
    r"\beval\s*\(",
    r"new Function\b",
    r"\binnerHTML\b",
    r"\bouterHTML\b",
    r"insertAdjacentHTML",
    r"createContextualFragment",
    r"setHTMLUnsafe",
    r"\bDOMParser\b",
    r"document\.write",
    # once, for a plugin's page in a frame without origin or network (js/core/src/panel/page.ts)
    r"(?s)\bsrcdoc\b.*\bsrcdoc\b",
    r"\bfetch\s*\(",
    r"XMLHttpRequest",
    r"\bWebSocket\b",
    r"\bEventSource\b",
    r"sendBeacon",
    r"\bimport\s*\(",
    r"importScripts",
    r"@import\b",
    # the names of XML vocabularies are no addresses to load from
    r"https?:(?!//www\.w3\.org/(?:2000/svg|1999/xhtml|1999/xlink)\b)",
]


def _text(path: Path) -> str:
    assert path.is_file(), f"{path} is missing: run npm ci && npm run build in js/"
    return path.read_text(encoding="utf-8")


def _drawing_code() -> list[Path]:
    chunks = [
        path
        for path in (LABEXTENSION / "static").glob("*.js")
        # the module loader of JupyterLab's extensions, which loads this extension's own files
        if not path.name.startswith("remoteEntry")
    ]
    assert chunks, f"{LABEXTENSION} is not built: run npm ci && npm run build in js/"
    return [STATIC / "core.js", *chunks]


def test_the_core_is_one_module_with_its_three_ways_in() -> None:
    text = _text(STATIC / "core.js")
    assert not re.search(r"\bimport\s*[{*\"']|\bfrom\s*[\"']\.", text)
    exported = re.findall(r"export\s*\{([^}]*)\}", text)
    names = {part.split(" as ")[-1].strip() for part in ",".join(exported).split(",")}
    assert {"mount", "mountBundle", "mountLive"} <= names


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_drawing_code_runs_no_text_and_loads_nothing(pattern: str) -> None:
    for path in _drawing_code():
        found = re.search(pattern, _text(path))
        assert found is None, f"{path.name}: {found and found.group()}"


def test_the_anywidget_loader_is_at_most_2_kb() -> None:
    text = _text(STATIC / "widget.js")
    assert len(text.encode()) <= 2048
    assert not re.search(r"https?:|\beval\b|new Function|innerHTML|\bfetch\b", text)


def test_the_labextension_is_complete() -> None:
    package = json.loads(_text(LABEXTENSION / "package.json"))
    assert package["name"] == "lmkit"
    assert package["version"] == __version__
    build = package["jupyterlab"]["_build"]
    assert build["extension"] == "./extension"
    assert (LABEXTENSION / build["load"]).is_file()
    install = json.loads(_text(LABEXTENSION / "install.json"))
    assert install["packageName"] == "lmkit-core"


def test_the_lock_file_names_no_address() -> None:
    lock = json.loads(_text(ROOT / "js" / "package-lock.json"))
    for name, package in lock["packages"].items():
        assert not str(package.get("resolved", "")).startswith(("http:", "https:", "git")), name


def test_the_lock_file_has_every_system() -> None:
    # npm leaves out what a registry lacks, and then `npm ci` refuses: npm run lock
    packages = json.loads(_text(ROOT / "js" / "package-lock.json"))["packages"]
    locked = {place.rpartition("node_modules/")[2] for place in packages}
    for place, package in packages.items():
        missing = set(package.get("optionalDependencies", {})) - locked
        assert not missing, place


def test_every_dependency_of_the_front_end_is_pinned() -> None:
    for path in [ROOT / "js" / "package.json", *(ROOT / "js").glob("*/package.json")]:
        package = json.loads(path.read_text(encoding="utf-8"))
        for group in ("dependencies", "devDependencies", "overrides"):
            for name, version in package.get(group, {}).items():
                assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{path}: {name} {version}"
