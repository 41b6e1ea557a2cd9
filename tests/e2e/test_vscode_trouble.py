"""What VS Code says and does when Python dies, hangs, is not there, or has no lmkit."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Frame, Locator, Page, expect

from tests.e2e.editor import Editor, Workbench, keeping, kept, serve, watch
from tests.installed import interpreter

VIEW = '[data-lmkit="view"]'
LONG = 120_000
SLOW = """
import time
from lmkit.api import Field, Task, Text, hookimpl, progress

class Slow(Task):
    name = "slow"
    title = "Slow"
    fields = (
        Field.text("text", label="Text", body=True),
        Field.text("word", label="Word", default="and"),
        Field.integer("steps", label="Steps", default=1, minimum=1, maximum=100_000),
    )

    def run(self, model, *, text, word, steps):
        for step in range(steps):
            progress("Counting", step, steps)
            time.sleep(0.02)
        return Text(text=text[::-1])

@hookimpl
def lmkit_register_tasks(register):
    register(Slow)
"""


def part(name: str) -> str:
    return f'[data-lmkit="{name}"]'


def starts(editor: Editor) -> int:
    """How often Python was started, by the extension's log."""
    logs = (editor.folder / "user" / "logs").rglob("*lmkit*.log")
    return sum(log.read_text().count("Starting ") for log in logs)


def field(frame: Frame, name: str) -> str:
    value: str = frame.locator(f'{part("field")}[data-field="{name}"]').input_value()
    return value


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    """One for each test: the process of a page that was closed lives on for a while."""
    plugin = tmp_path / "slow"
    plugin.mkdir()
    (plugin / "lmkit_slow.py").write_text(SLOW)
    info = plugin / "lmkit_slow-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lmkit-slow\nVersion: 1.0\n")
    (plugin / "lmkit_broken.py").write_text("raise ImportError('no such part')\n")
    (info / "entry_points.txt").write_text("[lmkit]\nslow = lmkit_slow\nbroken = lmkit_broken\n")
    with serve(tmp_path, environ={"PYTHONPATH": str(plugin)}) as running:
        yield running


def open_panel(workbench: Workbench) -> Frame:
    """A panel of the plugin's task that can be run."""
    workbench.command("lmkit: Open Panel")
    workbench.pick("Slow")
    workbench.pick("starter:sentiment")
    frame = workbench.frame(part("run"))
    expect(frame.locator(part("run"))).to_be_enabled(timeout=LONG)
    return frame


def open_slow(workbench: Workbench) -> Frame:
    """A panel whose run takes many minutes, and runs."""
    frame = open_panel(workbench)
    frame.locator(f'{part("field")}[data-field="text"]').fill("typed by me")
    more = frame.locator(part("more-fields"))
    if not frame.locator(f'{part("field")}[data-field="steps"]').is_visible():
        more.click()
    frame.locator(f'{part("field")}[data-field="steps"]').fill("50000")
    frame.locator(part("run")).click()
    expect(workbench.toast("Counting")).to_be_visible(timeout=LONG)
    return frame


def still_works(workbench: Workbench, frame: Frame) -> None:
    """The panel is back with what the user typed, and runs it."""
    expect(frame.locator(part("run"))).to_be_enabled(timeout=LONG)
    expect(workbench.toast("Counting")).to_have_count(0)
    assert (field(frame, "text"), field(frame, "steps")) == ("typed by me", "50000")
    frame.locator(f'{part("field")}[data-field="steps"]').fill("1")
    frame.locator(part("run")).click()
    expect(frame.locator(VIEW)).to_contain_text("em yb depyt", timeout=LONG)
    workbench.harmless()


def test_a_run_is_cancelled_in_vs_codes_own_notification(page: Page, editor: Editor) -> None:
    workbench = Workbench(page, editor)
    frame = open_slow(workbench)
    toast = workbench.toast("Counting")
    toast.hover()
    toast.get_by_role("button", name="Cancel").click()
    expect(frame.locator(part("cancelled"))).to_be_visible(timeout=LONG)
    workbench.shot("cancelled")
    still_works(workbench, frame)


