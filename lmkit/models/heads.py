"""Whether a model has the head that a task needs, and whether that head was ever trained.

A fine-tuned head of another kind often has parameters of the same names and loads without a
word (``classifier.weight`` labels tokens in one model and texts in another); a checkpoint without
a head gets a random one. Both give numbers that look like answers, and are refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lmkit.errors import WrongModelKindError

__all__ = [
    "check_class",
    "check_config",
    "check_head",
    "head_warnings",
    "need_of",
    "suited_class",
    "unwrapped",
    "writes",
]

_NEEDS = {
    "AutoModel": "any transformers model",
    "AutoModelForSequenceClassification": "a model that classifies whole texts",
    "AutoModelForTokenClassification": "a model that labels tokens",
    "AutoModelForQuestionAnswering": "a model that marks the answer in a text",
    "AutoModelForMultipleChoice": "a model that chooses among answers",
    "AutoModelForNextSentencePrediction": "a model that tells whether a sentence follows",
    "AutoModelForMaskedLM": "a model that fills in masked words",
    "AutoModelForCausalLM": "a model that continues text",
    "AutoModelForSeq2SeqLM": "a model that turns one text into another",
}
_HEADS = {
    "ForSequenceClassification": "classification head",
    "ForTokenClassification": "token classification head",
    "ForQuestionAnswering": "question answering head",
    "ForMultipleChoice": "multiple choice head",
    "ForNextSentencePrediction": "next sentence head",
    "ForMaskedLM": "language modelling head",
    "ForCausalLM": "language modelling head",
    "LMHeadModel": "language modelling head",
    "ForConditionalGeneration": "language modelling head",
}
_TUNED = (
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
)
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_EXAMPLES = {
    "AutoModelForSequenceClassification": "starter:sentiment",
    "AutoModelForTokenClassification": "starter:ner",
    "AutoModelForCausalLM": "starter:chat",
    "AutoModel": "starter:encoder",
}
_SHOWN = 4


def need_of(auto_class: str) -> str:
    """What a task with this auto class needs, for a sentence."""
    return _NEEDS.get(auto_class, f"a model that {auto_class} loads")


def suited_class(config: Mapping[str, Any]) -> str:
    """The auto class that loads a checkpoint with the head that it was saved with.

    Args:
        config: Its ``config.json``.

    Returns:
        ``"AutoModel"`` where it names no head that is known here.
    """
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else ""
    if not isinstance(architecture, str):
        return "AutoModel"
    head = next((head for head in _HEADS if architecture.endswith(head)), "")
    if head == "ForConditionalGeneration":
        return "AutoModelForSeq2SeqLM" if config.get("is_encoder_decoder") is True else "AutoModel"
    if head == "LMHeadModel":
        return "AutoModelForCausalLM"
    return f"AutoModel{head}" if f"AutoModel{head}" in _NEEDS else "AutoModel"


def writes(architecture: str) -> bool:
    """Whether a class is one of a model that writes text."""
    return architecture.endswith(_WRITERS)


def check_config(
    config: Mapping[str, Any], name: str, auto_class: str, *, untrained: bool = False
) -> None:
    """Refuse a checkpoint that was trained for something else, or has no head to answer with.

    One whose config names labels passes: its weights tell, see :func:`check_head`.

    Args:
        config: Its ``config.json``.
        name: As the user named it.
        auto_class: Which is to load it.
        untrained: Its head is yet to be trained: it may be given one.

    Raises:
        WrongModelKindError: its architecture is another head's, or an encoder's.
    """
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named else ""
    if auto_class == "AutoModel" or not isinstance(architecture, str) or not architecture:
        return
    wanted = auto_class.removeprefix("AutoModel")
    if architecture.endswith(wanted):
        return
    other = next((head for head in _TUNED if architecture.endswith(head)), "")
    if not other and wanted == "ForCausalLM":
        if architecture.endswith("ForMaskedLM"):
            other = "ForMaskedLM"
        elif config.get("is_encoder_decoder") is True:
            other = "Seq2SeqLM"
        elif _is_encoder(architecture, config):
            raise _wrong(name, architecture, "an encoder", auto_class, suited_class(config))
    if not other and wanted in _TUNED and not untrained and not _names_labels(config):
        if writes(architecture) or architecture.endswith("ForMaskedLM"):
            other = suited_class(config).removeprefix("AutoModel")
        elif _is_encoder(architecture, config):
            raise _wrong(name, architecture, "an encoder", auto_class, suited_class(config))
    if other:
        kind = {"Seq2SeqLM": "AutoModelForSeq2SeqLM"}.get(other, f"AutoModel{other}")
        raise _wrong(name, architecture, need_of(kind), auto_class, suited_class(config))


def check_head(
    model: Any, name: str, auto_class: str, missing: Collection[str], config: Mapping[str, Any]
) -> None:
    """Refuse a loaded model of whose head the checkpoint had nothing.

    Args:
        model: The loaded model.
        name: As the user named it.
        auto_class: Which loaded it.
        missing: Names of its parameters that were not in the checkpoint and are random.
        config: The checkpoint's ``config.json``.

    Raises:
        WrongModelKindError: its whole head is random.
    """
    inside = _inside(model)
    if not inside:
        return
    weights = model.state_dict()
    body = {value.data_ptr() for key, value in weights.items() if key.startswith(inside)}
    # A language model's head may be the embeddings themselves.
    head = {
        key
        for key, value in weights.items()
        if not key.startswith(inside) and value.data_ptr() not in body
    }
    if not head or not head.issubset(missing):
        return
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    # The head that a config names is not there either, when it is the one that is missing.
    own = architecture.endswith(auto_class.removeprefix("AutoModel"))
    suited = "AutoModel" if own else suited_class(config)
    described = need_of(suited) if suited != "AutoModel" else ""
    if not described and _is_encoder(architecture, config):
        described = "an encoder"
    kind = architecture or type(getattr(model, inside[:-1])).__name__
    raise _wrong(name, kind, described, auto_class, suited, headless=True)


def check_class(model: Any, name: str, auto_class: str) -> None:
    """Refuse a model in memory whose class is not of the auto class.

    Raises:
        WrongModelKindError: it is not.
    """
    inner = unwrapped(model)
    kind = type(inner).__name__
    config = getattr(inner, "config", None)
    if config is None or not callable(getattr(inner, "forward", None)):
        raise WrongModelKindError(
            f"{name} is not a transformers model.",
            hint="Give a model that from_pretrained returned, and its tokenizer.",
        )
    if auto_class == "AutoModel":
        return
    wanted = auto_class.removeprefix("AutoModel")
    if kind.endswith(wanted) or isinstance(inner, _classes_for(config, auto_class)):
        return
    saved = {
        "architectures": [kind],
        "model_type": getattr(config, "model_type", ""),
        "is_decoder": getattr(config, "is_decoder", False),
        "is_encoder_decoder": getattr(config, "is_encoder_decoder", False),
    }
    suited = suited_class(saved)
    described = need_of(suited) if suited != "AutoModel" else ""
    if not described and _is_encoder(kind, saved):
        described = "an encoder"
    raise _wrong(name, kind, described, auto_class, suited)


def head_warnings(
    model: Any, name: str, auto_class: str, missing: Collection[str], weights: int
) -> tuple[list[str], list[str]]:
    """What to say of weights that the checkpoint did not have.

    Args:
        model: The loaded model.
        name: As the user named it.
        auto_class: Which loaded it.
        missing: Names of its parameters that were not in the checkpoint and are random.
        weights: How many parameters it has by name.

    Returns:
        Sentences on a random head (to be warned of loudly), and on anything else.
    """
    if not missing:
        return [], []
    inside = _inside(model)
    head = sorted(k for k in missing if inside and not k.startswith(inside))
    rest = sorted(k for k in missing if k not in set(head))
    loud: list[str] = []
    others: list[str] = []
    if head:
        wanted = auto_class.removeprefix("AutoModel")
        what = _HEADS.get(wanted, "head for this task")
        its = "Its labels mean" if "Classification" in wanted else "What it answers means"
        loud.append(
            f"{name} has no trained {what}: {_some(head)} {_are(head)} random. "
            f"{its} nothing until it is trained."
        )
    pooler = [key for key in rest if "pooler." in key]
    body = [key for key in rest if "pooler." not in key]
    if body:
        loud.append(
            f"{len(body)} of {weights} weights of {name} are not in its checkpoint and are "
            f"random: {_some(body)}. What it computes means nothing."
        )
    if pooler:
        others.append(
            f"{name} has no trained pooler: {_some(pooler)} {_are(pooler)} random. Its attention "
            "and hidden states are not concerned."
        )
    return loud, others


def _inside(model: Any) -> str:
    """What the names of the weights below a head begin with; empty for a model without one."""
    prefix = str(getattr(model, "base_model_prefix", "") or "")
    return f"{prefix}." if prefix and hasattr(model, prefix) else ""


def unwrapped(model: Any) -> Any:
    """The model inside torch.compile, peft and data-parallel wrappers."""
    for _ in range(8):
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif callable(getattr(model, "get_base_model", None)) and hasattr(model, "peft_config"):
            model = model.get_base_model()
        elif type(model).__name__ in ("DataParallel", "DistributedDataParallel"):
            model = model.module
        else:
            return model
    return model


def _is_encoder(architecture: str, config: Mapping[str, Any]) -> bool:
    """Whether a model without a head reads only: its family fills in words and does not write.

    BERT and RoBERTa have classes that write, which transformers would give a random head.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return (
        architecture.endswith(("Model", "ForPreTraining"))
        and not architecture.endswith("LMHeadModel")
        and config.get("model_type") in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        and config.get("is_decoder") is not True
        and config.get("is_encoder_decoder") is not True
    )


