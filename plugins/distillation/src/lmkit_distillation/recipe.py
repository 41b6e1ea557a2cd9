"""The recipe of a distillation: one TOML file, checked key by key before anything is loaded.

Nothing here imports torch, so that a form can check a recipe as it is typed.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from lmkit_distillation.errors import RecipeError

__all__ = [
    "Augment",
    "Cache",
    "Data",
    "LayerPairs",
    "Loss",
    "OnPolicy",
    "Ramp",
    "Recipe",
    "Report",
    "Sequences",
    "Student",
    "Teacher",
    "Train",
    "load_recipe",
    "recipe_from",
]

TaskName = Literal["classification", "ner", "generation"]
LossKind = Literal[
    "ce", "kl", "reverse-kl", "jsd", "logit-mse", "uld", "hidden", "embedding", "attention",
    "relations",
]  # fmt: skip
MapName = Literal["uniform", "last", "final", "skip"]
LayerPairs = tuple[tuple[int, int], ...]
T = TypeVar("T")

VOCABULARY_KINDS = frozenset({"ce", "kl", "reverse-kl", "jsd", "logit-mse", "uld"})
"""Losses on logits: all others need the inside of the teacher's pass."""
TEACHER_KINDS = frozenset({"kl", "reverse-kl", "jsd", "logit-mse", "uld"})
NAMELESS_KINDS = frozenset({"ce", "uld"})
"""Losses that take no token of the one model for one of the other."""
WITHOUT_WEIGHT = frozenset(
    {
        "out",
        "report",
        "train.keep_checkpoints",
        "train.checkpoint_every",
        "cache.folder",
        "cache.shard",
    }
)
"""Keys that do not decide the student's weights: a run goes on whatever they say."""
ATTENTION_KINDS = frozenset({"attention", "relations"})


@dataclass(frozen=True)
class Teacher:
    """The model that is learnt from: a name that lmkit takes, and where it runs."""

    model: str = ""
    device: str = ""
    dtype: str = ""


@dataclass(frozen=True)
class Student:
    """Where the student's first weights come from.

    Attributes:
        start: ``"teacher"``: some of the teacher's layers; ``"config"``: random weights in the
            teacher's architecture, made smaller; ``"model"``: an existing model.
        layers: How many layers; 0 keeps the teacher's number (``"config"``).
        keep: Which of the teacher's layers: their numbers, or ``"uniform"`` (the last of each of
            as many equal parts: 1, 3, 5 of six; the map of TinyBERT's losses), ``"spread"`` (the
            first, the last and evenly between), ``"first"``, ``"last"``.
        hidden, heads, kv_heads, intermediate: Sizes for ``"config"``; 0: the teacher's.
        model: The existing model for ``"model"``.
        align: What to do when its tokenizer is another one. ``"refuse"``; or ``"text"``: each model
            reads the text with its own tokenizer, for losses that never compare tokens. In
            generation they are compared where both have read the same characters.
        checkpointing: Compute activations again in the backward pass (never reentrant).
        dropout: Replaces the student's dropout; negative keeps it.
    """

    start: Literal["teacher", "config", "model"] = "teacher"
    layers: int = 0
    keep: str | tuple[int, ...] = "uniform"
    hidden: int = 0
    heads: int = 0
    kv_heads: int = 0
    intermediate: int = 0
    model: str = ""
    align: Literal["refuse", "text"] = "refuse"
    checkpointing: bool = False
    dropout: float = -1.0


@dataclass(frozen=True)
class Augment:
    """Further training texts, made of those that are there.

    Attributes:
        copies: Made of each text; 0: none.
        masked: A masked-language model, which replaces words as in TinyBERT; empty: ``writer``
            rewrites the texts.
        probability: That a word is replaced.
        top: A word is replaced by one of so many candidates.
        writer: A text model that says the same in other words.
        temperature: Of the writer.
        labels: ``"teacher"``: it alone speaks on the copies; ``"copy"``: those of the source.
        folder: Where they are kept; empty: in the run folder.
        batch: Texts that the writer reads at a time.
    """

    copies: int = 0
    masked: str = ""
    probability: float = 0.4
    top: int = 15
    writer: str = "starter:chat"
    temperature: float = 0.8
    labels: Literal["teacher", "copy"] = "teacher"
    folder: str = ""
    batch: int = 8


