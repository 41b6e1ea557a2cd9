"""A text that a model wrote, with the attention of each step, which can be made again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmkit.errors import ModelError
from lmkit.models.chat import ANSWERING
from lmkit.models.choices import Choice, Choices
from lmkit.models.segment import clean_text
from lmkit.models.text_trace import ModelTrace
from lmkit.models.tokens import Encoded, Reader, raw_tokens
from lmkit.protocol.messages import Token
from lmkit.work import Work, current_work

if TYPE_CHECKING:
    import torch

    from lmkit.capture import Generation, StepInfo
    from lmkit.models.loaded import HuggingFaceModel

__all__ = [
    "Alternative",
    "GeneratedToken",
    "GenerationTrace",
    "Recipe",
    "Written",
    "described",
    "new_seed",
    "turns_of",
    "write",
]

Turn = tuple[str, int, int]


@dataclass(frozen=True)
class Alternative:
    """A token that could have been written.

    Attributes:
        text: What it says.
        token_id: Its id.
        probability: What the model gave it.
    """

    text: str
    token_id: int
    probability: float


@dataclass(frozen=True)
class GeneratedToken:
    """One token that the model wrote.

    Probability, rank, entropy and alternatives are of the model's own distribution, softmax of the
    logits, before temperature and the like. They are None and empty where its logits were not
    seen.

    Attributes:
        index: Its place among the tokens that the decoder reads (``tokens``, or
            ``decoder_tokens`` of an encoder-decoder model). Row ``index - 1`` chose it. The last
            one was written and never read: it has no row.
        token: What it says.
        token_id: Its id.
        step: Index into ``steps``: which step chose it.
        probability: What the model gave it.
        rank: 0 for the likeliest.
        entropy: How undecided the model was, in bits.
        alternatives: The likeliest tokens, likeliest first.
    """

    index: int
    token: Token
    token_id: int
    step: int
    probability: float | None
    rank: int | None
    entropy: float | None
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True)
class Recipe:
    """What a text is generated from, again if need be.

    Attributes:
        encoded: The prompt.
        options: For ``generate``.
        seed: Of torch's generators during the call.
        values: Keep the value vectors.
        forced: The ids to come to, where the text is made again; empty the first time.
    """

    encoded: Encoded
    options: Mapping[str, Any]
    seed: int
    values: bool
    forced: tuple[int, ...] = ()


@dataclass(frozen=True)
class Written:
    """What one call of ``generate`` gave."""

    capture: Generation
    choices: tuple[Choice | None, ...]


class GenerationTrace(ModelTrace):
    """What :meth:`lmkit.models.HuggingFaceModel.trace_generation` returns.

    One trace as of a single pass; its queries are all tokens that were read: the prompt and what
    was written but for the last token. Each row is the one that its step computed, from the real
    run over the key-value cache. :meth:`release` lets go of the attention; the next question
    generates the text again, with the same ids.

    Attributes:
        text: Prompt and continuation (of an encoder-decoder model the prompt); ``words`` and the
            places of ``tokens`` count in it.
        tokens: What was read, in order; of an encoder-decoder model what its encoder read.
        decoder_tokens: What the decoder read, of an encoder-decoder model; else empty.
        generated: Where the written tokens begin, in ``decoder_tokens`` or else in ``tokens``.
        written: The tokens that were written, the last one included.
        completion: What they say together.
        steps: Which step computed which rows; its label is what it chose.
        turns: Of a chat: (role, first token, one past its last), the answer last.
        seed: With which it was generated.
    """

    def __init__(
        self,
        *,
        recipe: Recipe,
        generated: int,
        written: tuple[GeneratedToken, ...],
        completion: str,
        steps: tuple[StepInfo, ...],
        turns: tuple[Turn, ...],
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.generated = generated
        self.written = written
        self.completion = completion
        self.steps = steps
        self.turns = turns
        self.seed = recipe.seed
        self._recipe = recipe

    @property
    def output(self) -> Any:
        """The ids of the whole sequence: (1, tokens), on the CPU."""
        import torch

        return torch.tensor([self._recipe.forced])

    def inputs(self) -> dict[str, Any]:
        """The whole text as one pass: all that was read, the last written token left out.

        Raises:
            ModelError: the model can't be loaded again.
        """
        import torch

        given = super().inputs()
        start = given.get("decoder_input_ids")
        if start is not None:
            read = list(self._recipe.forced[:-1])
            given["decoder_input_ids"] = torch.tensor([read], device=start.device)
        return given

    @property
    def sequence(self) -> tuple[int, ...]:
        """The ids of the whole sequence (of the decoder), the last one included."""
        return self._recipe.forced

    def _run_again(self) -> Generation:
        return self.model.run_generation(self._recipe).capture


def write(loaded: HuggingFaceModel, recipe: Recipe) -> Written:
    """Generate, with attention.

    Raises:
        Cancelled: the user pressed Stop; heard at each layer.
        ModelError: the model can't write, or came to another text than the one it came to before.
    """
    import torch

    from lmkit.capture import capture

    model = loaded.model
    root = _root(model)
    inputs = loaded.generation_inputs(recipe.encoded)
    encoder_decoder = bool(getattr(root.config, "is_encoder_decoder", False))
    options = dict(recipe.options)
    total = int(options.get("max_new_tokens") or 0)
    if recipe.forced and _one_by_one(options):
        options["logits_processor"] = [
            *(options.get("logits_processor") or ()),
            _Forced(recipe.forced),
        ]
    work = current_work()
    prompt = 1 if encoder_decoder else len(recipe.encoded.ids)
    choices = Choices(root, prompt, _stops(root, options))
    with (
        _seeded(recipe.seed, loaded.device),
        _evaluating(model),
        _telling(root, work, total),
        choices,
        capture(
            model, values=recipe.values, cancel=None if work is None else lambda: work.cancelled
        ) as trace,
    ):
        output = model.generate(**inputs, **options)
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        choices.finish(sequences)
    error = trace.error
    if error is not None:
        raise type(error)(error.message, hint=error.hint, details=error.details)
    made = trace.generation()
    if recipe.forced and made.ids != recipe.forced:
        raise ModelError(
            f"{loaded.name} came to another text than before; this device's arithmetic does not "
            "repeat itself.",
            hint="Generate it again.",
        )
    return Written(made, tuple(_choices_of(made, choices)))


def _choices_of(made: Generation, choices: Choices) -> Iterator[Choice | None]:
    for index in range(made.prompt, len(made.ids)):
        row = index - 1
        step = next((s for s in made.steps if s.first <= row < s.last), None)
        if step is None:
            yield None
        else:
            column = row - step.first
            yield choices.choice(step.step, step.row, column, made.ids[index])


def described(
    tokenizer: Any, made: Written, tokens: Sequence[Token]
) -> tuple[tuple[GeneratedToken, ...], tuple[StepInfo, ...]]:
    """The written tokens with their numbers, and the steps named by what they chose.

    ``tokens`` are those of the whole sequence.
    """
    capture = made.capture
    reader = Reader(tokenizer)

    def said(identity: int) -> str:
        return clean_text(reader.text(raw_tokens(tokenizer, [identity])[0], identity))

    written = []
    for index, choice in enumerate(made.choices, capture.prompt):
        step = next((i for i, s in enumerate(capture.steps) if s.first < index <= s.last), 0)
        written.append(
            GeneratedToken(
                index=index,
                token=tokens[index],
                token_id=capture.ids[index],
                step=step,
                probability=None if choice is None else choice.probability,
                rank=None if choice is None else choice.rank,
                entropy=None if choice is None else choice.entropy,
                alternatives=()
                if choice is None
                else tuple(Alternative(said(i), i, p) for i, p in choice.alternatives),
            )
        )
    steps = []
    for number, info in enumerate(capture.steps):
        chosen = "".join(w.token.text for w in written if w.step == number)
        steps.append(replace(info, label=chosen.replace("\n", "\u21b5")[:200] or info.label))
    return tuple(written), tuple(steps)


def turns_of(
    encoded: Encoded, places: Sequence[Turn], prompt: int, tokens: int
) -> tuple[Turn, ...]:
    """Turns in tokens, from turns in characters of the prompt; the answer goes to the end."""
    found: list[Turn] = []
    first = 0
    for number, (role, _, end) in enumerate(places):
        last = first
        if number == len(places) - 1 and role == ANSWERING:
            last = tokens
        else:
            while last < prompt and (encoded.bounds[last] if encoded.bounds else (0, 0))[0] < end:
                last += 1
        found.append((role, first, last))
        first = last
    return tuple(found)


class _Forced:
    """A logits processor that lets one text through: what was written before."""

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.ids = ids

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        at = input_ids.shape[1]
        if at >= len(self.ids):
            return scores
        forced = scores.new_full(scores.shape, float("-inf"))
        forced[:, self.ids[at]] = 0.0
        return forced


def _one_by_one(options: Mapping[str, Any]) -> bool:
    """Whether one sequence is written token by token, by no beams and from no drafts."""
    config = options.get("generation_config")

    def asked(name: str) -> Any:
        given = options.get(name)
        return getattr(config, name, None) if given is None else given

    drafts = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit")
    counts = ("num_beams", "num_return_sequences")
    return all((asked(n) or 1) == 1 for n in counts) and not any(asked(n) for n in drafts)


def _root(model: Any) -> Any:
    """The module whose call is a pass of ``generate``: below the wrappers of peft and compile."""
    inner = getattr(model, "_orig_mod", model)
    base = getattr(inner, "get_base_model", None)
    return base() if callable(base) else inner


def _stops(model: Any, options: Mapping[str, Any]) -> list[int]:
    configs = (options.get("generation_config"), getattr(model, "generation_config", None))
    values = (options.get("eos_token_id"), *(getattr(c, "eos_token_id", None) for c in configs))
    stops = next((value for value in values if value is not None), ())
    return [stops] if isinstance(stops, int) else [int(i) for i in stops]


def new_seed() -> int:
    """A seed that takes nothing from the user's own generators."""
    return secrets.randbelow(1 << 31)


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    import torch

    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = [m for m in model.modules() if m.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _telling(root: Any, work: Work | None, total: int) -> Iterator[None]:
    """Report each pass, and stop there if the user asked to."""
    if work is None:
        yield
        return
    done = 0

    def tell(module: Any, args: Any, output: Any) -> None:
        nonlocal done
        done += 1
        work.report("Generating", min(done, total) if total else done, total)

    handle = root.register_forward_hook(tell)
    try:
        yield
    finally:
        handle.remove()
