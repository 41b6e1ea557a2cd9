"""What a saved output carries: the spec, and as many tiles as the byte budget allows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

import msgspec

from lmkit.errors import Cancelled, LmkitError
from lmkit.protocol.codec import save_tile, state_of, to_builtins
from lmkit.protocol.keys import Key, format_key
from lmkit.protocol.messages import (
    Bundle,
    Live,
    Page,
    PanelSpec,
    Result,
    RunRecord,
    SavedAnswer,
    SavedTile,
    Selection,
    TileHeader,
    ViewSpec,
)
from lmkit.settings import options
from lmkit.version import __version__
from lmkit.views.attention import AttentionTiles
from lmkit.views.panel import PanelView

__all__ = ["bundle_of", "for_html", "saved_spec", "snapshot", "undated"]

FIRST = 280_000
"""Bytes of an output's own form that a first look takes: spec, thumbnails, shown head. What
exceeds it is packed in 6 bits, and nothing else is added."""
SMALL = 96_000
"""All heads of a view are carried when they take no more than this, packed: first paint counts."""
HTML_TILES = 64_000
"""Characters of tiles up to which a page carries every head: 72 heads over about 24 tokens."""
NEURON = 96_000
"""Characters up to which the shown head's queries, keys and scores are carried: 60 tokens of 64."""
LENS = 192_000
"""Characters up to which the lens on show is carried: its tokens, the shown head, thumbnails."""
ANSWERS = 192_000
"""Characters up to which the answers of views are carried, the latest first."""
SAVED_TEXT = 200_000
"""Characters of a field's text that a saved output keeps."""
SAVED_RECORD = 10_000
"""Characters of a text that the record of a saved output keeps; the form beside it has more."""
SAVED_PYTHON = 20_000
"""Characters of "Copy as Python" that a saved output keeps; longer lines are left out."""
SECONDS = 2.0
"""After this, thumbnails of long inputs are left to the live view, which asks as it scrolls."""
FINE_CELLS = 128 * 128
"""Heads up to this size are saved in 16 bits: there is no kernel to ask for exact values."""

Tile = Callable[[str, bool], tuple[TileHeader, bytes]]


def snapshot(
    view: PanelView,
    live: Live | None,
    *,
    budget: int | None = None,
    selection: Selection | None = None,
    whole: bool = False,
    cancel: Callable[[], bool] | None = None,
) -> Bundle:
    """Take the saved form of a panel. May be called from any thread.

    Thumbnails and the shown head come first, then what its neuron view needs, the lens on show and
    the answers of views, then the other heads in order, as far as they fit.

    Args:
        view: The panel.
        live: Where the output finds its kernel again.
        budget: Bytes for the tiles in their base64 form; half of ``lmkit.options.budget`` without.
        selection: What to show instead of what the view shows.
        whole: For a file that a user asks for: as many heads as the budget allows and however
            long it takes, where an output of a cell stays small and quick.
        cancel: Asked now and then; once it answers True, no more is computed.

    Raises:
        Cancelled: ``cancel`` answered True.
    """
    budget = most = options.budget // 2 if budget is None else budget
    whole_spec, tiles, record, shown_answers = view.shown(selection)
    spec = saved_spec(whole_spec)
    if live is not None and spec == whole_spec:
        live = msgspec.structs.replace(live, state=state_of(spec))
    record = _short(record)
    if tiles is None or spec.attention is None:
        return bundle_of(spec, live, record=record)

    def made(key: str, *, fine: bool = False, coarse: bool = False) -> SavedTile:
        if cancel is not None and cancel():
            raise Cancelled("The view is not wanted any more.")
        return save_tile(*tiles.tile(key, fine=fine, coarse=coarse, cancel=cancel))

    chosen = spec.attention.selection
    until = time.monotonic() + SECONDS
    carried: list[SavedTile] = []
    for key in tiles.thumbnail_keys():
        if carried and not whole and time.monotonic() > until:
            break
        carried.append(made(key))
    shown = format_key(Key("head", chosen.layer, chosen.head))
    first = made(shown, fine=_fine(tiles, shown))
    if not whole:
        budget = min(
            budget, FIRST - len(json.dumps(to_builtins(spec), ensure_ascii=False).encode())
        )
        # Thumbnails are looked at and never read off: they lose nothing that the eye would see.
        if _size(carried) + len(first.data) > budget:
            carried = [made(tile.key, coarse=True) for tile in carried]
        if _size(carried) + len(first.data) > budget:
            first = made(shown, coarse=True)
    used = _size(carried)
    heads = [shown, *(key for key in tiles.head_keys() if key != shown)]
    answers: tuple[SavedAnswer, ...] = ()
    count = 0
    others = 0
    for key in heads:
        tile = first if key == shown else made(key, fine=_fine(tiles, key))
        size = len(tile.data)
        # The head on show is there however large the rest is, unless a user set a budget.
        fits = used + size <= (most if count == 0 else budget)
        if not fits or (count > 0 and not whole and others + size > SMALL):
            break
        used += size
        others += size if count else 0
        carried.append(tile)
        count += 1
        if key == shown:
            room = budget - used if whole else min(NEURON, budget - used)
            vectors = _neuron(tiles, chosen.layer, chosen.head, room)
            used += _size(vectors)
            carried.extend(vectors)
            room = budget - used if whole else min(LENS, budget - used)
            seen = _lens(tiles, chosen, room, None if whole else until)
            used += sum(len(one.data) for one in seen)
            carried.extend(seen)
            room = budget - used if whole else min(ANSWERS, budget - used)
            answers, size = _fitting(shown_answers, room)
            used += size
    return bundle_of(
        spec,
        live,
        tuple(carried),
        heads=tiles.heads,
        heads_carried=count,
        record=record,
        answers=answers,
    )


