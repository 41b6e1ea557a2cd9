"""The built .vsix in a real VS Code: in its page, and in its extension host."""

from __future__ import annotations

import copy
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Frame, Page, expect

from lmkit.protocol.codec import to_builtins
from lmkit.protocol.messages import Live
from lmkit.transports.snapshot import snapshot
from tests.e2e.editor import (
    ARTIFACTS,
    ROOT,
    Editor,
    Workbench,
    frame_with,
    keeping,
    kept,
    saved_notebook,
    serve,
    watch,
)

TEXT = "The plot is thin, but I was moved."
VIEW = '[data-lmkit="view"]'
TESTS = ROOT / "js" / "vscode" / "dist" / "host-tests.cjs"
GOLDEN = ROOT / "tests" / "golden"
SCRIPT = "</script><script>window.__pwned = 1</script>"
IMAGE = "<img src=x onerror='window.__pwned = 1'>"


def part(name: str) -> str:
    return f'[data-lmkit="{name}"]'


@pytest.fixture(scope="module")
def bundle() -> dict[str, Any]:
    """What a cell leaves in a notebook."""
    import lmkit

    analysis = lmkit.load("starter:sentiment").run("classification", text=TEXT)
    return to_builtins(snapshot(analysis.view, Live(session="gone", view="gone")))


def hostile(bundle: dict[str, Any]) -> list[Any]:
    """Bundles that lie, and words that each has to be answered with; empty: drawn as text."""

    def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        made = copy.deepcopy(bundle)
        change(made)
        return made

    def tokens(made: dict[str, Any]) -> None:
        shown = made["spec"]["attention"]["tokens"]
        shown["text"] = [*shown["text"][:3], IMAGE + SCRIPT, *shown["text"][4:]]
        made["spec"]["header"]["model"] = IMAGE
        made["spec"]["results"][0]["scores"][0]["label"] = SCRIPT

    def sizes(made: dict[str, Any]) -> None:
        for tile in made["tiles"]:
            tile["shape"] = [side * 100 for side in tile["shape"]]

    def cut(made: dict[str, Any]) -> None:
        for tile in made["tiles"]:
            tile["data"] = tile["data"][: len(tile["data"]) // 2]

    return [
        changed(tokens),
        changed(lambda made: made.update(protocol=99)),
        changed(sizes),
        changed(cut),
        changed(lambda made: made.update(tiles=[])),
        changed(lambda made: made["spec"].update(kind="unheard of")),
        {"protocol": 1},
        SCRIPT,
    ]


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory, bundle: dict[str, Any]) -> Iterator[Editor]:
    folder = tmp_path_factory.mktemp("vscode")
    workspace = folder / "workspace"
    workspace.mkdir()
    (workspace / "saved.ipynb").write_text(saved_notebook(bundle))
    (workspace / "hostile.ipynb").write_text(saved_notebook(*hostile(bundle)))
    (workspace / "text.txt").write_text(TEXT + "\nAnother line.\n")
    with serve(folder) as running:
        yield running


@pytest.fixture
def workbench(page: Page, editor: Editor) -> Workbench:
    return Workbench(page, editor)


def shown_scores(frame: Frame) -> dict[str, float]:
    rows = frame.locator(f"{VIEW} {part('label-row')}").all_inner_texts()
    found = {}
    for row in rows:
        words = row.split()
        found[words[0]] = float(next(one for one in words[1:] if re.fullmatch(r"[\d.]+", one)))
    return found


def scores(bundle: dict[str, Any]) -> dict[str, float]:
    return {one["label"]: one["score"] for one in bundle["spec"]["results"][0]["scores"]}


def test_a_saved_notebook_is_drawn_without_a_kernel(
    workbench: Workbench, bundle: dict[str, Any]
) -> None:
    workbench.open("saved.ipynb")
    frame = workbench.frame(f"{VIEW} {part('label-row')}", count=2)
    assert shown_scores(frame) == pytest.approx(scores(bundle), abs=0.006)
    tokens = frame.locator(f"{VIEW} {part('token')}")
    expect(tokens).to_have_count(len(bundle["spec"]["attention"]["tokens"]["text"]))
    assert frame.locator(f"{VIEW} {part('cell')}").count() == 72
    # there is no Jupyter extension here: the view says how the rest is had
    note = frame.locator(part("saved-note"))
    expect(note).to_contain_text("Jupyter extension is installed", timeout=60_000)
    expect(frame.locator(part("rest"))).to_be_hidden()
    frame.locator(f"{VIEW} {part('tab-map')}").click()
    frame.locator(f"{VIEW} {part('picture-canvas')}").first.hover()
    workbench.shot("renderer-light")
    workbench.harmless()


