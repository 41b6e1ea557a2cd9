"""``lmkit strip notebook.ipynb``: takes what was analysed out of a saved notebook.

Of each output of lmkit the texts, tiles, pictures and alt texts go, in all of its forms; which task
ran, with which model and settings, stays. Sources of cells and other outputs are not touched: where
they quote what was taken out, :attr:`Stripped.left` says so.
With ``--names`` the texts of the forms stay too, with placeholders in place of names, and the other
forms of the output (page, picture, words) are made anew from them. With ``--sources`` besides, so
do the texts in sources of cells and in other outputs (:mod:`lmkit.cell_texts`).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lmkit.cell_texts import pictures_in, rewrite_texts, strings_in
from lmkit.errors import LmkitError, ProtocolError
from lmkit.protocol.codec import MIME, decode_bundle
from lmkit.protocol.messages import Bundle, PanelSpec, Status, Text, TextField
from lmkit.remains import pieces_of, places_with, texts_of
from lmkit.transports.mimebundle import forms

__all__ = [
    "Replace",
    "ReplaceAll",
    "Rewrite",
    "StripError",
    "Stripped",
    "blank",
    "named",
    "named_everywhere",
    "strip_file",
    "strip_notebook",
]

NOTE = "Texts, tiles and pictures were taken out of this output by lmkit strip."

NAMES_NOTE = "Names, results and attention were taken out of this output by lmkit strip --names."

Replace = Callable[[Sequence[str]], Sequence[str]]
"""Makes texts without names of texts, as many and in the same order."""

ReplaceAll = Callable[[Sequence[str], Sequence[str]], Sequence[str]]
"""As :data:`Replace`, of texts to find names in, and of others in which only those are replaced."""

Rewrite = Callable[[Bundle], Mapping[str, Any]]
"""Makes the forms that an output keeps, MIME type -> value, from its saved view."""


class StripError(LmkitError):
    """A notebook could not be stripped."""

    code = "strip"


@dataclass(frozen=True)
class Stripped:
    """How many outputs were found, and how many of them were changed.

    ``left`` are places of the file outside lmkit's outputs that quote what was in them: sources of
    cells, what was printed. With names replaced: those that quote a name.
    ``rewritten`` are the places outside them that have placeholders now, and ``unseen`` the cells
    with pictures, which nothing reads.
    """

    outputs: int
    changed: int
    left: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


def blank(bundle: Bundle) -> dict[str, Any]:
    """An output without anything of the text, and with nothing that was computed from it."""
    return {MIME: _as_read(_emptied(bundle, {}, NOTE)), "text/plain": NOTE}


def named(notebook: Any, replace: Replace) -> Rewrite:
    """A rewriting that keeps the texts of forms without their names, in each form of an output.

    What was computed from a text quotes it in pieces (tokens, spans, tables) and goes, as with
    :func:`blank`. All texts of the notebook are replaced at once, so that a name that is found in
    one of them is known in the others.

    Args:
        notebook: As for :func:`strip_notebook`; it is not changed.
        replace: Replaces the names.

    Raises:
        StripError: it is no notebook, or ``replace`` gives another number of texts.
    """
    texts = _form_texts(notebook)
    replaced = list(replace(texts)) if texts else []
    return _with_texts(_paired(texts, replaced))


def named_everywhere(notebook: Any, replace: ReplaceAll) -> Stripped:
    """Put placeholders in place of names, in forms, sources, printed outputs and metadata.

    Args:
        notebook: As for :func:`strip_notebook`; it is changed.
        replace: Replaces the names.

    Raises:
        StripError: it is no notebook, or ``replace`` gives another number of texts.
    """
    read: dict[str, None] = dict.fromkeys(_form_texts(notebook))
    known: dict[str, None] = {}

    def collect(text: str, prose: bool) -> str:
        (read if prose else known).setdefault(text)
        return text

    rewrite_texts(copy.deepcopy(notebook), collect, _is_ours)
    texts = [*read, *known]
    replaced = list(replace(list(read), list(known))) if texts else []
    _paired(texts, replaced)
    new = dict(zip(read, replaced[: len(read)], strict=True))
    others = dict(zip(known, replaced[len(read) :], strict=True))
    done = strip_notebook(notebook, _with_texts(new))
    places = rewrite_texts(
        notebook, lambda text, prose: (new if prose else others).get(text, text), _is_ours
    )
    # What is a name of the code, or was cut in two by it, is still there.
    found = list(strings_in(notebook))
    again = list(replace([], [text for _, text in found])) if found else []
    pairs = zip(found, again, strict=True)
    left = dict.fromkeys(place for (place, text), other in pairs if text != other)
    return dataclasses.replace(
        done, left=tuple(left), rewritten=places, unseen=tuple(pictures_in(notebook, _is_ours))
    )


def _is_ours(output: Mapping[str, Any]) -> bool:
    data = output.get("data")
    return isinstance(data, dict) and MIME in data


def _form_texts(notebook: Any) -> list[str]:
    """The texts of the forms of all outputs, each once."""
    texts: dict[str, None] = {}

    def collect(bundle: Bundle) -> Mapping[str, Any]:
        spec = bundle.spec
        if isinstance(spec, PanelSpec):
            values = (spec.values.get(name) for name in _texts(spec))
            texts.update((one, None) for one in values if isinstance(one, str) and one.strip())
        return {}

    strip_notebook(copy.deepcopy(notebook), collect)
    return list(texts)


def _paired(texts: Sequence[str], replaced: Sequence[str]) -> dict[str, str]:
    if len(replaced) != len(texts) or not all(isinstance(one, str) for one in replaced):
        raise StripError("The names were not replaced: texts are missing from what came back.")
    return dict(zip(texts, replaced, strict=True))


def _with_texts(known: Mapping[str, str]) -> Rewrite:
    """A rewriting that keeps these texts of forms."""

    def rewrite(bundle: Bundle) -> Mapping[str, Any]:
        kept = _emptied(bundle, known, NAMES_NOTE)
        return {**forms(kept), MIME: _as_read(kept)}

    return rewrite


def _as_read(bundle: Bundle) -> Any:
    """As a file gives it back, lists and all, so that stripping twice changes nothing."""
    return msgspec.json.decode(msgspec.json.encode(bundle))


def _emptied(bundle: Bundle, known: Mapping[str, str], note: str) -> Bundle:
    """An output whose texts are what ``known`` makes of them or empty, with nothing else."""
    spec = bundle.spec
    if isinstance(spec, PanelSpec):
        texts, choices = _texts(spec), _choices(spec)
        values = {
            name: known.get(str(value), "") if name in texts
            else "" if isinstance(value, str) and name not in choices
            else value
            for name, value in spec.values.items()
        }  # fmt: skip
        # Besides in its form, which no picture shows, a text stands among the results.
        shown = tuple(
            Text(text=str(values[field.name]), title=field.label)
            for field in spec.fields
            if field.name in texts and known and values.get(field.name)
        )
        spec = PanelSpec(
            header=spec.header, fields=spec.fields, values=values, results=shown,
            attention_note=note, status=Status(state="idle"),
        )  # fmt: skip
    else:
        spec = msgspec.structs.replace(spec, views=(), status=Status(state="idle"))
    return Bundle(version=bundle.version, spec=spec)


def _texts(spec: PanelSpec) -> set[str]:
    """Names of fields that hold texts."""
    return {field.name for field in spec.fields if isinstance(field, TextField)}


def _choices(spec: PanelSpec) -> set[str]:
    """Names of fields whose strings are one of the task's own."""
    return {field.name for field in spec.fields if hasattr(field, "options")}


