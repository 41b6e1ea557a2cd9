"""The teacher's answers on disk: shards of safetensors, found by the ids of the texts.

A shard holds some texts: their ids in its metadata, the number of places of each, the logits (all,
or the k largest with the log-sum-exp of the rest at every temperature that the recipe uses) and,
on request, hidden states. Each is written whole or not at all, with its checksum beside it, so that
a cache that was interrupted goes on where it stopped and a damaged shard is named.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from lmkit_distillation.data import Batch, Encoded, collate
from lmkit_distillation.errors import RunFolderError
from lmkit_distillation.folder import digest, read_json, write_text, writing
from lmkit_distillation.losses.vocabulary import Known
from lmkit_distillation.objective import Seen
from lmkit_distillation.recipe import Recipe

__all__ = ["TeacherCache"]


class TeacherCache:
    """The answers of one teacher to texts.

    Args:
        folder: Where the shards are.
        recipe: What is kept.
        teacher: What tells teachers apart, for instance name and checksum.
    """

    def __init__(self, folder: Path, recipe: Recipe, teacher: str) -> None:
        self.folder, self.recipe = folder, recipe
        self.temperatures = tuple(sorted({1.0, *(one.temperature for one in recipe.loss)}))
        key = [teacher, recipe.cache.top_k, recipe.cache.hidden, self.temperatures,
               recipe.data.max_length]  # fmt: skip
        self._mark = sha256(json.dumps(key).encode()).hexdigest()[:16]
        self._place: dict[str, tuple[dict[str, torch.Tensor], slice, slice]] = {}

    def fill(
        self,
        texts: Sequence[Encoded],
        run: Callable[[Batch, dict[str, torch.Tensor]], Seen],
        pads: tuple[int, int],
        device: torch.device,
        done: Callable[[int, int], None],
    ) -> None:
        """Ask the teacher about all texts that are not there yet.

        Raises:
            RunFolderError: a shard is damaged, or the disk is full.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(self.folder.glob(f"{self._mark}-*.safetensors")):
            self._read(file)
        missing = list({t.id: t for t in texts if t.id not in self._place}.values())
        size = self.recipe.cache.shard
        free = (
            file
            for number in itertools.count()
            if not (file := self.folder / f"{self._mark}-{number:06d}.safetensors").exists()
        )
        for start, file in zip(range(0, len(missing), size), free, strict=False):
            part = missing[start : start + size]
            self._write(file, part, self._ask(part, run, pads, device))
            self._read(file)
            done(min(len(missing), start + size), len(missing))

    def seen(self, batch: Batch, device: torch.device) -> Seen:
        """What the teacher would have left of a batch."""
        known: list[Known] = []
        hidden: list[torch.Tensor] = []
        for text in batch.texts:
            tensors, places, tokens = self._place[text.id]
            known.append(
                Known(
                    tensors["logits"][places],
                    tensors["indices"][places].long() if "indices" in tensors else None,
                    tensors["rest"][places] if "rest" in tensors else None,
                    self.temperatures,
                )
            )
            if "hidden" in tensors:
                hidden.append(tensors["hidden"][tokens].float())
        logits = torch.cat([one.logits for one in known]).to(device)
        indices = [one.indices for one in known if one.indices is not None]
        rest = [one.rest for one in known if one.rest is not None]
        together = Known(
            logits,
            torch.cat(indices).to(device) if indices else None,
            torch.cat(rest).to(device) if rest else None,
            self.temperatures,
        )
        states: list[torch.Tensor] = []
        if hidden:
            padded = torch.nn.utils.rnn.pad_sequence(hidden, batch_first=True).to(device)
            states = list(padded.unbind(2))
        return Seen(logits, known=together, hidden=states)

    def _ask(
        self, texts: Sequence[Encoded], run: Any, pads: tuple[int, int], device: torch.device
    ) -> dict[str, torch.Tensor]:
        parts: dict[str, list[torch.Tensor]] = {}
        k = self.recipe.cache.top_k
        for start in range(0, len(texts), 16):
            batch = collate(texts[start : start + 16], *pads).to(device)
            with torch.no_grad():
                seen = run(batch, batch.teacher_inputs)
                logits = (seen.rows if seen.head is None else seen.head(seen.rows)).float()
                found = {"logits": logits}
                if 0 < k < logits.shape[-1]:
                    top = logits.topk(k, -1)
                    rest = logits.scatter(-1, top.indices, -torch.inf)
                    found = {
                        "logits": top.values,
                        "indices": top.indices.int(),
                        "rest": torch.stack(
                            [(rest / t).logsumexp(-1) for t in self.temperatures], -1
                        ),
                    }
                if self.recipe.cache.hidden:
                    states = torch.stack(list(seen.hidden), 2)[batch.mask].float()
                    # Of some big models single states are beyond what half precision holds.
                    fits = states.abs().max() <= torch.finfo(torch.float16).max
                    found["hidden"] = states.half() if fits else states
            for name, tensor in found.items():
                parts.setdefault(name, []).append(tensor.cpu())
        return {name: torch.cat(each).contiguous() for name, each in parts.items()}

    def _write(
        self, file: Path, texts: Sequence[Encoded], tensors: dict[str, torch.Tensor]
    ) -> None:
        ids = [[t.id, sum(t.counted) if t.counted else 1, len((t.other or t).ids)] for t in texts]
        making = file.with_name(f".{file.name}")
        with writing(self.folder):
            save_file(tensors, making, metadata={"texts": json.dumps(ids)})
            body = {"sha256": digest(making), "texts": ids}
            write_text(file.with_suffix(".json"), json.dumps(body))
            making.replace(file)

    def _read(self, file: Path) -> None:
        body = read_json(file.with_suffix(".json"))
        if not isinstance(body, dict) or digest(file) != body.get("sha256"):
            raise RunFolderError(
                f"The shard {file.name} of the teacher's cache is damaged.",
                hint=f"Delete {file} and start again: it alone is made anew.",
            )
        tensors = load_file(file)
        places = tokens = 0
        for name, count, length in body["texts"]:
            self._place[name] = (
                tensors, slice(places, places + count), slice(tokens, tokens + length)
            )  # fmt: skip
            places, tokens = places + count, tokens + length
