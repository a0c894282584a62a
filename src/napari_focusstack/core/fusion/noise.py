"""How much noise the slices of a series hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_focusstack.core.filters import noise_sigma
from napari_focusstack.core.fusion.method import Plane, Plane32, Series

BANDS = 5
BAND_ROWS = 64
RELATIVE_FLOOR = 1e-7
"""Least variance over the squared range: a noise of 0.03 %, less than any camera's, so that weights fit float32."""


@dataclass(frozen=True)
class Noise:
    """Noise of the sharpest, quietest slices.

    Attributes
    ----------
    guide : float
        Variance of the guide in squared grey levels, above 0.
    samples : tuple of float
        Variance of each colour sample or channel, above 0.
    span : float
        Largest less smallest value of the guide.
    """

    guide: float
    samples: tuple[float, ...]
    span: float


def measure_noise(series: Series) -> Noise:
    """Measure the noise of the first, middle and last slice and take the least: blur hides texture, never noise.

    A variance is at least that of rounding, 1/12 for integers, and 1e-7 of the squared range.
    """
    n = len(series)
    rounding = 0.0 if series.dtype.kind == "f" else 1 / 12
    middle = _bands(series.image(n // 2))
    guide = series.grey(middle)
    span = float(np.ptp(guide))
    floor = max(rounding, RELATIVE_FLOOR * span**2, 1e-20)
    at_middle = max(floor, noise_sigma(guide) ** 2)
    others = [noise_sigma(series.grey(_bands(series.image(i)))) ** 2 for i in {0, n - 1} - {n // 2}]
    least = max(floor, min([at_middle, *others]))
    planes = [middle] if middle.ndim == 2 else [np.ascontiguousarray(middle[..., k]) for k in range(middle.shape[2])]
    samples = (max(noise_sigma(p) ** 2, rounding, RELATIVE_FLOOR * float(np.ptp(p)) ** 2, 1e-20) for p in planes)
    return Noise(least, tuple(v * least / at_middle for v in samples), span)


def _bands(plane: Plane) -> Plane32:
    """Bands of rows spread over a plane, as float32: a third of a large plane tells its noise as well as the whole."""
    h = plane.shape[0]
    if h > 2 * BANDS * BAND_ROWS:
        starts = np.linspace(0, h - BAND_ROWS, BANDS).astype(int)
        plane = np.concatenate([plane[s : s + BAND_ROWS] for s in starts])
    return np.ascontiguousarray(plane, np.float32)
