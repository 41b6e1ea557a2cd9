"""Writes a recipe as TOML: only what differs from the defaults, as one would write it by hand."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit_distillation.recipe import Loss, Ramp, Recipe

__all__ = ["shown_recipe", "to_toml"]


def shown_recipe(recipe: Recipe) -> str:
    """The TOML with paths from the working directory, where they lie below it."""
    here = str(Path.cwd()) + os.sep

    def own(path: str) -> str:
        return path.removeprefix(here)

    paths = ("train", "unlabelled", "dev", "test")
    data: dict[str, Any] = {name: own(getattr(recipe.data, name)) for name in paths}
    return to_toml(
        dataclasses.replace(
            recipe,
            out=own(recipe.out),
            data=dataclasses.replace(
                recipe.data,
                **data,
                augment=dataclasses.replace(
                    recipe.data.augment, folder=own(recipe.data.augment.folder)
                ),
            ),
            cache=dataclasses.replace(recipe.cache, folder=own(recipe.cache.folder)),
            sequences=dataclasses.replace(recipe.sequences, folder=own(recipe.sequences.folder)),
        )
    )


def to_toml(recipe: Recipe) -> str:
    """The recipe's TOML; ``load_recipe`` of it gives the same recipe."""
    plain, usual = recipe.as_dict(), Recipe().as_dict()
    lines = [f"task = {_value(plain['task'])}"]
    lines += [
        f"{key} = {_value(plain[key])}" for key in ("out", "seed") if plain[key] != usual[key]
    ]
    for section, values in plain.items():
        if isinstance(values, dict):
            lines += _table(section, values, usual[section])
    usual_loss = {name: value for name, value in vars(Loss()).items() if name != "kind"}
    for one, loss in zip(plain["loss"], recipe.loss, strict=True):
        own = _differing({k: v for k, v in one.items() if k != "kind"}, usual_loss)
        if isinstance(loss.weight, Ramp):
            own["weight"] = one["weight"]
        lines += ["", "[[loss]]", f"kind = {_value(loss.kind)}"]
        lines += [f"{key} = {_value(value)}" for key, value in own.items()]
    return "\n".join(lines) + "\n"


def _table(name: str, values: Mapping[str, Any], usual: Mapping[str, Any]) -> list[str]:
    """A table with the tables in it; nothing where all is as usual."""
    own = _differing(values, usual)
    inner = {key: value for key, value in own.items() if isinstance(value, Mapping)}
    plain = [f"{key} = {_value(value)}" for key, value in own.items() if key not in inner]
    lines = ["", f"[{name}]", *plain] if plain else []
    for key, value in inner.items():
        lines += _table(f"{name}.{key}", value, usual[key])
    return lines


def _differing(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value != usual[key]}


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    if isinstance(value, float):
        return repr(value)  # 1e-05 and inf are TOML too
    # JSON's strings, numbers and booleans are TOML's, but for DEL
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
