"""VS Code with other extensions beside lmkit's, and with runs in its workspace.

Neither the Python nor the Jupyter extension can be had from a registry. In their place, under
their ids, small extensions of these tests export the parts of their documented APIs that are used:
a chosen interpreter, and a real kernel that executes code. The real extension host loads them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from playwright.sync_api import Frame, Locator, Page, expect

from tests.e2e.editor import Editor, Workbench, saved_notebook, serve
from tests.installed import interpreter

VIEW = '[data-lmkit="view"]'
LONG = 120_000
# long enough that its 72 heads do not all go into the notebook
TEXT = "The plot is thin, but I was moved. " * 8
TOKEN = 4
CELL = f"""
import json
import lmkit
from lmkit.kernel_session import current_session
r = lmkit.load("starter:sentiment").run("classification", text={TEXT!r})
forms, _ = r.panel._repr_mimebundle_()
print(json.dumps(forms["application/vnd.lmkit.view.v1+json"]))
"""
AGAIN = "s = current_session(); s.runs.run_now(s.views.panel(r.view.id), {'text': 'dull and slow'})"
RECIPE = """
out = "runs/{name}"
[teacher]
model = "starter:sentiment"
[student]
layers = 2
[data]
train = "{name}.tsv"
dev = "{name}.tsv"
[train]
steps = {steps}
batch = 4
[report]
seconds = 1
"""


def part(name: str) -> str:
    return f'[data-lmkit="{name}"]'


@dataclass
class Kernel:
    """A real kernel, what its cell left in a notebook, and where its connection file is."""

    process: subprocess.Popen[bytes]
    client: BlockingKernelClient
    file: Path
    bundle: dict[str, Any]

    def run(self, code: str) -> str:
        """What the code prints."""
        return execute(self.client, code)

    def restart(self) -> None:
        """Another process behind the same connection file, as Jupyter restarts a kernel."""
        self.stop()
        self.process = start_kernel(self.file)
        deadline = time.monotonic() + 120
        while True:  # the client's own look at the old one's heartbeat says for a second "dead"
            try:
                self.client.wait_for_ready(timeout=60)
                return
            except RuntimeError:
                assert time.monotonic() < deadline
                assert self.process.poll() is None
                time.sleep(0.2)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def start_kernel(file: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [interpreter(), "-m", "ipykernel_launcher", "-f", str(file)], env=environment
    )


def execute(client: BlockingKernelClient, code: str) -> str:
    said: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream" and content["name"] == "stdout":
            said.append(content["text"])

    reply = client.execute_interactive(code, timeout=120, output_hook=hear)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(said)


@contextlib.contextmanager
def running_kernel(folder: Path) -> Iterator[Kernel]:
    file = folder / "kernel.json"
    process = start_kernel(file)
    kernel = Kernel(process, BlockingKernelClient(connection_file=str(file)), file, {})
    try:
        deadline = time.monotonic() + 60
        while not file.exists() or not file.read_text():
            assert time.monotonic() < deadline, "the kernel did not start"
            time.sleep(0.1)
        kernel.client.load_connection_file()
        kernel.client.start_channels()
        kernel.client.wait_for_ready(timeout=60)
        kernel.bundle = json.loads(kernel.run(CELL))
        yield kernel
    finally:
        kernel.client.stop_channels()
        kernel.stop()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with running_kernel(tmp_path_factory.mktemp("kernel")) as running:
        yield running


def write_texts(workspace: Path, name: str, labels: tuple[str, str] = ("1", "0")) -> None:
    texts = ["a moving film", "a thin plot", "we loved it", "dull and long"] * 6
    rows = [f"{text} {i}\t{labels[i % 2]}" for i, text in enumerate(texts)]
    (workspace / f"{name}.tsv").write_text("text\tlabel\n" + "\n".join(rows))


def distil(workspace: Path, name: str, steps: int, **texts: Any) -> subprocess.Popen[bytes]:
    """Start a run in ``runs/`` of the workspace, as a person does in a terminal."""
    write_texts(workspace, name, **texts)
    recipe = workspace / f"{name}.toml"
    recipe.write_text(RECIPE.format(name=name, steps=steps))
    return subprocess.Popen(
        [interpreter(), "-m", "lmkit", "distill", recipe.name], cwd=workspace,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def report_key(key: str, run: str) -> dict[str, Any]:
    """The menu has the command where page and files are on one machine; here a key has it."""
    return {
        "key": key, "command": "lmkit.openReport",
        "args": {"name": f"runs/{run}", "task": "distillation"},
    }  # fmt: skip


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory, kernel: Kernel) -> Iterator[Editor]:
    folder = tmp_path_factory.mktemp("vscode")
    workspace = folder / "workspace"
    workspace.mkdir()
    (workspace / "live.ipynb").write_text(saved_notebook(kernel.bundle))
    (workspace / ".environment").write_text(sys._base_executable)  # type: ignore[attr-defined]
    short = distil(workspace, "short", 2)
    try:
        with serve(
            folder,
            settings={"lmkit.pythonPath": ""},
            environ={"LMKIT_TEST_PYTHON": sys.executable},
            beside=("python", "jupyter"),
            keys=[report_key("ctrl+alt+1", "card"), report_key("ctrl+alt+2", "none")],
        ) as running:
            assert short.wait(timeout=240) == 0
            yield running
    finally:
        short.kill()


@pytest.fixture
def workbench(page: Page, editor: Editor) -> Workbench:
    return Workbench(page, editor)


def show_home(workbench: Workbench) -> None:
    icon = workbench.page.locator('.activitybar a[aria-label="lmkit"]')
    if icon.get_attribute("aria-expanded") != "true":
        icon.click()


def test_the_python_extension_chooses_the_environment_and_is_followed(
    workbench: Workbench, editor: Editor
) -> None:
    show_home(workbench)
    page = workbench.page
    # the interpreter below this environment has no lmkit
    welcome = page.locator(".welcome-view").filter(has_text="not in the chosen Python environment")
    expect(welcome).to_be_visible(timeout=60_000)
    workbench.shot("no-lmkit")
    (editor.workspace / ".environment").write_text(str(interpreter()))
    row = page.locator(".pane-body .monaco-list-row").filter(has_text="Python 3").first
    expect(row).to_be_visible(timeout=60_000)
    hovered(workbench, row, str(interpreter()))
    workbench.harmless()


def hovered(workbench: Workbench, row: Locator, words: str) -> None:
    """What a row says to the mouse that rests on it; a row drawn anew says nothing."""
    told = workbench.page.locator(".monaco-hover", has_text=words)

    def rest() -> None:
        workbench.page.mouse.move(640, 5)
        row.hover()

    workbench.until(rest, lambda within: expect(told).to_be_visible(timeout=within))


def press(workbench: Workbench, button: str) -> None:
    """A button of VS Code's own question."""
    box = workbench.page.locator(".monaco-dialog-box")
    expect(box).to_contain_text("May lmkit ask the kernel of")
    workbench.shot(f"rest-consent-{button.lower()}")
    box.get_by_role("button", name=button, exact=True).click()
    expect(box).to_have_count(0)


