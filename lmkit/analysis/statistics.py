"""Spread over texts and a correction for many heads; numpy alone.

Arrays are (texts, heads); NaN where a measure is not defined for a head on a text.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Doubles = NDArray[np.float64]

__all__ = ["MINIMUM_TEXTS", "adjusted", "bootstrap", "greater_than_zero", "mean_and_deviation"]

MINIMUM_TEXTS = 5
"""Fewest texts for a p-value or an interval: below, both would be mostly the assumption."""


def mean_and_deviation(values: Doubles) -> tuple[Doubles, Doubles]:
    """Mean and sample standard deviation over texts: (heads,) each; NaN where undefined."""
    import numpy as np

    known = ~np.isnan(values)
    count = known.sum(0)
    filled = np.where(known, values, 0.0)
    nan = np.nan
    mean = np.where(count > 0, filled.sum(0) / np.maximum(count, 1), nan)
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(0)
    deviation = np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), nan)
    return mean, deviation


def bootstrap(
    values: Doubles, *, level: float = 0.95, draws: int = 2_000, seed: int = 0
) -> tuple[Doubles, Doubles]:
    """Percentile interval of the mean over texts (Efron 1979): (heads,) low and high.

    Texts are drawn with replacement, whole; NaN with fewer than :data:`MINIMUM_TEXTS` texts.
    """
    import numpy as np

    texts, heads = values.shape
    known = ~np.isnan(values)
    low = np.full(heads, np.nan)
    high = np.full(heads, np.nan)
    if texts < MINIMUM_TEXTS:
        return low, high
    picks = np.random.default_rng(seed).multinomial(texts, np.full(texts, 1 / texts), size=draws)
    count = picks @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (picks @ np.where(known, values, 0.0)) / count
    enough = known.sum(0) >= MINIMUM_TEXTS
    tail = (1 - level) / 2
    if enough.any():
        ends = np.nanquantile(means[:, enough], [tail, 1 - tail], axis=0)
        low[enough], high[enough] = ends
    return low, high


def greater_than_zero(differences: Doubles) -> Doubles:
    """One-sided p-values of Student's t-test that a mean over texts is not above 0: (heads,).

    Each text is one observation. NaN with fewer than :data:`MINIMUM_TEXTS` texts.
    """
    import numpy as np

    mean, deviation = mean_and_deviation(differences)
    count = (~np.isnan(differences)).sum(0)
    out = np.full(len(mean), np.nan)
    for head in np.flatnonzero(count >= MINIMUM_TEXTS):
        error = deviation[head] / math.sqrt(count[head])
        if error > 0:
            out[head] = _student_tail(float(mean[head] / error), int(count[head]) - 1)
        else:
            out[head] = 0.0 if mean[head] > 0 else 1.0
    return out


def adjusted(p: Doubles) -> Doubles:
    """q-values of Benjamini and Hochberg (1995) over all heads that have a p-value: (heads,)."""
    import numpy as np

    out = np.full(len(p), np.nan)
    index = np.flatnonzero(~np.isnan(p))
    if not len(index):
        return out
    order = index[np.argsort(p[index], kind="stable")]
    ranks = np.arange(1, len(order) + 1)
    raw = p[order] * len(order) / ranks
    out[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    return out


def _student_tail(t: float, freedom: int) -> float:
    """P(T > t) of Student's t: half the regularised incomplete beta (Abramowitz, Stegun 26.7.1)."""
    half = 0.5 * _beta_regularised(freedom / 2, 0.5, freedom / (freedom + t * t))
    return half if t >= 0 else 1.0 - half


def _beta_regularised(a: float, b: float, x: float) -> float:
    """I_x(a, b) by its continued fraction, evaluated after Lentz (DLMF 8.17.22)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1) / (a + b + 2):  # there the fraction of the mirrored argument converges
        return 1.0 - _beta_regularised(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    fraction = d
    for m in range(1, 500):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + numerator / c
            c = c if abs(c) > tiny else tiny
            step = c * d
            fraction *= step
        if abs(step - 1.0) < 1e-14:
            break
    return front * fraction / a
