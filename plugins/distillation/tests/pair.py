"""One of two processes of a run: `python pair.py RANK STORE ORDERS` (see test_peers.py).

The orders are a JSON list; each is a run with a fault in one process, or none. What became of each
is written to outcome-RANK.json beside the store. The processes meet by a file, so that no port is
taken.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from lmkit_distillation import engine, peers
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.recipe import recipe_from

from lmkit.errors import LmkitError, ModelError
from lmkit.tools import KernelTools


def raises(error: BaseException) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def at_step(step: int, deed: Callable[[], Any]) -> AbstractContextManager[Any]:
    plainly = engine.Engine._gradients

    def gradients(self: engine.Engine, texts: Any, size: int) -> Any:
        if self.step == step:
            deed()
        return plainly(self, texts, size)

    return patch.object(engine.Engine, "_gradients", gradients)


def pause(folder: RunFolder, seconds: float) -> None:
    """Hold the run after its first step for longer than the group's timeout."""
    folder.want("pause")

    def later() -> None:
        while not any(e["kind"] == "pause" for e in folder.events()):
            time.sleep(0.02)
        time.sleep(seconds)
        folder.want("run")

    threading.Thread(target=later, daemon=True).start()


FAULTS: dict[str, Callable[[RunFolder], AbstractContextManager[Any]]] = {
    "none": lambda folder: nullcontext(),
    "disk": lambda folder: patch(
        "lmkit_distillation.checkpoints.torch.save", raises(OSError(28, "No space left on device"))
    ),
    "events": lambda folder: patch.object(
        engine.Engine, "_report_step", raises(OSError(5, "Input/output error"))
    ),
    "teacher": lambda folder: patch.object(
        engine, "load_pair", raises(ModelError("The teacher can't be reached.", hint="Plug in."))
    ),
    "report": lambda folder: patch(
        "lmkit_distillation.report.write_report", raises(RuntimeError("no page"))
    ),
    "step": lambda folder: at_step(2, raises(ValueError("no such token"))),
    "pause": lambda folder: at_step(0, lambda: pause(folder, 10.0)),
    "killed": lambda folder: at_step(2, lambda: os.kill(os.getpid(), signal.SIGKILL)),
}


def main(rank: int, store: Path, orders: list[dict[str, Any]]) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    outcomes = []
    for order in orders:
        peers.TIMEOUT = timedelta(seconds=order.get("timeout", 600))
        peers.BEAT = 0.2
        recipe = recipe_from({**order["recipe"], **(order.get("other", {}) if rank else {})})
        fault = FAULTS[order["fault"] if rank == order["rank"] else "none"]
        said = ""
        try:
            with fault(RunFolder(recipe.out)):
                engine.Engine(recipe, KernelTools()).run()
        except LmkitError as error:
            said = str(error)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        last = RunFolder(recipe.out).events()[-1:]
        outcomes.append((said, last[0]["kind"] if last else ""))
        store.with_name(f"outcome-{rank}.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))