def problem(frame: Frame, words: str) -> None:
    expect(frame.locator(part("error")).first).to_contain_text(words, timeout=60_000)


def test_a_saved_output_gets_the_rest_from_the_running_kernel(
    workbench: Workbench, editor: Editor, kernel: Kernel
) -> None:
    carried = kernel.bundle["headsCarried"]
    assert 0 < carried < 72
    workbench.open("live.ipynb")
    frame = workbench.frame(f"{VIEW} {part('label-row')}", count=2)
    rest = frame.locator(part("rest"))
    expect(rest).to_have_text("Get the rest from the kernel", timeout=60_000)
    note = frame.locator(part("saved-note"))
    expect(note).to_contain_text(f"{carried} of 72 heads")

    # a head that was not saved says so, with the same button
    frame.locator(f'{part("cell")}[data-layer="5"][data-head="7"]').click()
    picture = frame.locator(part("picture"))
    expect(picture).to_have_attribute("data-state", "missing")
    expect(rest).to_have_count(2)
    workbench.shot("rest-offered")

    # who says no is not asked by every head; and there must be a kernel that was started
    rest.first.click()
    press(workbench, "Cancel")
    problem(frame, "The kernel was not asked.")
    rest.first.click()
    press(workbench, "Allow")
    problem(frame, "no running kernel")
    expect(frame.locator(part("error")).first).to_contain_text("Run any cell")
    workbench.shot("rest-no-kernel")

    # agreed once for the notebook: it is not asked again
    shutil.copy(kernel.file, editor.workspace / ".kernel.json")
    rest.first.click()
    expect(picture).to_have_attribute("data-state", "ready", timeout=60_000)
    expect(frame.locator(part("badge"))).to_have_text("saved + kernel")
    expect(note).to_contain_text("its kernel gives what it lacks")
    expect(frame.locator(part("error"))).to_have_count(0)
    same_as_in(kernel, frame)
    workbench.shot("rest-light")
    for theme, kind in {"Dark Modern": "vs-dark", "Dark High Contrast": "hc-black"}.items():
        workbench.theme(theme, kind)
        workbench.shot(f"rest-{kind}")

    # the kernel goes on with another text: what it has now is not drawn into this output
    kernel.run(AGAIN)
    frame.locator(f'{part("cell")}[data-layer="4"][data-head="3"]').click()
    problem(frame, "another run")
    expect(picture).to_have_attribute("data-state", "missing")
    expect(rest.filter(visible=True)).to_have_count(0)
    workbench.shot("rest-moved")
    workbench.harmless()


