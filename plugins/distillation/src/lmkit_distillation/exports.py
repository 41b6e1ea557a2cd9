"""Other forms of the student: int8 weights, and ONNX, kept in ``exports/`` of the run folder.

Each is made, asked the same texts as the student, and becomes a row of the card. What can't be made
or run is a row that says why: a form is never worth losing a report for.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lmkit_distillation.data import Batch
from lmkit_distillation.folder import new_folder

__all__ = ["FORMS", "Export", "keep_exports", "make_exports"]


@dataclass(frozen=True)
class Export:
    """A form of the student.

    Attributes:
        name: Its row's.
        logits: Logits of a batch, (B, L, V) or (B, classes); None where it can't run.
        bytes: Size of its file.
        problem: Why it can't run.
        file: Name of its file; empty where there is none.
    """

    name: str
    logits: Callable[[Batch], torch.Tensor] | None = None
    bytes: int | None = None
    problem: str = ""
    file: str = ""


def keep_exports(
    names: Sequence[str], model: nn.Module, example: Batch, target: Path
) -> list[Export]:
    """The forms asked for, their files in the folder ``target``, which is new, whole, or not there.

    Args: as of :func:`make_exports`.

    Raises:
        RunFolderError: the folder can't be written.
    """
    with new_folder(target) as making:
        found = make_exports(names, model, example, making)
    if not any(one.file for one in found):
        target.rmdir()
    return found


def make_exports(
    names: Sequence[str], model: nn.Module, example: Batch, folder: Path
) -> list[Export]:
    """The forms asked for.

    Args:
        names: Of :data:`FORMS`.
        model: The student; it is not changed.
        example: A batch of two texts or more, whose inputs the forms are made for.
        folder: Takes the files.
    """
    plain = copy.deepcopy(model).cpu().float().eval()
    found = []
    for name in names:
        before = set(folder.iterdir())
        try:
            found.append(FORMS[name](plain, example.to("cpu"), folder))
        # Whatever a backend or an exporter raises, the row says it.
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            found.append(Export(name, problem=lines[0][:300]))
            for file in set(folder.iterdir()) - before:  # half a form is none
                file.unlink()
    return found


def _int8(model: nn.Module, example: Batch, folder: Path) -> Export:
    """Weights of linear layers in int8, activations quantised as they come (torch.ao)."""
    if not any(isinstance(one, nn.Linear) for one in model.modules()):
        return Export("int8", problem="The model has no linear layers of torch's own kind.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecation: the successor is a package of its own
        from torch.ao.quantization import quantize_dynamic

        small = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    store = io.BytesIO()
    torch.save(small.state_dict(), store)
    target = folder / "int8.pt"
    target.write_bytes(store.getvalue())

    def logits(batch: Batch) -> torch.Tensor:
        found: torch.Tensor = small(**_cpu(batch), **_extra(model)).logits
        return found

    logits(example)
    return Export("int8", logits, target.stat().st_size, file=target.name)


class _Logits(nn.Module):
    """A model whose only output is its logits, its inputs in a fixed order."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names, self.extra = model, tuple(names), _extra(model)

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.model(
            **dict(zip(self.names, values, strict=True)), **self.extra
        ).logits
        return found


def _onnx(model: nn.Module, example: Batch, folder: Path) -> Export:
    """The graph of :mod:`torch.onnx`, run by ONNX Runtime on the CPU."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # torch.onnx needs it, and says so late
    except ImportError as error:
        return Export(
            "onnx", problem=f"{error.name} is not installed: pip install lmkit-distillation[onnx]."
        )
    inputs = _cpu(example)
    dynamic = torch.export.Dim.DYNAMIC
    target = folder / "student.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Logits(model, list(inputs)).eval(),
            tuple(inputs.values()),
            str(target),
            dynamo=True,
            dynamic_shapes=(tuple({0: dynamic, 1: dynamic} for _ in inputs),),
            input_names=list(inputs),
            output_names=["logits"],
            verbose=False,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])
    taken = {one.name for one in session.get_inputs()}

    def logits(batch: Batch) -> torch.Tensor:
        given = {n: v.numpy() for n, v in _cpu(batch).items() if n in taken}
        return torch.from_numpy(session.run(["logits"], given)[0])

    logits(example)
    size = sum(one.stat().st_size for one in folder.glob("student.onnx*"))
    return Export("onnx", logits, size, file=target.name)


FORMS: dict[str, Callable[[nn.Module, Batch, Path], Export]] = {"int8": _int8, "onnx": _onnx}


def _cpu(batch: Batch) -> dict[str, torch.Tensor]:
    return {name: one.cpu() for name, one in batch.inputs.items()}


def _extra(model: nn.Module) -> dict[str, Any]:
    causal = type(model).__name__.endswith(("ForCausalLM", "LMHeadModel"))
    return {"use_cache": False} if causal else {}
