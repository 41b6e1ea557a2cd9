"""The distillation engine's speed against a loop written by hand in PyTorch.

Both train the same student of the same teacher on the same batches with the same losses and AdamW,
a step of one and a step of the other in turn. The engine's step is all of it: wishes read, the
step's mark, events and curves written. Evaluation and checkpoints, which the loop has not, are off.
Their losses are compared at each step: the loop is no other training.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lmkit_distillation.data import Encoded
from lmkit_distillation.engine import Engine
from lmkit_distillation.losses.layers import layer_pairs
from lmkit_distillation.memory import MicroBatches
from lmkit_distillation.models import load_pair, shape_of
from lmkit_distillation.recipe import recipe_from
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from lmkit.tools import KernelTools

__all__ = ["rows"]

Row = dict[str, Any]
WARM, STEPS = 3, 24
WORDS = [
    "the",
    "plot",
    "is",
    "thin",
    "but",
    "i",
    "was",
    "moved",
    "by",
    "a",
    "film",
    "of",
    "old",
    "rivers",
    "and",
    "slow",
    "music",
    "that",
    "nobody",
    "in",
    "the",
    "cinema",
    "had",
    "heard",
    "before",
    "we",
    "left",
    "it",
    "in",
    "the",
    "rain",
]


def rows() -> dict[str, Row]:
    """Ratios of texts a second, engine over loop."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 0)) or torch.get_num_threads())
    with tempfile.TemporaryDirectory(prefix="lmkit-loop-") as folder:
        return {
            "distill: engine / loop by hand, 3 layers, ce + kl + hidden": _classifier(Path(folder)),
            "distill: engine / loop by hand, causal, ce + kl": _causal(Path(folder)),
        }


def _classifier(folder: Path) -> Row:
    lines = [f"{_text(i)}\t{i % 2}" for i in range(32 * (WARM + STEPS))]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel", *lines]))
    engine = _engine(
        folder / "classifier",
        teacher={"model": "starter:sentiment"},
        data={"train": str(folder / "train.tsv"), "max_length": 64},
        loss=[{"kind": "ce", "weight": 0.5}, {"kind": "kl", "temperature": 2.0},
              {"kind": "hidden"}],
        student={"layers": 3, "dropout": 0.0},
    )  # fmt: skip
    pair = load_pair(engine.recipe, engine.tools, engine.device)
    pairs = layer_pairs("uniform", shape_of(pair.student)[1], shape_of(pair.teacher)[1])

    def loss(texts: Sequence[Encoded]) -> torch.Tensor:
        inputs, mask = _padded(texts, pair.tokenizer.pad_token_id, types=True)
        labels = torch.tensor([one.label for one in texts])
        with torch.no_grad():
            theirs = pair.teacher(**inputs, output_hidden_states=True)
        mine = pair.student(**inputs, output_hidden_states=True)
        hidden = torch.stack([
            functional.mse_loss(mine.hidden_states[a + 1][mask], theirs.hidden_states[b + 1][mask])
            for a, b in pairs
        ])  # fmt: skip
        return (
            0.5 * functional.cross_entropy(mine.logits, labels)
            + 4.0 * _kl(mine.logits / 2, theirs.logits / 2)
            + hidden.mean()
        )

    return _compared(engine, pair.student, loss)


