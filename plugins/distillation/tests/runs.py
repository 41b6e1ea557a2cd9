"""Runs with tiny models, for the tests of what is learnt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lmkit_distillation.engine import Engine
from lmkit_distillation.errors import DistillationError
from lmkit_distillation.folder import RunFolder
from lmkit_distillation.recipe import recipe_from
from safetensors.torch import load_file

from lmkit.tools import KernelTools


def run(recipe: Mapping[str, Any], **options: Any) -> Path:
    return Engine(recipe_from(recipe), KernelTools(), **options).run()


def failing(recipe: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Run a recipe until an error in this step; it can go on from its last checkpoint."""
    plainly = Engine._gradients

    def fails(self: Engine, texts: Any, size: int) -> torch.Tensor:
        if self.step == step:
            raise DistillationError("the end")
        return plainly(self, texts, size)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_gradients", fails)
        with pytest.raises(DistillationError, match="the end"):
            run(recipe)


def steps(out: Path) -> list[dict[str, Any]]:
    """What each step said, without what differs between runs of one recipe."""
    told = ("loss", "parts", "norm", "on_policy")
    events = RunFolder(out).events()
    return [{k: e.get(k) for k in told} for e in events if e["kind"] == "step"]


def messages(out: Path, kind: str) -> list[str]:
    return [e["message"] for e in RunFolder(out).events() if e["kind"] == kind and "message" in e]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "student" / "model.safetensors")


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def generation(out: Path, teacher_folder: Path, texts: Path, **sections: Any) -> dict[str, Any]:
    """A recipe of a few steps that teaches texts, with the given sections."""
    base = {
        "task": "generation",
        "out": str(out),
        "teacher": {"model": str(teacher_folder)},
        "data": {"train": str(texts), "dev": str(texts)},
        "train": {"steps": 2, "batch": 4, "rate": 1e-3, "checkpoint_every": 1, "threads": 1},
        "report": {"speed": False, "resamples": 100},
    }
    return changed(base, **sections)


def changed(recipe: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    """A recipe with some keys of its sections changed."""
    made = dict(recipe)
    for name, values in sections.items():
        if isinstance(values, dict):
            made[name] = {**made.get(name, {}), **values}
        else:
            made[name] = values
    return made


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