def test_python_killed_in_the_middle_of_a_run(page: Page, editor: Editor) -> None:
    workbench = Workbench(page, editor)
    frame = open_slow(workbench)
    workbench.shot("before-kill")
    os.kill(editor.python(), signal.SIGKILL)
    toast = workbench.toast("lmkit's Python process ended (SIGKILL) and was started again.")
    expect(toast).to_be_visible(timeout=60_000)
    expect(page.locator(".notification-toast")).to_have_count(1)
    workbench.shot("killed")
    still_works(workbench, frame)


def test_python_killed_after_a_result(page: Page, editor: Editor) -> None:
    workbench = Workbench(page, editor)
    frame = open_panel(workbench)
    frame.locator(f'{part("field")}[data-field="text"]').fill("typed by me")
    keeps = keeping(frame)
    frame.locator(part("run")).click()
    expect(frame.locator(VIEW)).to_contain_text("em yb depyt", timeout=LONG)
    kept(frame, keeps)
    lost = watch(frame, "em yb depyt")
    killed = editor.python()
    os.kill(killed, signal.SIGKILL)
    expect(workbench.toast("ended (SIGKILL) and was started again.")).to_be_visible(timeout=LONG)
    # it is computed again, and stays until then
    editor.python(after=killed)
    expect(frame.locator(part("badge"))).to_have_attribute("data-state", "live", timeout=LONG)
    expect(frame.locator(part("run"))).to_be_enabled(timeout=LONG)
    expect(frame.locator(VIEW)).to_contain_text("em yb depyt")
    assert lost.evaluate("(seen) => [seen.frames > 0, seen.without]") == [True, 0]
    workbench.harmless()


def test_what_is_said_of_a_refused_run_goes_with_the_next(page: Page, editor: Editor) -> None:
    (editor.workspace / "text.txt").write_text("selected\n")
    workbench = Workbench(page, editor)
    workbench.open("text.txt")
    frame = open_panel(workbench)
    word = frame.locator(f'{part("field")}[data-field="word"]')
    if not word.is_visible():
        frame.locator(part("more-fields")).click()
    word.fill("")
    workbench.analyse("selected", "Slow")
    note = frame.locator("#note")
    expect(note).to_contain_text("Word is empty.", timeout=LONG)
    assert (field(frame, "text"), field(frame, "word")) == ("selected", "")
    workbench.shot("refused")
    word.fill("or")
    workbench.analyse("selected", "Slow")
    expect(frame.locator(VIEW)).to_contain_text("detceles", timeout=LONG)
    expect(note).to_be_hidden()

    # and with a run from the form itself
    word.fill("")
    workbench.analyse("selected", "Slow")
    expect(note).to_contain_text("Word is empty.", timeout=LONG)
    word.fill("or")
    frame.locator(f'{part("field")}[data-field="text"]').fill("mended")
    frame.locator(part("run")).click()
    expect(frame.locator(VIEW)).to_contain_text("dednem", timeout=LONG)
    expect(note).to_be_hidden()
    workbench.harmless()


def test_a_python_that_hangs_is_told_of_and_restarted(page: Page, editor: Editor) -> None:
    workbench = Workbench(page, editor)
    frame = open_slow(workbench)
    hung = editor.python()
    os.kill(hung, signal.SIGSTOP)
    try:
        frame.locator(part("stop")).click()
        toast = workbench.toast("lmkit's Python process does not answer.")
        expect(toast).to_be_visible(timeout=60_000)
        toast.hover()  # or it goes by itself
        workbench.shot("hung")
        toast.get_by_role("button", name="Restart Python").click()
        expect(toast).to_have_count(0)
        still_works(workbench, frame)
        page.wait_for_timeout(7_000)  # its end is not waited for by the one that follows
        with pytest.raises(ProcessLookupError):
            os.kill(hung, 0)
        assert editor.python() != hung
    finally:
        if _there(hung):
            os.kill(hung, signal.SIGKILL)