@dataclass(frozen=True)
class Data:
    """Files (csv, tsv, jsonl, json, or a folder written by ``datasets``) and their columns.

    Attributes:
        train: Labelled texts.
        unlabelled: Texts on which the teacher alone speaks.
        dev: For evaluation as training goes on, early stopping and the best checkpoint.
        test: For the report alone.
        text, pair, label: Columns of classification. For ``generation``, ``text`` is used where
            there is no ``prompt``.
        tokens, tags: Columns of NER: lists, or strings with spaces between.
        prompt, completion: Columns of generation; the loss counts the completion alone.
        chat: Prompts go through the tokenizer's chat template, as what the user says or as a list
            of messages, and the completion as the assistant's answer.
        max_length: Tokens; what is longer is cut.
        labelled: Share of ``train`` whose labels are used; the rest counts as unlabelled.
        drop_rest: Leave that rest out altogether: the comparison without distillation.
        augment: Further texts made of ``train`` and ``unlabelled``; never of ``dev`` and ``test``.
    """

    train: str = ""
    unlabelled: str = ""
    dev: str = ""
    test: str = ""
    text: str = "text"
    pair: str = ""
    label: str = "label"
    tokens: str = "tokens"
    tags: str = "tags"
    prompt: str = ""
    completion: str = ""
    chat: bool = False
    max_length: int = 128
    labelled: float = 1.0
    drop_rest: bool = False
    augment: Augment = field(default_factory=Augment)


@dataclass(frozen=True)
class Ramp:
    """A weight that changes: from ``start`` to ``end`` between two shares of the training."""

    start: float = 0.0
    end: float = 1.0
    begin: float = 0.0
    until: float = 1.0
    shape: Literal["linear", "cosine", "step"] = "linear"


@dataclass(frozen=True)
class Loss:
    """One part of the loss. docs/distillation.md has the formulas.

    Attributes:
        kind: Which.
        weight: A number, or a table that says how it changes.
        temperature: Of both models' logits (``kl``, ``reverse-kl``, ``jsd``, ``uld``).
        beta: Of the generalised Jensen-Shannon divergence.
        measure: ``"mse"`` or ``"cosine"`` of hidden states; ``"mse"`` (scores before the softmax)
            or ``"kl"`` (weights) of attention.
        map: Which layers are compared: a name, or pairs [student, teacher].
        of: Which relations: of queries, keys, values.
        relation_heads: Heads that queries, keys and values are cut into anew; 0: as the models
            have them, where both have the same number.
    """

    kind: LossKind = "kl"
    weight: float | Ramp = 1.0
    temperature: float = 1.0
    beta: float = 0.5
    measure: Literal["mse", "cosine", "kl"] = "mse"
    map: MapName | LayerPairs = "uniform"
    of: tuple[Literal["q", "k", "v"], ...] = ("q", "k", "v")
    relation_heads: int = 0


@dataclass(frozen=True)
class Train:
    """How to train.

    Attributes:
        epochs: Passes over the texts; ``steps`` goes before where it is not 0.
        steps: Optimiser steps.
        batch: Texts of an optimiser step over all processes.
        micro_batch: Texts at a time on one process; 0: the whole share. Halves by itself when
            memory runs out, which changes speed and nothing else.
        rate, warmup, schedule, weight_decay, betas, clip: Of AdamW; warmup is a share of the steps.
        precision: ``"no"`` (float32), ``"bf16"`` or ``"fp16"`` of the student's arithmetic.
        evaluate_every, checkpoint_every: Steps; 0: ten times in all.
        keep_checkpoints: How many besides the best.
        patience: Evaluations without a better one before it stops; 0 never.
        best_by: What "better" looks at; ``"auto"``: accuracy, F1 or loss.
        threads: Threads of torch; 0 as it is. Bit-for-bit resume needs the same number.
    """

    epochs: float = 3.0
    steps: int = 0
    batch: int = 32
    micro_batch: int = 0
    rate: float = 5e-5
    warmup: float = 0.1
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = 0.01
    betas: tuple[float, ...] = (0.9, 0.999)
    clip: float = 1.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    evaluate_every: int = 0
    checkpoint_every: int = 0
    keep_checkpoints: int = 2
    patience: int = 0
    best_by: Literal["auto", "loss", "accuracy", "f1", "agreement"] = "auto"
    threads: int = 0


