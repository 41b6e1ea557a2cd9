"""Each architecture: attention is eager's own, the pass is left as it was, and the docs say so.

Every test writes the row of its architecture to ``test-artifacts/architectures``, from which
``docs/make_architectures.py`` makes the table in docs/architectures.md.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmkit.capture import Trace, trace_forward
from lmkit.capture.recorder import Recorder
from lmkit.errors import AttentionUnavailableError
from tests.architectures import ARCHITECTURES, Architecture, build, inputs_of, real_rows

ROOT = Path(__file__).parents[2]
ROWS = ROOT / "test-artifacts" / "architectures"
TABLE = ROOT / "docs" / "architectures.md"
FIELDS = {
    "encoder_attentions": "encoder",
    "decoder_attentions": "decoder",
    "cross_attentions": "cross",
    "attentions": "",
}
SHOWN = [name for name, a in ARCHITECTURES.items() if not a.refusal]
REFUSED = [name for name, a in ARCHITECTURES.items() if a.refusal]
HALVES = ["bert", "modernbert", "gpt2", "llama", "mistral", "qwen3", "gemma2", "gpt_oss", "falcon"]
HALVES += ["deepseek_v3", "t5", "bart", "whisper", "vit"]


class Calls:
    """What the attention functions were called with and gave, in the order of the records."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[dict[str, Any]] = []
        plain = Recorder.record
        signature = inspect.signature(plain)

        def record(*args: Any, **kwargs: Any) -> Any:
            given = dict(signature.bind(*args, **kwargs).arguments)
            out = given["out"]
            given["out"] = (out[0] if isinstance(out, tuple) else out).detach().clone()
            self.made.append(given)
            return plain(*args, **kwargs)

        monkeypatch.setattr(Recorder, "record", record)

    def weights(self, index: int, *, dtype: torch.dtype) -> torch.Tensor:
        """softmax(scale q k^T [softcap] + mask) of one call, (B, H, Q, K), as the papers say."""
        call = self.made[index]
        q, k = (call[name].detach().to(dtype) for name in ("query", "key"))
        options, mask = call["options"], call["mask"]
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        scale = options.get("scaling")
        s = q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if options.get("softcap"):
            s = torch.tanh(s / options["softcap"]) * options["softcap"]
        for bias in (options.get("position_bias"), mask):
            if isinstance(bias, torch.Tensor):
                bias = bias[..., : s.shape[-1]]
                if bias.dtype == torch.bool:
                    s = s.masked_fill(~bias, -math.inf)
                else:
                    s = s + bias.to(dtype)
        flag = options.get("is_causal")
        if flag is None:
            flag = getattr(call["module"], "is_causal", True)
        eager = call["implementation"] is None or call["implementation"].endswith("eager")
        if not eager and mask is None and flag and s.shape[2] > 1:
            s = s.masked_fill(torch.ones(s.shape[2:]).triu(1).bool(), -math.inf)
        sinks = options.get("s_aux")
        if sinks is not None:
            sinks = sinks.detach().to(dtype).reshape(1, -1, 1, 1).expand(*s.shape[:3], 1)
            return torch.softmax(torch.cat([s, sinks], -1), -1)[..., :-1]
        return torch.softmax(s, -1).nan_to_num(0.0)


def eager_attention(name: str, model: Any, trace: Trace) -> dict[int, torch.Tensor]:
    """Attention of each recorded layer as eager returns it, (B, H, Q, K)."""
    reference = build(name, attn_implementation="eager")
    reference.load_state_dict(model.state_dict())
    with torch.no_grad():
        output = reference(**inputs_of(name), output_attentions=True)
    found: dict[int, torch.Tensor] = {}
    for field, role in FIELDS.items():
        layers = [i for i in trace.layers if role in ("", i.role)]
        given = getattr(output, field, None) or ()
        if ARCHITECTURES[name].inputs == "image and text":
            layers = [i for i in trace.layers if i.role == "decoder"]
        if not layers or not given:
            continue
        assert len(given) == len(layers), field
        found |= {i.index: a for i, a in zip(layers, given, strict=True)}
    # LLaVA returns its decoder's alone; the encoder's is that of the CLIP row.
    unseen = {i.role for i in trace.layers if i.index not in found}
    assert unseen <= ({"encoder"} if ARCHITECTURES[name].inputs == "image and text" else set())
    return found


