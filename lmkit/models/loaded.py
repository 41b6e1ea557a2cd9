"""A model and its tokenizer on a device, as a task receives it."""

from __future__ import annotations

import inspect
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmkit.api import Completion, LoadedModel
from lmkit.errors import FieldError, LmkitError, ModelError
from lmkit.models.chat import messages_of, render
from lmkit.models.generation_trace import (
    GeneratedToken,
    GenerationTrace,
    Recipe,
    Written,
    described,
    new_seed,
    one_by_one,
    pads,
    turns_of,
    write,
    write_on,
    write_only,
    write_together,
)
from lmkit.models.hardware import free_memory, memory_errors
from lmkit.models.heads import unwrapped
from lmkit.models.limits import UNSTATED, longest_input
from lmkit.models.loading import waiting_for
from lmkit.models.modes import in_eval_mode, without_weight_gradients
from lmkit.models.segment import clean_text
from lmkit.models.text_trace import ModelTrace
from lmkit.models.tokens import SEPARATOR, Encoded, append_generated, encode, read_tokens
from lmkit.protocol.messages import Token
from lmkit.rows import Row, RowBatch, RowProblem
from lmkit.work import Work, current_work

if TYPE_CHECKING:
    from lmkit.capture import Trace
    from lmkit.capture.interventions import Change

__all__ = ["KEPT_OUTPUT", "Facts", "HuggingFaceModel", "Parts", "facts_of"]

KEPT_OUTPUT = 256 * 1024**2
"""Bytes of output that a trace keeps. SmolLM2's logits over 8,192 tokens would be 1.6 GB, six times
what its queries and keys take, and no picture asks for them."""
_MAX_LABEL = 1_000
_SHARE_OF_MEMORY = 0.8
"""Of the memory that is free before a pass, what its queries and keys may take."""


@dataclass(frozen=True)
class Facts:
    """What is known of a model also while it is unloaded."""

    kind: str
    device: str
    dtype: str
    labels: tuple[str, ...]
    parameters: int
    nbytes: int


@dataclass
class Parts:
    """The heavy part of a loaded model: what unloading lets go of."""

    model: Any
    tokenizer: Any


