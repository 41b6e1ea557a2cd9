"""Saved outputs: what they carry within a budget, and that nothing in them can run."""

from __future__ import annotations

import base64
import copy
import datetime
import io
import itertools
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmkit
from lmkit.errors import AttentionUnavailableError, MissingHeadWarning, ProtocolError
from lmkit.host import PluginHost
from lmkit.kit import Analysis, Kit
from lmkit.models import ModelStore
from lmkit.protocol.codec import MIME, decode_bundle, load_tile, to_builtins
from lmkit.protocol.messages import (
    Bundle,
    Header,
    Labels,
    LabelScore,
    PanelSpec,
    Span,
    Spans,
    Table,
    Text,
)
from lmkit.protocol.tiles import decode
from lmkit.session import Session
from lmkit.transports.html import script_json, to_html
from lmkit.transports.mimebundle import mimebundle
from lmkit.transports.picture import describe, draw
from lmkit.transports.snapshot import snapshot
from tests.tiny import tiny_bert

HOSTILE = [
    "<img src=x onerror=window.__pwned=1>",
    "</script><script>window.__pwned=1</script>",
    "<!--<script>",
    "\u202egnp.exe\u2066",
    "a" * 100_000,
    "👩‍👩‍👧‍👦🏳️‍🌈 é ไทย العربية 中文",
    "a\0b",
    "\u2028 \u2029 ]]>",
    '" onload="window.__pwned=1',
]


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "classification"})
    host.discover()
    session = Session(host, ModelStore(device="cpu"))
    yield Kit(session, str(tiny_bert(tmp_path_factory.mktemp("bert"))), {})
    session.stop()


@pytest.fixture(scope="module")
def result(kit: Kit) -> Analysis:
    return kit.classify("the plot is thin, but i was moved.")


def test_a_short_text_is_carried_whole_and_exact(result: Analysis) -> None:
    bundle = snapshot(result.view, None)
    assert bundle.heads == bundle.heads_carried == 8
    tiles = {tile.key: tile for tile in bundle.tiles}
    for layer in range(2):
        for head in range(4):
            tile = tiles[f"head/{layer}/{head}"]
            values = decode(load_tile(tile), tuple(tile.shape), tile.encoding)
            exact = result.attention[layer, head]
            np.testing.assert_allclose(values, exact, atol=2e-5)


def test_the_shown_head_carries_its_queries_keys_and_scores(result: Analysis) -> None:
    result.attention.show(1, 2)
    bundle = snapshot(result.view, None)
    tiles = {tile.key: tile for tile in bundle.tiles}
    trace = result.view.tiles.trace
    layer = trace.layers[1]
    assert bundle.spec.attention.layers[1].has_qk
    assert bundle.spec.attention.layers[1].head_size == 8
    n = layer.queries
    carried = [key for key in tiles if key.split("/")[0] in ("q", "k", "v", "score")]
    assert carried == [
        f"q/1/2/0-{n}",
        f"k/1/2/0-{n}",
        *(f"score/1/2/{first}-{min(first + 8, n)}" for first in range(0, n, 8)),
    ]
    for key, wanted in [
        (f"q/1/2/0-{n}", trace.queries(1, 2, range(n))),
        (f"k/1/2/0-{n}", trace.keys(1, 2, range(n))),
        ("score/1/2/0-8", trace.scores(1, 2, range(8))),
    ]:
        tile = tiles[key]
        values = decode(load_tile(tile), tuple(tile.shape), tile.encoding)
        np.testing.assert_array_equal(values, wanted)
    maps = [tile for key, tile in tiles.items() if key.startswith("thumb/") or key == "head/1/2"]
    tight = snapshot(result.view, None, budget=sum(len(tile.data) for tile in maps) + 500)
    assert not any(tile.key.startswith(("q/", "k/", "score/")) for tile in tight.tiles)
    result.attention.show(0, 0)


def test_vectors_outside_a_head_are_refused(result: Analysis) -> None:
    tiles = result.view.tiles
    n = tiles.trace.layers[0].queries
    for name in (f"q/0/0/0-{n + 1}", f"score/0/0/{n}-{n + 1}", "k/0/0/0-65", "k/0/4/0-1"):
        with pytest.raises(ProtocolError):
            tiles.tile(name)
    with pytest.raises(AttentionUnavailableError):
        tiles.tile("v/0/0/0-1")


def test_the_budget_is_kept_and_the_shown_head_comes_first(result: Analysis) -> None:
    result.attention.show(1, 2)
    thumbs = sum(
        len(tile.data)
        for tile in snapshot(result.view, None).tiles
        if tile.key.startswith("thumb/")
    )
    bundle = snapshot(result.view, None, budget=thumbs + 600)
    carried = [tile.key for tile in bundle.tiles if tile.key.startswith("head/")]
    assert carried[:1] == ["head/1/2"]
    assert bundle.heads_carried == len(carried) < bundle.heads
    assert sum(len(tile.data) for tile in bundle.tiles) <= thumbs + 600
    result.attention.show(0, 0)