def _names_labels(config: Mapping[str, Any]) -> bool:
    """Whether a config speaks of classes: older ones carry transformers' placeholders for names."""
    if isinstance(config.get("problem_type"), str):
        return True
    named = config.get("id2label")
    return isinstance(named, Mapping) and any(
        not str(one).startswith("LABEL_") for one in named.values()
    )


def _classes_for(config: Any, auto_class: str) -> tuple[type, ...]:
    import transformers

    auto = getattr(transformers, auto_class, None)
    mapping = getattr(auto, "_model_mapping", None)
    if mapping is None:
        raise WrongModelKindError(
            f"transformers has no auto class {auto_class!r}.",
            hint="The task's auto_class names a class such as AutoModelForSequenceClassification.",
        )
    try:
        found = mapping[type(config)]
    except KeyError:
        return ()
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def _wrong(
    name: str, kind: str, described: str, auto_class: str, suited: str, *, headless: bool = False
) -> WrongModelKindError:
    what = f"{name} is a {kind}" if name != kind else f"This model is a {kind}"
    what += f", {described}" if described else ""
    wanted = auto_class.removeprefix("AutoModel")
    if headless or (wanted in _TUNED and not kind.endswith(_TUNED)):
        # transformers would give it one of random numbers, whose labels look like answers.
        what += f", with no trained {_HEADS.get(wanted, 'head for this task')}"
    example = _EXAMPLES.get(auto_class, "")
    return WrongModelKindError(
        f"{what}; this task needs {need_of(auto_class)}.",
        hint=f"Give a model that {auto_class} loads"
        + (f", such as {example}." if example else "."),
        suited=suited,
    )


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:_SHOWN])
    return shown if len(keys) <= _SHOWN else f"{shown} and {len(keys) - _SHOWN} more"


def _are(keys: list[str]) -> str:
    return "is" if len(keys) == 1 else "are"
