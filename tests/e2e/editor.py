"""A VS Code that runs in a browser, for tests: a fresh profile with the built .vsix."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from playwright.sync_api import Error, Frame, JSHandle, Locator, Page, Request

from lmkit.protocol.codec import MIME
from tests.e2e.lab import free_port
from tests.e2e.notebook import Watch
from tests.installed import interpreter

__all__ = [
    "ARTIFACTS",
    "Editor",
    "Workbench",
    "frame_with",
    "saved_notebook",
    "serve",
    "watch",
]

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "test-artifacts" / "e2e"
VSIX = ROOT / "dist" / "lmkit.vsix"
EXTENSIONS = Path(__file__).parent / "extensions"
WAIT = 60.0
RESOURCES = ".vscode-resource.vscode-cdn.net"
_STARTING = 60.0

SETTINGS: dict[str, Any] = {
    "extensions.autoCheckUpdates": False,
    "extensions.autoUpdate": False,
    "extensions.ignoreRecommendations": True,
    "files.autoSave": "off",
    "telemetry.telemetryLevel": "off",
    "update.mode": "none",
    "window.restoreWindows": "all",
    "workbench.enableExperiments": False,
    "workbench.startupEditor": "none",
    "workbench.colorTheme": "Default Light Modern",
}


class Editor:
    """A running server: where it is and what it serves."""

    def __init__(self, url: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.folder = folder
        self.process = process

    @property
    def workspace(self) -> Path:
        """The folder that is open."""
        return self.folder / "workspace"

    def page(self, *, tests: Path | None = None) -> str:
        """Address of the workbench; with ``tests``, the bundle that its extension host runs."""
        address = f"{self.url}/?folder={quote(str(self.workspace))}"
        if tests is None:
            return address
        authority = urlsplit(self.url).netloc
        (extension,) = (self.folder / "extensions").glob("lmkit.lmkit-*")
        payload = [
            ["extensionDevelopmentPath", f"vscode-remote://{authority}{extension}"],
            ["extensionTestsPath", f"vscode-remote://{authority}{tests}"],
            ["skipWelcome", "true"],
        ]
        return f"{address}&payload={quote(json.dumps(payload))}"

    def python(self, after: int = 0) -> int:
        """The process that the extension talks to, once there is one; another than ``after``."""
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            listed = subprocess.run(
                ["ps", "-A", "-ww", "-o", "pid=,pgid=,args="],
                capture_output=True,
                text=True,
                check=True,
            )
            for line in listed.stdout.splitlines():
                number, group, words = line.split(None, 2)
                ours = int(group) == self.process.pid and int(number) != after
                if ours and words.endswith("lmkit serve --stdio"):
                    return int(number)
            time.sleep(0.1)
        raise AssertionError("no Python process of the extension")

    def stop(self) -> None:
        """End the server and its extension hosts, which would outlive it by hours."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def _entry() -> Path:
    place = Path(os.environ.get("LMKIT_CODE_SERVER", Path(sys.prefix) / "code-server"))
    entry = place / "node_modules" / "code-server" / "out" / "node" / "entry.js"
    assert entry.is_file(), f"There is no VS Code in {place}: run `make test`."
    return entry


