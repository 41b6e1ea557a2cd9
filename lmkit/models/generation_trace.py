"""A text that a model wrote, with the attention of each step, which can be made again."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmkit.errors import ModelError
from lmkit.models.branches import Keeper, KeptCache, cache_name
from lmkit.models.chat import ANSWERING
from lmkit.models.choices import Choice, Choices
from lmkit.models.modes import in_eval_mode
from lmkit.models.segment import clean_text
from lmkit.models.text_trace import ModelTrace
from lmkit.models.tokens import Encoded, Reader, raw_tokens
from lmkit.protocol.messages import Token
from lmkit.work import Work, current_work

if TYPE_CHECKING:
    import torch

    from lmkit.capture import Generation, LayerInfo, StepInfo
    from lmkit.models.loaded import HuggingFaceModel

__all__ = [
    "Alternative",
    "Expected",
    "GeneratedToken",
    "GenerationTrace",
    "Recipe",
    "Written",
    "described",
    "new_seed",
    "one_by_one",
    "pads",
    "turns_of",
    "write",
    "write_on",
    "write_only",
    "write_together",
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
        prefix: Ids that the text begins with, in the model's place.
    """

    encoded: Encoded
    options: Mapping[str, Any]
    seed: int
    values: bool
    forced: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True)
class Written:
    """What one call of ``generate`` gave.

    ``capture`` is a stand-in without numbers where the text went on from an earlier one's cache.
    ``restarted`` says why it did not, where it could have been.
    """

    capture: Generation | Expected
    choices: tuple[Choice | None, ...]
    sequences: tuple[tuple[int, ...], ...] = ()
    scores: tuple[float, ...] = ()
    cache: KeptCache | None = None
    restarted: str = ""


@dataclass(frozen=True)
class Expected:
    """What the capture of a text will be when it is asked for: its shape, before its numbers."""

    ids: tuple[int, ...]
    prompt: int
    steps: tuple[StepInfo, ...]
    layers: tuple[LayerInfo, ...]
    path: str
    deviation: float | None
    missing: tuple[str, ...]
    error: Any = None


Told = Callable[["GeneratedToken"], None]
"""Is told of each token as it is written."""


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
        sequences: All sequences that ``generate`` returned, this one first: one a beam, where
            ``num_return_sequences`` asked for them.
        sequence_scores: What a search made of each, with ``output_scores=True``.
        restarted: Why a text with a prefix was written from the prompt on, as part of a sentence;
            empty where it went on from an earlier text's cache, or had no prefix.
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
        sequences: tuple[tuple[int, ...], ...] = (),
        sequence_scores: tuple[float, ...] = (),
        cache: KeptCache | None = None,
        restarted: str = "",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if isinstance(common["capture"], Expected):
            self._capture = None  # made when it is asked for
        self.sequences = sequences
        self.sequence_scores = sequence_scores
        self._cache = cache
        self.restarted = restarted
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

    @property
    def nbytes(self) -> int:
        """Bytes kept on the device, those of the key-value cache included; 0 after release."""
        cache = self._cache
        return super().nbytes + (0 if cache is None else cache.nbytes)

    def release(self) -> int:
        """Let go of attention and key-value cache; returns the bytes that they took."""
        with self._lock:
            cache, self._cache = self._cache, None
        return super().release() + (0 if cache is None else cache.nbytes)

    def input_of(self, recipe: Recipe) -> bool:
        """Whether a recipe has the prompt of this text."""
        return self._recipe.encoded.inputs == recipe.encoded.inputs

    def parts_at_its_end(self, ids: Sequence[int]) -> bool:
        """Whether ``ids``, of the same prompt, part from this text at their last token."""
        known = len(ids) - 1
        return self.generated <= known < len(self.sequence) and (
            tuple(ids[:known]) == self.sequence[:known]
        )

    def branch(self, ids: Sequence[int]) -> tuple[Any, str]:
        """A key-value cache for ``ids``, which part from this text at their last token.

        Returns:
            A copy of the cache without that token, and None with the reason where there is none.
        """
        with self._lock:
            cache = self._cache
        known = len(ids) - 1
        if cache is None:
            return None, "the cache of the text before has been let go of"
        found = cache.at(known)
        return found, "" if found is not None else cache.why_not(known)

    def states(self, tokens: int) -> dict[int, Any]:
        """What its cache knows of states up to ``tokens`` tokens, for a text that goes on there."""
        with self._lock:
            cache = self._cache
        if cache is None:
            return {}
        return {count: one for count, one in cache.states.items() if count <= tokens}

    def _run_again(self) -> Generation:
        from lmkit.capture import Generation

        made = self.model.run_generation(self._recipe).capture
        assert isinstance(made, Generation)
        return made


