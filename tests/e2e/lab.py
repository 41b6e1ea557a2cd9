"""A JupyterLab server for tests: the wheels, own folders, a free port, ended with all kernels."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.installed import interpreter

__all__ = ["Lab", "free_port", "serve"]

_QUIET = ("@jupyterlab/apputils-extension:announcements",)
"""Extensions that ask a web site for news."""
_STARTING = 90.0


class Lab:
    """A running server: where it is, and the folder whose notebooks it serves."""

    def __init__(self, url: str, root: Path, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = url
        self.root = root
        self.log = log
        self._process = process

    def page(self, notebook: str) -> str:
        """Address of JupyterLab with a notebook open, in a workspace of its own."""
        name = Path(notebook).stem
        return f"{self.url}/lab/workspaces/{name}/tree/{notebook}?reset"

    def classic(self, notebook: str) -> str:
        """Address of Notebook 7 with a notebook open."""
        return f"{self.url}/notebooks/{notebook}"

    def stop(self) -> None:
        """End the server and every kernel that it started."""
        group = self._process.pid
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)  # kernels that outlived their server


@contextlib.contextmanager
def serve(
    folder: Path, *, disabled: tuple[str, ...] = (), environ: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Lab]:  # fmt: skip
    """Start a server in ``folder`` and end it with the block.

    Args:
        folder: Empty folder; notebooks go into ``folder / "notebooks"``.
        disabled: Front-end extensions to leave out.
        environ: Further environment variables of server and kernels.
        settings: Settings of the user, by plugin (``lmkit:side-panel``).
    """
    root = folder / "notebooks"
    root.mkdir()
    config = folder / "config"
    (config / "labconfig").mkdir(parents=True)
    page_config = {"disabledExtensions": dict.fromkeys((*_QUIET, *disabled), True)}
    (config / "labconfig" / "page_config.json").write_text(json.dumps(page_config))
    for plugin, values in (settings or {}).items():
        extension, name = plugin.split(":")
        file = config / "lab" / "user-settings" / extension / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        **(environ or {}),
    }
    log = folder / "server.log"
    for attempt in range(3):  # another process may take the port between the two of us
        lab = _start(root, log, environment)
        if lab is not None:
            break
        assert attempt < 2, f"JupyterLab did not start:\n{log.read_text()[-4000:]}"
    try:
        yield lab
    finally:
        lab.stop()


def _start(root: Path, log: Path, environment: Mapping[str, str]) -> Lab | None:
    port = free_port()
    command = [
        str(interpreter()), "-m", "jupyterlab", "--no-browser", "--allow-root",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        "--IdentityProvider.token=", "--ServerApp.password=",
        f"--ServerApp.root_dir={root}", "--LabApp.expose_app_in_browser=True",
        "--JupyterNotebookApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
    ]  # fmt: skip
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=dict(environment), start_new_session=True,
            cwd=root,  # "python -m" looks for modules in the folder where it is started
        )  # fmt: skip
    lab = Lab(f"http://127.0.0.1:{port}", root, process, log)
    deadline = time.monotonic() + _STARTING
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{lab.url}/api/status", timeout=5):
                return lab
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    lab.stop()
    return None


def free_port() -> int:
    """A port that nobody listens on, and that the system hands to no one who asks for any."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