def _size(tiles: Sequence[SavedTile]) -> int:
    """Characters of tiles as they are saved."""
    return sum(len(tile.data) for tile in tiles)


def _lens(
    tiles: AttentionTiles, chosen: Selection, room: int, until: float | None
) -> list[SavedTile]:
    """What the view asks for to draw the shown head through the lens on show, then thumbnails.

    Tokens and head come together or not at all; thumbnails as far as there are room and time.
    """
    if not chosen.lens:
        return []
    layers = tiles.trace.layers
    keys: list[Key] = []
    if hasattr(tiles.through(chosen.lens).trace, "groups_of"):
        roles = [layer.role for layer in layers]
        for at in sorted({roles.index(role) for role in roles}):
            keys += [Key("query-groups", at), Key("key-groups", at)]
    keys.append(Key("head", chosen.layer, chosen.head))
    order = sorted(range(len(layers)), key=lambda at: abs(at - chosen.layer))
    carried: list[SavedTile] = []
    for key in (*keys, *(Key("thumb", at) for at in order)):
        late = until is not None and time.monotonic() > until
        if key.kind == "thumb" and late:
            break
        name = format_key(msgspec.structs.replace(key, lens=chosen.lens))
        try:
            tile = save_tile(*tiles.tile(name, fine=key.kind == "head" and _fine(tiles, name)))
        except LmkitError:
            return []  # the view says why when it is looked at
        room -= len(tile.data)
        if room < 0:
            return carried if key.kind == "thumb" else []
        carried.append(tile)
    return carried


def _fitting(answers: Sequence[SavedAnswer], room: int) -> tuple[tuple[SavedAnswer, ...], int]:
    """Answers of views as far as they fit, the latest first, and their size in characters."""
    kept: list[SavedAnswer] = []
    used = 0
    for answer in answers:
        saved = msgspec.structs.replace(
            answer, results=tuple(_keepable(result) for result in answer.results)
        )
        size = len(msgspec.json.encode(saved))
        if used + size <= room:
            kept.append(saved)
            used += size
    return tuple(kept), used


def _short(record: RunRecord | None) -> RunRecord | None:
    """The record without what the spec beside it holds already: long texts are cut."""
    if record is None or record.fields is None:
        return record
    fields = {
        name: value[:SAVED_RECORD] if isinstance(value, str) else value
        for name, value in record.fields.items()
    }
    return msgspec.structs.replace(record, fields=fields)


def _keepable(result: Result) -> Result:
    """A page of a plugin's own runs scripts: it is drawn from a live kernel and never saved."""
    if isinstance(result, Page):
        return msgspec.structs.replace(result, html="")
    return result