def distance(
    trace: Trace, inputs: dict[str, torch.Tensor], want: dict[int, torch.Tensor]
) -> tuple[float, float, float]:
    """Largest difference, largest total variation of a row, and largest weight times keys."""
    worst = apart = peak = 0.0
    for index, weights in want.items():
        info = trace.layers[index]
        for b in range(2):
            rows = real_rows(inputs, b, info.queries)
            for h in range(info.heads):
                got = trace.batch(b).attention(index, h)[rows]
                expected = weights[b, h].double().numpy()[rows]
                assert got.shape == expected.shape
                assert np.isfinite(got).all()
                off = np.abs(got - expected)
                worst = max(worst, float(off.max()))
                apart = max(apart, float(off.sum(1).max()) / 2)
                peak = max(peak, float(got[-1].max()) * info.keys)
    return worst, apart, peak


def rounded_up(number: float | None) -> str:
    """One significant digit, never less than the number."""
    if number is None:
        return "-"
    if number == 0:
        return "0"
    power = math.floor(math.log10(number))
    return f"{math.ceil(number / 10**power) * 10**power:.0e}"


def write_row(name: str, trace: Trace, worst: float | None, apart: float | None) -> list[str]:
    """The row of the table: its cells, the three numbers included."""
    architecture: Architecture = ARCHITECTURES[name]
    heads = sorted({(i.heads, i.kv_heads) for i in trace.layers})
    cells = [
        name,
        trace.path or "none",
        ", ".join(r for r in ("encoder", "decoder", "cross") if r in {i.role for i in trace.layers})
        or "-",
        "; ".join(f"{h} to {g}" for h, g in heads) or "-",
        rounded_up(worst),
        rounded_up(apart),
        rounded_up(trace.deviation),
        architecture.remark,
    ]
    ROWS.mkdir(parents=True, exist_ok=True)
    path = ROWS / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.json"
    path.write_text(json.dumps(cells) + "\n", encoding="utf-8")
    return cells


