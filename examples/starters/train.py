"""Train the starter models: ``python train.py --data DATA --out OUT``.

Every run (a task with a seed, or a fold of the NER task) keeps its result and weights under
``OUT/<task>/<run>/`` and a checkpoint after each epoch. Started again, the script skips what is
finished and goes on with what is not. Results are the same up to rounding, since threads add
floating-point numbers in an order of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import data
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from lmkit.models.starters import delta

TASKS = ("sentiment", "news", "ner")


@dataclass(frozen=True)
class Settings:
    """What one run trains with; kept in its result, so a run is never continued with others."""

    lr: float
    epochs: int
    batch: int
    max_tokens: int
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    label_smoothing: float = 0.0
    layer_decay: float = 1.0
    adapt_epochs: int = 0
    """NER: how many of the epochs, the last ones, see the target domain only."""
    subwords: bool = True
    """NER: label every piece of a word, not only the first."""
    repeat: tuple[tuple[str, int], ...] = ()
    """NER: how often a corpus is seen in one epoch; once when not named."""
    contrast: float = 0.0
    """Sentiment: made sentences that turn, as a share of the set, new ones each epoch."""
    everyday: int = 0
    """Sentiment: how often the recovery sees the sentences of ``everyday.tsv`` in an epoch."""
    recover_epochs: int = 1
    """Epochs after the compression that train its factors, head, biases and norms."""
    recover_lr: float = 1e-4
    bf16: bool = True
    rows: int = 0


DEFAULTS = {
    "sentiment": Settings(
        lr=1e-4, epochs=4, batch=32, max_tokens=96, layer_decay=0.9, contrast=0.15, everyday=4
    ),
    "news": Settings(lr=2e-4, epochs=4, batch=16, max_tokens=192),
    "ner": Settings(
        lr=2e-4,
        epochs=5,
        batch=24,
        max_tokens=160,
        adapt_epochs=2,
        recover_epochs=2,
        recover_lr=2e-4,
        repeat=(("ewt", 2),),
    ),
}


@dataclass(frozen=True)
class Item:
    """One encoded example; ``labels`` has one entry for a text, one for each token for NER."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    first: tuple[bool, ...] = ()


# --- batches --------------------------------------------------------------------------------


def batches(items: Sequence[Item], size: int, rng: random.Random | None) -> list[list[Item]]:
    """Batches of like length: little is padded. Shuffled by ``rng``; in order without one."""
    order = list(range(len(items)))
    if rng is None:
        order.sort(key=lambda i: len(items[i].ids))
        return [[items[i] for i in order[at : at + size]] for at in range(0, len(order), size)]
    rng.shuffle(order)
    pool = size * 40
    out = []
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool], key=lambda i: len(items[i].ids))
        out += [[items[i] for i in part[at : at + size]] for at in range(0, len(part), size)]
    rng.shuffle(out)
    return out