def same_as_in(kernel: Kernel, frame: Frame) -> None:
    """What layer 5, head 7 draws of a token is what the kernel computed."""
    frame.locator(part("token")).nth(TOKEN).click()
    items = frame.locator(part("sentence-item"))
    expect(items.first).to_be_visible()
    shown = [float(re.findall(r"\d+\.\d+", one)[-1]) for one in items.all_inner_texts()]
    row = json.loads(kernel.run(f"print(json.dumps(r.attention[5, 7][{TOKEN}].tolist()))"))
    assert shown == pytest.approx(np.sort(row)[::-1][: len(shown)], abs=0.002)


def test_an_output_after_a_reload_and_after_its_kernels_restart(
    workbench: Workbench, editor: Editor, tmp_path: Path
) -> None:
    connection = editor.workspace / ".kernel.json"
    with running_kernel(tmp_path) as kernel:
        (editor.workspace / "again.ipynb").write_text(saved_notebook(kernel.bundle))
        shutil.copy(kernel.file, connection)
        try:
            workbench.open("again.ipynb")
            for turn in ("opened", "reloaded"):
                frame = workbench.frame(f"{VIEW} {part('label-row')}", count=2)
                picture = frame.locator(part("picture"))
                frame.locator(f'{part("cell")}[data-layer="5"][data-head="7"]').click()
                expect(picture).to_have_attribute("data-state", "missing")
                frame.locator(part("rest")).first.click(timeout=60_000)
                press(workbench, "Allow")
                expect(picture).to_have_attribute("data-state", "ready", timeout=60_000)
                same_as_in(kernel, frame)
                if turn == "opened":
                    # the page goes, the kernel stays
                    with workbench.page.expect_navigation():
                        workbench.command("Developer: Reload Window")
                    workbench.ready()

            # the kernel's own memory is gone: what was saved, and what came before, stays drawn
            kernel.restart()
            connection.touch()  # the stand-in hears of it
            frame.locator(f'{part("cell")}[data-layer="4"][data-head="3"]').click()
            problem(frame, "kernel")
            said = frame.locator(part("error")).first
            # the question that it took with it, or the next
            expect(said).to_contain_text(re.compile("was restarted|lmkit is not loaded"))
            expect(said).to_contain_text("Run the cell again")
            expect(frame.locator(part("badge"))).to_have_text("saved")
            expect(frame.locator(part("label-row"))).to_have_count(2)
            expect(picture).to_have_attribute("data-state", "missing")
            workbench.shot("rest-restarted")
            frame.locator(f'{part("cell")}[data-layer="5"][data-head="7"]').click()
            expect(picture).to_have_attribute("data-state", "ready")
        finally:
            connection.unlink()
    workbench.harmless()


