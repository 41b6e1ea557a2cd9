"""Data sets on several processes: those of ``accelerate launch`` or its ``notebook_launcher``.

Every process reads the data set and the tokenizer, and computes its turn of the batches; which
rows make a batch does not depend on how many processes there are. In the end all processes have all
rows, in the data set's order.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

from lmkit.datasets.run import RowRun
from lmkit.errors import DataSetError

__all__ = ["Processes", "several_processes"]


@dataclass(frozen=True)
class Processes:
    """The processes that work together.

    Attributes:
        rank: Which of them this is, from 0.
        count: How many there are.
        device: Where this one computes: ``cpu``, ``cuda:1``.
    """

    rank: int
    count: int
    device: str

    @property
    def first(self) -> bool:
        """Whether this process is the one that reports and writes files."""
        return self.rank == 0

    def gather(self, run: RowRun) -> None:
        """Bring what all processes have done together in each of them."""
        from accelerate.utils import gather_object

        run.merge(gather_object([run.portable()]))

    def leave(self, code: int) -> NoReturn:
        """End this process, once all that it has to say and to write is said and written.

        What torch's threads do as the interpreter is taken apart can abort a process ("terminate
        called without an active exception", once in some dozens of runs on a loaded machine), and
        the launcher then takes the whole work for failed.
        """
        from accelerate import PartialState

        state: Any = PartialState()
        state.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def several_processes() -> Processes | None:
    """The processes that this one was launched with; None where it is alone.

    Raises:
        DataSetError: there are several, and accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1") or "1") <= 1:
        return None
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise DataSetError(
            "Several processes share a data set through accelerate, which is not installed.",
            hint="pip install accelerate",
        ) from error
    import torch

    # accelerate joins processes on CPUs only where it is told that they are on CPUs; its
    # notebook_launcher tells nobody, and each process would take itself for the only one.
    wanted = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    state: Any = PartialState(cpu=wanted or not torch.cuda.is_available())
    if state.num_processes <= 1:
        return None
    return Processes(state.process_index, state.num_processes, str(state.device))