def strip_notebook(notebook: Any, rewrite: Rewrite = blank) -> Stripped:
    """Strip a notebook in place.

    Args:
        notebook: The parsed JSON of a notebook of format 4.
        rewrite: What an output keeps. One that cannot be read keeps a note alone.

    Raises:
        StripError: it is not such a notebook.
    """
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or notebook.get("nbformat") != 4:
        raise StripError(
            "This is no notebook of format 4.", hint="Save it with a recent Jupyter first."
        )
    outputs = changed = 0
    for cell in cells:
        found = cell.get("outputs") if isinstance(cell, dict) else None
        for output in found if isinstance(found, list) else ():
            data = output.get("data") if isinstance(output, dict) else None
            if not isinstance(data, dict) or MIME not in data:
                continue
            outputs += 1
            kept = dict(_rewritten(data[MIME], rewrite))
            # metadata may hold an alt text, and names forms that are gone
            if kept != data or output.get("metadata"):
                changed += 1
                output["data"], output["metadata"] = kept, {}
    if _strip_widgets(notebook):
        changed = max(changed, 1)
    return Stripped(outputs, changed)


def _rewritten(data: Any, rewrite: Rewrite) -> Mapping[str, Any]:
    try:
        bundle = decode_bundle(data)
    except ProtocolError:
        return {"text/plain": NOTE}
    return rewrite(bundle)


def _strip_widgets(notebook: dict[str, Any]) -> bool:
    """Forget the saved traits of panels, which hold their texts; other widgets stay."""
    metadata = notebook.get("metadata")
    place: Any = metadata
    for name in ("widgets", "application/vnd.jupyter.widget-state+json", "state"):
        place = place.get(name) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        return False
    ours = [
        name
        for name, model in place.items()
        if isinstance(model, dict)
        and isinstance(state := model.get("state"), dict)
        and {"_session", "_view", "_esm"} <= state.keys()
    ]
    for name in ours:
        del place[name]
    return bool(ours)


def strip_file(
    path: Path,
    out: Path | None = None,
    *,
    write: bool = True,
    replace: Replace | None = None,
    replace_all: ReplaceAll | None = None,
) -> Stripped:
    """Strip a notebook file; replaced in one step, and left as it is where nothing is to be done.

    Args:
        path: The notebook.
        out: Another file to write to.
        write: False only counts.
        replace: Keeps the texts of forms, with names replaced (:func:`named`).
        replace_all: Replaces names outside lmkit's outputs too (:func:`named_everywhere`).

    Raises:
        StripError: it cannot be read or written, or is no notebook.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StripError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise StripError(f"{path} is no notebook: {error}.") from error
    if replace_all is not None:
        stripped = named_everywhere(notebook, replace_all)
    else:
        rewrite = blank if replace is None else named(notebook, replace)
        before = _pieces(notebook)
        stripped = strip_notebook(notebook, rewrite)
        left = places_with(notebook, before - _pieces(notebook))
        stripped = dataclasses.replace(stripped, left=left)
    if write and (stripped.changed or stripped.rewritten or out is not None):
        _replace(path, out or path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return stripped


def _pieces(notebook: Any) -> set[str]:
    """Pieces of the texts of all outputs, as they are now."""
    texts: list[str] = []

    def collect(bundle: Bundle) -> Mapping[str, Any]:
        texts.extend(texts_of(bundle))
        return {}

    strip_notebook(copy.deepcopy(notebook), collect)
    return pieces_of(texts)


def _replace(source: Path, path: Path, text: str) -> None:
    """Write a file in one step, with the rights of what it replaces, or else of its source."""
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        kept = path if path.exists() else source
        os.chmod(temporary, kept.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except (OSError, UnicodeEncodeError) as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise StripError(f"{path} cannot be written: {error}.") from error