def run_row(workbench: Workbench, words: str) -> Any:
    return workbench.page.locator('.pane:has([aria-label="Runs Section"]) .monaco-list-row').filter(
        has_text=words
    )


def press_in_row(workbench: Workbench, row: Locator, button: str, then: Locator) -> None:
    """Press a row's button; while a run goes on its row is drawn anew every two seconds."""

    def press() -> None:
        row.hover(timeout=5_000)
        row.get_by_role("button", name=button).click(timeout=5_000)

    workbench.until(press, lambda within: expect(then).to_have_count(1, timeout=within))


def test_runs_of_the_workspace_are_listed_followed_and_opened(
    workbench: Workbench, editor: Editor
) -> None:
    (editor.workspace / ".environment").write_text(str(interpreter()))
    page = workbench.page
    workbench.theme("Light Modern", "vs")
    show_home(workbench)
    done = run_row(workbench, "finished")
    expect(done).to_have_count(1, timeout=60_000)
    done.click()
    frame = workbench.frame(f"{VIEW} {part('job')}")
    expect(frame.locator(part("job"))).to_have_attribute("data-state", "finished", timeout=60_000)
    expect(frame.locator(VIEW)).to_contain_text("What was kept", timeout=60_000)
    workbench.shot("run-report")
    done.click()  # brings the same panel to the front
    expect(page.locator(".tab", has_text="lmkit:")).to_have_count(1)
    workbench.command("View: Close All Editors")

    process = distil(editor.workspace, "longer", 2_000)
    try:
        running = run_row(workbench, "running")
        expect(running).to_have_count(1, timeout=60_000)
        running.click()
        frame = workbench.frame(f"{VIEW} {part('job')}")
        job = frame.locator(part("job"))
        expect(job).to_have_attribute("data-state", "running", timeout=60_000)
        expect(frame.locator(part("result-chart")).first).to_be_visible(timeout=60_000)
        step = frame.locator(part("job-step"))
        before = step.inner_text()
        expect(step).not_to_have_text(before, timeout=60_000)  # it follows
        expect(run_row(workbench, "of 2000")).to_have_count(1, timeout=60_000)
        workbench.shot("run-running")
        press_in_row(workbench, running, "Pause Run", run_row(workbench, "paused"))
        expect(job).to_have_attribute("data-state", "paused", timeout=60_000)
        for theme, kind in {"Dark Modern": "vs-dark", "Dark High Contrast": "hc-black"}.items():
            workbench.theme(theme, kind)
            workbench.shot(f"run-paused-{kind}")
        frame.locator(part("job-stop")).click()
        expect(job).to_have_attribute("data-state", "stopped", timeout=60_000)
        expect(run_row(workbench, "stopped")).to_have_count(1, timeout=60_000)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()

    # a reload brings the panel back and starts nothing
    with page.expect_navigation():
        workbench.command("Developer: Reload Window")
    workbench.ready()
    frame = workbench.frame(f"{VIEW} {part('job')}")
    expect(frame.locator(part("job"))).to_have_attribute("data-state", "stopped", timeout=LONG)
    expect(frame.locator(part("job-resume"))).to_be_enabled(timeout=LONG)
    expect(frame.locator(part("job"))).to_have_attribute("data-state", "stopped")
    workbench.harmless()