def test_a_hostile_notebook_draws_sentences_and_runs_nothing(workbench: Workbench) -> None:
    workbench.open("hostile.ipynb")
    frame = workbench.frame(VIEW, count=2)
    # outputs are in the page in the order of their drawing, not of their cells
    lying = frame.locator(VIEW).filter(has_text=IMAGE[:20])
    expect(lying.locator(part("model"))).to_contain_text(IMAGE[:20])
    assert SCRIPT[:20] in "".join(lying.locator(part("label-row")).all_inner_texts())
    workbench.shot("hostile")
    workbench.harmless()
    # the rest is drawn as one scrolls; none of it hangs the editor
    wanted = {"saved with protocol 99": False, "kind is not": False, "cannot be read": False}
    workbench.page.mouse.move(640, 500)
    end = time.monotonic() + 90
    for turn in itertools.count():
        assert time.monotonic() < end, wanted
        workbench.page.mouse.wheel(0, -300 if turn // 60 % 2 else 300)
        workbench.page.wait_for_timeout(50)
        for words, seen in wanted.items():
            wanted[words] = seen or frame.locator(VIEW).filter(has_text=words).count() > 0
        if all(wanted.values()):
            break
    workbench.shot("hostile-end")
    workbench.harmless()


# Notes, of each view that comes into sight, what is drawn in it at last.
NOTE = """() => {
    const seen = new Map();
    setInterval(() => {
        for (const view of document.querySelectorAll('[data-lmkit="view"]')) {
            const root = view.shadowRoot;
            const one = (selector) => root?.querySelector(selector) ?? null;
            if (!one('[data-lmkit="header"]') && !one('[data-lmkit="error"]')) continue;
            seen.set(view, {
                drawn: one('[data-lmkit="header"]') !== null,
                errors: [...root.querySelectorAll('[data-lmkit="error"]')].map(
                    ({ textContent }) => textContent),
                loads: one('script, img, iframe, object, embed, link, a[href]')?.outerHTML ?? '',
            });
        }
    }, 50);
    return seen;
}"""


def test_hostile_bundles_one_after_another(page: Page, tmp_path: Path) -> None:
    corpus = json.loads((GOLDEN / "hostile.json").read_text())
    changes = corpus["changes"][
        ::6
    ]  # JupyterLab draws all of them; here it is a matter of scrolling
    made = []
    for change in changes:
        bundle = inner = copy.deepcopy(corpus["base"])
        for step in change["at"][:-1]:
            inner = inner[step]
        inner[change["at"][-1]] = change["put"]
        made.append(bundle)
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "corpus.ipynb").write_text(saved_notebook(*made))
    with serve(tmp_path) as editor:
        workbench = Workbench(page, editor)
        workbench.open("corpus.ipynb")
        seen = workbench.frame(VIEW).evaluate_handle(NOTE)
        page.mouse.move(640, 500)
        end = time.monotonic() + 400
        found, idle, way = 0, 0, 350
        while found < len(changes):
            assert time.monotonic() < end, f"{found} of {len(changes)}"
            page.mouse.wheel(0, way)
            page.wait_for_timeout(60)
            before, found = found, seen.evaluate("(seen) => seen.size")
            idle = idle + 1 if found == before else 0
            if (
                idle > 50
            ):  # at an end: back past those that were out of sight before they were drawn
                way, idle = -way, 0
        told = seen.evaluate("(seen) => [...seen.values()]")
        assert len(told) == len(changes)
        assert sum(one["drawn"] for one in told) == sum(change["read"] for change in changes)
        for one in told:
            assert one["loads"] == "", one
            if not one["drawn"]:
                assert len(one["errors"]) == 1, one
                assert "." in one["errors"][0], one
        workbench.shot("hostile-corpus")
        workbench.harmless()
        # the editor goes on
        workbench.command("View: Close All Editors")
        expect(page.locator(".notebookOverlay:visible")).to_have_count(0)


