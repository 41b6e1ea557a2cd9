"""A run that is killed: `python killed.py FOLDER step|checkpoint` (see test_run.py).

It kills itself, as nothing that looks on from outside can hit a moment: in the middle of its sixth
step, or when half of a checkpoint is written.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any, NoReturn
from unittest.mock import patch

import torch
from lmkit_distillation.engine import Engine
from lmkit_distillation.folder import RunFolder

from lmkit.tools import KernelTools


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it lives")


def main(folder: str, moment: str) -> None:
    plainly, saved = Engine._gradients, torch.save

    def gradients(self: Engine, texts: Any, size: int) -> Any:
        found = plainly(self, texts, size)
        if moment == "step" and self.step == 5:
            die()
        return found

    def save(state: Any, file: Any) -> None:
        whole = io.BytesIO()
        saved(state, whole)
        if moment == "checkpoint":
            file.write(whole.getvalue()[: whole.tell() // 2])
            file.flush()
            die()
        file.write(whole.getvalue())

    with (
        patch.object(Engine, "_gradients", gradients),
        patch("lmkit_distillation.checkpoints.torch.save", save),
    ):
        Engine(RunFolder(folder).recipe(), KernelTools()).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
