"""A run that is killed for memory: `python dies.py RECIPE [COUNTER]` (see test_faults.py).

Its third step takes all memory there is where it is given more than four texts at a time. With
COUNTER no memory is taken: the process counts itself in that file and kills itself, as the kernel
would.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lmkit_distillation import engine
from lmkit_distillation.memory import oom_kills
from lmkit_distillation.recipe import recipe_from

from lmkit.tools import KernelTools


def die(counter: Path | None) -> None:
    if counter is None:
        held = [b"\1" * (1 << 26) for _ in range(256)]  # 16 GiB, each page written to
        raise AssertionError(f"{len(held)} blocks fitted")
    counter.write_text("oom_kill 1\n")
    os.kill(os.getpid(), signal.SIGKILL)


def main(recipe: dict[str, Any], counter: Path | None) -> None:
    plainly = engine.Engine._gradients

    def gradients(self: engine.Engine, texts: Any, size: int) -> Any:
        if self.step == 2 and size > 4:
            die(counter)
        return plainly(self, texts, size)

    with patch.object(engine.Engine, "_gradients", gradients):
        if counter is None:
            engine.Engine(recipe_from(recipe), KernelTools()).run()
        else:
            with patch.object(engine, "oom_counter", lambda: counter):
                engine.Engine(
                    recipe_from(recipe), KernelTools(), kills=lambda: oom_kills(counter)
                ).run()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]) if sys.argv[2:] else None)