def test_a_saved_output_reads_back_as_it_was(result: Analysis) -> None:
    bundle = snapshot(result.view, None)
    assert decode_bundle(json.loads(json.dumps(to_builtins(bundle)))) == bundle


@pytest.mark.parametrize(
    "damage",
    [
        {"protocol": 2},
        {"protocol": "1"},
        {"spec": {"kind": "panel"}},
        {"spec": {"kind": "nonsense"}},
        {"tiles": [{"key": "x", "shape": [-1], "encoding": "f32", "data": ""}]},
        {"tiles": [{"key": "x", "shape": [1, 1, 1, 1, 1], "encoding": "f32", "data": ""}]},
        {"tiles": [{"key": "x", "shape": [1], "encoding": "f64", "data": ""}]},
        {"heads": -1},
        {"live": {"session": "", "view": ""}},
    ],
)
def test_a_damaged_output_is_refused_in_words(damage: dict[str, Any], result: Analysis) -> None:
    whole = to_builtins(snapshot(result.view, None))
    with pytest.raises(ProtocolError):
        decode_bundle(json.loads(json.dumps({**whole, **damage})))


def test_a_tile_whose_size_lies_is_refused(result: Analysis) -> None:
    import msgspec

    tile = snapshot(result.view, None).tiles[0]
    for shape in [(1,), (4096, 4096), (65_536, 65_536)]:
        with pytest.raises(ProtocolError):
            load_tile(msgspec.structs.replace(tile, shape=shape))
    for data in [tile.data[:-8], "", "!!!!", base64.b64encode(b"\xff" * 40).decode()]:
        with pytest.raises(ProtocolError):
            load_tile(msgspec.structs.replace(tile, data=data))


