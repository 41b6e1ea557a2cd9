"""Views as files, from a real model: pictures, pages, exact numbers, the record of the run."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pypdf
import pytest
from PIL import Image

import lmkit
from lmkit.errors import (
    AttentionUnavailableError,
    BudgetExceededError,
    ProtocolError,
    SaveError,
)
from lmkit.host import PluginHost
from lmkit.kernel_session import current_session
from lmkit.kit import Analysis, Kit
from lmkit.models import ModelStore
from lmkit.protocol.codec import decode_bundle
from lmkit.protocol.messages import Export, Exported, ExportOptions, PanelSpec, RunRecord, Selection
from lmkit.saving import FORMATS
from lmkit.session import Session
from lmkit.settings import options
from tests.tiny import tiny_bart, tiny_bert

TEXT = "The plot is thin, but I was moved."
SECRET = "Zebra </script><img src=x onerror=alert(1)> \u202e password"


@pytest.fixture(scope="module")
def kit() -> Kit:
    return lmkit.load("starter:sentiment", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def result(kit: Kit) -> Analysis:
    return kit.classify(TEXT)


@pytest.fixture
def budget() -> Iterator[None]:
    before = options.budget
    yield
    options.budget = before


def page_bundle(page: str) -> Any:
    found = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert len(found) == 1
    return decode_bundle(json.loads(found[0]))


# -- the record -----------------------------------------------------------------------------------


def test_the_record_says_what_made_the_numbers(result: Analysis) -> None:
    import torch
    import transformers

    record = result.record
    assert record.model == "starter:sentiment"
    assert record.task == "classification"
    assert re.fullmatch(r"[0-9a-f]{64}", record.fingerprint)
    assert re.fullmatch(r"[0-9a-f]{64}", record.tokenizer_hash)
    assert record.architecture == "BertForSequenceClassification"
    assert record.tokenizer.startswith("Bert")
    assert (record.device, record.dtype) == ("cpu", "float32")
    assert record.attention_path == result.view.spec().attention.path  # type: ignore[union-attr]
    assert record.deviation is not None
    assert record.deviation < 1e-5
    assert record.fields == result.values
    assert record.tokens == len(result.attention.tokens)
    assert record.torch.startswith(torch.__version__.split("+")[0])
    assert record.transformers == transformers.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record.date)
    assert record.seed is None


def test_the_tokenizers_hash_does_not_change_with_use(kit: Kit, result: Analysis) -> None:
    from lmkit import run_record

    tokenizer = kit.loaded("classification").tokenizer
    run_record._hashes.clear()
    tokenizer(["a", "b c"], padding=True, truncation=True, max_length=8)
    assert kit.classify("another text").record.tokenizer_hash == result.record.tokenizer_hash


def test_every_output_carries_the_record(result: Analysis) -> None:
    forms = result.panel._repr_mimebundle_()[0]
    bundle = decode_bundle(forms["application/vnd.lmkit.view.v1+json"])
    # Both leave out the date: the same input gives the same bytes, and notebooks diff well.
    undated = msgspec.structs.replace(result.record, date="")
    assert bundle.record == undated
    assert page_bundle(forms["text/html"]).record == undated


def test_every_file_carries_the_record(result: Analysis, tmp_path: Path) -> None:
    saved = {form: Path(result.attention.save(tmp_path / f"a.{form}")) for form in FORMATS}
    svg = ElementTree.fromstring(saved["svg"].read_bytes())
    pdf = pypdf.PdfReader(saved["pdf"]).metadata
    assert pdf is not None
    with zipfile.ZipFile(saved["npz"]) as archive:
        packed = archive.read("record.json").decode()
    found = {
        "svg": svg.findtext("{http://www.w3.org/2000/svg}metadata"),
        "pdf": pdf["/Keywords"],
        "png": Image.open(saved["png"]).info["lmkit"],
        "npz": packed,
        "json": json.dumps(json.loads(saved["json"].read_text())["record"]),
        "html": json.dumps(
            msgspec.to_builtins(page_bundle(saved["html"].read_text("utf-8")).record)
        ),
    }
    assert found.keys() == FORMATS.keys()
    for form, text in found.items():
        assert msgspec.json.decode(str(text).encode(), type=RunRecord) == result.record, form


# -- numbers --------------------------------------------------------------------------------------


def test_npz_is_the_attention_exactly(result: Analysis, tmp_path: Path) -> None:
    result.attention.save(tmp_path / "one.npz", layer=2, head=-1)
    with np.load(tmp_path / "one.npz") as one:
        assert one["attention"].dtype == np.float32
        np.testing.assert_array_equal(one["attention"], result.attention[2, 11])
        assert one["tokens"].tolist() == [token.text for token in result.attention.tokens]
        assert (one["layer"].tolist(), one["head"].tolist()) == ([2], [11])
        about = json.loads(str(one["about"]))
    assert about["layers"][2]["heads"] == 12
    result.attention.save(tmp_path / "all.npz", heads="all")
    with np.load(tmp_path / "all.npz") as every:
        for layer in range(6):
            assert every[f"layer_{layer}"].shape[0] == 12
            for head in range(12):
                np.testing.assert_array_equal(
                    every[f"layer_{layer}"][head], result.attention[layer, head]
                )


def test_json_is_the_same_as_text(result: Analysis, tmp_path: Path) -> None:
    result.attention.save(tmp_path / "all.json", heads="all")
    read = json.loads((tmp_path / "all.json").read_text())
    assert (read["format"], read["version"]) == ("lmkit.attention", 1)
    assert [token["text"] for token in read["tokens"]] == [
        token.text for token in result.attention.tokens
    ]
    assert len(read["heads"]) == 72
    for one in read["heads"]:
        np.testing.assert_array_equal(
            np.array(one["attention"], dtype=np.float32),
            result.attention[one["layer"], one["head"]],
        )


def test_all_heads_beyond_the_budget_are_refused_with_what_would_do(
    result: Analysis, tmp_path: Path
) -> None:
    path = tmp_path / "all.npz"
    with pytest.raises(BudgetExceededError, match=r"72 heads take 41\.5 kB") as caught:
        result.attention.save(path, heads="all", budget="10kB")
    assert not path.exists()
    advised = re.search(r'budget="([^"]+)"', caught.value.hint)
    assert advised is not None
    result.attention.save(path, heads="all", budget=advised[1])
    assert path.exists()


# -- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("picture", ["arcs", "map", "grid"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_picture_in_each_format(
    result: Analysis, tmp_path: Path, picture: str, theme: str
) -> None:
    given: dict[str, Any] = {"picture": picture, "theme": theme, "layer": 2, "head": 5}
    svg = ElementTree.fromstring(
        Path(result.save(tmp_path / "a.svg", width=6, **given)).read_bytes()
    )
    assert svg.get("width") == "432pt"
    title = svg.findtext("{http://www.w3.org/2000/svg}title") or ""
    assert title == (
        "starter:sentiment · all heads"
        if picture == "grid"
        else "starter:sentiment · layer 2, head 5"
    )
    page = pypdf.PdfReader(result.save(tmp_path / "a.pdf", **given).path).pages[0]
    text = page.extract_text()
    assert "square-root scale" in text.replace("\n", " ")
    if picture != "grid":
        assert "moved" in text
    small = Image.open(result.save(tmp_path / "a.png", dpi=72, **given))
    assert small.size[0] == pytest.approx(float(page.mediabox.width), abs=1)


def test_what_is_selected_is_what_is_saved(result: Analysis, tmp_path: Path) -> None:
    result.attention.show(3, 4, [8])
    svg = Path(result.attention.save(tmp_path / "a.svg")).read_text("utf-8")
    assert "layer 3, head 4" in svg
    assert "the marked query pays to each" in svg
    assert f"{result.attention[3, 4][8].max():.3f}" in svg
    assert "layer 1, head 0" in Path(
        result.attention.save(tmp_path / "b.svg", layer=1, head=0, tokens=[])
    ).read_text("utf-8")
    result.attention.show(0, 0)


def test_cross_attention_is_labelled_by_both_texts(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tiny_bart(tmp_path_factory.mktemp("bart"))
    found = lmkit.load(str(path)).classify("the plot is thin")
    layers = found.attention.layers
    cross = next(at for at, layer in enumerate(layers) if layer.role == "cross")
    for picture in ("arcs", "map", "grid"):
        svg = Path(found.save(tmp_path / "a.svg", layer=cross, head=0, picture=picture)).read_text(
            "utf-8"
        )
        assert ("cross" in svg) is True
    with np.load(found.save(tmp_path / "a.npz", layer=cross, head=1)) as saved:
        np.testing.assert_array_equal(saved["attention"], found.attention[cross, 1])


# -- pages ----------------------------------------------------------------------------------------


def test_a_page_carries_every_head_of_a_short_text_and_needs_nothing(
    result: Analysis, tmp_path: Path
) -> None:
    saved = result.save(tmp_path / "attention.html", layer=4, head=2, tokens=[], theme="dark")
    page = saved.path.read_text("utf-8")
    assert saved.notes == ()
    bundle = page_bundle(page)
    assert bundle.heads == bundle.heads_carried == 72
    assert bundle.live is None
    assert bundle.spec.attention.selection == Selection(layer=4, head=2)
    assert bundle.spec.python.endswith("r.attention.show(4, 2)")
    assert 'data-theme="dark"' in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_a_page_keeps_its_budget_and_says_what_it_leaves_out(
    kit: Kit, tmp_path: Path, budget: None
) -> None:
    found = kit.classify("The plot is thin, but I was moved. " * 40)
    options.budget = "700kB"
    saved = found.save(tmp_path / "a.html")
    carried = page_bundle(saved.path.read_text("utf-8")).heads_carried
    assert 0 < carried < 72
    assert saved.nbytes <= 700_000
    assert saved.notes[0].startswith(f"{carried} of 72 heads fit into 700 kB")
    assert saved.notes[0] in repr(saved)
    more = found.save(tmp_path / "b.html", budget="20MB")
    assert page_bundle(more.path.read_text("utf-8")).heads_carried == 72


def test_the_budget_of_an_output_is_the_users(kit: Kit, budget: None) -> None:
    found = kit.classify("The plot is thin, but I was moved. " * 12)

    def size() -> int:
        return sum(len(json.dumps(form)) for form in found.panel._repr_mimebundle_()[0].values())

    sizes = []
    for budget_of_it in (400_000, 1_000_000, 10_000_000):
        options.budget = budget_of_it
        sizes.append(size())
        assert sizes[-1] <= budget_of_it
    assert sizes[0] < sizes[1] <= sizes[2]


def test_the_magic_sets_and_says_the_budget(
    capsys: pytest.CaptureFixture[str], budget: None
) -> None:
    from lmkit import magics
    from lmkit.errors import SettingError

    magics._lmkit(None, "budget 5 MB")
    assert options.budget == 5_000_000
    magics._lmkit(None, "budget")
    assert capsys.readouterr().out == "A saved output takes up to 5 MB.\n" * 2
    with pytest.raises(SettingError, match="'plenty' is no size"):
        magics._lmkit(None, "budget plenty")


# -- texts that are not to be shared, and hostile ones --------------------------------------------


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_without_text_nothing_quotes_it(kit: Kit, tmp_path: Path, form: str) -> None:
    found = kit.classify(SECRET)
    path = found.save(tmp_path / f"a.{form}", text=False, picture="map").path
    data = path.read_bytes()
    if form == "npz":
        with np.load(path) as arrays:
            data = str(arrays["about"]).encode() + b" ".join(
                str(one).encode() for one in arrays["tokens"]
            )
            assert arrays["tokens"].tolist()[:3] == ["0", "1", "2"]
    elif form == "pdf":
        reader = pypdf.PdfReader(io.BytesIO(data))
        data = (reader.pages[0].extract_text() + str(reader.metadata)).encode()
    elif form == "png":
        data = json.dumps(
            {name: str(value) for name, value in Image.open(path).info.items()}
        ).encode()
    for word in (b"zebra", b"Zebra", b"password", b"onerror=alert"):
        assert word not in data
    if form != "html":
        assert b'"fields":null' in data.replace(b'"fields": null', b'"fields":null').replace(
            b"\\", b""
        )


@pytest.mark.parametrize("form", ["html", "svg", "json"])
def test_hostile_tokens_are_text_in_every_format(kit: Kit, tmp_path: Path, form: str) -> None:
    found = kit.classify(SECRET + " a\0b ]]>")
    text = found.save(tmp_path / f"a.{form}").path.read_text("utf-8")
    assert form == "json" or "<img src=x" not in text
    if form == "svg":
        ElementTree.fromstring(text)
        assert "<script" not in text
        assert "\u202e" not in text
    elif form == "json":
        assert json.loads(text)["record"]["fields"]["text"].startswith(SECRET)
    else:
        assert text.count("</script>") == 3


# -- asked for wrongly ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("a.bmp", {}, r"\.html, \.svg, \.png, \.pdf, \.npz, \.json"),
        ("attention", {}, r"has to end in one of"),
        ("a.svg", {"picture": "pie"}, "'arcs', 'map', 'grid'"),
        ("a.svg", {"theme": "blue"}, "'light', 'dark'"),
        ("a.svg", {"layer": 6}, "no layer 6; there are 6"),
        ("a.svg", {"head": -13}, "no head -13"),
        ("a.svg", {"tokens": [99]}, "no token 99"),
        ("a.svg", {"width": 1}, "out of bounds"),
        ("a.png", {"dpi": 9_999}, "out of bounds"),
        ("a.png", {"dpi": 2_400, "width": 40}, "million pixels"),
        ("a.npz", {"heads": "some"}, "'all'"),
        ("no/such/folder/a.svg", {}, "could not be written"),
    ],
)
def test_what_cannot_be_saved_is_one_sentence(
    result: Analysis, tmp_path: Path, name: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(SaveError, match=said):
        result.attention.save(tmp_path / name, **given)
    assert list(tmp_path.iterdir()) == []


def test_a_lens_is_saved_as_it_is_seen(result: Analysis, tmp_path: Path) -> None:
    tiles = result.view.tiles
    assert tiles is not None
    for lens in (one for one in tiles.lens_specs if not one.reason):
        seen = tiles.through(lens.name).trace
        with np.load(result.save(tmp_path / "a.npz", lens=lens.name, layer=1, head=6)) as saved:
            np.testing.assert_array_equal(saved["attention"], seen.attention(1, 6))
            assert json.loads(str(saved["about"]))["lens"] == lens.name
        for picture in ("arcs", "map", "grid"):
            path = result.save(tmp_path / "a.svg", lens=lens.name, picture=picture)
            svg = ElementTree.fromstring(Path(path).read_bytes())
            words = [one.text or "" for one in svg.iter("{http://www.w3.org/2000/svg}text")]
            assert lens.title.split(",")[0] in " ".join(words)
            if lens.scale == "share":
                assert "0.25" in words  # an end at 1, whatever the largest value is
    names = {lens.name for lens in tiles.lens_specs if not lens.reason}
    assert {"words", "norm"} <= names
    saved_page = result.save(tmp_path / "a.html", lens="words")
    bundle = page_bundle(Path(saved_page).read_text("utf-8"))
    chosen = bundle.spec.attention.selection
    assert chosen.lens == "words"
    assert f"head/{chosen.layer}/{chosen.head}@words" in {tile.key for tile in bundle.tiles}
    assert [lens.name for lens in bundle.spec.attention.lenses] == ["words"]


def test_an_unknown_lens_is_named(result: Analysis, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="no lens 'rose'"):
        result.attention.save(tmp_path / "a.svg", lens="rose")


# -- panels and the Save menu ---------------------------------------------------------------------


def test_a_panel_saves_what_it_shows(kit: Kit, tmp_path: Path) -> None:
    panel = kit.panel("classification", TEXT)
    with pytest.raises(SaveError, match="nothing to save yet"):
        panel.save(tmp_path / "a.svg")
    panel.run()
    panel.selection = Selection(layer=5, head=1)
    assert "layer 5, head 1" in Path(panel.save(tmp_path / "a.svg")).read_text("utf-8")
    with pytest.raises(SaveError, match="no option 'colour'"):
        panel.save(tmp_path / "a.svg", colour="red")
    panel.close()


class Collector:
    def send(self, message: Any, buffers: Any = ()) -> None:
        raise AssertionError("handle() answers by itself")


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_the_save_menu_gets_the_file_of_what_is_on_show(result: Analysis, form: str) -> None:
    session = current_session()
    chosen = ExportOptions(
        selection=Selection(layer=3, head=7), picture="map", theme="dark", mapping="log"
    )
    request = Export(id="e1", view=result.view.id, format=form, options=chosen)  # type: ignore[arg-type]
    answer, buffers = session.handle(request, Collector())
    assert isinstance(answer, Exported), answer
    assert answer.mime == FORMATS[form]
    assert answer.name == ("attention.html" if form == "html" else f"attention-layer3-head7.{form}")
    (data,) = buffers
    if form == "svg":
        assert "layer 3, head 7" in data.decode()
        assert "logarithmic scale" in data.decode()
    if form == "npz":
        with np.load(io.BytesIO(data)) as saved:
            np.testing.assert_array_equal(saved["attention"], result.attention[3, 7])


def test_a_view_without_a_run_answers_the_menu_with_an_error(tmp_path: Path) -> None:
    host = PluginHost(environ={"LMKIT_PLUGINS_ALLOW": "classification"})
    host.discover()
    session = Session(host, ModelStore(device="cpu"))
    try:
        panel = Kit(session, str(tiny_bert(tmp_path)), {}).panel("classification", TEXT)
        view = panel._panel.view.id
        answer, buffers = session.handle(Export(id="e", view=view, format="svg"), Collector())
        assert "nothing to save yet" in answer.error.message  # type: ignore[union-attr]
        assert buffers == []
        panel.close()
    finally:
        session.stop()


# -- Copy as Python -------------------------------------------------------------------------------


def again(code: str, **names: Any) -> Analysis:
    space: dict[str, Any] = dict(names)
    exec(code, space)
    found = space["r"]
    assert isinstance(found, Analysis)
    return found


def same(first: Analysis, second: Analysis) -> None:
    assert second.results == first.results
    assert second.values == first.values
    assert second.view.selection == first.view.selection
    one, two = first.view.spec(), second.view.spec()
    assert isinstance(one, PanelSpec)
    assert two.python == one.python
    assert two.header == one.header
    layer, head = first.view.selection.layer, first.view.selection.head
    np.testing.assert_array_equal(second.attention[layer, head], first.attention[layer, head])
    ignored = {"date": ""}
    assert msgspec.structs.replace(second.record, **ignored) == msgspec.structs.replace(
        first.record, **ignored
    )


@pytest.mark.parametrize(
    "text", [TEXT, "two\nlines 'and' \"quotes\" \\ {x}", SECRET, "中文 🙂 \u2028 tab\t"]
)
def test_copied_lines_make_the_same_view(kit: Kit, text: str) -> None:
    first = kit.classify(text, threshold=0.25, pair="a second text")
    last = len(first.attention.tokens) - 1
    first.attention.show(4, 3, [1, last])
    same(first, again(first.view.spec().python))


def test_copied_lines_keep_how_the_model_was_loaded() -> None:
    first = lmkit.load("starter:sentiment", dtype="bfloat16", device="cpu").classify(TEXT)
    code = first.view.spec().python
    assert "lmkit.load('starter:sentiment', device='cpu', dtype='bfloat16')" in code
    same(first, again(code))


def test_copied_lines_of_a_folder_and_of_a_model_in_memory(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path / "it's a model")
    first = lmkit.load(folder).classify(TEXT)
    same(first, again(first.view.spec().python))
    loaded = first._session.models.get(folder, "AutoModelForSequenceClassification")
    model, tokenizer = loaded.model, loaded.tokenizer
    second = lmkit.load(model, tokenizer).classify(TEXT)
    code = second.view.spec().python
    assert "lmkit.load(model, tokenizer)  # your BertForSequenceClassification" in code
    same(second, again(code, model=model, tokenizer=tokenizer))


def test_copied_lines_are_of_what_is_shown_not_of_what_was_typed_since(kit: Kit) -> None:
    panel = kit.panel("classification", TEXT)
    assert TEXT in panel._panel.view.spec().python
    panel.run()
    panel.text = "typed later"
    assert TEXT in panel._panel.view.spec().python
    panel.run()
    assert "typed later" in panel._panel.view.spec().python
    panel.close()


# -- pictures beyond one head ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(kit: Kit) -> Analysis:
    r: Analysis = kit.classify(TEXT)
    r.attention.view("head-map")
    r.attention.view("rollout", tokens=[3, 4])
    r.attention.view("switch-off", layer=2, head=5)
    return r


@pytest.mark.parametrize("picture", ["neuron", "heads", "head-map", "rollout", "switch-off"])
def test_pictures_beyond_one_head_are_vectors(
    asked: Analysis, tmp_path: Path, picture: str
) -> None:
    given: dict[str, Any] = {"layer": 2, "head": 5, "tokens": [4], "picture": picture}
    texts: dict[str, str] = {}
    for theme in ("light", "dark"):
        svg = Path(asked.save(tmp_path / f"{theme}.svg", theme=theme, **given)).read_text("utf-8")
        root = ElementTree.fromstring(svg)
        assert "<image" not in svg
        texts[theme] = " ".join(root.itertext())
    pdf = pypdf.PdfReader(asked.save(tmp_path / "a.pdf", **given).path)
    assert not pdf.pages[0].images
    words = pdf.pages[0].extract_text()
    with Image.open(asked.save(tmp_path / "a.png", dpi=72, **given).path) as pixels:
        assert pixels.size[0] > 200
    trace = asked.attention.trace
    wanted = {
        "neuron": f"{trace.rows(2, 5, [4])[0].max():.3f}",
        "heads": "head 3",
        "head-map": "Previous token",
        "rollout": "Abnar and Zuidema",
        "switch-off": "Without 2.5",
    }[picture]
    for text in (words, *texts.values()):
        assert wanted in text.replace("\n", " ")


def test_the_equation_has_the_real_numbers(asked: Analysis, tmp_path: Path) -> None:
    path = asked.save(tmp_path / "a.svg", layer=1, head=3, tokens=[6], picture="neuron")
    trace: Any = asked.attention.trace
    key = int(trace.rows(1, 3, [6])[0].argmax())
    pair = trace.qk(1, 3, 6, key)
    text = " ".join(ElementTree.fromstring(Path(path).read_text("utf-8")).itertext())
    found = dict(re.findall(r"(q · k|score|weight) = (?:exp.*?= )?(-?[\d.]+\d)", text))
    assert float(found["q · k"]) == pytest.approx(float(pair.query @ pair.key), rel=1e-4)
    assert float(found["score"]) == pytest.approx(pair.score, rel=1e-4)
    assert float(found["weight"]) == pytest.approx(pair.weight, rel=1e-4)


def test_a_difference_is_drawn_in_its_own_scale(kit: Kit, tmp_path: Path) -> None:
    difference = kit.compare(TEXT, "The film is thin, but I was moved.")
    for picture in ("arcs", "map", "grid"):
        svg = Path(difference.save(tmp_path / "a.svg", picture=picture)).read_text("utf-8")
        assert "difference, square-root scale" in svg
    with pytest.raises(SaveError, match="shares of attention"):
        difference.save(tmp_path / "a.svg", picture="heads")
    with pytest.raises(AttentionUnavailableError, match="not known"):
        difference.save(tmp_path / "a.svg", picture="neuron")


@pytest.mark.parametrize("form", ["pdf", "png"])
def test_the_first_picture_of_a_process_does_not_keep_its_result(tmp_path: Path, form: str) -> None:
    code = (
        "import gc, sys, weakref, lmkit\n"
        "r = lmkit.load('starter:sentiment').classify('a film')\n"
        f"r.save({str(tmp_path / f'a.{form}')!r})\n"
        "kept = [weakref.ref(r), weakref.ref(r.attention.trace)]\n"
        "del r\n"
        "gc.collect()\n"
        "assert 'fpdf.encryption' in sys.modules\n"
        "assert [one() for one in kept] == [None, None], kept\n"
    )
    # In a function, whose names are no module's.
    body = "def main():\n" + "".join(f"    {line}\n" for line in code.splitlines()) + "main()"
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_drawn_says_so(result: Analysis, asked: Analysis, tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="not been asked"):
        result.save(tmp_path / "a.svg", picture="causal-map")
    with pytest.raises(SaveError, match="quotes the text"):
        asked.save(tmp_path / "a.svg", picture="rollout", text=False)
    with pytest.raises(SaveError, match="no head 99"):
        asked.save(tmp_path / "a.svg", picture="heads", heads=[0, 99])
    made = asked.save(tmp_path / "a.svg", picture="heads", heads=list(range(9)))
    assert "The first 6 of 9 chosen heads." in made.notes


def test_the_save_menu_takes_what_is_on_show(asked: Analysis) -> None:
    session, view = current_session(), asked.view
    for picture, name in (("head-map", "head-map.svg"), ("heads", "attention-layer2-head5.svg")):
        wish = ExportOptions(
            selection=Selection(layer=2, head=5), picture=picture, heads=(1, 2), theme="dark"
        )
        request = Export(id="e", view=view.id, format="svg", options=wish)
        answer, (data,) = session.handle(request, None)  # type: ignore[arg-type]
        assert isinstance(answer, Exported)
        assert answer.name == name
        ElementTree.fromstring(data)