@dataclass(frozen=True)
class Cache:
    """The teacher's answers on disk, so that it need not stand beside the student.

    Attributes:
        use: Whether to.
        top_k: Logits kept at each place; 0: all.
        hidden: Keep hidden states too (``hidden`` and ``embedding`` losses need them).
        folder: Where; empty: in the run folder.
        shard: Texts in a file.
    """

    use: bool = False
    top_k: int = 0
    hidden: bool = False
    folder: str = ""
    shard: int = 512


@dataclass(frozen=True)
class Sequences:
    """Sequence-level distillation: the teacher writes what the student learns to write.

    Attributes:
        use: Whether to.
        beams: Of the beam search; 1: the most probable token at each place.
        length_penalty: Of the beam search: a beam's log-probability is divided by its length to
            this power.
        max_new_tokens: Longest text that it writes after a prompt.
        folder: Where the texts are kept; empty: in the run folder.
        batch: Prompts at a time.
    """

    use: bool = False
    beams: int = 1
    length_penalty: float = 1.0
    max_new_tokens: int = 64
    folder: str = ""
    batch: int = 16


@dataclass(frozen=True)
class OnPolicy:
    """On-policy distillation: teacher and student are compared on texts of the student's own.

    Attributes:
        lambda_: Share of the steps whose continuations the student samples; ``lambda`` in TOML.
        temperature: Of the sampling.
        max_new_tokens: Longest text that it writes after a prompt.
        batch: Prompts at a time. No micro-batch changes it, since sums over other batches are
            rounded otherwise, and another token may then be drawn.
    """

    lambda_: float = 0.0
    temperature: float = 1.0
    max_new_tokens: int = 64
    batch: int = 8


@dataclass(frozen=True)
class Report:
    """What the report card measures at the end.

    Attributes:
        speed: Latency and throughput of both models, interleaved, and with them energy.
        memory: Peak memory of both, each in a process of its own.
        exports: Other forms of the student to make and measure: ``int8``, ``onnx``.
        batches: Batch sizes of the latency.
        seconds: Time spent on measuring speed.
        resamples: Of the bootstrap behind the confidence intervals.
    """

    speed: bool = True
    memory: bool = True
    exports: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 32)
    seconds: float = 20.0
    resamples: int = 2000


