"""JupyterLab's settings in Chinese: the server finds a catalogue with every text of the schemas."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from lmkit.version import __version__

translation_utils = pytest.importorskip("jupyterlab_server.translation_utils")

ROOT = Path(__file__).parents[2]
SCHEMAS = sorted((ROOT / "js" / "jupyterlab" / "schema").glob("*.json"))
CHINESE = re.compile(r"[\u4e00-\u9fff]")
KEPT = re.compile(r"\{.*?\}|LMKIT_BUDGET|\d+ [kMG]B|\"\w+\"")


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """As the server reads it, by the entry points that the distribution declares."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        declared = tomllib.load(file)["project"]["entry-points"]

    def entry_points(group: str) -> list[EntryPoint]:
        return [EntryPoint(name, value, group) for name, value in declared.get(group, {}).items()]

    monkeypatch.setattr(translation_utils, "entry_points", entry_points)
    found, message = translation_utils.get_installed_packages_locale("zh_CN")
    assert message.strip() == ""
    data: dict[str, Any] = found["lmkit"]
    return data


class Recorder:
    """Stands for a language: what the server would have translated."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def pgettext(self, context: str, text: str) -> str:
        self.asked.append(f"{context}\x04{text}")
        return text


def test_the_catalogue_has_every_text_of_the_schemas(catalogue: dict[str, Any]) -> None:
    assert SCHEMAS
    recorder = Recorder()
    for path in SCHEMAS:
        schema = json.loads(path.read_text(encoding="utf-8"))
        assert schema["jupyter.lab.internationalization"]["domain"] == "lmkit"
        assert schema["jupyter.lab.transform"] is True  # the page translates: schema-words.ts
        translation_utils.translator._translate_schema_strings(recorder, schema)
    assert sorted(recorder.asked) == sorted(set(catalogue) - {""})
    for key, forms in catalogue.items():
        if key == "":
            continue
        (chinese,) = forms
        english = key.split("\x04")[1]
        assert CHINESE.search(chinese) or english == "lmkit", key
        assert sorted(KEPT.findall(chinese)) == sorted(KEPT.findall(english)), key


def test_it_says_what_it_is(catalogue: dict[str, Any]) -> None:
    assert catalogue[""] == {
        "domain": "lmkit",
        "language": "zh-CN",  # as the page's reader looks it up
        "plural_forms": "nplurals=1; plural=0;",
        "version": __version__,
    }