def table() -> dict[str, list[str]]:
    """The committed table's rows by name."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line[:2] == "| "]
    return {cells[0]: cells for cells in rows[1:]}


def assert_in_docs(cells: list[str]) -> None:
    words = (0, 1, 2, 3, 7)
    committed = table().get(cells[0])
    assert committed is not None, "python docs/make_architectures.py writes the table anew"
    assert [committed[i] for i in words] == [cells[i] for i in words]


def assert_plain(model: Any, inputs: dict[str, torch.Tensor], trace: Trace) -> None:
    """The captured pass gave what a plain pass gives, to the bit, and left nothing behind."""
    with torch.no_grad():
        plain = model(**inputs)
    assert type(trace.output) is type(plain)
    compared = 0
    for key, value in trace.output.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, plain[key]), key
            compared += 1
    assert compared
    for module in model.modules():
        # transformers leaves hooks of its own once it was asked for attentions
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        assert not [h for h in hooks if not h.__module__.startswith("transformers.")]


@pytest.mark.parametrize("name", SHOWN)
def test_attention_is_eagers_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = ARCHITECTURES[name]
    model, inputs = build(name), inputs_of(name)
    calls = Calls(monkeypatch)
    trace = trace_forward(model, inputs, values=True)
    assert trace.path == architecture.path
    assert trace.missing == architecture.missing
    assert len(trace.layers) == architecture.layers
    assert {i.role for i in trace.layers} == set(architecture.roles)
    assert {(i.heads, i.kv_heads) for i in trace.layers} == set(architecture.heads)
    assert {i.sinks for i in trace.layers} == {architecture.sinks}
    if architecture.window:
        assert architecture.window in {i.window for i in trace.layers}
    assert_plain(model, inputs, trace)

    # A.v of every row and head is what the layer put out: key-value heads stand where they should.
    recorded = [i for i in trace.layers if i.has_qk]
    assert len(recorded) == len(calls.made)
    for info, call in zip(recorded, calls.made, strict=True):
        for b in range(2):
            rows = real_rows(inputs, b, info.queries)
            for h in range(info.heads):
                v = trace.batch(b).values(info.index, h)
                assert v.shape[0] == info.keys
                got = trace.batch(b).attention(info.index, h)[rows] @ v
                out = call["out"][b].view(info.queries, info.heads, -1)[rows, h].numpy()
                assert np.abs(got - out).max() <= 1e-5 * np.abs(v).max()
    if recorded:
        assert trace.deviation is not None
        assert trace.deviation < 2e-6
    else:
        assert trace.deviation is None

    if architecture.eager:
        want = eager_attention(name, model, trace)
    else:
        want = {i: calls.weights(i, dtype=torch.float64) for i in range(len(calls.made))}
    worst, apart, peak = distance(trace, inputs, want)
    assert peak > 3  # uniform attention could not tell a wrong mask or head
    assert worst <= 1e-5
    assert apart <= 1e-4
    assert_in_docs(write_row(name, trace, worst, apart))


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_without_attention_to_show_says_why(name: str) -> None:
    model, inputs = build(name), inputs_of(name)
    inputs.pop("attention_mask")
    trace = trace_forward(model, inputs)
    assert_plain(model, inputs, trace)
    assert not trace.available
    with pytest.raises(AttentionUnavailableError, match=ARCHITECTURES[name].refusal):
        trace.attention(0, 0)
    assert_in_docs(write_row(name, trace, None, None))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", HALVES)
def test_half_precision_is_a_float64_softmax_of_the_same_queries_and_keys(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(name).to(dtype)
    inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs_of(name).items()}
    calls = Calls(monkeypatch)
    trace = trace_forward(model, inputs)
    assert {i.path for i in trace.layers} == {ARCHITECTURES[name].path}
    assert trace.dtype == dtype
    assert trace.deviation is not None
    assert 0 < trace.deviation < {torch.bfloat16: 6e-2, torch.float16: 2e-2}[dtype]
    want = {i: calls.weights(i, dtype=torch.float64) for i in range(len(calls.made))}
    worst, apart, peak = distance(trace, inputs, want)
    assert peak > 3
    assert worst <= 1e-5
    assert apart <= 1e-4


def test_which_tokens_are_patches_of_an_image() -> None:
    text = trace_forward(build("llava"), inputs_of("llava"))
    assert text.patches is not None
    assert text.patches.nonzero()[0].tolist() == list(range(3, 19))
    for name, before in (("vit", 1), ("deit", 2)):
        image = trace_forward(build(name), inputs_of(name))
        assert image.patches is not None
        assert image.patches.tolist() == [False] * before + [True] * 16
    assert trace_forward(build("bert"), inputs_of("bert")).patches is None


def test_a_trace_says_how_exact_it_is_and_what_is_missing() -> None:
    mixed = trace_forward(build("bigbird_pegasus"), inputs_of("bigbird_pegasus"))
    assert {i.path for i in mixed.layers} == {"eager", "eager fallback"}
    assert "eager + eager fallback, off by at most" in repr(mixed)
    hybrid = trace_forward(build("jamba"), inputs_of("jamba"))
    assert "sdpa, off by at most" in repr(hybrid)
    assert "1 missing" in repr(hybrid)


def test_the_docs_list_every_architecture_once() -> None:
    assert sorted(table()) == sorted(ARCHITECTURES)
    assert len(ARCHITECTURES) >= 40