def _there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_view_tells_of_plugins_and_unloads_models(page: Page, editor: Editor) -> None:
    workbench = Workbench(page, editor)
    frame = open_panel(workbench)
    frame.locator(f'{part("field")}[data-field="text"]').fill("typed by me")
    frame.locator(part("run")).click()
    expect(frame.locator(VIEW)).to_contain_text("em yb depyt", timeout=LONG)
    page.locator('.activitybar a[aria-label="lmkit"]').click()
    rows = page.locator(".pane-body .monaco-list-row")
    # a plugin that fails is told of unasked, with its reason
    broken = rows.filter(has_text="quarantined")
    expect(broken).to_have_count(1, timeout=60_000)
    expect(broken).to_contain_text("broken")
    told = page.locator(".monaco-hover", has_text="no such part")

    def rest() -> None:
        page.mouse.move(640, 5)
        broken.hover()

    workbench.until(rest, lambda within: expect(told).to_be_visible(timeout=within))
    workbench.shot("quarantined")
    rows.filter(has_text="Plugins").click()  # models stand below it
    # a loaded model goes when its button is pressed
    model = rows.filter(has_text="MiB")
    expect(model).to_have_count(1, timeout=60_000)

    def unload() -> None:
        model.hover(timeout=5_000)
        model.get_by_role("button", name="Unload").click(timeout=5_000)

    workbench.until(unload, lambda within: expect(model).to_have_count(0, timeout=within))
    expect(rows.filter(has_text="None yet")).to_be_visible()
    workbench.harmless()


def test_no_python_is_said_where_one_looks_and_where_one_acts(page: Page, tmp_path: Path) -> None:
    with serve(tmp_path, settings={"lmkit.pythonPath": "/nowhere/python"}) as editor:
        workbench = Workbench(page, editor)
        page.locator('.activitybar a[aria-label="lmkit"]').click()
        welcome = page.locator(".welcome-view").filter(has_text="No Python was found.")
        expect(welcome).to_be_visible(timeout=60_000)
        workbench.command("lmkit: Open Panel")
        toast = workbench.toast("/nowhere/python cannot be started")
        expect(toast).to_contain_text("Choose another Python.", timeout=60_000)
        workbench.shot("no-python")
        expect(welcome).to_be_visible()  # and still says what is wrong, not only that it failed
        toast.get_by_role("button", name="Choose Python").click()
        setting = page.locator(".settings-editor .setting-item-contents").first
        expect(setting).to_contain_text("Python Path", timeout=60_000)
        workbench.harmless()


def test_a_panel_that_python_kept_from_opening_opens_when_it_is_there(
    page: Page, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    script = f'#!/bin/sh\nexec "{interpreter()}" "$@"\n'
    python.write_text(script)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "text.txt").write_text("A good film.\n")
    with serve(tmp_path, settings={"lmkit.pythonPath": str(python)}) as editor:
        workbench = Workbench(page, editor)
        workbench.open("text.txt")
        workbench.analyse("A good film.", "classification")
        frame = workbench.frame(f"{VIEW} {part('label-row')}", count=2)
        keeps = keeping(frame)
        frame.locator(f"{VIEW} {part('cell')}").nth(30).click()
        kept(frame, keeps, 2, 6)

        python.unlink()
        with page.expect_navigation():
            workbench.command("Developer: Reload Window")
        workbench.ready()
        frame = workbench.frame(f"{VIEW} {part('label-row')}", count=2)
        note = frame.locator("#note")
        expect(note).to_contain_text(f"{python} cannot be started", timeout=LONG)
        expect(frame.locator(part("label-row"))).to_have_count(2)
        expect(frame.locator(part("badge"))).to_have_attribute("data-state", "saved")
        workbench.shot("kept-from-opening")

        python.write_text(script)
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        page.locator('.activitybar a[aria-label="lmkit"]').click()
        workbench.command("lmkit: Refresh")
        expect(frame.locator(part("badge"))).to_have_attribute("data-state", "live", timeout=LONG)
        expect(frame.locator(part("label-row"))).to_have_count(2)
        expect(note).to_be_hidden()
        workbench.harmless()