class HuggingFaceModel(LoadedModel):
    """A ``transformers`` model with its tokenizer.

    One that a store loaded may be unloaded at any time between two uses and loads itself again
    at the next; :meth:`hold` keeps it. A model that the user gave as an object stays on its
    device, in its dtype, mode and attention implementation: each pass puts back what it changes.

    Args:
        name: As the user named it.
        auto_class: Name of the auto class that loaded it, or whose task it is for.
        parts: Model and tokenizer.
        facts: Of a model that a store loaded; None for an object, which may change.
        reload: Loads it again; None for an object.
        warnings: What must be said of it from now on.
        revision: Commit on the hub, empty elsewhere.
        fingerprint: SHA-256 that tells whether its files are still the same, empty for objects.
        spec: How the store loads it, for the store alone.
    """

    def __init__(
        self,
        name: str,
        auto_class: str,
        parts: Parts,
        *,
        facts: Facts | None = None,
        reload: Callable[[HuggingFaceModel], object] | None = None,
        warnings: tuple[str, ...] = (),
        revision: str = "",
        fingerprint: str = "",
        spec: Any = None,
    ) -> None:
        self.name = name
        self.auto_class = auto_class
        self.revision = revision
        self.fingerprint = fingerprint
        self.spec = spec
        self.last_used = time.monotonic()
        self._parts: Parts | None = parts
        self._facts = facts
        self._reload = reload
        self._load_warnings = warnings
        self._text_warnings: tuple[str, ...] = ()
        self._warned_in: weakref.ref[Work] | None = None
        self._holds = 0
        self._texts: weakref.WeakSet[GenerationTrace] = weakref.WeakSet()
        self._state = threading.Lock()

    def __repr__(self) -> str:
        facts = self.facts
        state = "" if self.loaded else ", unloaded"
        return f"<{self.name}: {facts.kind} on {facts.device}, {facts.dtype}{state}>"

    # the contract of lmkit.api

    @property
    def model(self) -> Any:
        """The model; loaded again if it was unloaded.

        Raises:
            ModelError: it can't be loaded again.
        """
        return self._ready().model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self._ready().tokenizer

    @property
    def device(self) -> str:
        """Where it is, or will be when it is loaded again."""
        return self.facts.device

    @property
    def dtype(self) -> str:
        """Type of its weights."""
        return self.facts.dtype

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes of its head, by index; empty where it has none."""
        return self.facts.labels

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must be said of the model, and of the texts of the latest run."""
        return (*self._load_warnings, *self._text_warnings)

    def trace(self, text: str, pair: str | None = None, *, values: bool = False) -> ModelTrace:
        """Run one forward pass and keep its attention; see :meth:`LoadedModel.trace`.

        Raises:
            FieldError: nothing is left of the text after tokenisation.
            Cancelled: the user pressed Stop.
            DeviceMemoryError: the pass does not fit on the device.
            ModelError: the model failed on the text.
        """
        for given in (text, "" if pair is None else pair):
            if not isinstance(given, str):
                raise FieldError(
                    f"A text is a string, not a {type(given).__name__}.",
                    hint="Call trace once for each text.",
                )
        work = current_work()
        if work is not None:
            work.check()
        with self.hold():
            parts = self._ready()
            first, second = clean_text(text), None if pair is None else clean_text(pair)
            limit, stated = longest_input(unwrapped(parts.model), parts.tokenizer)
            with waiting_for(_lock_of(parts.tokenizer)):
                encoded = self._encode(parts.tokenizer, first, second, limit)
                whole, tokens, words = read_tokens(parts.tokenizer, encoded, first, second)
                decoder_tokens = self._decoder_tokens(parts, tokens)
            said = (
                *self._said_of_length(parts.tokenizer, encoded, stated, second is not None),
                *_said_of_surrogates(text, first),
                *_said_of_surrogates(pair, second),
            )
            self._warn_of_text(said, work)
            made = ModelTrace(
                self,
                encoded,
                text=whole,
                pair=second,
                pair_start=None if second is None else len(first) + len(SEPARATOR),
                tokens=tokens,
                words=words,
                decoder_tokens=decoder_tokens,
                warnings=said,
                values=values,
                capture=self.run_pass(encoded, values=values),
            )
        if work is not None:
            work.traces.append(made)
        return made

    def trace_generation(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        *,
        max_new_tokens: int = 40,
        seed: int | None = None,
        chat: bool = False,
        values: bool = False,
        prefix: Sequence[int] = (),
        on_token: Callable[[GeneratedToken], None] | None = None,
        **options: Any,
    ) -> GenerationTrace:
        """Let the model write on, and keep the attention of each step.

        Args:
            prompt: A text; with ``chat`` also messages with ``role`` and ``content``.
            max_new_tokens: Most tokens to write.
            seed: Of torch's generators during the call; a random one if None. Outside of the call
                they stand as before.
            chat: Write the prompt by the tokenizer's chat template.
            values: Keep the value vectors too.
            prefix: Ids that the text begins with, in the model's place; they count as written.
                Where they part from a text that this model wrote before, at their last token, the
                key-value cache of that text is gone on from.
            on_token: Told of each token as it is written (not with beams).
            options: For transformers' ``generate``: ``do_sample``, ``temperature``,
                ``num_beams``, ``prompt_lookup_num_tokens``, ``cache_implementation``...

        Raises:
            FieldError: nothing is left of the prompt after tokenisation.
            Cancelled: the user pressed Stop; heard at each layer of each step.
            DeviceMemoryError: it does not fit on the device.
            ModelError: the model can't write, or failed.
            AttentionUnavailableError: it has no attention to show.
        """
        work = current_work()
        if work is not None:
            work.check()
        with self.hold():
            parts = self._ready()
            inner = unwrapped(parts.model)
            first, places, encoded, said = self._prompted(parts, prompt, chat, max_new_tokens)
            self._warn_of_text(() if chat else said, work)
            recipe = Recipe(
                encoded,
                {**options, "max_new_tokens": max_new_tokens},
                new_seed() if seed is None else seed,
                values,
                prefix=self._check_prefix(inner, prefix, max_new_tokens),
            )
            made = self._written(parts, recipe, first, places, said, on_token)
            self._texts.add(made)
        if work is not None:
            work.traces.append(made)
        return made

    def complete(
        self,
        prompt: str | Sequence[Mapping[str, Any]],
        *,
        max_new_tokens: int = 40,
        seed: int | None = None,
        chat: bool = False,
        **options: Any,
    ) -> Completion:
        """See :meth:`lmkit.api.LoadedModel.complete`."""
        work = current_work()
        if work is not None:
            work.check()
        with self.hold():
            parts = self._ready()
            _, _, encoded, _ = self._prompted(parts, prompt, chat, max_new_tokens)
            recipe = Recipe(
                encoded,
                {**options, "max_new_tokens": max_new_tokens},
                new_seed() if seed is None else seed,
                False,
            )
            with (
                waiting_for(_lock_of(parts.model)),
                memory_errors(self.name, self.device, "this text"),
                self._failures(),
            ):
                ids = write_only(self, recipe)
            with waiting_for(_lock_of(parts.tokenizer)):
                own = _has_decoder_input(unwrapped(parts.model))
                before = Encoded({"input_ids": []}, (), (), (), 0) if own else encoded
                _, text = append_generated(parts.tokenizer, before, "", ids)
        return Completion(text, ids, len(encoded.ids), encoded.total)

    def complete_all(
        self,
        prompts: Sequence[str | Sequence[Mapping[str, Any]]],
        *,
        max_new_tokens: int = 40,
        chat: bool = False,
        **options: Any,
    ) -> tuple[Completion, ...]:
        """See :meth:`lmkit.api.LoadedModel.complete_all`."""
        work = current_work()
        if work is not None:
            work.check()
        with self.hold():
            parts = self._ready()
            own = _has_decoder_input(unwrapped(parts.model))
            if len(prompts) < 2 or not pads(parts.model, own):
                return super().complete_all(
                    prompts, max_new_tokens=max_new_tokens, chat=chat, **options
                )
            encoded = [self._prompted(parts, one, chat, max_new_tokens)[2] for one in prompts]
            with (
                waiting_for(_lock_of(parts.model)),
                memory_errors(self.name, self.device, "these texts"),
                self._failures(),
            ):
                written = write_together(
                    self, encoded, {**options, "max_new_tokens": max_new_tokens}, own
                )
            made = []
            with waiting_for(_lock_of(parts.tokenizer)):
                for one, ids in zip(encoded, written, strict=True):
                    before = Encoded({"input_ids": []}, (), (), (), 0) if own else one
                    _, text = append_generated(parts.tokenizer, before, "", ids)
                    made.append(Completion(text, ids, len(one.ids), one.total))
        return tuple(made)

    def _prompted(
        self,
        parts: Parts,
        prompt: str | Sequence[Mapping[str, Any]],
        chat: bool,
        max_new_tokens: int,
    ) -> tuple[str, tuple[tuple[str, int, int], ...], Encoded, tuple[str, ...]]:
        """A prompt as it is read: its text, the turns in it, its ids, and what to say of it."""
        if not chat and not isinstance(prompt, str):
            raise FieldError(
                f"A prompt is a string, not a {type(prompt).__name__}.",
                hint="Messages are given with chat=True.",
            )
        inner = unwrapped(parts.model)
        self._check_writes(inner)
        limit, stated = longest_input(inner, parts.tokenizer)
        if not _has_decoder_input(inner):
            limit = max(1, limit - max_new_tokens)
        places: tuple[tuple[str, int, int], ...] = ()
        if chat:
            first, places = render(parts.tokenizer, messages_of(prompt), self.name)
        else:
            first = clean_text(str(prompt))
        with waiting_for(_lock_of(parts.tokenizer)):
            encoded = self._encode(parts.tokenizer, first, None, limit, bare=chat)
        said = (
            *self._said_of_length(parts.tokenizer, encoded, stated, False),
            *(_said_of_surrogates(prompt, clean_text(prompt)) if isinstance(prompt, str) else ()),
        )
        return first, places, encoded, said

    def batches(
        self,
        rows: Iterable[Row],
        *,
        text: str | Callable[[Row], str] = "text",
        pair: str | Callable[[Row], str | None] | None = None,
        batch_size: int = 32,
        stride: int | None = None,
        total: int = 0,
        label: str = "Rows",
    ) -> Iterator[RowBatch | RowProblem]:
        """Run the model over rows in batches; see :meth:`LoadedModel.batches`."""
        from lmkit.models.batches import batches

        return batches(
            self, rows, text=text, pair=pair, batch_size=batch_size, stride=stride, total=total,
            label=label,
        )  # fmt: skip

    @property
    def kind(self) -> str:
        """Class of the model below wrappers; known also while it is unloaded."""
        return self.facts.kind

    @property
    def longest(self) -> int:
        """Most tokens that it reads at once; see :attr:`LoadedModel.longest`."""
        parts = self._ready()
        return longest_input(unwrapped(parts.model), parts.tokenizer)[0]

    @property
    def free_memory(self) -> int:
        """Bytes that are free on its device; 0 where that is not known."""
        return free_memory(self.device)

    @contextmanager
    def borrow(self, doing: str = "this pass") -> Iterator[Any]:
        """The model itself for a block; see :meth:`LoadedModel.borrow`."""
        import torch

        from lmkit.capture.context import run_uncompiled

        with ExitStack() as stack:
            stack.enter_context(self.hold())
            model = self._ready().model
            stack.enter_context(waiting_for(_lock_of(model)))
            stack.enter_context(memory_errors(self.name, self.device, doing))
            stack.enter_context(in_eval_mode(model))
            stack.enter_context(without_weight_gradients(model))
            run_uncompiled(unwrapped(model), model, stack)
            # The caller may stand in a block of its own without gradients.
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            yield model

    # beyond the contract

    @property
    def facts(self) -> Facts:
        """Kind, device, dtype, labels and size."""
        if self._facts is not None:
            return self._facts
        parts = self._parts
        if parts is None:
            return Facts("unloaded", "", "", (), 0, 0)
        return facts_of(parts.model)

    @property
    def loaded(self) -> bool:
        """Whether its weights are in memory."""
        return self._parts is not None

    @property
    def given(self) -> bool:
        """Whether the user gave the object; then nobody but the user unloads it."""
        return self._reload is None

    @property
    def in_use(self) -> bool:
        """Whether a run holds it."""
        return self._holds > 0

    @property
    def nbytes(self) -> int:
        """Bytes of its parameters and buffers."""
        return self.facts.nbytes

    @property
    def parameters(self) -> int:
        """How many parameters it has."""
        return self.facts.parameters

    @property
    def parts(self) -> Parts:
        """Model and tokenizer together; loaded again if they were unloaded."""
        return self._ready()

    def touch(self) -> None:
        """Note that it is used now: the least recently used one is unloaded first."""
        self.last_used = time.monotonic()

    @contextmanager
    def hold(self) -> Iterator[HuggingFaceModel]:
        """Keep it loaded for the time of the block, whatever the store's budget."""
        with self._state:
            self._holds += 1
        try:
            self._ready()
            yield self
        finally:
            with self._state:
                self._holds -= 1
            self.last_used = time.monotonic()

    def drop(self) -> Parts | None:
        """Let go of model and tokenizer; the store's part of unloading."""
        with self._state:
            parts, self._parts = self._parts, None
        return parts

    def drop_if_idle(self) -> Parts | None:
        """As :meth:`drop`, but not while a run holds it."""
        with self._state:
            if self._holds:
                return None
            parts, self._parts = self._parts, None
        return parts

    def put_back(self, parts: Parts, extra: tuple[str, ...] = ()) -> None:
        """Take model and tokenizer again; the store's part of loading again."""
        self._parts = parts
        self._load_warnings = tuple(dict.fromkeys((*self._load_warnings, *extra)))
        self.last_used = time.monotonic()

    def run_pass(self, encoded: Encoded, *, values: bool = False) -> Trace:
        """One captured forward pass over ids, on the model's own device.

        Raises:
            Cancelled: the user pressed Stop; heard at each layer.
            BudgetExceededError: its attention would take what memory the machine has left.
            DeviceMemoryError: it does not fit.
            ModelError: the ids are not the model's, or it failed on them.
        """
        from lmkit.capture import trace_forward

        work = current_work()
        with self.hold():
            model = self._ready().model
            inputs = self._inputs(model, encoded)
            large = _logit_bytes(unwrapped(model), len(encoded.ids)) > KEPT_OUTPUT
            if large and _can_leave_out(unwrapped(model)):
                inputs["logits_to_keep"] = 1
            # Eval mode is set and put back module by module: one pass at a time for one model.
            with (
                waiting_for(_lock_of(model)),
                memory_errors(self.name, self.device, "this pass"),
                self._failures(),
            ):
                trace = trace_forward(
                    model,
                    inputs,
                    values=values,
                    budget=_room(self.device),
                    cancel=None if work is None else lambda: work.cancelled,
                    on_layer=None
                    if work is None
                    else lambda done, total: work.report("Forward pass", done, total),
                )
            if large:
                trace.output = None  # made again for those who ask
            return trace

    def trace_ids(self, ids: Sequence[int]) -> Trace:
        """One captured pass over ids as they are, without the tokenizer.

        Raises:
            FieldError: no ids, or more than the model reads.
            Cancelled, DeviceMemoryError, ModelError: as :meth:`run_pass`.
        """
        limit = self.longest_input()
        if not 0 < len(ids) <= limit:
            raise FieldError(f"{self.name} reads 1 to {limit:,} tokens at once, not {len(ids):,}.")
        return self.run_pass(_encoded_ids(ids))

    def longest_input(self) -> int:
        """Most tokens, special ones included, that are given to it at once."""
        parts = self._ready()
        limit, _ = longest_input(unwrapped(parts.model), parts.tokenizer)
        return limit or UNSTATED

    def plain_ids(self) -> list[int]:
        """Every id that stands for text: no special or added token, none without an embedding."""
        parts = self._ready()
        tokenizer = parts.tokenizer
        added = set(getattr(tokenizer, "added_tokens_decoder", None) or ())
        left_out = {*tokenizer.all_special_ids, *added}
        size = len(tokenizer)
        try:
            embeddings = unwrapped(parts.model).get_input_embeddings().num_embeddings
            size = min(size, int(embeddings))
        except (AttributeError, NotImplementedError):
            pass
        return [identity for identity in range(size) if identity not in left_out]

    def output_of(
        self,
        encoded: Encoded,
        changes: Sequence[Change] = (),
        *,
        copies: int = 1,
        last: bool = False,
    ) -> Any:
        """The model's output on ids, in eval mode without gradients and not captured.

        Args:
            encoded: The ids.
            changes: Heads to change in this pass (:mod:`lmkit.capture.interventions`).
            copies: Texts in the batch, all the same; a change may concern one of them.
            last: Only the last position's logits, where the model can leave the others out.

        Raises:
            AttentionUnavailableError: heads of this model can't be changed.
            Cancelled, CaptureError, DeviceMemoryError, ModelError: as :meth:`run_pass`.
        """
        from lmkit.capture.interventions import repeated_pass

        work = current_work()
        with self.hold():
            model = self._ready().model
            inputs = self._inputs(model, encoded)
            with (
                waiting_for(_lock_of(model)),
                memory_errors(self.name, self.device, "this pass"),
                self._failures(),
            ):
                return repeated_pass(
                    model,
                    inputs,
                    changes,
                    copies=copies,
                    last=last,
                    cancel=None if work is None else lambda: work.cancelled,
                )

    def run_batch(self, inputs: Mapping[str, list[list[int]]]) -> Any:
        """The model's output on a padded batch, in eval mode without gradients, not captured.

        Args:
            inputs: ``input_ids``, ``attention_mask`` and so on, each (texts, tokens); those that
                the model does not take are left out.

        Raises:
            DeviceMemoryError: it does not fit on the device.
            ModelError: the ids are not the model's, or it failed on them.
        """
        import torch

        with self.hold():
            model = self._ready().model
            inner = unwrapped(model)
            self._check_largest(inner, max(map(max, inputs["input_ids"])))
            named = inspect.signature(inner.forward).parameters
            device = _input_device(inner)
            with (
                waiting_for(_lock_of(model)),
                memory_errors(self.name, self.device, "this pass"),
                self._failures(),
                in_eval_mode(model),
                torch.no_grad(),
            ):
                given = {
                    key: torch.tensor(value, device=device)
                    for key, value in inputs.items()
                    if key in named or "input_ids" not in named
                }
                if _reads_start_only(inner):
                    count = len(inputs["input_ids"])
                    start = self._decoder_start(inner)
                    given["decoder_input_ids"] = torch.full((count, 1), start, device=device)
                return model(**given)

    @contextmanager
    def tokenizing(self) -> Iterator[Any]:
        """Its tokenizer for a block, for one thread at a time: fast ones keep a state."""
        with self.hold():
            tokenizer = self._ready().tokenizer
            with waiting_for(_lock_of(tokenizer)):
                yield tokenizer

    def run_generation(
        self, recipe: Recipe, told: Callable[[GeneratedToken], None] | None = None
    ) -> Written:
        """One call of ``generate``, on the model's own device; captured, or over an earlier cache.

        Raises:
            Cancelled: the user pressed Stop.
            DeviceMemoryError: it does not fit.
            ModelError: it failed, or came to another text than before.
        """
        with self.hold():
            model = self._ready().model
            with (
                waiting_for(_lock_of(model)),
                memory_errors(self.name, self.device, "this text"),
                self._failures(),
            ):
                if recipe.forced or not recipe.prefix or not one_by_one(recipe.options):
                    return write(self, recipe, told)
                parent, cache, why = self._branch_of(recipe)
                if parent is not None:
                    return write_on(self, recipe, parent, cache, told)
                return replace(write(self, recipe, told), restarted=why)

    def _branch_of(self, recipe: Recipe) -> tuple[GenerationTrace | None, Any, str]:
        """An earlier text that parts from this one at the last given token, and its cache.

        Without one: None, None, and why.
        """
        ids = self.begun(recipe)
        why = "no text before parts from it there"
        for text in list(self._texts):
            if text.input_of(recipe) and text.parts_at_its_end(ids):
                cache, reason = text.branch(ids)
                if cache is not None:
                    return text, cache, ""
                why = reason
        return None, None, why

    def begun(self, recipe: Recipe) -> tuple[int, ...]:
        """The ids that a text begins with where it is written: its prompt or start, its prefix."""
        own = _has_decoder_input(unwrapped(self._ready().model))
        return (*(self.decoder_prompt() if own else recipe.encoded.ids), *recipe.prefix)

    def decoder_prompt(self) -> tuple[int, ...]:
        """What ``generate`` gives the decoder of an encoder-decoder model to begin with."""
        return (self._decoder_start(unwrapped(self._ready().model)),)

    def _check_prefix(self, inner: Any, prefix: Sequence[int], most: int) -> tuple[int, ...]:
        ids = tuple(prefix)
        size = inner.get_input_embeddings().num_embeddings if ids else 0
        if any(isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < size for i in ids):
            raise FieldError(
                f"The tokens to begin with are whole numbers from 0 to {size - 1}.",
                hint="They are ids of the model's own tokenizer.",
            )
        if len(ids) >= most:
            raise FieldError(
                f"There are {len(ids)} tokens to begin with, and {most} to write in all.",
                hint="Let the model write more tokens.",
            )
        return ids

    def inputs_of(self, encoded: Encoded) -> dict[str, Any]:
        """Keyword arguments of the model for encoded ids, on its device.

        Raises:
            ModelError: the ids are not the model's.
        """
        return self._inputs(self._ready().model, encoded)

    def generation_inputs(self, encoded: Encoded) -> dict[str, Any]:
        """What ``generate`` is given of an encoded prompt, on the model's device."""
        inputs = self._inputs(self._ready().model, encoded)
        return {key: value for key, value in inputs.items() if key != "decoder_input_ids"}

    # inside

    def _written(
        self,
        parts: Parts,
        recipe: Recipe,
        prompt: str,
        places: tuple[tuple[str, int, int], ...],
        said: tuple[str, ...],
        told: Callable[[GeneratedToken], None] | None = None,
    ) -> GenerationTrace:
        made = self.run_generation(recipe, told)
        ids = made.capture.ids
        start = made.capture.prompt
        own = _has_decoder_input(unwrapped(parts.model))
        with waiting_for(_lock_of(parts.tokenizer)):
            if own:
                empty = Encoded({"input_ids": []}, (), (), (), 0)
                whole, text = append_generated(parts.tokenizer, empty, "", ids)
                _, sequence, _ = read_tokens(parts.tokenizer, whole, text, None)
                completion, decoder_tokens = text, sequence[:-1]
                text, tokens, words = read_tokens(parts.tokenizer, recipe.encoded, prompt, None)
            else:
                whole, text = append_generated(parts.tokenizer, recipe.encoded, prompt, ids[start:])
                _, sequence, _ = read_tokens(parts.tokenizer, whole, text, None)
                completion, decoder_tokens = text[len(prompt) :], ()
                text, tokens, words = read_tokens(
                    parts.tokenizer, whole.first(len(ids) - 1), text, None
                )
            written, steps = described(parts.tokenizer, made, sequence)
        return GenerationTrace(
            recipe=replace(recipe, forced=ids),
            generated=start,
            written=written,
            completion=completion,
            steps=steps,
            turns=turns_of(recipe.encoded, places, len(recipe.encoded.ids), len(tokens)),
            model=self,
            encoded=recipe.encoded if own else whole.first(len(ids) - 1),
            text=text,
            pair=None,
            pair_start=None,
            tokens=tokens,
            words=words,
            decoder_tokens=decoder_tokens,
            warnings=said,
            values=recipe.values,
            capture=made.capture,
            sequences=made.sequences,
            sequence_scores=made.scores,
            cache=made.cache,
            restarted=made.restarted,
        )

    def _check_writes(self, inner: Any) -> None:
        can = getattr(inner, "can_generate", None)
        if not (callable(can) and can()) or not hasattr(inner, "generate"):
            raise ModelError(
                f"{self.name} does not write text: it was loaded as a {type(inner).__name__}.",
                hint="Load it as AutoModelForCausalLM or AutoModelForSeq2SeqLM.",
            )

    def _ready(self) -> Parts:
        parts = self._parts
        while parts is None:
            if self._reload is None:
                raise ModelError(
                    f"{self.name} was unloaded, and it was given as an object.",
                    hint="Give the model and its tokenizer again.",
                )
            self._reload(self)
            parts = self._parts
        self.last_used = time.monotonic()
        return parts

    def _encode(
        self,
        tokenizer: Any,
        text: str,
        pair: str | None,
        limit: int | None,
        *,
        bare: bool = False,
    ) -> Encoded:
        try:
            encoded = encode(tokenizer, text, pair, limit, bare=bare)
        except Exception as error:
            raise ModelError(
                f"The tokenizer of {self.name} failed on this text: {_first_line(error)}",
                hint="Try another text, or the fast tokenizer of this model.",
                details=traceback.format_exc()[-20_000:],
            ) from error
        if not encoded.ids or all(encoded.special):
            what = (
                "The text is empty."
                if not text.strip()
                else (f"Nothing is left of the text after tokenisation by {self.name}.")
            )
            raise FieldError(what, hint="Write a word or more.")
        return encoded

    def _said_of_length(
        self, tokenizer: Any, encoded: Encoded, stated: bool, pair: bool
    ) -> tuple[str, ...]:
        read, total = len(encoded.ids), encoded.total
        if read >= total:
            return ()
        left = total - read
        were = "was" if left == 1 else "were"
        has = f"The {'two texts have' if pair else 'text has'} {total:,} tokens"
        limit = f"{self.name} reads {read:,}"
        if not stated:
            limit = (
                f"{self.name} states no limit, and lmkit stops at {read:,} unless "
                "tokenizer.model_max_length says another"
            )
        if pair:
            out = f"{left:,} {were} left out, from the longer text first."
            return (f"{has} together; {limit}. {out}",)
        which = "first" if getattr(tokenizer, "truncation_side", "right") == "left" else "last"
        return (
            f"{has}; {limit}. The {which} {f'{left:,}' if left > 1 else 'one'} {were} left out.",
        )

    def _warn_of_text(self, said: tuple[str, ...], work: Work | None) -> None:
        """Keep the warnings of all texts of one run, and none of the run before."""
        with self._state:
            before = self._warned_in() if self._warned_in is not None else None
            same = work is not None and before is work
            kept = self._text_warnings if same else ()
            self._text_warnings = tuple(dict.fromkeys((*kept, *said)))
            self._warned_in = weakref.ref(work) if work is not None else None

    def _inputs(self, model: Any, encoded: Encoded) -> dict[str, Any]:
        import torch

        inner = unwrapped(model)
        self._check_ids(inner, encoded)
        device = _input_device(inner)
        named = inspect.signature(inner.forward).parameters
        inputs = {
            key: torch.tensor([value], device=device)
            for key, value in encoded.inputs.items()
            if key in named or "input_ids" not in named
        }
        if _reads_start_only(inner):
            start = torch.tensor([[self._decoder_start(inner)]], device=device)
            inputs["decoder_input_ids"] = start
        return inputs

    def _check_ids(self, inner: Any, encoded: Encoded) -> None:
        self._check_largest(inner, max(encoded.ids))

    def _check_largest(self, inner: Any, largest: int) -> None:
        """On CUDA an id outside of the table breaks the device for the whole process."""
        try:
            size = inner.get_input_embeddings().num_embeddings
        except (AttributeError, NotImplementedError):
            return
        if largest >= size:
            raise ModelError(
                f"The tokenizer gives token {largest}, and {self.name} knows {size} tokens: "
                "they don't belong together.",
                hint="Give the tokenizer that the model was trained with, or "
                "model.resize_token_embeddings(len(tokenizer)).",
            )

    def _decoder_start(self, inner: Any) -> int:
        for config in (inner.config, getattr(inner, "generation_config", None)):
            for key in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
                value = getattr(config, key, None)
                if isinstance(value, int):
                    return value
        raise ModelError(
            f"{self.name} does not say with which token its decoder starts.",
            hint="Set model.config.decoder_start_token_id.",
        )

    def _decoder_tokens(self, parts: Parts, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        inner = unwrapped(parts.model)
        if not _has_decoder_input(inner):
            return ()
        raw = str(parts.tokenizer.convert_ids_to_tokens(self._decoder_start(inner)))
        start = Token(text=clean_text(raw), raw=clean_text(raw), special=True)
        return (start,) if _reads_start_only(inner) else (start, *tokens[:-1])

    @contextmanager
    def _failures(self) -> Iterator[None]:
        from lmkit.models.hardware import is_memory_error

        try:
            yield
        except LmkitError:
            raise
        except Exception as error:
            if is_memory_error(error):
                raise
            raise ModelError(
                f"{self.name} failed on this text: {_first_line(error)}",
                hint="The full error is in the details.",
                details=traceback.format_exc()[-20_000:],
            ) from error


def _encoded_ids(ids: Sequence[int]) -> Encoded:
    plain = [int(identity) for identity in ids]
    count = len(plain)
    return Encoded(
        inputs={"input_ids": plain, "attention_mask": [1] * count},
        special=(False,) * count,
        spans=(None,) * count,
        sequences=(0,) * count,
        total=count,
    )


def facts_of(model: Any) -> Facts:
    """Look at a model: class, device, dtype, labels, and its size with shared tensors once."""
    parameters = list(model.parameters())
    sizes = {
        tensor.untyped_storage().data_ptr() or id(tensor): tensor.untyped_storage().nbytes()
        for tensor in (*parameters, *model.buffers())
    }
    first = next((p for p in parameters if p.is_floating_point()), None)
    return Facts(
        kind=type(unwrapped(model)).__name__,
        device=str(_input_device(unwrapped(model))),
        dtype="" if first is None else str(first.dtype).removeprefix("torch."),
        labels=_labels_of(model),
        parameters=sum(p.numel() for p in parameters),
        nbytes=sum(sizes.values()),
    )


def _labels_of(model: Any) -> tuple[str, ...]:
    inner = unwrapped(model)
    if "Classification" not in type(inner).__name__:
        return ()
    config = getattr(inner, "config", None)
    names = getattr(config, "id2label", None)
    count = getattr(config, "num_labels", 0) or 0
    named = {int(k): str(v) for k, v in names.items()} if isinstance(names, Mapping) else {}
    return tuple(
        clean_text(named.get(index, f"LABEL_{index}"))[:_MAX_LABEL] for index in range(count)
    )


def _logit_bytes(inner: Any, tokens: int) -> int:
    """Bytes of the logits of all positions; 0 for a model without an output embedding."""
    try:
        head = inner.get_output_embeddings()
    except (AttributeError, NotImplementedError):
        return 0
    weight = getattr(head, "weight", None)
    if weight is None:
        return 0
    rows, size = int(weight.shape[0]), int(weight.element_size())
    return rows * size * tokens


def _can_leave_out(inner: Any) -> bool:
    return "logits_to_keep" in inspect.signature(inner.forward).parameters


def _input_device(inner: Any) -> Any:
    """Where ids go: the device of the input embeddings (a model may be spread over several)."""
    import torch

    try:
        device = inner.get_input_embeddings().weight.device
    except (AttributeError, NotImplementedError):
        device = next((p.device for p in inner.parameters()), torch.device("cpu"))
    # Offloaded weights are "meta" until their turn; accelerate moves the ids itself.
    return torch.device("cpu") if device.type == "meta" else device


def _has_decoder_input(inner: Any) -> bool:
    if not getattr(getattr(inner, "config", None), "is_encoder_decoder", False):
        return False
    return "decoder_input_ids" in inspect.signature(inner.forward).parameters


def _reads_start_only(inner: Any) -> bool:
    """Whether the decoder gets the start token alone.

    The heads that classify give the decoder the text itself, shifted by one: left to them.
    """
    own = ("ForSequenceClassification", "ForQuestionAnswering")
    return _has_decoder_input(inner) and not type(inner).__name__.endswith(own)


_locks: weakref.WeakKeyDictionary[Any, threading.RLock] = weakref.WeakKeyDictionary()  # type: ignore[type-arg,unused-ignore]
_locks_lock = threading.Lock()


def _lock_of(thing: Any) -> Any:
    """One lock for a model or tokenizer, however many handles share it."""
    with _locks_lock:
        try:
            return _locks.setdefault(thing, threading.RLock())
        except TypeError:  # neither hashable nor weakly referable: not one of transformers'
            return _shared_lock


_shared_lock = threading.RLock()


def _said_of_surrogates(given: str | None, clean: str | None) -> tuple[str, ...]:
    if given is None or given == clean:
        return ()
    count = sum(0xD800 <= ord(char) <= 0xDFFF for char in given)
    what = "One lone surrogate" if count == 1 else f"{count:,} lone surrogates"
    return (f"{what} in the text, which no encoding can carry, became U+FFFD.",)


def _first_line(error: Exception) -> str:
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    return (text.strip() or type(error).__name__)[:300]


def _room(device: str) -> int | None:
    """Most bytes that a capture may keep; None on an accelerator, which offloads when it is short.

    A machine out of memory ends the kernel without a word: stop well before.
    """
    if device != "cpu":
        return None
    return int(free_memory(device) * _SHARE_OF_MEMORY) or None
