"""The arguments of ``generate``: what the form shows, and what a model's own settings add to it.

``generate`` takes from the model's generation config what it is not told, and chat models ship one
with a penalty, a temperature and more. What the form shows is therefore always told; what it has no
field for stays as the model's makers set it, and is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmkit.api import FieldError

__all__ = ["in_force", "options_of"]

_DEFAULTS: Mapping[str, Any] = {
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "min_length": 0,
    "min_new_tokens": None,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "sequence_bias": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "guidance_scale": None,
    "watermarking_config": None,
    "max_time": None,
    "stop_strings": None,
}
"""Settings without a field that change a text, with what leaves it alone."""
_OF_A_STRATEGY: Mapping[str, Mapping[str, Any]] = {
    "sample": {"typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "top_h": None},
    "beams": {"length_penalty": 1.0, "early_stopping": False, "renormalize_logits": None},
}
_MOST_SHOWN = 80


def options_of(values: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """The arguments of ``generate`` for a form.

    Args:
        values: The task's fields.
        model: A :class:`lmkit.api.LoadedModel`.

    Raises:
        FieldError: too many or too long stop sequences.
    """
    options: dict[str, Any] = {
        "do_sample": False,
        "num_beams": 1,
        "num_return_sequences": 1,
        "repetition_penalty": values["repetition_penalty"],
    }
    if values["strategy"] == "sample":
        options |= {
            "do_sample": True,
            "temperature": values["temperature"],
            "top_k": values["top_k"],
            "top_p": values["top_p"],
            "min_p": values["min_p"] or None,
        }
    elif values["strategy"] == "beams":
        options |= {"num_beams": values["beams"], "num_return_sequences": values["beams"]}
    stops = [one.replace("\\n", "\n") for one in values["stop_at"].splitlines() if one.strip()]
    if len(stops) > 50 or any(len(one) > 200 for one in stops):
        raise FieldError(
            "Stop sequences are at most 50, of 200 characters each.", hint="Leave some out."
        )
    # The model's own end its turns, as its end token does: the form's come on top.
    own = _own(model, "stop_strings") or ()
    stops = list(dict.fromkeys([*((own,) if isinstance(own, str) else own), *stops]))
    if stops:
        options |= {"stop_strings": stops, "tokenizer": model.tokenizer}
    return options


def in_force(model: Any, strategy: str) -> str:
    """What else of the model's generation config shapes the text, as a sentence, or empty."""
    told = []
    for name, neutral in {**_DEFAULTS, **_OF_A_STRATEGY.get(strategy, {})}.items():
        value = _own(model, name)
        if value is None or value == neutral or value == []:
            continue
        shown = repr(value)
        told.append(f"{name} {shown if len(shown) <= _MOST_SHOWN else f'{shown[:_MOST_SHOWN]}…'}")
    return f"Set by the model's own generation config: {', '.join(told)}." if told else ""


def _own(model: Any, name: str) -> Any:
    return getattr(getattr(model.model, "generation_config", None), name, None)
