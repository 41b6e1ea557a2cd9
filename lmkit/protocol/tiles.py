"""The numbers of a tile as bytes: little-endian, C order, in one of four encodings.

===========  =====  ==========================================================================
encoding     bytes  value a of [0, 1]
===========  =====  ==========================================================================
``f32``      4      as it is; any finite number (sums over tokens exceed 1)
``sqrt-u6``  1      ``round(63 * sqrt(a))``, read back as ``(n / 63) ** 2``
``sqrt-u8``  1      ``round(255 * sqrt(a))``, read back as ``(n / 255) ** 2``
``sqrt-u16`` 2      ``round(65535 * sqrt(a))``, read back as ``(n / 65535) ** 2``
===========  =====  ==========================================================================

The square root spends the codes on small weights, of which attention mostly consists. Codes of six
bits take a byte as well, and a third less once they are packed: for first looks.

Error. With N the largest code and s = n / N, rounding gives ``|s - sqrt(a)| <= 1 / (2N)``, so

    ``|s*s - a| = |s - sqrt(a)| * (s + sqrt(a)) <= (2 sqrt(a) + 1/(2N)) / (2N)
    = sqrt(a) / N + 1 / (4 N**2)``

which is reached where ``N * sqrt(a)`` lies half-way between two codes and is rounded up. At
a = 1 it is 0.016 (u6), 0.0040 (u8) and 0.0000153 (u16), near a = 0 it is 6.3e-5, 3.9e-6 and
5.9e-11. Reading back
rounds to float32, which adds at most ``2**-24 * a``. The encodings are monotone: a <= b never
becomes more than b.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmkit.errors import CaptureError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SLACK", "decode", "encode", "error_bound"]

#: How far above 1 or below 0 rounding may have carried a weight; it is then taken as 1 or 0.
SLACK = 1e-4

_CODES = {"sqrt-u6": ("<u1", 63), "sqrt-u8": ("<u1", 255), "sqrt-u16": ("<u2", 65535)}


def _levels(encoding: str) -> tuple[str, int]:
    try:
        return _CODES[encoding]
    except KeyError:
        raise CaptureError(
            f"{encoding!r} is not an encoding of tiles.",
            hint="Known: f32, sqrt-u6, sqrt-u8, sqrt-u16.",
        ) from None


def error_bound(value: float, encoding: str) -> float:
    """Largest ``|decode(encode(value)) - value|`` for a value of [0, 1]."""
    if encoding == "f32":
        return 0.0
    _, top = _levels(encoding)
    return float(value**0.5 / top + 1 / (4 * top**2) + 2.0**-24 * (value + 1 / top))


def encode(values: NDArray[np.float32], encoding: str) -> bytes:
    """Values of any shape as bytes.

    Args:
        values: float32 of [0, 1]; up to :data:`SLACK` outside is taken as the nearer end.
            ``f32`` takes any finite values.
        encoding: ``"f32"``, ``"sqrt-u6"``, ``"sqrt-u8"`` or ``"sqrt-u16"``.

    Raises:
        CaptureError: a value is NaN or infinite or out of range, or the encoding is unknown.
    """
    import numpy as np

    array = np.asarray(values, dtype=np.float32)
    if not bool(np.isfinite(array).all()):
        raise CaptureError("A tile holds values that are not finite numbers.")
    if encoding == "f32":
        return array.astype("<f4", order="C").tobytes()
    code, top = _levels(encoding)
    if array.size and (float(array.min()) < -SLACK or float(array.max()) > 1 + SLACK):
        raise CaptureError(
            f"A tile in {encoding} holds values from {float(array.min()):.6g} to "
            f"{float(array.max()):.6g}; it takes 0 to 1.",
            hint="Send it as f32.",
        )
    root = np.sqrt(np.clip(array.astype(np.float64), 0.0, 1.0))
    data: bytes = np.rint(root * top).astype(code, order="C").tobytes()
    return data


def decode(data: bytes, shape: tuple[int, ...], encoding: str) -> NDArray[np.float32]:
    """The values of a tile, float32 of ``shape``, writable.

    Raises:
        CaptureError: the bytes are not of this shape, or the encoding is unknown.
    """
    import numpy as np

    code, top = ("<f4", 0) if encoding == "f32" else _levels(encoding)
    count = 1
    for extent in shape:
        count *= extent
    if any(extent < 0 for extent in shape) or len(data) != count * np.dtype(code).itemsize:
        raise CaptureError(
            f"A tile of shape {shape} in {encoding} has "
            f"{count * np.dtype(code).itemsize} bytes, not {len(data)}."
        )
    flat = np.frombuffer(data, dtype=code).reshape(shape)
    if encoding == "f32":
        return flat.astype(np.float32)
    return np.square(flat.astype(np.float64) / top).astype(np.float32)