def _neuron(tiles: AttentionTiles, layer: int, head: int, room: int) -> list[SavedTile]:
    """Queries, keys and scores of a head, all or none: a part of an equation shows nothing."""
    keys = tiles.neuron_keys(layer, head)
    info = tiles.trace.layers[layer]
    cells = (info.queries + info.keys) * getattr(info, "head_size", 0) + info.queries * info.keys
    # Float32 hardly packs, bfloat16 in float32 by half: not even begun where it cannot fit.
    if cells * 2 > room:
        return []
    carried = []
    for key in keys:
        tile = save_tile(*tiles.tile(key))
        room -= len(tile.data)
        if room < 0:
            return []
        carried.append(tile)
    return carried


def _is_vector(tile: SavedTile) -> bool:
    return tile.key.startswith(("q/", "k/", "score/"))


def saved_spec(spec: PanelSpec) -> PanelSpec:
    """Cut texts that would burst a notebook, and scripts; the live view has them whole."""
    notes = []
    values = dict(spec.values)
    for field in spec.fields:
        value = values.get(field.name)
        if isinstance(value, str) and len(value) > SAVED_TEXT:
            values[field.name] = value[:SAVED_TEXT]
            notes.append(
                f"{field.label} has {len(value):,} characters; "
                f"the first {SAVED_TEXT:,} are saved with the notebook."
            )
    return msgspec.structs.replace(
        spec,
        values=values,
        results=tuple(_keepable(result) for result in spec.results),
        warnings=(*spec.warnings, *notes),
        python=spec.python if len(spec.python) <= SAVED_PYTHON else "",
    )


def bundle_of(
    spec: ViewSpec,
    live: Live | None,
    tiles: tuple[SavedTile, ...] = (),
    *,
    heads: int = 0,
    heads_carried: int = 0,
    record: RunRecord | None = None,
    answers: tuple[SavedAnswer, ...] = (),
) -> Bundle:
    """Put a spec and tiles into the saved form."""
    return Bundle(
        version=__version__,
        spec=spec,
        tiles=tiles,
        live=live,
        heads=heads,
        heads_carried=heads_carried,
        record=record,
        answers=answers,
    )


def undated(bundle: Bundle) -> Bundle:
    """The bundle for a notebook: a cell that is run again leaves the same record.

    A notebook is kept by tools that compare it, and its history says when it changed. A file that a
    user saves has the date.
    """
    if bundle.record is None or not bundle.record.date:
        return bundle
    return msgspec.structs.replace(bundle, record=msgspec.structs.replace(bundle.record, date=""))


def for_html(bundle: Bundle) -> Bundle:
    """The bundle for the HTML form: thumbnails and the shown head, all heads where they are small.

    The data stands in lmkit's own form already; a second copy has to be worth its bytes. What the
    neuron view needs is the first to go. Ids of the kernel, which no page can reach, stand in
    lmkit's own form alone: a cell that is run again leaves the same HTML, which is one long line to
    a tool that compares notebooks.
    """
    bundle = msgspec.structs.replace(undated(bundle), live=None)
    spec = bundle.spec
    attention = getattr(spec, "attention", None)
    if attention is None or sum(len(tile.data) for tile in bundle.tiles) <= HTML_TILES:
        return bundle
    maps = tuple(tile for tile in bundle.tiles if not _is_vector(tile))
    if sum(len(tile.data) for tile in maps) <= HTML_TILES:
        return msgspec.structs.replace(bundle, tiles=maps)
    chosen = attention.selection
    shown = format_key(Key("head", chosen.layer, chosen.head))
    kept = ("thumb/", "query-groups/", "key-groups/")
    tiles = tuple(
        tile
        for tile in bundle.tiles
        if tile.key.startswith(kept) or tile.key.partition("@")[0] == shown
    )
    carried = sum(tile.key == shown for tile in tiles)
    return msgspec.structs.replace(bundle, tiles=tiles, heads_carried=carried)


def _fine(tiles: AttentionTiles, key: str) -> bool:
    layer = tiles.trace.layers[int(key.split("/")[1])]
    return bool(layer.queries * layer.keys <= FINE_CELLS)