def test_a_python_without_lmkit_gets_it_in_a_terminal(page: Page, tmp_path: Path) -> None:
    # The interpreter below this environment has no lmkit; once pip was asked, this one has.
    folder = tmp_path / "a $(touch pwned) folder"
    folder.mkdir()
    python, asked = folder / "python", folder / "asked"
    base = sys._base_executable  # type: ignore[attr-defined]
    python.write_text(
        f'''#!/bin/sh
if [ "$1 $2" = "-m pip" ]; then echo "pip is here"; echo "$@" > "{asked}"; exit; fi
if [ -e "{asked}" ]; then exec "{interpreter()}" "$@"; fi
exec "{base}" "$@"
'''.replace("$(touch", "\\$(touch")
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    with serve(tmp_path, settings={"lmkit.pythonPath": str(python)}) as editor:
        workbench = Workbench(page, editor)
        page.locator('.activitybar a[aria-label="lmkit"]').click()
        welcome = page.locator(".welcome-view").filter(has_text="not in the chosen Python")
        expect(welcome).to_be_visible(timeout=60_000)
        workbench.command("lmkit: Open Panel")
        toast = workbench.toast(f"lmkit is not in the Python environment {python}.")
        expect(toast).to_be_visible(timeout=60_000)
        workbench.shot("without-lmkit")
        toast.get_by_role("button", name="Install in a Terminal").click()
        expect(page.locator(".terminal-outer-container")).to_be_visible(timeout=60_000)
        # it ended, and the view has looked again by itself
        expect(welcome).to_be_hidden(timeout=60_000)
        tree = page.locator(".pane-body .monaco-list-row")
        expect(tree.filter(has_text="Python 3")).to_be_visible(timeout=LONG)
        workbench.shot("install")
        words = "-m pip install --upgrade lmkit-core lmkit-classification"
        assert asked.read_text().strip() == words
        assert list(tmp_path.rglob("pwned")) == []
        workbench.harmless()


def test_a_python_with_another_protocol_is_named_with_both(page: Page, tmp_path: Path) -> None:
    python = tmp_path / "python"
    other = (
        "import lmkit.serve; lmkit.serve.PROTOCOL = 2; lmkit.serve.__version__ = '9.8.7'; "
        "from lmkit.cli import main; main(['serve', '--stdio'])"
    )
    python.write_text(
        f'#!/bin/sh\nif [ "$2" = lmkit ]; then exec "{interpreter()}" -c "{other}"\n'
        f'else exec "{interpreter()}" "$@"; fi\n'
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    with serve(tmp_path, settings={"lmkit.pythonPath": str(python)}) as editor:
        workbench = Workbench(page, editor)
        page.locator('.activitybar a[aria-label="lmkit"]').click()
        welcome = page.locator(".welcome-view").filter(has_text="do not understand each other")
        expect(welcome).to_be_visible(timeout=LONG)
        workbench.command("lmkit: Open Panel")
        toast = workbench.toast("The editor speaks protocol 1, this Python 2.")
        expect(toast).to_contain_text("Python has 9.8.7", timeout=LONG)
        # by the view once and by the command once: looking again is no wish to start it again
        assert starts(editor) == 2
        workbench.shot("other-protocol")
        workbench.harmless()


def test_a_data_sets_result_outlives_a_reload_and_python(page: Page, editor: Editor) -> None:
    texts = ["a moving and honest film", "a dull and badly acted one", "warm and wise"]
    rows = [f"{texts[index % 3]} number {index}" for index in range(24)]
    data = editor.workspace / "films.csv"
    data.write_text("\n".join(["text", *rows]) + "\n")

    def read(result: Locator) -> list[str]:
        """The table of rows; a live one has a sign beside each that it can be explored."""
        cells = result.locator('[data-lmkit="result-table"]').last.locator("tbody tr")
        return [one.rstrip("\t› ") for one in cells.all_inner_texts()]

    def evaluate(frame: Frame) -> None:
        expect(frame.locator(part("badge"))).to_have_attribute("data-state", "live", timeout=LONG)
        source, toggle = frame.locator(part("data-source")), frame.locator(part("data-toggle"))
        if toggle.get_attribute("aria-expanded") == "false":  # it was open in what was kept
            toggle.click()
        source.fill(str(data))
        frame.locator(part("data-open")).click()
        expect(frame.locator(part("data-facts"))).to_contain_text("24 rows", timeout=LONG)
        keeps = keeping(frame)
        frame.locator(part("data-run")).click()
        expect(frame.locator(part("data-results"))).to_contain_text("number 5", timeout=LONG)
        kept(frame, keeps)

    workbench = Workbench(page, editor)
    workbench.command("lmkit: Open Panel")
    workbench.pick("Classification")
    workbench.pick("starter:sentiment")
    frame = workbench.frame(part("data-toggle"))
    evaluate(frame)
    scores = read(frame.locator(part("data-results")))

    def is_kept(frame: Frame) -> None:
        """What was there is there, with the way on."""
        note = frame.locator("#note")
        expect(note).to_contain_text("This result was kept", timeout=LONG)
        assert read(frame.locator(part("data-results"))) == scores

    with page.expect_navigation():
        workbench.command("Developer: Reload Window")
    workbench.ready()
    frame = workbench.frame(part("data-results"))
    is_kept(frame)
    expect(frame.locator(part("saved-note"))).to_contain_text("The result of an earlier run.")
    workbench.shot("kept-data-set")

    # the form is a click away, and what it runs is live
    frame.get_by_role("button", name="Back to the Form").click()
    expect(frame.locator("#note")).to_be_hidden()
    evaluate(frame)

    # Python ends when nothing runs: what it made stays
    os.kill(editor.python(), signal.SIGKILL)
    is_kept(frame)
    workbench.shot("kept-after-end")
    frame.get_by_role("button", name="Back to the Form").click()
    expect(frame.locator(part("run"))).to_be_enabled(timeout=LONG)
    workbench.harmless()


def test_a_reload_runs_nothing_that_was_not_run_and_mixes_no_two_runs(
    page: Page, editor: Editor
) -> None:
    (editor.workspace / "text.txt").write_text("selected in the editor\n")
    workbench = Workbench(page, editor)
    frame = open_panel(workbench)

    def fill(name: str, value: str) -> None:
        place = frame.locator(f'{part("field")}[data-field="{name}"]')
        if not place.is_visible():
            frame.locator(part("more-fields")).click()
        place.fill(value)

    def reload() -> Frame:
        """The panel as it comes back: with the first result, kept."""
        with page.expect_navigation():
            workbench.command("Developer: Reload Window")
        workbench.ready()
        back = workbench.frame(part("results"))
        expect(back.locator("#note")).to_contain_text("This result was kept", timeout=LONG)
        expect(back.locator(part("results"))).to_contain_text("tsrif")
        expect(back.locator(part("stop"))).to_be_disabled()
        return back

    fill("text", "first")
    keeps = keeping(frame)
    frame.locator(part("run")).click()
    expect(frame.locator(part("results"))).to_contain_text("tsrif", timeout=LONG)
    kept(frame, keeps)

    # typed and not run: it is there, and nothing has run it
    fill("text", "second")
    frame.wait_for_timeout(1_000)  # for what is typed to reach Python
    frame = reload()
    frame.get_by_role("button", name="Back to the Form").click()
    expect(frame.locator(part("run"))).to_be_enabled(timeout=LONG)
    assert field(frame, "text") == "second"
    expect(frame.locator(VIEW)).not_to_contain_text("dnoces")

    # a run in progress when the window goes: the result before it is whole
    fill("steps", "50000")
    frame.locator(part("run")).click()
    expect(workbench.toast("Counting")).to_be_visible(timeout=LONG)
    frame.wait_for_timeout(3_000)  # in which a form was kept that had this text and that result
    frame = reload()
    assert field(frame, "steps") == "1"
    workbench.shot("kept-whole")

    # a selected text goes into a panel of its own
    workbench.open("text.txt")
    workbench.analyse("selected in the editor", "Slow")
    workbench.pick("starter:sentiment")
    expect(page.locator(".tab", has_text="lmkit:")).to_have_count(2, timeout=LONG)
    workbench.harmless()