def test_a_selection_is_analysed_in_a_panel(workbench: Workbench, bundle: dict[str, Any]) -> None:
    page = workbench.page
    page.locator('.activitybar a[aria-label="lmkit"]').click()
    tree = page.locator(".pane-body .monaco-list-row")
    expect(tree.filter(has_text="Python 3")).to_be_visible(timeout=60_000)
    expect(tree.filter(has_text="starter:sentiment")).to_have_count(0)  # in a closed group
    expect(tree.filter(has_text="classification").first).to_be_visible()
    workbench.shot("home-light")

    page.keyboard.press("Control+Shift+E")
    workbench.open("text.txt")
    workbench.analyse("The plot", "classification")
    frame = workbench.frame(f"{VIEW} {part('label-row')}", count=2)
    assert shown_scores(frame) == pytest.approx(scores(bundle), abs=0.006)
    box = frame.locator(f'{part("field")}[data-field="text"]')
    assert box.input_value() == TEXT
    cells = frame.locator(f"{VIEW} {part('cell')}")
    expect(cells).to_have_count(72)
    cells.nth(30).click()
    expect(frame.locator(part("picture-canvas")).first).to_be_visible()
    workbench.shot("panel-light")

    # typed into the form and run: the model is loaded, so the answer is quick
    box.fill("An unforgettable film, and I loved it.")
    began = time.monotonic()
    frame.locator(part("run")).click()
    expect(frame.locator(part("token")).filter(has_text="loved")).to_have_count(1)
    print(f"a warm server's result after {time.monotonic() - began:.2f} s")
    now = shown_scores(frame)

    # another selection goes to the panel that is there; its form shows the text that was run
    workbench.analyse("The plot", "classification", characters=16)
    expect(frame.locator(part("token")).filter(has_text="loved")).to_have_count(0)
    assert box.input_value() == TEXT[:16]
    assert shown_scores(frame) != now
    expect(page.locator(".tab", has_text="lmkit:")).to_have_count(1)
    page.keyboard.press("End")  # the keyboard stayed in the editor
    expect(page.locator(".monaco-editor.focused")).to_have_count(1)
    box.fill("An unforgettable film, and I loved it.")
    frame.locator(part("run")).click()
    expect(frame.locator(part("token")).filter(has_text="loved")).to_have_count(1)
    assert shown_scores(frame) == pytest.approx(now, abs=0.006)
    keeps = keeping(frame)
    cells.nth(30).click()
    shown = [part("layer-number"), part("head-number")]
    assert [frame.locator(one).inner_text() for one in shown] == ["2", "6"]
    kept(frame, keeps, 2, 6)

    # a reload brings form, result and the chosen head back
    with page.expect_navigation():
        workbench.command("Developer: Reload Window")
    workbench.ready()
    frame = workbench.frame(f"{VIEW} {part('label-row')}", count=2)
    # drawn until Python has started and run
    assert [frame.locator(one).inner_text() for one in shown] == ["2", "6"]
    lost = watch(frame, "positive")
    expect(frame.locator(part("run"))).to_be_enabled(timeout=60_000)
    expect(frame.locator(part("token")).filter(has_text="loved")).to_have_count(1)
    assert shown_scores(frame) == pytest.approx(now, abs=0.006)
    assert lost.evaluate("(seen) => [seen.frames > 0, seen.without]") == [True, 0]
    assert [frame.locator(one).inner_text() for one in shown] == ["2", "6"]
    expect(frame.locator(part("picture"))).to_have_attribute("data-state", "ready")
    box = frame.locator(f'{part("field")}[data-field="text"]')
    assert box.input_value() == "An unforgettable film, and I loved it."

    for theme, kind, ours in (
        ("Dark Modern", "vs-dark", "dark"),
        ("Dark High Contrast", "hc-black", "dark"),
        ("Light High Contrast", "hc-light", "light"),
    ):
        workbench.theme(theme, kind)
        expect(frame.locator(f'.lmkit[data-theme="{ours}"]')).to_have_count(1)
        workbench.shot("panel-" + kind)

    # the page may evaluate nothing and ask nobody, and Python listens nowhere
    tried = """() => new Promise((told) => setTimeout(() => {
        try { told(eval("1")); } catch (error) { told(error.name); }
    }))"""
    assert frame.evaluate(tried) == "EvalError"
    asked = "() => fetch(location.origin).then(() => 'answered', (error) => error.name)"
    assert frame.evaluate(asked) == "TypeError"
    process = psutil.Process(workbench.editor.python())
    assert [one for one in process.net_connections() if one.status == psutil.CONN_LISTEN] == []
    workbench.harmless()