@contextlib.contextmanager
def serve(folder: Path, *, trust: bool = True, vsix: bool = True,
          environ: Mapping[str, str] | None = None,
          settings: Mapping[str, Any] | None = None, language: str = "en",
          beside: Sequence[str] = (),
          keys: Sequence[Mapping[str, Any]] = ()) -> Iterator[Editor]:  # fmt: skip
    """Install the extension in a fresh profile in ``folder`` and serve it until the block ends.

    Args:
        folder: Empty folder; files to open go into ``folder / "workspace"``.
        trust: False: workspaces are asked about and untrusted until then.
        vsix: Whether the extension is installed.
        environ: Further environment variables.
        settings: Further settings of the user.
        language: What VS Code speaks; other than "en" it needs a language pack in the profile.
        beside: Other extensions to install, by their folders in ``tests/e2e/extensions``.
        keys: Key bindings of the user.
    """
    assert VSIX.is_file(), f"{VSIX} is not built: run `make test`."
    (folder / "workspace").mkdir(exist_ok=True)
    chosen = {**SETTINGS, "lmkit.pythonPath": str(interpreter()), **(settings or {})}
    chosen["security.workspace.trust.enabled"] = not trust
    # A path is a setting of the machine: a user's own counts, of a remote workspace, only until VS
    # Code has read what the extension declares.
    machine = {"lmkit.pythonPath": chosen.pop("lmkit.pythonPath")}
    for scope, some in {"User": chosen, "Machine": machine}.items():
        (folder / "user" / scope).mkdir(parents=True, exist_ok=True)
        (folder / "user" / scope / "settings.json").write_text(json.dumps(some))
    (folder / "user" / "User" / "keybindings.json").write_text(json.dumps(list(keys)))
    node = shutil.which("node")
    assert node is not None
    profile = [
        node, str(_entry()), "--user-data-dir", str(folder / "user"),
        "--extensions-dir", str(folder / "extensions"), "--config", str(folder / "config.yaml"),
    ]  # fmt: skip
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **(environ or {}),
    }  # fmt: skip
    files = [*([VSIX] if vsix else []), *(_pack(EXTENSIONS / name, folder) for name in beside)]
    wishes = [word for file in files for word in ("--install-extension", str(file))]
    if wishes:
        done = subprocess.run(
            [*profile, *wishes], capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
    log = folder / "server.log"
    for attempt in range(3):  # another process may take the port between the two of us
        port = free_port()
        more = ["--disable-workspace-trust"] if trust else []
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*profile, "--auth", "none", "--bind-addr", f"127.0.0.1:{port}",
                 "--disable-telemetry", "--disable-update-check", "--locale", language, *more],
                stdout=output, stderr=output, env=environment, start_new_session=True,
            )  # fmt: skip
        editor = Editor(f"http://127.0.0.1:{port}", folder, process)
        if _is_up(editor):
            break
        editor.stop()
        assert attempt < 2, f"VS Code did not start:\n{log.read_text()[-4000:]}"
    try:
        yield editor
    finally:
        editor.stop()


_VSIX_MANIFEST = """<?xml version="1.0" encoding="utf-8"?>
<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011">
<Metadata>
<Identity Language="en-US" Id="{name}" Version="{version}" Publisher="{publisher}"/>
<DisplayName>{displayName}</DisplayName>
<Description>{displayName}</Description>
</Metadata>
<Installation><InstallationTarget Id="Microsoft.VisualStudio.Code"/></Installation>
<Dependencies/>
<Assets>
<Asset Type="Microsoft.VisualStudio.Code.Manifest" Path="extension/package.json"/>
</Assets>
</PackageManifest>
"""


def _pack(source: Path, folder: Path) -> Path:
    """A .vsix of a folder that holds an extension as it is."""
    manifest = json.loads((source / "package.json").read_text())
    target = folder / f"{manifest['publisher']}.{manifest['name']}.vsix"
    types = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
    with zipfile.ZipFile(target, "w") as packed:
        packed.writestr("[Content_Types].xml", types)
        packed.writestr("extension.vsixmanifest", _VSIX_MANIFEST.format(**manifest))
        for file in sorted(one for one in source.iterdir() if one.is_file()):
            packed.write(file, f"extension/{file.name}")
    return target


def _is_up(editor: Editor) -> bool:
    deadline = time.monotonic() + _STARTING
    while editor.process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{editor.url}/healthz", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def watch(frame: Frame, words: str) -> JSHandle:
    """Count the frames that a panel's page draws from now on, and those ``without`` some words."""
    return frame.evaluate_handle(_WATCH, words)


