"""The codec of the shipped weights: error bounds, round trips and hostile files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from lmkit.errors import StarterError
from lmkit.models.starters import delta

SHA = "ab" * 32
FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)

matrices = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.floats(-1e4, 1e4, allow_nan=False, width=64),
)


@given(matrices, st.sampled_from([0, 1]))
def test_quantisation_is_off_by_at_most_half_a_step(matrix: np.ndarray, axis: int) -> None:
    codes, scale = delta.quantize(matrix, axis)
    back = delta.dequantize(codes, scale, axis).astype(np.float64)
    step = scale.astype(np.float64).reshape((-1, 1) if axis == 0 else (1, -1))
    assert codes.dtype == np.int8
    assert codes.shape == matrix.shape
    assert scale.shape == (matrix.shape[axis],)
    assert np.abs(codes.astype(int)).max(initial=0) <= 127
    # The scale is rounded to float32, which moves the largest code by 127 * 2**-24 of a step;
    # entries under the smallest float32 are lost.
    rounding = np.abs(matrix) * 2.0**-22 + 1e-37
    assert (np.abs(matrix - back) <= step * 0.5 + rounding).all()


@given(matrices)
def test_the_largest_entry_of_a_row_keeps_its_sign(matrix: np.ndarray) -> None:
    codes, scale = delta.quantize(matrix, 0)
    for row, line in enumerate(matrix):
        at = int(np.abs(line).argmax())
        if scale[row] > 1e-30:
            assert np.sign(codes[row, at]) == np.sign(line[at])
            assert abs(int(codes[row, at])) >= 126


@given(st.sampled_from([np.nan, np.inf, -np.inf]), st.sampled_from([0, 1]))
def test_what_is_not_finite_is_refused(value: float, axis: int) -> None:
    with pytest.raises(StarterError, match="NaN"):
        delta.quantize(np.array([[1.0, value]]), axis)


@given(matrices, st.integers(0, 12))
def test_truncation_leaves_the_tail_of_the_singular_values(matrix: np.ndarray, rank: int) -> None:
    u, v, kept = delta.factorize(matrix, rank)
    every = np.linalg.svd(matrix, compute_uv=False)
    assert u.shape[1] == v.shape[0] == len(kept) == min(rank, len(every))
    left = np.linalg.norm(matrix - u @ v)
    tail = float(np.sqrt((every[rank:] ** 2).sum()))
    assert left == pytest.approx(tail, rel=1e-6, abs=1e-6 * (1 + every.max(initial=0.0)))


def model(seed: int, rows: int = 10, columns: int = 14) -> tuple[dict, dict]:
    rng = np.random.default_rng(seed)
    base = {
        "encoder.weight": rng.normal(size=(rows, columns)).astype(np.float32),
        "encoder.bias": rng.normal(size=rows).astype(np.float32),
        "embeddings.weight": rng.normal(size=(4, 6)).astype(np.float32),
    }
    moved = {
        "bert.encoder.weight": base["encoder.weight"]
        + (rng.normal(size=(rows, 2)) @ rng.normal(size=(2, columns)) * 0.1).astype(np.float32),
        "bert.encoder.bias": base["encoder.bias"]
        + rng.normal(size=rows).astype(np.float32) * np.float32(0.01),
        "bert.embeddings.weight": base["embeddings.weight"],
        "classifier.weight": rng.normal(size=(3, rows)).astype(np.float32),
    }
    return base, moved


@FILES
@given(seed=st.integers(0, 2**31))
def test_a_file_expands_to_nearly_the_tuned_weights(tmp_path: Path, seed: int) -> None:
    base, tuned = model(seed)
    packed = delta.encode(base, tuned, base_sha256=SHA, info={"task": "t"})
    delta.save(packed, tmp_path / "d.safetensors")
    read = delta.load(tmp_path / "d.safetensors")
    assert read.base_sha256 == SHA
    assert read.info == {"task": "t"}
    found = delta.expand(read, base)
    # What did not move is not stored; the head is exact; the rest within int8 and float16 steps.
    assert set(found) == set(tuned) - {"bert.embeddings.weight"}
    np.testing.assert_array_equal(found["classifier.weight"], tuned["classifier.weight"])
    np.testing.assert_allclose(found["bert.encoder.bias"], tuned["bert.encoder.bias"], atol=1e-4)
    moved = tuned["bert.encoder.weight"] - base["encoder.weight"]
    lost = found["bert.encoder.weight"] - tuned["bert.encoder.weight"]
    assert np.linalg.norm(lost) <= 0.02 * np.linalg.norm(moved)
    assert all(value.dtype == np.float32 for value in found.values())


@FILES
@given(seed=st.integers(0, 2**31))
def test_the_same_weights_give_the_same_bytes(tmp_path: Path, seed: int) -> None:
    base, tuned = model(seed)
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for file in files:
        delta.save(delta.encode(base, tuned, base_sha256=SHA, info={"a": "1", "b": "2"}), file)
    assert files[0].read_bytes() == files[1].read_bytes()


@given(seed=st.integers(0, 2**31), budget=st.integers(200, 900))
def test_the_budget_holds_and_is_spent_where_it_helps(seed: int, budget: int) -> None:
    base, tuned = model(seed)
    packed = delta.encode(base, tuned, base_sha256=SHA, payload_bytes=budget)
    assert sum(value.nbytes for value in packed.tensors.values()) <= budget
    wide = delta.encode(base, tuned, base_sha256=SHA)
    assert packed.rank("bert.encoder.weight") <= wide.rank("bert.encoder.weight")


def test_a_budget_too_small_for_the_head_is_an_error() -> None:
    base, tuned = model(0)
    with pytest.raises(StarterError, match="over the budget"):
        delta.encode(base, tuned, base_sha256=SHA, payload_bytes=50)


def test_a_layer_that_moved_more_gets_more_rank() -> None:
    rng = np.random.default_rng(3)
    base = {name: np.zeros((40, 40), np.float32) for name in ("calm", "moved")}
    tuned = {
        "calm": rng.normal(size=(40, 40)).astype(np.float32) * np.float32(0.01),
        "moved": rng.normal(size=(40, 40)).astype(np.float32),
    }
    packed = delta.encode(base, tuned, base_sha256=SHA, payload_bytes=1800)
    assert packed.rank("moved") > packed.rank("calm")


@FILES
@given(data=st.binary(max_size=400))
def test_noise_is_refused_with_a_sentence(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "noise.safetensors"
    file.write_bytes(data)
    with pytest.raises(StarterError):
        delta.load(file)


@FILES
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_flipped_byte_never_gives_another_error(tmp_path: Path, at: int, byte: int) -> None:
    base, tuned = model(1)
    file = tmp_path / "flipped.safetensors"
    delta.save(delta.encode(base, tuned, base_sha256=SHA), file)
    data = bytearray(file.read_bytes())
    data[at % len(data)] = byte
    file.write_bytes(data)
    try:
        found = delta.expand(delta.load(file), base)
    except StarterError:
        return
    assert all(np.isfinite(value).all() for value in found.values())


def written(tmp_path: Path, tensors: dict, **metadata: str) -> Path:
    file = tmp_path / "made.safetensors"
    wanted = {"format": delta.FORMAT, "version": str(delta.VERSION), "base_sha256": SHA}
    save_file(tensors, file, metadata=wanted | metadata)
    return file


GOOD = {"classifier.weight:full": np.ones((2, 3), np.float32)}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "pt"}, "does not hold starter weights"),
        ({"version": "2"}, "reads version 1"),
        ({"base_sha256": "zz"}, "does not name the base"),
        ({"info": "[1"}, "not valid JSON"),
        ({"info": "[" * 100_000}, "not valid JSON"),
        ({"info": json.dumps({"a": 1})}, "not a table of strings"),
    ],
)
def test_metadata_is_checked(tmp_path: Path, metadata: dict, message: str) -> None:
    with pytest.raises(StarterError, match=message):
        delta.load(written(tmp_path, GOOD, **metadata))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": np.ones(2, np.float32)}, "unexpected tensor"),
        ({"x:pickle": np.ones(2, np.float32)}, "unexpected tensor"),
        ({"x:u": np.ones((2, 2), np.float32)}, "not int8"),
        ({"x:full": np.ones(2, np.float64)}, "not float32"),
        ({"x:u": np.ones(4, np.int8)}, "not a matrix"),
    ],
)
def test_tensors_are_checked(tmp_path: Path, tensors: dict, message: str) -> None:
    with pytest.raises(StarterError, match=message):
        delta.load(written(tmp_path, tensors))


def factors(rows: int, rank: int, columns: int, name: str = "bert.w") -> dict:
    return {
        f"{name}:u": np.ones((rows, rank), np.int8),
        f"{name}:u_scale": np.ones(rank, np.float32),
        f"{name}:v": np.ones((rank, columns), np.int8),
        f"{name}:v_scale": np.ones(rank, np.float32),
    }


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (factors(4, 2, 6), "has the shape"),
        (factors(4, 2, 5) | {"bert.w:v": np.ones((3, 5), np.int8)}, "factors of bert.w"),
        (factors(4, 2, 5) | {"bert.w:u_scale": np.ones(3, np.float32)}, "has the shape"),
        (factors(4, 2, 5) | {"bert.w:v_scale": np.full(2, np.nan, np.float32)}, "not finite"),
        (factors(4, 2, 5) | {"bert.w:u_scale": np.full(2, 3e38, np.float32)}, "not finite"),
        ({"bert.w:u": np.ones((4, 2), np.int8)}, "comes in the parts"),
        (factors(4, 2, 5, "bert.other"), "does not have"),
        ({"bert.w:full": np.ones((4, 5), np.float32)}, "belongs to the base"),
        ({"bert.b:diff": np.ones(3, np.float16)}, "has the shape"),
        ({"bert.b:diff": np.full(4, np.inf, np.float16)}, "not finite"),
        ({"classifier.bias:full": np.full(2, np.nan, np.float32)}, "not finite"),
    ],
)
def test_what_does_not_fit_the_base_is_refused(tmp_path: Path, tensors: dict, message: str) -> None:
    base = {"w": np.zeros((4, 5), np.float32), "b": np.zeros(4, np.float32)}
    read = delta.load(written(tmp_path, tensors))
    with pytest.raises(StarterError, match=message):
        delta.expand(read, base)


def test_a_large_file_is_neither_read_nor_written(tmp_path: Path) -> None:
    file = tmp_path / "large.safetensors"
    with file.open("wb") as out:
        out.truncate(delta.MAX_FILE_BYTES + 1)
    with pytest.raises(StarterError, match="larger than"):
        delta.load(file)
    huge = delta.Delta(SHA, {"x:full": np.zeros(delta.MAX_FILE_BYTES // 4 + 1, np.float32)})
    with pytest.raises(StarterError, match="over"):
        delta.save(huge, tmp_path / "new.safetensors")
    assert not (tmp_path / "new.safetensors").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StarterError, match=r"nowhere\.safetensors is missing"):
        delta.load(tmp_path / "nowhere.safetensors")