def test_a_view_is_saved_where_the_user_says(workbench: Workbench) -> None:
    page = workbench.page
    workbench.open("text.txt")
    workbench.analyse("The plot", "classification")
    frame = workbench.frame(f"{VIEW} {part('label-row')}", count=2)
    where = page.locator(".quick-input-widget input.input")
    told = frame.locator(part("live-region"))

    def asked(form: str) -> Path:
        """Where VS Code offers to write, in the folder that is open."""
        frame.locator(part("save")).click()
        frame.locator(f'{part("save-item")}[data-format="{form}"]').click()
        expect(where).to_be_visible(timeout=60_000)
        expect(where).to_have_value(re.compile(rf"\.{form}$"), timeout=60_000)
        return Path(where.input_value())

    def enter(seen: Callable[[int], object]) -> None:
        """A key that comes while VS Code looks at the folder is lost."""
        workbench.until(lambda: page.keyboard.press("Enter"), seen)

    def gone(within: int) -> None:
        expect(where).to_be_hidden(timeout=within)

    asked("json")
    page.keyboard.press("Escape")
    expect(told).to_contain_text("Not saved")
    gone(30_000)
    numbers = asked("json")
    enter(gone)
    expect(told).to_contain_text(f"Saved {numbers.name}")
    assert json.loads(numbers.read_text())
    picture = asked("png")
    enter(gone)
    expect(told).to_contain_text(f"Saved {picture.name}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    # what cannot be written says so, and the view goes on
    picture.unlink()
    asked("png")
    picture.symlink_to("/dev/full")
    enter(gone)
    expect(frame.locator(part("error")).first).to_contain_text(picture.name, timeout=60_000)
    workbench.shot("save-failed")
    expect(frame.locator(part("run"))).to_be_enabled()
    workbench.harmless()


def test_a_plugins_whole_page_is_drawn_in_a_panel(
    workbench: Workbench, bundle: dict[str, Any]
) -> None:
    workbench.open("text.txt")
    workbench.analyse("The plot", "classification")
    frame = workbench.frame(f"{VIEW} {part('label-row')}", count=2)
    frame.locator(part("views")).select_option("bertviz-head")
    drawn = frame.frame_locator('iframe[data-lmkit="page"]')
    tokens = len(bundle["spec"]["attention"]["tokens"]["text"])
    expect(drawn.locator("#vis line")).to_have_count(12 * tokens**2, timeout=60_000)
    expect(drawn.locator("#problem")).to_be_empty()
    workbench.shot("bertviz")
    workbench.harmless()


def test_a_panel_keeps_its_result_in_a_window_of_its_own(
    workbench: Workbench, bundle: dict[str, Any]
) -> None:
    page = workbench.page
    workbench.open("text.txt")
    workbench.analyse("The plot", "classification")
    workbench.frame(f"{VIEW} {part('label-row')}", count=2)
    page.locator(".tab", has_text="lmkit:").click()
    windows: list[Page] = []
    page.context.on("page", lambda opened: windows.append(opened))
    workbench.command("View: Move Editor into New Window")
    # where the command was too long on its way from the key, the browser has blocked the window
    retry = page.locator(".monaco-dialog-box").get_by_role("button", name="Retry")
    for _ in range(60):
        if not windows and retry.is_visible():
            retry.click()
        page.wait_for_timeout(500)
        if windows:
            break
    (window,) = windows
    frame = frame_with(window, f"{VIEW} {part('label-row')}", count=2)
    expect(frame.locator(part("badge"))).to_have_attribute("data-state", "live", timeout=60_000)
    expect(frame.locator(part("label-row"))).to_have_count(2)
    assert shown_scores(frame) == pytest.approx(scores(bundle), abs=0.006)
    frame.locator(f'{part("field")}[data-field="text"]').fill("We loved it.")
    frame.locator(part("run")).click()
    expect(frame.locator(part("token")).filter(has_text="loved")).to_have_count(1)
    assert shown_scores(frame) != pytest.approx(scores(bundle), abs=0.006)
    window.screenshot(path=ARTIFACTS / "vscode-window.png")
    workbench.harmless()


def test_inside_the_extension_host(page: Page, editor: Editor) -> None:
    lines: list[str] = []
    codes: list[int] = []
    page.expose_function("codeAutomationLog", lambda _, words: lines.extend(map(str, words)))
    page.expose_function("codeAutomationExit", lambda code: codes.append(code))
    page.goto(editor.page(tests=TESTS))
    deadline = time.monotonic() + 150
    while not codes and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    print("\n".join(lines))
    page.screenshot(path=ARTIFACTS / "vscode-host.png")
    assert codes == [0], lines
    assert sum(line.startswith("ok - ") for line in lines) == 8, lines


def speak_chinese(user: Path) -> None:
    """Write what an installed language pack leaves in a profile; this one has no words of its own.

    So VS Code itself goes on in English, and tells its extensions that the language is Chinese.
    """
    words = user / "words.json"
    pack = {
        "hash": "1", "label": "Chinese", "translations": {"vscode": str(words)},
        "extensions": [{"extensionIdentifier": {"id": "lmkit-tests.words"}, "version": "1.0.0"}],
    }  # fmt: skip
    user.mkdir()
    words.write_text(json.dumps({"version": "1.0.0", "contents": {}}))
    (user / "languagepacks.json").write_text(json.dumps({"zh-cn": pack}))


def test_it_speaks_chinese_where_vs_code_does(
    browser: Browser, bundle: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "text.txt").write_text(TEXT)
    speak_chinese(tmp_path / "user")
    (tmp_path / "workspace" / "saved.ipynb").write_text(saved_notebook(bundle))
    with serve(tmp_path, language="zh-cn") as editor:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        try:
            workbench = Workbench(context.new_page(), editor)
            page = workbench.page
            page.locator('.activitybar a[aria-label="lmkit"]').click()
            tree = page.locator(".pane-body .monaco-list-row")
            # of the code's table, and of the manifest's
            expect(tree.filter(has_text="入门模型")).to_be_visible(timeout=60_000)
            expect(page.get_by_role("button", name="打开面板")).to_be_attached()
            workbench.command("lmkit: 打开面板")
            expect(page.locator(".quick-input-title")).to_have_text("lmkit：哪个任务？")
            workbench.pick("classification")
            expect(page.locator(".quick-input-list")).to_contain_text("其他模型…")
            workbench.pick("starter:sentiment")
            frame = workbench.frame(part("run"))
            expect(frame.locator(part("run"))).to_have_text("运行")
            workbench.shot("chinese")
            # and a saved output, whose page does not say what VS Code speaks
            workbench.command("View: Close All Editors")
            page.keyboard.press("Control+Shift+E")
            workbench.open("saved.ipynb")
            saved = workbench.frame(f"{VIEW} {part('saved-note')}")
            expect(saved.locator(part("run"))).to_have_text("运行", timeout=60_000)
            workbench.shot("chinese-saved")
            workbench.harmless()
        finally:
            context.close()


def test_nothing_is_started_in_a_workspace_that_is_not_trusted(
    page: Page, bundle: dict[str, Any], tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "saved.ipynb").write_text(saved_notebook(bundle))
    # what would be started, if anything were
    trap = tmp_path / "python"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    trap.chmod(0o755)
    with serve(tmp_path, trust=False, settings={"lmkit.pythonPath": str(trap)}) as editor:
        page.goto(editor.page())
        page.get_by_role("button", name="No, I don't trust").click(timeout=60_000)
        workbench = Workbench(page, editor, go=False)
        page.locator('.activitybar a[aria-label="lmkit"]').click()
        expect(page.locator(".welcome-view")).to_contain_text("not trusted", timeout=60_000)
        workbench.shot("untrusted-home")
        workbench.open("saved.ipynb")
        frame = workbench.frame(f"{VIEW} {part('label-row')}", count=2)
        assert shown_scores(frame) == pytest.approx(scores(bundle), abs=0.006)
        note = frame.locator(part("saved-note"))
        expect(note).to_contain_text("no kernel is asked", timeout=60_000)
        workbench.shot("untrusted")
        workbench.harmless()
    assert not (tmp_path / "started").exists()