@dataclass(frozen=True)
class Recipe:
    """All of it. ``out`` is the run folder."""

    task: TaskName = "classification"
    out: str = ""
    seed: int = 0
    teacher: Teacher = field(default_factory=Teacher)
    student: Student = field(default_factory=Student)
    data: Data = field(default_factory=Data)
    loss: tuple[Loss, ...] = (Loss(kind="kl"),)
    train: Train = field(default_factory=Train)
    cache: Cache = field(default_factory=Cache)
    sequences: Sequences = field(default_factory=Sequences)
    on_policy: OnPolicy = field(default_factory=OnPolicy)
    report: Report = field(default_factory=Report)

    @property
    def by_characters(self) -> bool:
        """Whether two causal models that read different tokens are compared by what they read."""
        return self.task == "generation" and self.student.align == "text"

    @property
    def needs_teacher(self) -> bool:
        """Whether some part of the loss looks at the teacher."""
        return any(one.kind != "ce" for one in self.loss)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as TOML and JSON know them."""
        return dataclasses.asdict(
            self, dict_factory=lambda pairs: {_shown_name(name): value for name, value in pairs}
        )

    @property
    def made_up(self) -> bool:
        """Whether a model writes the completions that are learnt, so that data may lack them."""
        return self.sequences.use or self.on_policy.lambda_ > 0

    def fingerprint(self) -> str:
        """Of all that decides the student's weights: neither folder, nor speed, nor report."""
        plain = self.as_dict()
        for name in WITHOUT_WEIGHT:
            *path, key = name.split(".")
            del (plain[path[0]] if path else plain)[key]
        # What came later is named only where it does something: runs of before go on.
        augment, sequences = plain["data"].pop("augment"), plain.pop("sequences")
        on_policy = plain.pop("on_policy")
        if not self.data.chat:
            del plain["data"]["chat"]
        if self.data.augment.copies:
            plain["data"]["augment"] = _without(augment, "folder", "batch")
        if self.sequences.use:
            plain["sequences"] = _without(sequences, "folder", "batch")
        if self.on_policy.lambda_:
            plain["on_policy"] = on_policy
        return sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def load_recipe(path: Path | str, changes: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; paths in it are taken from the recipe's own folder.

    Args:
        path: The TOML file.
        changes: Settings that go before those of the file, each ``KEY=VALUE`` with a dotted key
            and a value as in TOML: ``train.rate=1e-4``.

    Raises:
        RecipeError: one sentence that names the file or the key.
    """
    path = Path(path)
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} can't be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is no TOML: {error}.") from error
    for change in changes:
        _apply(plain, change)
    return recipe_from(plain, base=path.parent)


def recipe_from(plain: Mapping[str, Any], *, base: Path | None = None) -> Recipe:
    """Check a recipe given as plain values.

    Args:
        plain: As TOML gives it.
        base: Folder from which relative paths are taken; default the working directory.

    Raises:
        RecipeError: naming the key.
    """
    recipe = _build(Recipe, plain, "")
    _check(recipe)
    base = (base or Path()).resolve()
    given = recipe.data
    data = dataclasses.replace(
        given,
        train=_from(base, given.train),
        unlabelled=_from(base, given.unlabelled),
        dev=_from(base, given.dev),
        test=_from(base, given.test),
        augment=dataclasses.replace(given.augment, folder=_from(base, given.augment.folder)),
    )
    cache = dataclasses.replace(recipe.cache, folder=_from(base, recipe.cache.folder))
    sequences = dataclasses.replace(recipe.sequences, folder=_from(base, recipe.sequences.folder))
    return dataclasses.replace(
        recipe, out=_from(base, recipe.out), data=data, cache=cache, sequences=sequences
    )


def _from(base: Path, path: str) -> str:
    return str(base / Path(path).expanduser()) if path else ""


def _without(plain: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in plain.items() if name not in names}


def _apply(plain: dict[str, Any], change: str) -> None:
    key, equals, value = change.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"{change!r} is not of the form KEY=VALUE.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a word without quotation marks
    inner = plain
    *path, last = key.strip().split(".")
    for name in path:
        inner = inner.setdefault(name, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{key} can't be set: {name} is no table.")
    inner[last] = parsed


# building dataclasses from plain values, with the key in every complaint


def _shown_name(name: str) -> str:
    """A field's name in TOML: Python can't call a field ``lambda``."""
    return name.removesuffix("_")


def _build(kind: type[T], plain: object, where: str) -> T:
    if not isinstance(plain, Mapping):
        raise RecipeError(f"{where or 'The recipe'} is {_shown(plain)}; it must be a table.")
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    known = {_shown_name(one.name): one.name for one in fields}
    values = {}
    for name, value in plain.items():
        key = f"{where}.{name}" if where else str(name)
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise RecipeError(f"The recipe has no key {key}.", hint=hint)
        values[known[name]] = _value(hints[known[name]], value, key)
    return kind(**values)


def _value(kind: Any, value: Any, key: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value not in arguments:
            options = ", ".join(map(repr, arguments))
            raise RecipeError(f"{key} is {_shown(value)}; it must be one of {options}.")
        return value
    if origin in (Union, types.UnionType):
        return _union(arguments, value, key)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{key} is {_shown(value)}; it must be a list.")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_value(arguments[0], one, f"{key}[{i}]") for i, one in enumerate(value))
        if len(value) != len(arguments):
            raise RecipeError(f"{key} has {len(value)} entries; it must have {len(arguments)}.")
        return tuple(
            _value(one, item, f"{key}[{i}]")
            for i, (one, item) in enumerate(zip(arguments, value, strict=True))
        )
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, key)  # type: ignore[arg-type]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
        raise RecipeError(f"{key} is {_shown(value)}; it must be {words[kind]}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{key} is {value}; it must be a finite number.")
    return value


def _union(options: Sequence[Any], value: Any, key: str) -> Any:
    complaints = []
    for option in options:
        try:
            return _value(option, value, key)
        except RecipeError as error:
            complaints.append(error)
    fitting = [
        complaint
        for option, complaint in zip(options, complaints, strict=True)
        if (isinstance(value, Mapping) and dataclasses.is_dataclass(option))
        or (isinstance(value, list) and get_origin(option) is tuple)
    ]
    raise (fitting or complaints)[0]


def _shown(value: object) -> str:
    return f"{value!r:.60}"


# what the parts must be together


def _check(recipe: Recipe) -> None:
    if not recipe.out:
        raise RecipeError("out is missing; it names the run folder.")
    if not recipe.teacher.model:
        raise RecipeError("teacher.model is missing; it names the model to learn from.")
    data = recipe.data
    if not data.train and not data.unlabelled:
        raise RecipeError("data.train and data.unlabelled are both missing; name a file.")
    _check_numbers(recipe)
    _check_report(recipe.report)
    _check_student(recipe.student)
    if not recipe.loss:
        raise RecipeError("loss is empty; name at least one part, for instance kind = 'kl'.")
    for index, loss in enumerate(recipe.loss):
        _check_loss(recipe, loss, f"loss[{index}]")
    _check_parts(recipe)
    _check_written(recipe)
    if data.augment.copies:
        _check_augment(recipe)


_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("data.max_length", 2, math.inf),
    ("data.labelled", 0, 1),
    ("train.epochs", 0, math.inf),
    ("train.steps", 0, math.inf),
    ("train.batch", 1, math.inf),
    ("train.micro_batch", 0, math.inf),
    ("train.rate", 0, math.inf),
    ("train.warmup", 0, 1),
    ("train.weight_decay", 0, math.inf),
    ("train.clip", 0, math.inf),
    ("train.evaluate_every", 0, math.inf),
    ("train.checkpoint_every", 0, math.inf),
    ("train.keep_checkpoints", 1, math.inf),
    ("train.patience", 0, math.inf),
    ("train.threads", 0, 4096),
    ("student.layers", 0, math.inf),
    ("student.hidden", 0, math.inf),
    ("student.heads", 0, math.inf),
    ("student.intermediate", 0, math.inf),
    ("student.dropout", -1, 0.999),
    ("cache.top_k", 0, math.inf),
    ("cache.shard", 1, math.inf),
    ("data.augment.copies", 0, 1000),
    ("data.augment.probability", 0, 1),
    ("data.augment.top", 1, math.inf),
    ("data.augment.temperature", 0.01, 100),
    ("data.augment.batch", 1, math.inf),
    ("sequences.beams", 1, 64),
    ("sequences.length_penalty", -10, 10),
    ("sequences.max_new_tokens", 1, math.inf),
    ("sequences.batch", 1, math.inf),
    ("on_policy.lambda", 0, 1),
    ("on_policy.temperature", 0.01, 100),
    ("on_policy.max_new_tokens", 1, math.inf),
    ("on_policy.batch", 1, math.inf),
    ("report.seconds", 0, math.inf),
    ("report.resamples", 100, 1_000_000),
)


def _check_report(report: Report) -> None:
    for index, name in enumerate(report.exports):
        if name not in ("int8", "onnx"):
            raise RecipeError(
                f"report.exports[{index}] is {name!r}; there are 'int8' and 'onnx'.",
            )
    if any(size < 1 for size in report.batches):
        raise RecipeError("report.batches has a batch without texts.")


def _check_numbers(recipe: Recipe) -> None:
    for key, low, high in _BOUNDS:
        value: Any = recipe
        for name in key.split("."):
            value = getattr(value, "lambda_" if name == "lambda" else name)
        if not low <= value <= high:
            bounds = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
            raise RecipeError(f"{key} is {value:g}; it must be {bounds}.")
    if recipe.train.epochs == 0 and recipe.train.steps == 0:
        raise RecipeError("train.epochs and train.steps are both 0; nothing would be trained.")
    if len(recipe.train.betas) != 2 or not all(0 <= b < 1 for b in recipe.train.betas):
        raise RecipeError("train.betas must be two numbers from 0 up to, not including, 1.")


def _check_student(student: Student) -> None:
    if student.start == "teacher":
        if isinstance(student.keep, tuple):
            if student.layers not in (0, len(student.keep)):
                raise RecipeError(
                    f"student.layers is {student.layers} and student.keep names "
                    f"{len(student.keep)} layers.",
                    hint="Leave student.layers out.",
                )
            if list(student.keep) != sorted(set(student.keep)) or min(student.keep, default=0) < 0:
                raise RecipeError("student.keep must name layers in ascending order, each once.")
        elif student.keep not in ("uniform", "spread", "first", "last"):
            raise RecipeError(
                f"student.keep is {student.keep!r}; it must be 'uniform', 'spread', 'first', "
                "'last' or a list of layers."
            )
        elif student.layers == 0:
            raise RecipeError("student.layers is missing; how many of the teacher's layers?")
        if any((student.hidden, student.heads, student.kv_heads, student.intermediate)):
            raise RecipeError(
                "student.hidden, heads, kv_heads and intermediate can't change in a student that "
                "is cut from the teacher.",
                hint="Use student.start = 'config' for other sizes.",
            )
    if (student.start == "model") != bool(student.model):
        raise RecipeError("student.model and student.start = 'model' go together.")


def _check_loss(recipe: Recipe, loss: Loss, key: str) -> None:
    if loss.temperature <= 0:
        raise RecipeError(f"{key}.temperature is {loss.temperature:g}; it must be above 0.")
    if not 0 <= loss.beta <= 1:
        raise RecipeError(f"{key}.beta is {loss.beta:g}; it must be between 0 and 1.")
    measures = {"hidden": ("mse", "cosine"), "embedding": ("mse", "cosine")}
    measures["attention"] = ("mse", "kl")
    if loss.kind in measures and loss.measure not in measures[loss.kind]:
        options = " or ".join(map(repr, measures[loss.kind]))
        raise RecipeError(f"{key}.measure is {loss.measure!r}; for {loss.kind} it is {options}.")
    if loss.relation_heads < 0:
        raise RecipeError(f"{key}.relation_heads is {loss.relation_heads}; it must be at least 0.")
    if isinstance(loss.weight, Ramp):
        ramp = loss.weight
        if not 0 <= ramp.begin <= ramp.until <= 1 or min(ramp.start, ramp.end) < 0:
            raise RecipeError(
                f"{key}.weight must have 0 <= begin <= until <= 1 and weights of at least 0."
            )
    elif loss.weight < 0:
        raise RecipeError(f"{key}.weight is {loss.weight:g}; it must be at least 0.")
    if loss.kind not in VOCABULARY_KINDS and recipe.student.align == "text":
        raise RecipeError(
            f"{key}.kind {loss.kind!r} compares tokens, which student.align = 'text' does not.",
            hint="Leave student.align out, or use losses on logits alone.",
        )
    if recipe.by_characters and loss.kind not in NAMELESS_KINDS:
        raise RecipeError(
            f"{key}.kind {loss.kind!r} compares token with token, and student.align = 'text' lets "
            "both models read tokens of their own.",
            hint="Use kind = 'uld', which compares sorted probabilities, and 'ce'.",
        )
    if recipe.cache.use:
        if loss.kind == "uld" and recipe.cache.top_k:
            raise RecipeError(
                f"{key}.kind 'uld' sorts all probabilities, and cache.top_k keeps "
                f"{recipe.cache.top_k}.",
                hint="Leave cache.top_k out.",
            )
        if loss.kind in ATTENTION_KINDS:
            raise RecipeError(f"{key}.kind {loss.kind!r} needs the teacher; cache.use is true.")
        if loss.kind in ("hidden", "embedding") and not recipe.cache.hidden:
            raise RecipeError(f"{key}.kind {loss.kind!r} needs cache.hidden = true.")


def _check_parts(recipe: Recipe) -> None:
    generation = recipe.task == "generation"
    if recipe.task == "ner" and recipe.student.align == "text":
        raise RecipeError(
            "student.align = 'text' does not fit NER, whose losses compare both models at the same "
            "tokens."
        )
    if recipe.by_characters:
        for key, used in (
            ("cache.use", recipe.cache.use),
            ("sequences.use", recipe.sequences.use),
            ("on_policy.lambda", recipe.on_policy.lambda_),
        ):
            if used:
                raise RecipeError(
                    f"{key} is {_shown(used)}, which needs one tokenizer for both models, and "
                    "student.align is 'text'.",
                    hint="Leave one of them out.",
                )
    if generation and recipe.data.unlabelled and recipe.data.train:
        raise RecipeError(
            "data.unlabelled and data.train are one thing in generation: texts.",
            hint="Name one of them.",
        )
    if recipe.data.chat and not (generation and recipe.data.prompt):
        raise RecipeError(
            "data.chat is true, which writes prompts as a chat, and "
            + ("data.prompt is missing." if generation else f"task is {recipe.task!r}."),
            hint="Name the column of prompts or of messages: data.prompt = 'messages'."
            if generation
            else "Leave data.chat out.",
        )


def _check_written(recipe: Recipe) -> None:
    """What a model writes: the teacher's sequences, and the student's own."""
    on_policy, sequences, task = recipe.on_policy, recipe.sequences, recipe.task
    for key, used in (("sequences.use", sequences.use), ("on_policy.lambda", on_policy.lambda_)):
        if used and task != "generation":
            kind = "classifier" if task == "classification" else "tagger"
            raise RecipeError(
                f"{key} is {_shown(used)} and task is {task!r}: a {kind} writes no text that could "
                "be learnt.",
                hint="Its classes are compared in full by kind = 'kl'. Leave the key out.",
            )
        if used and not recipe.data.prompt:
            raise RecipeError(
                f"{key} is {_shown(used)} and data.prompt is missing; what would be continued?",
                hint="Name the column of the prompts: data.prompt = 'question'.",
            )
    if sequences.use and recipe.data.labelled < 1:
        raise RecipeError(
            "data.labelled is a share of the completions in the data, and with sequences.use the "
            "teacher writes all of them.",
            hint="Leave data.labelled out.",
        )
    if on_policy.lambda_ and not any(one.kind in TEACHER_KINDS for one in recipe.loss):
        raise RecipeError(
            "on_policy.lambda is above 0 and no loss compares the logits of both models; on the "
            "student's own texts nothing else is known.",
            hint="Add a loss of kind = 'jsd', 'kl' or 'reverse-kl'.",
        )


def _check_augment(recipe: Recipe) -> None:
    augment = recipe.data.augment
    if not augment.masked and not augment.writer:
        raise RecipeError(
            "data.augment.masked and data.augment.writer are both empty; which model makes the "
            "copies?"
        )
    if recipe.task == "ner" and not augment.masked:
        raise RecipeError(
            "data.augment rewrites whole texts, whose words would no longer be those that are "
            "tagged.",
            hint="Name a masked-language model, data.augment.masked, which replaces word by word.",
        )
    if recipe.task == "generation" and recipe.data.prompt and not recipe.sequences.use:
        raise RecipeError(
            "data.augment changes prompts, whose completions would no longer fit them.",
            hint="Set sequences.use = true: the teacher then writes the completions.",
        )
    asked = any(one.kind in TEACHER_KINDS for one in recipe.loss) or recipe.sequences.use
    if augment.labels == "teacher" and not asked:
        raise RecipeError(
            "data.augment.labels is 'teacher' and no loss looks at the teacher's answers, so "
            "nothing would be learnt from the copies.",
            hint="Add a loss of kind = 'kl', or set data.augment.labels = 'copy'.",
        )
