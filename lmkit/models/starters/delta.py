"""Codec of the shipped task weights: what fine-tuning changed in an encoder, in about 1.4 MB.

A fine-tuned matrix ``W`` is stored as ``W - W0 = U @ V`` where ``U`` (rows, rank) and ``V``
(rank, columns) are the truncated singular value decomposition of the difference, the square root
of each singular value folded into both sides, each rank component of each side in int8 with a
float32 scale of its own. Ranks are given to the matrices one component at a time, to the one that
removes most squared error per byte, so a layer that moved more gets more. Vectors (biases,
LayerNorms) are float16 differences; the task head, which the base lacks, is float32. Frozen
tensors (the embeddings) are not stored at all.

One safetensors file holds all of it; its metadata names the format, its version and the SHA-256
of the base weights file that it is a difference to. Reading trusts nothing: every name, shape,
dtype and value is checked against the base before it is used.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lmkit.errors import StarterError

__all__ = [
    "FORMAT",
    "MAX_FILE_BYTES",
    "VERSION",
    "Delta",
    "dequantize",
    "encode",
    "expand",
    "factorize",
    "load",
    "quantize",
    "save",
]

FORMAT = "lmkit-delta"
VERSION = 1
MAX_FILE_BYTES = 1_500_000
"""No shipped weights file may be larger, and none larger is read."""

_PAYLOAD_BYTES = 1_440_000
"""Budget of the tensors alone; the safetensors header takes some 30 kB more."""

Float = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]

_DTYPES = {
    "u": np.dtype(np.int8),
    "u_scale": np.dtype(np.float32),
    "v": np.dtype(np.int8),
    "v_scale": np.dtype(np.float32),
    "diff": np.dtype(np.float16),
    "full": np.dtype(np.float32),
}


@dataclass(frozen=True)
class Delta:
    """The decoded content of a weights file, not yet added to a base.

    Attributes:
        base_sha256: SHA-256 of the base's weights file, in hex.
        tensors: Stored arrays by ``"<parameter>:<part>"``; the parts are ``u``, ``u_scale``,
            ``v``, ``v_scale``, ``diff`` and ``full``.
        info: What the file says about itself (architecture, labels, seed...), as plain strings.
    """

    base_sha256: str
    tensors: Mapping[str, npt.NDArray[Any]]
    info: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, set[str]]:
        """Names of the model's parameters that are stored, each with its parts."""
        out: dict[str, set[str]] = {}
        for key in self.tensors:
            name, _, part = key.rpartition(":")
            out.setdefault(name, set()).add(part)
        return out

    def rank(self, parameter: str) -> int:
        """How many components the matrix ``parameter`` was kept at; 0 when it has none."""
        u = self.tensors.get(f"{parameter}:u")
        return 0 if u is None else int(u.shape[1])


def quantize(matrix: npt.NDArray[np.floating[Any]], axis: int) -> tuple[Int8, Float]:
    """Round to int8 with one symmetric scale for each index along ``axis``.

    Args:
        matrix: ``(rows, columns)``, finite.
        axis: The axis that keeps its own scale: 0 for one a row, 1 for one a column.

    Returns:
        Codes in -127..127 of the same shape, and float32 scales of length ``shape[axis]``. No
        entry is off by more than half of its scale (and float32 rounding).

    Raises:
        StarterError: The matrix is not two-dimensional or holds a NaN or an infinity.
    """
    if matrix.ndim != 2:
        raise StarterError(f"Only a matrix can be quantised, not an array of {matrix.ndim} axes.")
    if not np.isfinite(matrix).all():
        raise StarterError("The weights hold a NaN or an infinity and cannot be quantised.")
    largest = np.abs(matrix).max(axis=1 - axis, initial=0.0)
    scale = (largest / 127.0).astype(np.float32)
    # A scale that underflows float32 stands for a row of zeros: dividing by it would not.
    divisor = np.where(scale > 0, scale, np.float32(1.0)).astype(np.float64)
    shape = (-1, 1) if axis == 0 else (1, -1)
    codes = np.rint(matrix / divisor.reshape(shape))
    return np.clip(codes, -127, 127).astype(np.int8), scale


def dequantize(codes: Int8, scale: Float, axis: int) -> Float:
    """Undo :func:`quantize`: float32 of the shape of ``codes``."""
    shape = (-1, 1) if axis == 0 else (1, -1)
    return np.asarray(codes.astype(np.float32) * scale.reshape(shape), dtype=np.float32)


