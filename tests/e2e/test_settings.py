"""What a user sets in JupyterLab: the language, the budget of saved outputs, scale and colours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import ARTIFACTS
from tests.e2e.lab import Lab, serve
from tests.e2e.notebook import WAIT, Notebook, code, part, write
from tests.e2e.picture import pixels
from tests.tiny import tiny_bert

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def language_pack(folder: Path) -> Path:
    """The least that JupyterLab takes for a language pack: without one no extension's is read."""
    name = "jupyterlab_language_pack_zh_CN"
    messages = folder / name / "locale" / "zh_CN" / "LC_MESSAGES"
    messages.mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    header = {
        "domain": "jupyterlab",
        "language": "zh-CN",
        "plural_forms": "nplurals=1; plural=0;",
        "version": "",
    }
    catalogue = {"": header, "Other": ["其他"]}
    (messages / "jupyterlab.json").write_text(json.dumps(catalogue), encoding="utf-8")
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[jupyterlab.languagepack]\nzh_CN = {name}\n")
    return folder


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    settings = {
        "@jupyterlab/translation-extension:plugin": {"locale": "zh_CN"},
        "lmkit:side-panel": {
            "budget": "700 kB",
            "scale": "linear",
            "colours": "greys",
            "defaultModels": {"classification": "starter:news"},
        },
    }
    pack = language_pack(tmp_path_factory.mktemp("pack"))
    environ = {"PYTHONPATH": str(pack)}
    folder = tmp_path_factory.mktemp("chinese")
    with serve(folder, settings=settings, environ=environ) as running:
        yield running


def test_chinese_and_what_is_set(
    page: Page, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = tiny_bert(tmp_path_factory.mktemp("models") / "bert")
    cells = [
        code("%load_ext lmkit\nimport lmkit"),
        code(f"%%lm classification --model {model}\nthe plot is thin."),
    ]
    notebook = Notebook(page, ARTIFACTS)
    notebook.open(lab.page(write(lab.root / "chinese.ipynb", cells)))
    notebook.js("await app.commands.execute('lmkit:show-kernel');")
    side = page.locator("#lmkit-side-panel")
    expect(side).to_contain_text("此处已安装 lmkit", timeout=WAIT)
    notebook.run_all()
    view = notebook.view(1)
    expect(part(view, "badge")).to_have_text(CHINESE)
    expect(part(view, "run")).to_have_text(CHINESE)
    expect(part(side, "home")).to_be_visible(timeout=WAIT)
    label = notebook.js("return app.commands.label('lmkit:run-on-selection');")
    assert CHINESE.search(label), label
    notebook.shot("chinese")
    # of the view's own words: names of tasks, lenses and plugins are as their plugins write them
    for name in ("more-fields", "saved-note", "scale", "sentence", "copy-python", "keys", "stop"):
        for one in view.locator(f'[data-lmkit="{name}"]').all():
            text = one.inner_text().strip()
            assert not text or CHINESE.search(text), (name, text)

    # an inserted cell names the model that was set for its task
    side.locator('[data-lmkit="insert"][data-argument="classification"]').click()
    notebook.until("return panel.content.widgets.length === 3;")
    inserted = notebook.js("return panel.content.widgets[2].model.sharedModel.getSource();")
    assert inserted.startswith("%%lm classification --model starter:news\n")

    # the kernel has the budget before its first cell, and after a restart
    assert notebook.ask("lmkit.options.budget") == 700_000
    # views begin with the scale that was set, in the colours that were set
    expect(part(view, "scale")).to_have_value("linear")
    legend = pixels(part(view, "legend").locator("canvas")).values
    colours = legend[legend.shape[0] // 2, :, :3]
    assert np.ptp(colours, axis=1).max() <= 2  # grey: as much red as green and blue
    notebook.restart()
    notebook.run(0)
    assert notebook.ask("lmkit.options.budget") == 700_000
    notebook.close()


def test_the_settings_and_the_launcher_are_chinese(page: Page, lab: Lab) -> None:
    notebook = Notebook(page, ARTIFACTS)
    notebook.open(lab.page(write(lab.root / "settings.ipynb", [code("")])))
    notebook.js("await app.commands.execute('settingeditor:open', { query: 'lmkit' });")
    editor = page.locator("#setting-editor")
    for title in ("默认模型", "快照预算", "标度", "配色"):
        expect(editor).to_contain_text(title, timeout=WAIT)
    expect(editor).not_to_contain_text("Snapshot budget")
    notebook.shot("settings-chinese")
    # the tile stands in JupyterLab's own section, under its name
    notebook.js("await app.commands.execute('launcher:create');")
    section = page.locator(".jp-Launcher-section", has_text="lmkit 笔记本")
    expect(section.locator(".jp-Launcher-sectionTitle")).to_have_text("其他", timeout=WAIT)
    notebook.close()