def keeping(frame: Frame) -> JSHandle:
    """Note, from now on, the newest saved form that a panel's page has had VS Code keep."""
    return frame.evaluate_handle(_KEEPING)


def kept(frame: Frame, keeps: JSHandle, layer: int | None = None, head: int | None = None) -> None:
    """Wait until a saved form is kept; of a chosen head, if one is named."""
    frame.wait_for_function(_KEPT, arg=[keeps, layer, head], timeout=60_000)
    frame.wait_for_timeout(500)  # from the page to VS Code's own store


_KEEPING = """() => {
    const keeps = { bundle: null };
    addEventListener('message', ({ data }) => {
        if (data?.type === 'state' && data.bundle) keeps.bundle = data.bundle;
    });
    return keeps;
}"""
_KEPT = """([keeps, layer, head]) => {
    const chosen = keeps.bundle?.spec.attention?.selection;
    return keeps.bundle && (layer === null || (chosen.layer === layer && chosen.head === head));
}"""


_WATCH = """(words) => {
    const seen = { frames: 0, without: 0 };
    const look = () => {
        const view = document.querySelector('[data-lmkit="view"]');
        seen.frames += 1;
        if (!view?.shadowRoot.textContent.includes(words)) seen.without += 1;
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
    return seen;
}"""