def write(loaded: HuggingFaceModel, recipe: Recipe, told: Told | None = None) -> Written:
    """Generate, with attention.

    Raises:
        Cancelled: the user pressed Stop; heard at each layer. A run that stops by itself
            (:func:`lmkit.api.stopped`) ends after the token in progress instead, once there is one.
        ModelError: the model can't write, or came to another text than the one it came to before.
    """
    import torch

    from lmkit.capture import capture

    model = loaded.model
    root = _root(model)
    inputs = loaded.generation_inputs(recipe.encoded)
    encoder_decoder = bool(getattr(root.config, "is_encoder_decoder", False))
    options = dict(recipe.options)
    prompt = 1 if encoder_decoder else len(recipe.encoded.ids)
    given = tuple(loaded.decoder_prompt()) if encoder_decoder else tuple(recipe.encoded.ids)
    single = one_by_one(options)
    forced = recipe.forced if single else ()
    if not forced and recipe.prefix:
        forced = (*given, *recipe.prefix)
    if forced:
        options["logits_processor"] = [*(options.get("logits_processor") or ()), _Forced(forced)]
    if recipe.forced and single:  # where it ended is known: by length, whatever ended it before
        options["max_new_tokens"] = len(recipe.forced) - prompt
        for name in ("stop_strings", "tokenizer", "stopping_criteria"):
            options.pop(name, None)
    work = current_work()
    total = int(options.get("max_new_tokens") or 0)
    choices = Choices(root, prompt, _stops(root, options))
    keeper = Keeper(root) if single and not recipe.forced else None
    ending = _Ending(work)
    if not recipe.forced:
        options["stopping_criteria"] = [*(options.get("stopping_criteria") or ()), ending]
    if told is not None and single:
        options["streamer"] = _Teller(loaded.tokenizer, choices, told, prompt)
    options["return_dict_in_generate"] = True
    with (
        _seeded(recipe.seed, loaded.device),
        in_eval_mode(model),
        _telling(root, work, total),
        choices,
        nullcontext() if keeper is None else keeper.watching(),
        capture(model, values=recipe.values, cancel=ending.cancelled) as trace,
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
    scores = getattr(output, "sequences_scores", None)
    return Written(
        made,
        tuple(_choices_of(made, choices)),
        tuple(tuple(row) for row in sequences.tolist()),
        () if scores is None else tuple(scores.float().tolist()),
        None if keeper is None else keeper.kept(output),
    )


def write_on(
    loaded: HuggingFaceModel,
    recipe: Recipe,
    parent: GenerationTrace,
    cache: Any,
    told: Told | None = None,
) -> Written:
    """Go on from a place in an earlier text over its key-value cache; attention comes when asked.

    ``cache`` is :meth:`GenerationTrace.branch`'s: it lacks the last given token alone. A sampled
    text draws the same luck at each place as a run from the prompt with the same seed.

    Raises:
        Cancelled, ModelError: as :func:`write`.
    """
    import torch

    model = loaded.model
    root = _root(model)
    ids = loaded.begun(recipe)
    start = len(ids) - len(recipe.prefix)
    inputs = loaded.generation_inputs(recipe.encoded)
    device = inputs["input_ids"].device
    encoder_decoder = bool(getattr(root.config, "is_encoder_decoder", False))
    keeper = Keeper(root, parent.states(len(ids) - 1))
    options = dict(recipe.options)
    options["max_new_tokens"] = int(options["max_new_tokens"]) - len(recipe.prefix)
    work = current_work()
    choices = Choices(root, len(ids), _stops(root, options))
    options["stopping_criteria"] = [*(options.get("stopping_criteria") or ()), _Ending(work)]
    earlier = [_chosen_before(parent, index, ids[index]) for index in range(start, len(ids))]
    if told is not None:
        teller = _Teller(loaded.tokenizer, choices, told, len(ids))
        for index, choice in enumerate(earlier, start):
            teller.tell(index, ids[index], choice)
        options["streamer"] = teller
    given = torch.tensor([ids], device=device)
    if encoder_decoder:
        # Without the mask generate() would read again what the cache holds.
        inputs |= {"decoder_input_ids": given, "decoder_attention_mask": torch.ones_like(given)}
    else:
        inputs = {"input_ids": given, "attention_mask": torch.ones_like(given)}
    with (
        _seeded(recipe.seed, loaded.device),
        in_eval_mode(model),
        _telling(root, work, int(options["max_new_tokens"])),
        choices,
        keeper.watching(),
    ):
        if options.get("do_sample"):
            size = root.get_output_embeddings().weight.shape[0]
            for _ in recipe.prefix:  # what the places before would have drawn
                torch.multinomial(torch.ones(1, size, device=device), 1)
        output = model.generate(
            **inputs,
            **{cache_name(): cache},
            return_dict_in_generate=True,
            **options,
        )
        choices.finish(output.sequences)
    whole = tuple(output.sequences[0].tolist())
    fed = len(whole) - 1
    steps = [parent.steps[0]]
    for row in range(start, fed):
        steps.append(
            replace(parent.steps[0], label="", first=row, last=row + 1, step=row - start + 1, row=0)
        )
    later = [
        choices.choice(number, 0, 0, whole[index])
        for number, index in enumerate(range(len(ids), len(whole)))
    ]
    return Written(
        Expected(
            whole,
            start,
            tuple(steps),
            tuple(_longer(layer, fed, encoder_decoder) for layer in parent.layers),
            parent.path,
            parent.deviation,
            parent.missing,
        ),
        (*earlier, *later),
        (whole,),
        (),
        keeper.kept(output),
    )


def write_only(loaded: HuggingFaceModel, recipe: Recipe) -> tuple[int, ...]:
    """The ids that the model writes after a prompt, the best sequence's; nothing is captured.

    Raises:
        Cancelled: the user pressed Stop; heard at each token.
    """
    import torch

    model = loaded.model
    work = current_work()
    inputs = loaded.generation_inputs(recipe.encoded)
    options = dict(recipe.options)

    def heard(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        if work is not None:
            work.check()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    options["stopping_criteria"] = [*(options.get("stopping_criteria") or ()), heard]
    with _seeded(recipe.seed, loaded.device), in_eval_mode(model), torch.no_grad():
        output = model.generate(**inputs, **options)
    sequences = output if isinstance(output, torch.Tensor) else output.sequences
    return tuple(sequences[0].tolist()[len(loaded.begun(recipe)) :])


def pads(model: Any, encoder_decoder: bool) -> bool:
    """Whether prompts of different lengths can be read at once, told apart from their filling.

    An encoder masks it. A decoder alone needs positions that begin with each prompt, which
    ``generate`` gives where ``forward`` takes them, and no state that the filling passes through.
    """
    root = _root(model)
    taken = inspect.signature(root.forward).parameters
    if encoder_decoder:
        return "attention_mask" in taken
    stateful = bool(getattr(root, "_is_stateful", False))
    return {"attention_mask", "position_ids"} <= set(taken) and not stateful


def write_together(
    loaded: HuggingFaceModel,
    encoded: Sequence[Encoded],
    options: Mapping[str, Any],
    encoder_decoder: bool,
) -> tuple[tuple[int, ...], ...]:
    """The ids that the model writes after each prompt, greedily and in one batch.

    Raises:
        Cancelled: the user pressed Stop; heard at each token.
    """
    import torch

    model = loaded.model
    work = current_work()
    stops = set(_stops(_root(model), options))
    filling = next(iter(stops), 0)
    width = max(len(one.ids) for one in encoded)
    each = [loaded.generation_inputs(one) for one in encoded]
    inputs = {}
    for name in ("input_ids", "attention_mask"):
        rows = []
        for one, given in zip(encoded, each, strict=True):
            row = given.get(name)
            row = torch.ones_like(given["input_ids"]) if row is None else row
            room = width - len(one.ids)
            value = filling if name == "input_ids" else 0
            side = (0, room) if encoder_decoder else (room, 0)
            rows.append(torch.nn.functional.pad(row, side, value=value))
        inputs[name] = torch.cat(rows)

    def heard(input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        if work is not None:
            work.check()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)

    given = {**options, "do_sample": False, "num_beams": 1, "num_return_sequences": 1}
    given["stopping_criteria"] = [*(given.get("stopping_criteria") or ()), heard]
    with in_eval_mode(model), torch.no_grad():
        output = model.generate(**inputs, pad_token_id=filling, **given)
    sequences = output if isinstance(output, torch.Tensor) else output.sequences
    start = 1 if encoder_decoder else width
    found = []
    for row in sequences[:, start:].tolist():
        end = next((at + 1 for at, one in enumerate(row) if one in stops), len(row))
        found.append(tuple(row[:end]))
    return tuple(found)


def _longer(layer: LayerInfo, fed: int, encoder_decoder: bool) -> LayerInfo:
    """A layer of an earlier text as it is of one of ``fed`` tokens read."""
    if not encoder_decoder or layer.role == "decoder":
        return replace(layer, queries=fed, keys=fed)
    return replace(layer, queries=fed) if layer.role == "cross" else layer


def _chosen_before(parent: GenerationTrace, index: int, identity: int) -> Choice | None:
    """What the model thought of ``identity`` at a place of an earlier text."""
    one = next((w for w in parent.written if w.index == index), None)
    if one is None or one.entropy is None:
        return None
    among = next((i for i, a in enumerate(one.alternatives) if a.token_id == identity), None)
    same = identity == one.token_id
    return Choice(
        token_id=identity,
        probability=one.probability
        if same
        else (None if among is None else one.alternatives[among].probability),
        rank=one.rank if same else among,
        entropy=one.entropy,
        alternatives=tuple((a.token_id, a.probability) for a in one.alternatives),
    )


class _Ending:
    """Ends ``generate`` after the token in progress where the user pressed Stop."""

    def __init__(self, work: Work | None) -> None:
        self.work = work
        self.begun = False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        import torch

        self.begun = True
        stop = self.work is not None and self.work.cancelled and self.work.stops_itself
        return torch.full((input_ids.shape[0],), stop, device=input_ids.device)

    def cancelled(self) -> bool:
        """Whether the pass in progress is to end at its next layer."""
        work = self.work
        return work is not None and work.cancelled and not (self.begun and work.stops_itself)


class _Teller:
    """A streamer: tells of each token with what the model thought of it."""

    def __init__(self, tokenizer: Any, choices: Choices, told: Told, prompt: int) -> None:
        self._tokenizer = tokenizer
        self._reader = Reader(tokenizer)
        self._choices = choices
        self._told = told
        self._next = prompt
        self._first = True

    def put(self, value: torch.Tensor) -> None:
        """The prompt first, then one token at a time."""
        if self._first:
            self._first = False
            return
        for identity in value.reshape(-1).tolist():
            self.tell(self._next, identity, self._choices.latest(identity))
            self._next += 1

    def end(self) -> None:
        """The text is complete."""

    def tell(self, index: int, identity: int, choice: Choice | None) -> None:
        """Tell of one token."""
        raw = raw_tokens(self._tokenizer, [identity])[0]
        special = identity in set(self._tokenizer.all_special_ids)
        token = Token(
            text=clean_text(self._reader.text(raw, identity)), raw=clean_text(raw), special=special
        )
        self._told(_generated(index, token, identity, 0, choice, self._said))

    def _said(self, identity: int) -> str:
        return clean_text(self._reader.text(raw_tokens(self._tokenizer, [identity])[0], identity))


def _generated(
    index: int,
    token: Token,
    identity: int,
    step: int,
    choice: Choice | None,
    said: Callable[[int], str],
) -> GeneratedToken:
    return GeneratedToken(
        index=index,
        token=token,
        token_id=identity,
        step=step,
        probability=None if choice is None else choice.probability,
        rank=None if choice is None else choice.rank,
        entropy=None if choice is None else choice.entropy,
        alternatives=()
        if choice is None
        else tuple(Alternative(said(i), i, p) for i, p in choice.alternatives),
    )


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
        written.append(_generated(index, tokens[index], capture.ids[index], step, choice, said))
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


def one_by_one(options: Mapping[str, Any]) -> bool:
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