def tensors(batch: Sequence[Item], token_level: bool) -> dict[str, torch.Tensor]:
    """Padded tensors of a batch; no mask when nothing is padded."""
    longest = max(len(item.ids) for item in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full((len(batch), longest if token_level else 1), -100, dtype=torch.long)
    for row, item in enumerate(batch):
        ids[row, : len(item.ids)] = torch.tensor(item.ids)
        mask[row, : len(item.ids)] = 1
        labels[row, : len(item.labels)] = torch.tensor(item.labels)
    out = {"input_ids": ids, "labels": labels if token_level else labels[:, 0]}
    if not bool(mask.all()):
        out["attention_mask"] = mask
    return out


# --- the model ------------------------------------------------------------------------------


def new_model(encoder: Path, labels: Sequence[str], token_level: bool, dropout: float) -> Any:
    """The encoder with a new head; its embeddings do not train."""
    from transformers import BertForSequenceClassification, BertForTokenClassification

    kind = BertForTokenClassification if token_level else BertForSequenceClassification
    model = kind.from_pretrained(
        encoder,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        hidden_dropout_prob=dropout,
        classifier_dropout=dropout,
        dtype=torch.float32,
    )
    for parameter in model.bert.embeddings.parameters():
        parameter.requires_grad = False
    return model


def trained(model: Any) -> dict[str, torch.Tensor]:
    """The parameters that training changes, detached."""
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def groups(model: Any, settings: Settings) -> list[dict[str, Any]]:
    """Parameter groups: no decay on vectors; a lower layer learns slower by ``layer_decay``."""
    layers = model.config.num_hidden_layers
    out = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        found = re.search(r"encoder\.layer\.(\d+)\.", name)
        depth = layers - 1 - int(found.group(1)) if found else 0
        out.append(
            {
                "params": [parameter],
                "lr": settings.lr * settings.layer_decay**depth,
                "weight_decay": settings.weight_decay if parameter.ndim == 2 else 0.0,
            }
        )
    return out


def predict(
    model: Any, items: Sequence[Item], token_level: bool, bf16: bool = False
) -> list[np.ndarray]:
    """Label ids of each item, in the order of ``items``; those of the tokens for NER."""
    model.eval()
    out: list[np.ndarray] = [np.zeros(0)] * len(items)
    order = sorted(range(len(items)), key=lambda i: len(items[i].ids))
    with torch.inference_mode():
        for at in range(0, len(order), 32):
            part = order[at : at + 32]
            batch = tensors([items[i] for i in part], token_level)
            batch.pop("labels")
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(**batch).logits.float()
            best = logits.argmax(-1).numpy()
            for row, i in enumerate(part):
                out[i] = best[row, : len(items[i].ids)] if token_level else best[row : row + 1]
    return out


class LowRank(torch.nn.Module):
    """Parametrisation of a frozen weight by what its delta stores: ``W0 + u @ v``."""

    def __init__(self, u: torch.Tensor, v: torch.Tensor) -> None:
        super().__init__()
        self.u = torch.nn.Parameter(u)
        self.v = torch.nn.Parameter(v)

    def forward(self, frozen: torch.Tensor) -> torch.Tensor:
        """The weight that the layer uses: same shape as ``frozen``."""
        with torch.autocast("cpu", enabled=False):
            return frozen + self.u @ self.v


def factored(model: Any, packed: delta.Delta) -> None:
    """Let ``model``, which holds the bare encoder, train a delta's factors in place of weights.

    Cutting the ranks loses a third of the squared change; training on within the ranks that are
    left brings most of the score back.
    """
    from torch.nn.utils import parametrize

    parameters = dict(model.named_parameters())
    for name, parts in packed.parameters.items():
        part = {p: packed.tensors[f"{name}:{p}"] for p in parts}
        value = parameters[name]
        if "u" in part:
            value.requires_grad = False
            module = model.get_submodule(name.rpartition(".")[0])
            u = delta.dequantize(part["u"], part["u_scale"], axis=1)
            v = delta.dequantize(part["v"], part["v_scale"], axis=0)
            pair = LowRank(torch.from_numpy(u), torch.from_numpy(v))
            parametrize.register_parametrization(module, "weight", pair)
        elif "diff" in part:
            value.data += torch.from_numpy(part["diff"].astype(np.float32))
        else:
            value.data.copy_(torch.from_numpy(part["full"]))


def merged(model: Any, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Weights of the parameters ``names`` of a :func:`factored` model, products taken."""
    out = {}
    for name in names:
        module, _, leaf = name.rpartition(".")
        out[name] = getattr(model.get_submodule(module), leaf).detach().clone()
    return out


def fit(
    model: Any,
    epochs: Callable[[int, random.Random], Sequence[Item]],
    settings: Settings,
    seed: int,
    token_level: bool,
    folder: Path,
    log: Callable[[str], None],
    stage: str = "epoch",
) -> None:
    """Train in place. A checkpoint after each epoch lies in ``folder`` until the run is done."""
    optimizer = torch.optim.AdamW(groups(model, settings), fused=True)
    peaks = [group["lr"] for group in optimizer.param_groups]
    sizes = [-(-len(epochs(e, random.Random(0))) // settings.batch) for e in range(settings.epochs)]
    total = sum(sizes)
    warm = max(1, int(total * settings.warmup))
    checkpoint = folder / f"checkpoint-{stage}.pt"
    start = step = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"], strict=False)
        optimizer.load_state_dict(state["optimizer"])
        start, step = state["epoch"], state["step"]
        log(f"going on after epoch {start}")
    for epoch in range(start, settings.epochs):
        torch.manual_seed(seed * 1000 + epoch)
        rng = random.Random(seed * 1000 + epoch)
        model.train()
        began, loss_sum, count, tokens = time.monotonic(), 0.0, 0, 0
        for batch in batches(epochs(epoch, rng), settings.batch, rng):
            scale = min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * scale
            inputs = tensors(batch, token_level)
            labels = inputs.pop("labels")
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.bf16):
                logits = model(**inputs).logits
            loss = torch.nn.functional.cross_entropy(
                logits.float().reshape(-1, logits.shape[-1]),
                labels.reshape(-1),
                ignore_index=-100,
                label_smoothing=settings.label_smoothing,
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            loss_sum += float(loss.detach())
            count += 1
            tokens += inputs["input_ids"].numel()
        took = time.monotonic() - began
        log(
            f"{stage} {epoch + 1}/{settings.epochs}: loss {loss_sum / max(1, count):.4f}, "
            f"{took:.0f} s, {tokens / took:.0f} tokens/s"
        )
        state = {
            "model": trained(model),
            "optimizer": optimizer.state_dict(),
            "epoch": epoch + 1,
            "step": step,
        }
        torch.save(state, folder / "checkpoint.tmp")
        os.replace(folder / "checkpoint.tmp", checkpoint)


# --- scores ---------------------------------------------------------------------------------


def accuracy(found: Sequence[np.ndarray], items: Sequence[Item]) -> float:
    """Share of the items whose label was found."""
    return sum(int(f[0]) == i.labels[0] for f, i in zip(found, items, strict=True)) / len(items)


def word_tags(found: np.ndarray, item: Item) -> list[str]:
    """The tag of each word: that of its first piece."""
    return [data.NER_LABELS[int(f)] for f, first in zip(found, item.first, strict=True) if first]


def span_scores(gold: list[list[str]], found: list[list[str]]) -> dict[str, float]:
    """Exact span scores by seqeval (strict, IOB2), micro-averaged, and F1 of each type."""
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    report = classification_report(
        gold, found, mode="strict", scheme=IOB2, output_dict=True, zero_division=0
    )
    out = {
        "f1": report["micro avg"]["f1-score"],
        "precision": report["micro avg"]["precision"],
        "recall": report["micro avg"]["recall"],
        "spans": float(report["micro avg"]["support"]),
    }
    out |= {f"f1_{k}": report[k]["f1-score"] for k in ("PER", "ORG", "LOC") if k in report}
    return {key: float(value) for key, value in out.items()}


# --- a run ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One run of one task: what to train on and how to judge it."""

    task: str
    name: str
    seed: int
    settings: Settings
    labels: tuple[str, ...]
    token_level: bool
    epochs: Callable[[int, random.Random], Sequence[Item]]
    judge: Callable[[Any], dict[str, Any]]


class Encoder:
    """The base: its folder, tokenizer, weights and their hash."""

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file as load_numpy
        from transformers import AutoTokenizer

        self.folder = folder
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        file = folder / "model.safetensors"
        self.sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        self.weights = load_numpy(file)

    def text(self, text: str, label: int, limit: int) -> Item:
        """A text as token ids, cut to ``limit``."""
        ids = self.tokenizer(text, truncation=True, max_length=limit, padding=False)["input_ids"]
        return Item(tuple(ids), (label,))

    def sentence(self, sentence: data.Sentence, limit: int, subwords: bool) -> Item:
        """Words as token ids with a label for each piece, cut to ``limit`` pieces."""
        got = self.tokenizer(
            list(sentence.words),
            is_split_into_words=True,
            truncation=True,
            max_length=limit,
            padding=False,
        )
        labels, first, previous = [], [], None
        for word in got.word_ids():
            begins = word is not None and word != previous
            previous = word
            first.append(begins)
            tag = data.IGNORE if word is None else sentence.tags[word]
            if not begins and word is not None:
                tag = tag.replace("B-", "I-") if subwords else data.IGNORE
            labels.append(-100 if tag == data.IGNORE else data.NER_LABELS.index(tag))
        return Item(tuple(got["input_ids"]), tuple(labels), tuple(first))


def run(job: Job, encoder: Encoder, out: Path) -> dict[str, Any]:
    """Train, score, compress, score again; or give what an earlier call found."""
    folder = out / job.task / job.name
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.loads(json.dumps(asdict(job.settings)))
    result_file = folder / "result.json"
    if result_file.exists():
        result: dict[str, Any] = json.loads(result_file.read_text())
        if not same(result["settings"], job.settings):
            raise SystemExit(f"{folder} was trained with other settings; use another --out.")
        return result
    settings_file = folder / "settings.json"
    if settings_file.exists() and not same(json.loads(settings_file.read_text()), job.settings):
        raise SystemExit(f"{folder} was begun with other settings; use another --out.")
    settings_file.write_text(json.dumps(settings))

    def log(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {job.task}/{job.name}: {text}", flush=True)

    torch.manual_seed(job.seed)
    model = new_model(encoder.folder, job.labels, job.token_level, job.settings.dropout)
    log("begins")
    began = time.monotonic()
    full_file = folder / "full.safetensors"
    if full_file.exists():
        model.load_state_dict(load_file(full_file), strict=False)
    else:
        fit(model, job.epochs, job.settings, job.seed, job.token_level, folder, log)
        save_file({k: v.contiguous() for k, v in trained(model).items()}, folder / "full.tmp")
        os.replace(folder / "full.tmp", full_file)
    weights = trained(model)
    full = job.judge(model)
    log(f"full: {brief(full)}")
    packed = compress(job, weights, encoder)
    delta.save(packed, folder / "cut.safetensors")
    cut_only = score_delta(folder / "cut.safetensors", encoder, job)
    log(f"compressed: {brief(cut_only)}")
    if job.settings.recover_epochs:
        packed = recover(job, packed, weights, encoder, folder, log)
    size = delta.save(packed, folder / "delta.safetensors")
    shipped = score_delta(folder / "delta.safetensors", encoder, job)
    log(f"as shipped ({size} bytes): {brief(shipped)}")
    result = {
        "task": job.task,
        "run": job.name,
        "seed": job.seed,
        "settings": settings,
        "full": full,
        "compressed": cut_only,
        "shipped": shipped,
        "bytes": size,
        "sha256": hashlib.sha256((folder / "delta.safetensors").read_bytes()).hexdigest(),
        "seconds": round(time.monotonic() - began),
    }
    result_file.write_text(json.dumps(result, indent=1, sort_keys=True))
    for file in folder.glob("checkpoint*"):
        file.unlink()
    return result


def same(stored: Mapping[str, Any], settings: Settings) -> bool:
    """Whether a run was made with ``settings``; what it does not name was at its default."""
    wanted = json.loads(json.dumps(asdict(settings)))
    known = json.loads(json.dumps(asdict(Settings(lr=0.0, epochs=0, batch=0, max_tokens=0))))
    return {**known, **stored} == wanted


def recover(
    job: Job,
    packed: delta.Delta,
    weights: Mapping[str, torch.Tensor],
    encoder: Encoder,
    folder: Path,
    log: Callable[[str], None],
) -> delta.Delta:
    """Train on within the ranks of ``packed``, then compress again (which cuts nothing more)."""
    torch.manual_seed(job.seed)
    model = new_model(encoder.folder, job.labels, job.token_level, job.settings.dropout)
    factored(model, packed)
    count = job.settings.recover_epochs
    settings = replace(job.settings, epochs=count, lr=job.settings.recover_lr, weight_decay=0.0)

    def epochs(epoch: int, rng: random.Random) -> Sequence[Item]:
        return job.epochs(job.settings.epochs + epoch, rng)

    fit(model, epochs, settings, job.seed + 500, job.token_level, folder, log, "recovery")
    return compress(job, merged(model, weights), encoder)


def brief(scores: Mapping[str, Any]) -> str:
    """Scores in one line of the log."""
    return ", ".join(f"{k} {v:.4f}" for k, v in scores.items() if isinstance(v, float))


def compress(job: Job, weights: Mapping[str, torch.Tensor], encoder: Encoder) -> delta.Delta:
    """The delta of fine-tuned ``weights`` to the encoder."""
    architecture = "TokenClassification" if job.token_level else "SequenceClassification"
    return delta.encode(
        encoder.weights,
        {name: value.numpy() for name, value in weights.items()},
        base_sha256=encoder.sha256,
        info={
            "task": job.task,
            "architecture": f"BertFor{architecture}",
            "labels": json.dumps(job.labels),
            "seed": str(job.seed),
        },
    )


def score_delta(file: Path, encoder: Encoder, job: Job) -> dict[str, Any]:
    """Score the model that the file expands to, in float32."""
    model = new_model(encoder.folder, job.labels, job.token_level, job.settings.dropout)
    state = {
        k: torch.from_numpy(v) for k, v in delta.expand(delta.load(file), encoder.weights).items()
    }
    missing = model.load_state_dict(state, strict=False)
    if missing.unexpected_keys:
        raise RuntimeError(f"unexpected in the delta: {missing.unexpected_keys}")
    return job.judge(model)


# --- the tasks ------------------------------------------------------------------------------


def sentiment_jobs(
    root: Path, encoder: Encoder, settings: Settings, seeds: Iterable[int]
) -> list[Job]:
    """One run for each seed, on SST-2."""
    train = cut(data.sst2(root / "sst2", "train"), settings.rows)
    dev = cut(data.sst2(root / "sst2", "dev"), settings.rows)
    limit = settings.max_tokens
    raw = [encoder.text(x.text, x.label, limit) for x in train]
    typed = [encoder.text(data.as_typed(x.text), x.label, limit) for x in train]
    everyday = [encoder.text(x.text, x.label, limit) for x in data.everyday()]
    dev_raw = [encoder.text(x.text, x.label, 512) for x in dev]
    dev_typed = [encoder.text(data.as_typed(x.text), x.label, 512) for x in dev]

    def epochs(epoch: int, rng: random.Random) -> list[Item]:
        # Half of the sentences each epoch as a user would type them: the model is used on such.
        out = [pair[rng.random() < 0.5] for pair in zip(raw, typed, strict=True)]
        for row in data.contrast(train, int(settings.contrast * len(train)), rng):
            out.append(encoder.text(data.as_typed(row.text), row.label, limit))
        return out + everyday * (settings.everyday if epoch >= settings.epochs else 0)

    def judge(model: Any) -> dict[str, Any]:
        found = predict(model, dev_raw, False)
        return {
            "accuracy": accuracy(found, dev_raw),
            "accuracy_as_typed": accuracy(predict(model, dev_typed, False), dev_typed),
            "rows": len(dev_raw),
        }

    return [
        Job("sentiment", f"seed{s}", s, settings, data.SENTIMENT_LABELS, False, epochs, judge)
        for s in seeds
    ]


def news_jobs(root: Path, encoder: Encoder, settings: Settings, seeds: Iterable[int]) -> list[Job]:
    """One run for each seed, on BBC News."""
    train, held = data.news_split(root)
    train = spread(train, settings.rows)
    held = spread(held, settings.rows)
    limit = settings.max_tokens
    heads = [encoder.text(x.text, x.label, limit) for x in train]
    dev = [encoder.text(x.text, x.label, 512) for x in held]
    dev_short = [encoder.text(" ".join(x.text.split()[:40]), x.label, 512) for x in held]

    def epochs(_epoch: int, rng: random.Random) -> list[Item]:
        # A user may give a headline or a paragraph: half of the articles each epoch are a window.
        out = []
        for item, article in zip(heads, train, strict=True):
            if rng.random() < 0.5:
                out.append(item)
                continue
            words = article.text.split()
            size = rng.choice((12, 25, 50, 100))
            at = rng.randrange(max(1, len(words) - size + 1))
            out.append(encoder.text(" ".join(words[at : at + size]), article.label, limit))
        return out

    def judge(model: Any) -> dict[str, Any]:
        return {
            "accuracy": accuracy(predict(model, dev, False), dev),
            "accuracy_first_40_words": accuracy(predict(model, dev_short, False), dev_short),
            "rows": len(dev),
            "train_rows": len(train),
        }

    return [
        Job("news", f"seed{s}", s, settings, data.NEWS_LABELS, False, epochs, judge) for s in seeds
    ]


def ner_jobs(root: Path, encoder: Encoder, settings: Settings, seeds: Iterable[int]) -> list[Job]:
    """Three folds for each seed, and the run on everything, which ships."""
    corpora = {k: cut(v, settings.rows) for k, v in data.ner_corpora(root).items()}
    folds = data.ewt_folds(corpora["ewt"])
    limit = settings.max_tokens
    items = {
        name: [encoder.sentence(s, limit, settings.subwords) for s in sentences]
        for name, sentences in corpora.items()
    }
    whole = [encoder.sentence(s, 512, settings.subwords) for s in corpora["ewt"]]
    repeat = dict(settings.repeat)

    def job(name: str, seed: int, held: int | None) -> Job:
        ewt = [item for item, fold in zip(items["ewt"], folds, strict=True) if fold != held]
        test = [i for i, fold in enumerate(folds) if fold == held]

        def epochs(epoch: int, _rng: random.Random) -> list[Item]:
            adapting = epoch >= settings.epochs - settings.adapt_epochs
            parts = {**items, "ewt": ewt}
            names = ("ewt", "pud") if adapting else tuple(parts)
            return [item for n in names for _ in range(repeat.get(n, 1)) for item in parts[n]]

        def judge(model: Any) -> dict[str, Any]:
            if not test:
                return {}
            found = predict(model, [whole[i] for i in test], True)
            tags = [word_tags(f, whole[i]) for f, i in zip(found, test, strict=True)]
            gold = [list(corpora["ewt"][i].tags) for i in test]
            scores: dict[str, Any] = dict(span_scores(gold, tags))
            scores["tags"] = {corpora["ewt"][i].source: t for i, t in zip(test, tags, strict=True)}
            return scores

        return Job("ner", name, seed, settings, data.NER_LABELS, True, epochs, judge)

    out = []
    for seed in seeds:
        out += [job(f"seed{seed}-fold{f}", seed, f) for f in range(3)]
        out.append(job(f"seed{seed}-all", seed, None))
    return out


def cut(rows: list[Any], limit: int) -> list[Any]:
    """The first ``limit`` rows; all for 0."""
    return rows[:limit] if limit else rows


def spread(rows: list[Any], limit: int) -> list[Any]:
    """The first ``limit`` of an order that takes the labels in turn."""
    return (
        sorted(rows, key=lambda r: hashlib.sha256(r.source.encode()).digest())[:limit]
        if limit
        else rows
    )


SEEDS = {"sentiment": "0,1,2", "news": "0,1", "ner": "0"}
JOBS = {"sentiment": sentiment_jobs, "news": news_jobs, "ner": ner_jobs}


# --- the whole ------------------------------------------------------------------------------


def summary(task: str, results: Sequence[dict[str, Any]], root: Path) -> dict[str, Any]:
    """What a model card states: scores of all runs, their mean, and the run that ships."""
    if task != "ner":
        key = "accuracy"
        ranked = sorted(results, key=lambda r: (r["shipped"][key], r["seed"]))
        return {
            "full": [r["full"][key] for r in results],
            "shipped": [r["shipped"][key] for r in results],
            "mean_full": float(np.mean([r["full"][key] for r in results])),
            "mean_shipped": float(np.mean([r["shipped"][key] for r in results])),
            "ship": ranked[(len(ranked) - 1) // 2]["run"],
        }
    gold = {s.source: list(s.tags) for s in data.ner_corpora(root)["ewt"]}
    out: dict[str, Any] = {}
    for form in ("full", "shipped"):
        found: dict[str, list[str]] = {}
        for r in results:
            found |= r[form].get("tags", {})
        names = sorted(found)
        if names:
            out[form] = span_scores([gold[n] for n in names], [found[n] for n in names])
    out["folds_full"] = {r["run"]: r["full"]["f1"] for r in results if "f1" in r["full"]}
    out["folds_shipped"] = {r["run"]: r["shipped"]["f1"] for r in results if "f1" in r["shipped"]}
    out["ship"] = next((r["run"] for r in results if r["run"].endswith("-all")), None)
    return out


def has_bf16() -> bool:
    """Whether bfloat16 is fast here: elsewhere it is emulated and slower than float32."""
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(check())


def settings_for(task: str, args: argparse.Namespace) -> Settings:
    """The task's defaults with what the command line changes."""
    changes: dict[str, Any] = {
        key: getattr(args, key) for key in ("lr", "epochs", "batch") if getattr(args, key)
    }
    for assignment in args.set or ():
        key, _, value = assignment.partition("=")
        changes[key] = json.loads(value)
    if "repeat" in changes:
        changes["repeat"] = tuple(sorted(changes["repeat"].items()))
    return replace(DEFAULTS[task], rows=args.rows, bf16=args.precision == "bf16", **changes)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Train what is asked for and return the summaries by task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the training data")
    parser.add_argument("--out", type=Path, required=True, help="folder for results and weights")
    parser.add_argument("--only", default=",".join(TASKS), help="tasks, comma-separated")
    parser.add_argument("--seeds", help="seeds, comma-separated; else those of the model cards")
    parser.add_argument("--runs", default="", help="only runs whose name matches this expression")
    parser.add_argument("--rows", type=int, default=0, help="use so many examples of each set")
    parser.add_argument("--encoder", type=Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--set", action="append", metavar="NAME=JSON", help="any other setting")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default=None)
    args = parser.parse_args(argv)
    args.precision = args.precision or ("bf16" if has_bf16() else "fp32")
    if args.encoder is None:
        from lmkit.models.starters import carriers

        args.encoder = carriers.encoder_folder()
    encoder = Encoder(args.encoder)
    summaries = {}
    for task in args.only.split(","):
        seeds = args.seeds or SEEDS[task]
        jobs = JOBS[task](
            args.data, encoder, settings_for(task, args), [int(s) for s in seeds.split(",")]
        )
        results = [run(j, encoder, args.out) for j in jobs if re.search(args.runs, j.name)]
        summaries[task] = summary(task, results, args.data)
        (args.out / task / "summary.json").write_text(json.dumps(summaries[task], indent=1))
        print(task, json.dumps(summaries[task]), flush=True)
    return summaries


if __name__ == "__main__":
    main()
