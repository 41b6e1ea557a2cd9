"""An environment with the wheels of this repository: what editors under test see of lmkit.

All other packages are those of the environment that the tests run in, so it costs seconds and no
second torch. It lies in that environment, and is made again when a file of the wheels has changed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

__all__ = ["PLUGINS", "ROOT", "build_wheels", "install", "interpreter", "run"]

ROOT = Path(__file__).parents[1]
PLUGINS = sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml"))
KEPT = 2
"""Environments that stay: another run of the tests may be in the one before."""


def run(*command: str | Path, **more: str) -> str:
    """Run a command away from the source tree; gives what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False,
        env={**clean, **more}, cwd=sysconfig.get_path("scripts"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheels(out: Path) -> Path:
    """Build every wheel into ``out``, by what ``make dist`` runs."""
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--no-index", "--wheel-dir", out, ROOT, *PLUGINS,
    )  # fmt: skip
    return out


def install(dist: Path, folder: Path) -> Path:
    """Make an environment with the wheels in ``dist``; gives its interpreter.

    It reads all other packages from the environment of the tests, but not lmkit: an editable
    install is found by .pth files, which are read in one's own site-packages only.
    """
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    inside = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(
        sys.executable, "-m", "pip", "--python", inside, "install", "--quiet", "--no-deps",
        "--no-index", "--no-compile", *sorted(dist.glob("*.whl")),
    )  # fmt: skip
    site = run(inside, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(site, "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return inside


def _share_jupyter(folder: Path) -> None:
    """Let JupyterLab find its own files and other people's extensions; lmkit's is the wheel's."""
    for place in ("share/jupyter", "share/jupyter/labextensions", "etc/jupyter"):
        here, there = folder / place, Path(sys.prefix, place)
        here.mkdir(parents=True, exist_ok=True)
        for one in there.iterdir():
            if one.name not in ("labextensions", "lmkit"):
                (here / one.name).symlink_to(one)


def _sources() -> Iterator[Path]:
    for package in (ROOT / "lmkit", *PLUGINS):
        for at, folders, files in os.walk(package):
            folders[:] = [one for one in folders if one not in ("__pycache__", "tests")]
            yield from (Path(at, name) for name in files)
    yield from (ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE"))


def _digest() -> str:
    state = hashlib.sha256()
    for file in sorted(_sources()):
        known = file.stat()
        state.update(f"{file.relative_to(ROOT)} {known.st_size} {known.st_mtime_ns}\n".encode())
    return state.hexdigest()[:16]


@functools.cache
def interpreter() -> Path:
    """The interpreter of an environment with the wheels of the source as it is now."""
    home = Path(sys.prefix, "installed")
    home.mkdir(exist_ok=True)
    folder = home / _digest()
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    with FileLock(home / ".lock"):
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "dist").mkdir(parents=True)
            install(build_wheels(folder / "dist"), folder / "venv")
            _share_jupyter(folder / "venv")
            (folder / "made").touch()
        (folder / "made").touch()
        made = [one for one in home.iterdir() if (one / "made").exists()]
        made.sort(key=lambda one: (one / "made").stat().st_mtime, reverse=True)
        for old in made[KEPT:]:
            shutil.rmtree(old)
    return python