def factorize(
    difference: npt.NDArray[np.floating[Any]], rank: int | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Balanced factors of the best approximation of ``difference`` of at most ``rank``.

    Returns ``u (rows, rank)``, ``v (rank, columns)`` with ``u @ v`` the truncated singular value
    decomposition (Eckart and Young, 1936), and the singular values kept, all float64. The left
    vectors are the eigenvectors of ``D @ D.T``, ten times faster than a decomposition of ``D``
    itself; the rest follows by projection, which is exact.
    """
    wide = difference.astype(np.float64)
    tall = wide.shape[0] > wide.shape[1]
    if tall:
        wide = wide.T
    squares, vectors = np.linalg.eigh(wide @ wide.T)
    keep = len(squares) if rank is None else min(rank, len(squares))
    order = np.argsort(squares)[::-1][:keep]
    left, values = vectors[:, order], np.sqrt(np.maximum(squares[order], 0.0))
    right = left.T @ wide
    root = np.sqrt(values)
    safe = np.where(root > 0, root, 1.0)
    # Where the value is zero the projection is, too: which side it stands on does not matter.
    u, v = left * safe, right / safe[:, None]
    return (v.T, u.T, values) if tall else (u, v, values)


def base_name(parameter: str) -> str:
    """Name of a fine-tuned model's parameter in the bare encoder: without its ``bert.``."""
    return parameter.removeprefix("bert.")


def encode(
    base: Mapping[str, Float],
    tuned: Mapping[str, Float],
    *,
    base_sha256: str,
    info: Mapping[str, str] | None = None,
    payload_bytes: int = _PAYLOAD_BYTES,
) -> Delta:
    """Keep of ``tuned`` what differs from ``base``, within ``payload_bytes``.

    Args:
        base: The encoder's parameters, float32, by their name in the bare encoder.
        tuned: The fine-tuned model's parameters, float32, by their name there. One that the base
            does not have (the head) is kept whole; one that equals the base is left out.
        base_sha256: SHA-256 of the file that ``base`` was read from.
        info: Strings to store along.
        payload_bytes: Budget of all tensors together.

    Raises:
        StarterError: A shape differs from the base's, a value is not finite, or the vectors and
            the head alone are over the budget.
    """
    tensors: dict[str, npt.NDArray[Any]] = {}
    spent = 0
    factors: dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = {}
    heap: list[tuple[float, str, int, int]] = []
    gains: dict[str, npt.NDArray[np.float64]] = {}
    for name, value in tuned.items():
        if not np.isfinite(value).all():
            raise StarterError(f"The weights {name} hold a NaN or an infinity.")
        reference = base.get(base_name(name))
        if reference is None:
            tensors[f"{name}:full"] = np.ascontiguousarray(value, dtype=np.float32)
            spent += value.size * 4
            continue
        if reference.shape != value.shape:
            raise StarterError(
                f"The weights {name} have the shape {value.shape}; the base has {reference.shape}."
            )
        difference = value.astype(np.float64) - reference.astype(np.float64)
        if not difference.any():
            continue
        if value.ndim != 2:
            tensors[f"{name}:diff"] = difference.astype(np.float16)
            spent += value.size * 2
            continue
        u, v, singular = factorize(difference)
        factors[name] = (u, v)
        gains[name] = singular**2
        cost = u.shape[0] + v.shape[1] + 8
        heap.append((-gains[name][0] / cost, name, 0, cost))
    if spent > payload_bytes:
        raise StarterError(
            f"Head, biases and norms take {spent} bytes, over the budget of {payload_bytes}."
        )
    heapq.heapify(heap)
    ranks = dict.fromkeys(factors, 0)
    while heap:
        _, name, index, cost = heapq.heappop(heap)
        if spent + cost > payload_bytes:
            continue
        spent += cost
        ranks[name] = index + 1
        if index + 1 < len(gains[name]):
            heapq.heappush(heap, (-gains[name][index + 1] / cost, name, index + 1, cost))
    for name, rank in ranks.items():
        if rank == 0:
            continue
        u, v = factors[name]
        tensors[f"{name}:u"], tensors[f"{name}:u_scale"] = quantize(u[:, :rank], axis=1)
        tensors[f"{name}:v"], tensors[f"{name}:v_scale"] = quantize(v[:rank], axis=0)
    return Delta(base_sha256, tensors, dict(info or {}))


def expand(delta: Delta, base: Mapping[str, Float]) -> dict[str, Float]:
    """Add a delta to the encoder that it belongs to.

    Args:
        delta: As :func:`load` or :func:`encode` gave it.
        base: The encoder's parameters by their name in the bare encoder, float32. Whether they
            are the right ones (``delta.base_sha256``) is the caller's to check, on the file.

    Returns:
        The stored parameters of the fine-tuned model, float32, by their name there. Parameters
        that the delta does not mention are the base's own and are not returned.

    Raises:
        StarterError: A part is missing, surplus or of the wrong shape, or a value is not finite.
    """
    out: dict[str, Float] = {}
    for name, parts in delta.parameters.items():
        reference = base.get(base_name(name))
        part = {p: delta.tensors[f"{name}:{p}"] for p in parts}
        if parts == {"full"}:
            if reference is not None:
                raise StarterError(f"The weights file replaces {name}, which belongs to the base.")
            out[name] = part["full"].astype(np.float32)
        elif reference is None:
            raise StarterError(f"The weights file changes {name}, which the base does not have.")
        elif parts == {"diff"}:
            _same_shape(name, part["diff"].shape, reference.shape)
            out[name] = reference + part["diff"].astype(np.float32)
        elif parts == {"u", "u_scale", "v", "v_scale"}:
            out[name] = reference + _product(name, part, reference.shape)
        else:
            raise StarterError(
                f"The weights file is damaged: {name} comes in the parts {sorted(parts)}."
            )
        if not np.isfinite(out[name]).all():
            raise StarterError(f"The weights file is damaged: {name} is not finite.")
    return out


def _product(name: str, part: Mapping[str, npt.NDArray[Any]], shape: tuple[int, ...]) -> Float:
    u, v = part["u"], part["v"]
    if len(shape) != 2 or u.ndim != 2 or v.ndim != 2 or u.shape[1] != v.shape[0]:
        raise StarterError(
            f"The weights file is damaged: the factors of {name} are {u.shape} and {v.shape}."
        )
    _same_shape(name, (u.shape[0], v.shape[1]), shape)
    for side, rank in (("u_scale", u.shape[1]), ("v_scale", v.shape[0])):
        scale = part[side]
        _same_shape(f"{name} ({side})", scale.shape, (rank,))
        if not np.isfinite(scale).all():
            raise StarterError(f"The weights file is damaged: {name} is not finite.")
    with np.errstate(over="ignore", invalid="ignore"):
        left = dequantize(u, part["u_scale"], axis=1)
        right = dequantize(v, part["v_scale"], axis=0)
        return np.asarray(left @ right, dtype=np.float32)


def _same_shape(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(found) != tuple(wanted):
        raise StarterError(
            f"The weights file does not fit the base: {name} has the shape {tuple(found)}, "
            f"not {tuple(wanted)}."
        )


def save(delta: Delta, path: Path) -> int:
    """Write ``delta`` as one safetensors file and return its size in bytes.

    The same delta gives the same bytes, so a hash of the file names the weights.

    Raises:
        StarterError: The file would be larger than :data:`MAX_FILE_BYTES`.
    """
    from safetensors.numpy import save as to_bytes

    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "base_sha256": delta.base_sha256,
        "info": json.dumps(dict(delta.info), sort_keys=True),
    }
    data = to_bytes(
        {key: np.ascontiguousarray(value) for key, value in sorted(delta.tensors.items())},
        metadata=metadata,
    )
    data = _sorted_header(data)
    if len(data) > MAX_FILE_BYTES:
        raise StarterError(f"The weights take {len(data)} bytes, over {MAX_FILE_BYTES}.")
    path.write_bytes(data)
    return len(data)


def _sorted_header(data: bytes) -> bytes:
    """Order the header's keys: safetensors writes the metadata in the order of a hash map."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def load(path: Path) -> Delta:
    """Read a weights file and check its form.

    Raises:
        StarterError: The file is missing, too large, no safetensors file, of another format or
            version, or holds a tensor of an unexpected name, type or number of axes.
    """
    from safetensors import SafetensorError, safe_open

    try:
        size = path.stat().st_size
    except OSError as error:
        raise StarterError(
            f"The weights file {path.name} is missing.", details=str(error)
        ) from error
    if size > MAX_FILE_BYTES:
        raise StarterError(f"The weights file {path.name} is larger than {MAX_FILE_BYTES} bytes.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise StarterError(
            f"The weights file {path.name} is not a readable safetensors file.", details=str(error)
        ) from error
    if metadata.get("format") != FORMAT:
        raise StarterError(f"The file {path.name} does not hold starter weights.")
    if metadata.get("version") != str(VERSION):
        raise StarterError(
            f"The weights file {path.name} is of format version {metadata.get('version')!r}; "
            f"this lmkit reads version {VERSION}.",
            hint="Install the lmkit that the file came with.",
        )
    for key, value in tensors.items():
        _check_tensor(path.name, key, value)
    return Delta(_sha(path.name, metadata), tensors, _info(path.name, metadata))


def _check_tensor(file: str, key: str, value: npt.NDArray[Any]) -> None:
    name, _, part = key.rpartition(":")
    wanted = _DTYPES.get(part)
    if not name or wanted is None:
        raise StarterError(f"The weights file {file} holds an unexpected tensor {key[:80]!r}.")
    if value.dtype != wanted:
        raise StarterError(f"The weights file {file} holds {name} as {value.dtype}, not {wanted}.")
    if part in ("u", "v") and value.ndim != 2:
        raise StarterError(f"The weights file {file} is damaged: {name} is not a matrix.")


def _sha(file: str, metadata: Mapping[str, str]) -> str:
    sha = metadata.get("base_sha256", "")
    if len(sha) != 64 or set(sha) - set("0123456789abcdef"):
        raise StarterError(f"The weights file {file} does not name the base it belongs to.")
    return sha


def _info(file: str, metadata: Mapping[str, str]) -> dict[str, str]:
    try:
        info = json.loads(metadata.get("info", "{}"))
    except (ValueError, RecursionError) as error:
        raise StarterError(f"The description in {file} is not valid JSON.") from error
    if not isinstance(info, dict) or not all(isinstance(v, str) for v in info.values()):
        raise StarterError(f"The description in {file} is not a table of strings.")
    return info