def saved_notebook(*outputs: dict[str, Any] | str) -> str:
    """A saved notebook with one output a cell."""
    cells = [
        {
            "cell_type": "code", "execution_count": number, "id": f"c{number}", "metadata": {},
            "source": ["r"],
            "outputs": [{
                "output_type": "display_data", "metadata": {},
                "data": {
                    # what the Jupyter extension would draw; there is none, and no kernel
                    "application/vnd.jupyter.widget-view+json": {"model_id": "gone"},
                    MIME: output, "text/plain": ["plain text"],
                },
            }],
        }
        for number, output in enumerate(outputs, 1)
    ]  # fmt: skip
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps(
        {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    )


def frame_with(page: Page, selector: str, *, count: int = 1) -> Frame:
    """The frame in which ``selector`` is found: webviews are frames within frames."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        for frame in page.frames:
            with contextlib.suppress(Exception):  # a frame that went while it was asked
                if frame.locator(selector).count() >= count:
                    return frame
        page.wait_for_timeout(100)
    page.screenshot(path=ARTIFACTS / "vscode-missing.png")
    urls = "\n".join(frame.url[:120] for frame in page.frames)
    raise AssertionError(f"no frame has {selector}:\n{urls}")


class Workbench:
    """VS Code in a page."""

    def __init__(self, page: Page, editor: Editor, *, go: bool = True, ours: bool = True) -> None:
        self.page, self.editor = page, editor
        self.watch = Watch(page)
        self._asked: list[str] = []
        page.on("request", self._note)
        if go:
            page.goto(editor.page())
        if ours:
            self.ready()

    def _note(self, request: Request) -> None:
        """Keep what a view's frame asks of others than this server; VS Code asks for its own."""
        with contextlib.suppress(Error):  # a service worker's request has no frame
            if request.frame == self.page.main_frame:
                return
            host = urlsplit(request.url).netloc
            # VS Code's service worker answers under this name with files of the extension
            if host != urlsplit(self.editor.url).netloc and not host.endswith(RESOURCES):
                self._asked.append(request.url)

    def ready(self) -> None:
        """Wait until the extension is known."""
        # the extension's icon tells that what it contributes is known
        self.page.wait_for_selector('.activitybar [aria-label="lmkit"]', timeout=60_000)

    def open(self, name: str) -> None:
        """Open a file of the workspace by a double click, as a person does."""
        self.page.keyboard.press("Escape")
        row = self.page.locator(".explorer-folders-view .monaco-list-row", has_text=name)
        if not row.is_visible():
            self.page.keyboard.press("Control+Shift+E")
        row.dblclick()

    def command(self, title: str) -> None:
        """Run a command of the palette."""
        for attempt in range(4):  # what takes the focus just now closes the palette
            self.palette(title)
            try:
                self.pick(title, timeout=5_000)
                return
            except Error:
                if attempt == 3:
                    raise
                self.page.keyboard.press("Escape")

    def palette(self, title: str) -> None:
        """Open the palette where it has this command."""
        box = self.page.locator(".quick-input-widget input.input")
        row = self.page.locator(".quick-input-list .monaco-list-row", has_text=title).first
        # A webview that takes the focus just now swallows the key; and the list is that of the
        # moment at which it opened, before it is known, maybe, that the workspace is trusted.
        for _ in range(6):
            self.page.keyboard.press("F1")
            with contextlib.suppress(Error):
                box.wait_for(timeout=3_000)
                box.fill(f">{title}")
                row.wait_for(timeout=5_000)
                break
            self.page.keyboard.press("Escape")

    def pick(self, text: str, *, timeout: int = 60_000) -> None:
        """Choose the entry of a list whose label has these words."""
        row = self.page.locator(".quick-input-list .monaco-list-row", has_text=text).first
        row.click(timeout=timeout)

    def until(self, act: Callable[[], object], seen: Callable[[int], object]) -> None:
        """Act until it is seen to have been heard.

        For what VS Code may be drawing anew at that moment: a row's button of which the press falls
        on the old one and the release on the new, a key that comes before it has read the keys.

        Args:
            act: A click, or a key.
            seen: Expects what follows, in so many milliseconds.
        """
        for _ in range(8):
            with contextlib.suppress(Error):
                act()
            with contextlib.suppress(AssertionError, Error):
                seen(8_000)
                return
        seen(8_000)

    def analyse(self, words: str, task: str, *, characters: int = 0) -> None:
        """Run a task on the first line of the file that is open, or on so much of it.

        Args:
            words: Words of that line, to click at.
            task: Of the list of tasks that is asked from.
            characters: How many from its beginning; 0: all.
        """
        self.page.locator(".monaco-editor .view-line", has_text=words).click()
        self.page.keyboard.press("Control+Home")
        for _ in range(characters):
            self.page.keyboard.press("Shift+ArrowRight")
        if not characters:
            self.page.keyboard.press("Shift+End")
        self.command("lmkit: Analyse Selection")
        self.pick(task)

    def theme(self, name: str, kind: str) -> None:
        """Choose a colour theme; ``kind`` is the class that the workbench then has."""
        self.command("Preferences: Color Theme")
        # what is typed before the list is there goes into the editor
        box = self.page.locator(".quick-input-widget input.input")
        row = self.page.locator(".quick-input-list .monaco-list-row", has_text="Modern").first
        row.wait_for(timeout=60_000)
        box.fill(name)
        self.pick(name)
        self.page.wait_for_selector(f".monaco-workbench.{kind}")
        self.page.wait_for_timeout(700)  # the theme's sheet comes after its class

    def frame(self, selector: str, **options: Any) -> Frame:
        """The frame that has ``selector``."""
        return frame_with(self.page, selector, **options)

    def toast(self, words: str) -> Locator:
        """VS Code's notification that says so."""
        return self.page.locator(".notification-toast").filter(has_text=words)

    def shot(self, name: str) -> None:
        """Keep a picture of the window."""
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=ARTIFACTS / f"vscode-{name}.png")

    def harmless(self) -> None:
        """Nothing of a notebook ran, in any frame, and nobody else was asked for anything."""
        for frame in self.page.frames:
            assert frame.evaluate("globalThis.__pwned") is None
        assert self.watch.dialogs == []
        ours = [url for url in self.watch.requests if url.rsplit("/", 1)[-1] == "x"]
        assert ours == []
        strangers = [url for url in self._asked if urlsplit(url).scheme not in ("data", "blob")]
        assert strangers == [], strangers