def menu(workbench: Workbench, row: Any) -> list[str]:
    """What a right click on a row offers."""
    row.click(button="right")
    items = workbench.page.locator(".context-view .action-item .action-label")
    expect(items.filter(has_text="Open Run")).to_be_visible()
    found = [text for text in items.all_inner_texts() if text.strip()]
    workbench.page.keyboard.press("Escape")
    expect(items).to_have_count(0)
    return found


def test_runs_that_failed_or_were_killed_say_why_and_go_on(
    workbench: Workbench, editor: Editor
) -> None:
    (editor.workspace / ".environment").write_text(str(interpreter()))
    failed = distil(editor.workspace, "wrong", 4, labels=("1", "maybe"))
    gone = distil(editor.workspace, "gone", 2_000)
    try:
        assert failed.wait(timeout=240) != 0
        workbench.theme("Light Modern", "vs")
        show_home(workbench)
        wrong = run_row(workbench, "wrong")
        why = "label is 'maybe', which is no label of the teacher"
        expect(wrong).to_contain_text("failed", timeout=60_000)
        expect(wrong).to_contain_text(why)
        last = run_row(workbench, "gone")
        expect(last).to_contain_text(re.compile(r"running, [1-9]\d* of 2000"), timeout=LONG)
        gone.kill()
        gone.wait()
        expect(last).to_contain_text("killed", timeout=60_000)
        expect(last).to_contain_text("gone without a word")
        for row in (wrong, last):
            offered = menu(workbench, row)
            assert "Resume Run" in offered, offered
            assert not {"Pause Run", "Stop Run", "Open Report Card in the Browser"} & {*offered}
        workbench.shot("run-failed-light")
        workbench.theme("Dark Modern", "vs-dark")
        workbench.shot("run-failed-dark")
        hovered(workbench, wrong, why)

        # the panel says it too; with the texts mended, it goes on
        wrong.click()
        frame = workbench.frame(f"{VIEW} {part('job')}")
        job = frame.locator(part("job"))
        expect(job).to_have_attribute("data-state", "failed", timeout=60_000)
        expect(frame.locator(VIEW)).to_contain_text(why)
        workbench.shot("run-failed-panel-dark")
        write_texts(editor.workspace, "wrong")
        wrong.hover()
        wrong.get_by_role("button", name="Resume Run").click()
        expect(wrong).to_contain_text("finished", timeout=LONG)
        expect(job).to_have_attribute("data-state", "finished", timeout=60_000)

        last.hover()
        last.get_by_role("button", name="Resume Run").click()
        expect(last).to_contain_text("running", timeout=LONG)
        press_in_row(workbench, last, "Stop Run", last.filter(has_text="stopped"))
        workbench.harmless()
    finally:
        for process in (failed, gone):
            process.kill()
            process.wait()


def test_a_report_card_is_handed_to_the_browser(page: Page, editor: Editor) -> None:
    card = editor.workspace / "runs" / "card" / "report.html"
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_text("<!doctype html><title>A card</title>")
    workbench = Workbench(page, editor)
    missing = workbench.toast("This run has no report card yet.").first
    workbench.until(  # VS Code reads the user's keys after the page is there
        lambda: page.keyboard.press("Control+Alt+2"),
        lambda within: expect(missing).to_be_visible(timeout=within),
    )
    workbench.shot("no-report")
    # VS Code in a page says so when it hands the browser an address that is none of the web. The
    # browser refuses it here: a page of the network may open no file of the machine.
    handed = "onBeforeUnload triggered but ignored once"
    with page.expect_console_message(lambda said: handed in said.text, timeout=60_000):
        page.keyboard.press("Control+Alt+1")
    others = page.locator(".notification-toast").filter(has_not_text="no report card yet")
    expect(others).to_have_count(0)