def _causal(folder: Path) -> Row:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=30522, hidden_size=256, intermediate_size=704, num_hidden_layers=6,
        num_attention_heads=8, num_key_value_heads=4, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "teacher")
    words = KernelTools().model("starter:sentiment", "AutoModelForSequenceClassification").tokenizer
    words.save_pretrained(folder / "teacher")
    lines = [f'{{"text": "{_text(i)}"}}' for i in range(8 * (WARM + STEPS))]
    (folder / "train.jsonl").write_text("\n".join(lines))
    engine = _engine(
        folder / "causal",
        task="generation",
        teacher={"model": str(folder / "teacher")},
        data={"train": str(folder / "train.jsonl"), "max_length": 64},
        loss=[{"kind": "ce", "weight": 0.5}, {"kind": "kl", "temperature": 2.0}],
        student={"layers": 3},
        batch=8,
    )
    pair = load_pair(engine.recipe, engine.tools, engine.device)

    def loss(texts: Sequence[Encoded]) -> torch.Tensor:
        inputs, mask = _padded(texts, engine.pads[0], types=False)
        with torch.no_grad():
            theirs = pair.teacher(**inputs, use_cache=False).logits[:, :-1]
        mine = pair.student(**inputs, use_cache=False).logits[:, :-1]
        real = mask[:, 1:]
        return 0.5 * functional.cross_entropy(
            mine[real], inputs["input_ids"][:, 1:][real]
        ) + 4.0 * _kl(mine[real] / 2, theirs[real] / 2)

    return _compared(engine, pair.student, loss)


def _engine(out: Path, batch: int = 32, **sections: Any) -> Engine:
    recipe = {
        "out": str(out),
        "train": {"steps": WARM + STEPS, "batch": batch, "rate": 1e-4, "warmup": 0.0,
                  "weight_decay": 0.01, "checkpoint_every": 10**6},
        **sections,
    }  # fmt: skip
    engine = Engine(recipe_from(recipe), KernelTools())
    engine._take()
    engine._begin()
    engine._prepare()
    return engine


def _compared(
    engine: Engine, student: Any, loss_of: Callable[[Sequence[Encoded]], torch.Tensor]
) -> Row:
    train = engine.recipe.train
    student.train()
    parameters = list(student.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": train.weight_decay},
         {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0}],
        lr=train.rate,
        fused=True,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / engine.total)
    micro = MicroBatches(engine.folder, train.batch)
    said: list[float] = []

    def by_hand(step: int) -> None:
        texts = engine._texts_of(step)
        loss = loss_of(texts)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, train.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        said.append(loss.item())

    def by_engine(step: int) -> None:
        engine._wish()
        engine._one_step(micro)

    sides = {"engine": by_engine, "loop": by_hand}
    ratios = []
    for step in range(engine.total - 1):
        spent = {}
        # The engine makes the step's order of texts where it comes first: take turns.
        for name in sorted(sides, reverse=bool(step % 2)):
            begun = time.perf_counter()
            sides[name](step)
            spent[name] = time.perf_counter() - begun
        if step >= WARM:
            ratios.append(spent["loop"] / spent["engine"])
    losses = [e["loss"] for e in engine.folder.events() if e["kind"] == "step"]
    apart = max(abs(a - b) / abs(b) for a, b in zip(losses, said, strict=True))
    if not math.isfinite(apart) or apart > 0.02:
        raise ArithmeticError(f"the two losses differ by {apart:.2%}: not the same training")
    low, high = statistics.quantiles(ratios, n=4)[::2]
    return {
        "value": round(statistics.median(ratios), 4), "unit": "x", "goal": 0.9, "better": "higher",
        "runs": len(ratios),
        "note": f"quartiles {low:.2f} to {high:.2f}; losses agree to {apart:.1e}",
    }  # fmt: skip


def _text(i: int) -> str:
    """Between 8 and 40 words, the same each time."""
    length = 8 + (i * 7) % 33
    return " ".join(WORDS[(i * 5 + j * (1 + i % 7)) % len(WORDS)] for j in range(length))


def _padded(
    texts: Sequence[Encoded], pad: int, *, types: bool
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    ids = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(one.ids) for one in texts], batch_first=True, padding_value=pad
    )
    lengths = torch.tensor([len(one.ids) for one in texts])
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    inputs = {"input_ids": ids, "attention_mask": mask.long()}
    if types:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    return inputs, mask


def _kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return functional.kl_div(
        functional.log_softmax(student, -1), functional.log_softmax(teacher, -1), log_target=True,
        reduction="batchmean",
    )  # fmt: skip
