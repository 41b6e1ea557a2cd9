"""The tile codec keeps its stated error bound, order and shape for any values."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lmkit.errors import CaptureError
from lmkit.protocol.tiles import SLACK, decode, encode, error_bound

QUANTISED = ["sqrt-u6", "sqrt-u8", "sqrt-u16"]
UNIT = st.floats(0.0, 1.0, width=32)
ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=9, min_side=0), elements=UNIT)


@pytest.mark.parametrize("encoding", QUANTISED)
@given(values=ARRAYS)
def test_error_stays_within_the_bound(encoding: str, values: np.ndarray) -> None:
    back = decode(encode(values, encoding), values.shape, encoding)
    assert back.shape == values.shape
    assert back.dtype == np.float32
    bound = np.vectorize(lambda a: error_bound(float(a), encoding), otypes=[float])(values)
    assert (np.abs(back.astype(float) - values.astype(float)) <= bound).all()


@pytest.mark.parametrize(
    ("encoding", "top"), [("sqrt-u6", 63), ("sqrt-u8", 255), ("sqrt-u16", 65535)]
)
def test_the_bound_is_reached_half_way_between_two_codes(encoding: str, top: int) -> None:
    """A smaller bound would be wrong: values just above a half-way point come within 1 % of it."""
    for code in (0, 1, 7, top // 2, top - 1):
        value = np.float32(((code + 0.5) / top) ** 2 * (1 + 3e-7))
        error = abs(float(decode(encode(value[None], encoding), (1,), encoding)[0]) - float(value))
        assert error >= 0.98 * (math.sqrt(value) / top + 1 / (4 * top**2))


@pytest.mark.parametrize("encoding", QUANTISED)
@given(a=UNIT, b=UNIT)
@example(a=0.0, b=1.0)
def test_order_is_kept(encoding: str, a: float, b: float) -> None:
    low, high = sorted((a, b))
    pair = np.array([low, high], dtype=np.float32)
    back = decode(encode(pair, encoding), (2,), encoding)
    assert back[0] <= back[1]


@pytest.mark.parametrize("encoding", ["f32", *QUANTISED])
@given(values=ARRAYS)
def test_encoding_again_changes_nothing(encoding: str, values: np.ndarray) -> None:
    data = encode(values, encoding)
    assert encode(decode(data, values.shape, encoding), encoding) == data


@given(
    values=hnp.arrays(
        np.float32, 5, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
)
def test_f32_is_exact_for_any_finite_value(values: np.ndarray) -> None:
    assert np.array_equal(decode(encode(values, "f32"), (5,), "f32"), values)


@pytest.mark.parametrize("encoding", ["f32", *QUANTISED])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(encoding: str, bad: float) -> None:
    with pytest.raises(CaptureError, match="finite"):
        encode(np.array([0.1, bad], dtype=np.float32), encoding)


@pytest.mark.parametrize("encoding", QUANTISED)
@pytest.mark.parametrize("bad", [-0.01, 1.01])
def test_out_of_range_is_refused_and_rounding_is_not(encoding: str, bad: float) -> None:
    with pytest.raises(CaptureError, match="takes 0 to 1"):
        encode(np.array([bad], dtype=np.float32), encoding)
    edge = np.array([-SLACK / 2, 1 + SLACK / 2], dtype=np.float32)
    assert decode(encode(edge, encoding), (2,), encoding).tolist() == [0.0, 1.0]


def test_layout_is_little_endian_in_c_order() -> None:
    values = np.array([[0.0, 1.0], [0.25, 0.0]], dtype=np.float32)
    assert encode(values, "sqrt-u8") == bytes([0, 255, 128, 0])
    assert encode(values, "sqrt-u16") == bytes([0, 0, 255, 255, 0, 128, 0, 0])
    assert encode(values.T, "sqrt-u8") == bytes([0, 128, 255, 0])
    assert encode(values, "f32")[4:8] == b"\x00\x00\x80\x3f"


@pytest.mark.parametrize("encoding", ["f32", *QUANTISED])
def test_a_tile_of_another_size_is_refused(encoding: str) -> None:
    data = encode(np.zeros((2, 3), dtype=np.float32), encoding)
    for shape in ((2, 4), (6, 2), (-2, -3)):
        with pytest.raises(CaptureError, match="bytes"):
            decode(data, shape, encoding)


def test_unknown_encodings_are_named() -> None:
    for call in (
        lambda: encode(np.zeros(1, dtype=np.float32), "u4"),
        lambda: decode(b"", (0,), "u4"),
        lambda: error_bound(0.5, "u4"),
    ):
        with pytest.raises(CaptureError, match="u4"):
            call()


def test_importing_the_codec_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, lmkit.protocol.tiles; print({'torch', 'numpy'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