class Elements(HTMLParser):
    """The elements of a page and the attributes they have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def hostile_bundle(text: str) -> Bundle:
    spec = PanelSpec(
        header=Header(task="t", title=text[:9_000], model=text[:9_000]),
        values={"text": text},
        results=(
            Labels(scores=(LabelScore(label=text[:9_000], score=0.5),)),
            Spans(text=text, spans=(Span(start=0, end=len(text), label=text[:9_000]),)),
            Text(text=text),
            Table(columns=(text[:9_000],), rows=((text,),)),
        ),
        attention_note=text[:9_000],
        warnings=(text[:9_000],),
    )
    return Bundle(version="0", spec=spec)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_text_stays_text_in_every_form(text: str) -> None:
    bundle = hostile_bundle(text)
    picture = draw(bundle)
    assert picture.startswith(b"\x89PNG")
    page = to_html(bundle, picture, describe(bundle.spec))
    elements = Elements(page).found
    assert [tag for tag, _ in elements] == ["div", "img", "div", "script", "script", "script"]
    assert not any(name.startswith("on") for _, attributes in elements for name in attributes)
    carried = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert carried is not None
    assert json.loads(carried[1]) == json.loads(json.dumps(to_builtins(bundle)))
    assert decode_bundle(json.loads(carried[1])) == bundle


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_text_goes_through_a_real_model(text: str, kit: Kit) -> None:
    result = kit.classify(text)
    forms = mimebundle(result._session, result.view)
    assert list(forms) == [MIME, "text/html", "image/png", "text/plain"]
    json.dumps(forms, allow_nan=False)
    assert decode_bundle(forms[MIME]).spec.values["text"] == text  # type: ignore[union-attr]


def test_json_in_a_script_cannot_end_it() -> None:
    text = script_json({"a": "</script><!-- \u2028 & ]]>"})
    assert "<" not in text
    assert ">" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {"a": "</script><!-- \u2028 & ]]>"}


def test_html_carries_every_head_of_a_short_text_and_the_shown_one_of_a_long(kit: Kit) -> None:
    def carried(text: str) -> tuple[set[str], str]:
        result = kit.classify(text)
        result.attention.show(1, 2)
        page = mimebundle(result._session, result.view)["text/html"]
        found = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
        assert found is not None
        tiles = json.loads(found[1])["tiles"]
        return {tile["key"] for tile in tiles if tile["key"].startswith("head/")}, page

    short, _ = carried("the plot is thin")
    assert short == {f"head/{layer}/{head}" for layer in range(2) for head in range(4)}
    long, page = carried("the plot is thin but " * 12)
    assert long == {"head/1/2"}
    assert '"headsCarried":1' in page


def test_the_html_form_fetches_nothing(result: Analysis) -> None:
    page = mimebundle(result._session, result.view)["text/html"]
    for _, attributes in Elements(page).found:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")


def test_the_picture_is_drawn_from_the_numbers(result: Analysis) -> None:
    from PIL import Image

    result.attention.show(0, 0)
    one = Image.open(io.BytesIO(draw(snapshot(result.view, None))))
    result.attention.show(1, 3)
    other = Image.open(io.BytesIO(draw(snapshot(result.view, None))))
    assert one.size == other.size
    assert one.convert("RGB").tobytes() != other.convert("RGB").tobytes()


def test_first_paint_is_small(result: Analysis) -> None:
    forms = mimebundle(result._session, result.view)
    assert len(json.dumps(forms[MIME])) < 300_000


def test_a_text_of_megabytes_does_not_burst_the_notebook(kit: Kit) -> None:
    text = "moved " * 500_000
    result = kit.classify(text)
    forms = mimebundle(result._session, result.view)
    assert sum(len(json.dumps(form)) for form in forms.values()) < 2_000_000
    spec = decode_bundle(forms[MIME]).spec
    assert isinstance(spec, PanelSpec)
    assert "3,000,000 characters; the first 200,000 are saved" in " ".join(spec.warnings)
    assert result.values["text"] == text
    small = mimebundle(result._session, result.view, budget=60_000)
    assert "<script" not in small["text/html"]


def test_a_random_head_is_said_in_every_form(tmp_path: Path, kit: Kit) -> None:
    bare = tiny_bert(tmp_path, head="MaskedLM")
    with pytest.warns(MissingHeadWarning):
        own = kit.session.models.get(
            str(bare), "AutoModelForSequenceClassification", untrained=True
        )
    result = Kit(kit.session, own, {}).classify("a")
    assert "are random" in repr(result)


def test_plain_text_says_what_came_out(result: Analysis) -> None:
    words = describe(result.view.spec())
    label, score = next(iter(result.labels.items()))
    assert f"{label} {score:.3f}" in words
    assert "2 layers, 8 heads" in words


def test_html_can_be_saved_from_the_command_line(
    tmp_path: Path, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    from lmkit.cli import main

    page = tmp_path / "out.html"
    status = main(
        ["run", "classification", "--model", kit.name, "--text", "<b>x</b>", "--json",
         "--html", str(page)]
    )  # fmt: skip
    assert status == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["values"]["text"] == "<b>x</b>"
    assert "<b>x</b>" not in page.read_text(encoding="utf-8")
    assert main(["run", "classification", "--model", "no/such", "--text", "x", "--json"]) == 1
    assert "error" in json.loads(capsys.readouterr().out)
    assert main(["run", "classification", "--model", kit.name, "--threshold", "7"]) in (1, 2)
    assert "0.0 to 1.0" in capsys.readouterr().err
    assert main(["run", "nonsense"]) == 1
    there = ["run", "classification", "--text", "x", "--model", kit.name]
    assert main([*there, "--html", str(tmp_path / "no" / "x.html")]) == 1
    written = capsys.readouterr()
    assert "Classification" in written.out
    assert "cannot be written" in written.err
    assert main([*there, "--json", "--nonsense"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "option"
    assert main([*there[:2], "--text", "--hello"]) == 2
    assert "--option=--value" in capsys.readouterr().err
    assert main(["run", "classification", "--modle", "x"]) == 2
    assert "Did you mean --model?" in capsys.readouterr().err


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    """Run again, a cell's output differs in the id of its view, and in nothing else."""
    model = str(tiny_bert(tmp_path / "bert"))
    both = []
    for _ in range(2):
        forms, _metadata = lmkit.load(model).classify("a moved plot").panel._repr_mimebundle_()
        both.append(forms)
    first, second = both
    for kind in ("text/html", "image/png", "text/plain"):
        assert first[kind] == second[kind], kind
    ours = [copy.deepcopy(forms[MIME]) for forms in both]
    ids = [one["live"].pop("view") for one in ours]
    assert ids[0] != ids[1]
    assert json.dumps(ours[0]) == json.dumps(ours[1])


def test_a_comparison_run_again_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = lmkit.load(str(tiny_bert(tmp_path / "bert")))
    clock = itertools.count(2000)

    class Later(datetime.datetime):
        """Another year at each look."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            return cls(next(clock), 1, 1, tzinfo=tz)

    monkeypatch.setattr(datetime, "datetime", Later)
    both = []
    for _ in range(2):
        compared = lmkit.compare(kit.explore("a moved plot"), kit.explore("a thin plot"))
        assert compared.record.date
        forms, _metadata = compared._shown.widget._repr_mimebundle_()
        ours = copy.deepcopy(forms[MIME])
        ours["live"].pop("view")
        both.append((json.dumps(ours), forms["text/html"]))
    assert both[0] == both[1]


def test_an_output_that_was_saved_with_a_date_is_read(result: Analysis) -> None:
    saved = copy.deepcopy(result.panel._repr_mimebundle_()[0][MIME])
    assert saved["record"]["date"] == ""
    saved["record"]["date"] = "2026-01-02T03:04:05+00:00"
    old = decode_bundle(saved)
    assert old.record is not None
    assert old.record.date == "2026-01-02T03:04:05+00:00"
    del saved["record"]["date"]
    bare = decode_bundle(saved)
    assert bare.record is not None
    assert bare.record.date == ""
