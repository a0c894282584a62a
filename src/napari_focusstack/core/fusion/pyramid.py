"""Soft Laplacian pyramid: every level mixes the slices by how far their local energy stands out over noise."""

from __future__ import annotations

import cv2
import numpy as np

from napari_focusstack.core.filters import noise_sigma
from napari_focusstack.core.fusion.method import Merged, Plane, Plane32, Series
from napari_focusstack.core.fusion.sharpness import SharpnessTrack, summarise
from napari_focusstack.core.progress import Job, Progress

NOISE_GAIN = (0.889, 0.0529, 0.0101, 0.00234, 0.00057, 0.000143, 0.000036)
"""Variance of the coefficients of each level where the image is white noise of variance 1; a quarter further on."""
STRIP_ROWS = 128
HALO = 4
"""Rows beside a strip that its pyramid level and its windows reach into."""
Z_SCALE = 1e-4
"""Factor on z before it is raised to a power: float32 holds (z + 8)⁸ times a coefficient for z up to 1e8."""


def fuse_pyramid(series: Series, *, levels: int, noise_constant: float) -> Job[Merged]:
    """Fuse by a soft Laplacian pyramid, in one pass.

    Parameters
    ----------
    series : Series
    levels : int
        Number of levels of detail, fewer where the image is small.
    noise_constant : float
        What is added to the energy (in units of the noise's) before it is raised to a power.
    """
    variance = noise_floor(series)
    engine = _Pyramid(series, levels=levels, constant=noise_constant, variance=variance)
    for i in range(len(series)):
        engine.add(series.image(i))
        yield Progress(i + 1, len(series), f"slice {i + 1} of {len(series)}")
    index, peak, confidence = summarise(engine.track, series.plane_shape)
    return Merged(engine.collapse(), index, peak, confidence)


def noise_floor(series: Series) -> float:
    """Variance of the guide's noise: the least of the first, middle and last slice, and not below rounding."""
    n = len(series)
    variance = min(noise_sigma(series.guide(i)) ** 2 for i in {0, n // 2, n - 1})
    guide = series.guide(n // 2)
    # float32 bounds the span of weights; 1e-7 of the range squared is a noise of 0.03 %, below that of any sensor.
    floor = 1e-7 * float(np.ptp(guide)) ** 2
    if series.dtype.kind != "f":
        floor = max(floor, 1 / 12)
    return max(variance, floor, 1e-20)


class _Pyramid:
    """Accumulators of all levels; buffers are made once, as fresh memory costs more than the arithmetic."""

    def __init__(self, series: Series, *, levels: int, constant: float, variance: float) -> None:
        self.series = series
        self.constant = constant
        h, w = series.plane_shape
        shapes = [(h, w)]
        while len(shapes) <= levels and min(shapes[-1]) >= 8:
            shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
        self.shapes = shapes
        samples = series.shape[2:]
        self.n_levels = len(shapes) - 1
        self.numerator = [np.zeros((*s, *samples), np.float32) for s in shapes]
        self.weight = [np.zeros(s, np.float32) for s in shapes[:-1]]
        self.low = [np.empty((*s, *samples), np.float32) for s in shapes[1:]]
        self.z = [np.empty(s, np.float32) for s in shapes[:-1]]
        gains = [NOISE_GAIN[min(i, 6)] * 0.25 ** max(0, i - 6) for i in range(self.n_levels)]
        self.factor = [Z_SCALE / (variance * g) for g in gains]
        self.track = SharpnessTrack(shapes[min(1, self.n_levels - 1)])
        rows = min(h, STRIP_ROWS + 2 * HALO)
        self.strip = np.empty((rows, w, *samples), np.float32)
        self.up = np.empty((rows + 4, w, *samples), np.float32)

    def add(self, plane: Plane) -> None:
        self._reduce(plane)
        for level in range(1, self.n_levels):
            self._energy(self._detail_grey(level), level, self.z[level])
        for a in range(0, self.shapes[0][0], STRIP_ROWS):
            self._finest(plane, a, min(a + STRIP_ROWS, self.shapes[0][0]))
        finer = cv2.pyrDown(self.z[0]) if self.n_levels > 1 else self.z[0]
        for level in range(1, self.n_levels):
            z = self.z[level]
            weight = cv2.multiply(z, z)
            cv2.multiply(weight, z, weight)
            cv2.multiply(weight, finer, weight)
            if level == 1:
                self.track.add(cv2.log(weight))
            cv2.multiply(weight, weight, weight)
            finer = cv2.pyrDown(z)
            detail = self._detail(level)
            self._accumulate(level, slice(None), detail, weight)
        if self.n_levels == 1:
            self.track.add(cv2.log(self.z[0]))
        cv2.accumulate(self.low[-1], self.numerator[-1])

    def _reduce(self, plane: Plane) -> None:
        """Low-pass levels 1 … of a plane."""
        half = self.low[0]
        for a in range(0, half.shape[0], STRIP_ROWS // 2):
            b = min(a + STRIP_ROWS // 2, half.shape[0])
            first, last = max(0, 2 * a - 4), min(plane.shape[0], 2 * b + 4)
            strip = self.strip[: last - first]
            np.copyto(strip, plane[first:last])
            half[a:b] = cv2.pyrDown(strip)[a - first // 2 : b - first // 2]
        for finer, coarser in zip(self.low[:-1], self.low[1:], strict=True):
            cv2.pyrDown(finer, coarser)

    def _detail_grey(self, level: int) -> Plane32:
        grey = self.series.grey(self.low[level - 1])
        coarse = self.series.grey(self.low[level])
        detail: Plane32 = cv2.subtract(grey, cv2.pyrUp(coarse, dstsize=(grey.shape[1], grey.shape[0])))
        return detail

    def _detail(self, level: int) -> Plane32:
        """Coefficients of a level in colour; its low-pass is overwritten."""
        fine = self.low[level - 1]
        detail: Plane32 = cv2.subtract(fine, cv2.pyrUp(self.low[level], dstsize=(fine.shape[1], fine.shape[0])), fine)
        return detail

    def _energy(self, detail: Plane32, level: int, out: Plane32) -> None:
        """Local energy of grey coefficients over noise, plus the constant."""
        np.square(detail, out=out)
        if level == 0:
            cv2.blur(out, (5, 5), out)
        cv2.blur(out, (3, 3), out)
        cv2.addWeighted(out, self.factor[level], out, 0, self.constant * Z_SCALE, out)

    def _finest(self, plane: Plane, a: int, b: int) -> None:
        """Level 0 of the rows a … b."""
        h, w = self.shapes[0]
        first, last = max(0, a - HALO), min(h, b + HALO)
        strip = self.strip[: last - first]
        np.copyto(strip, plane[first:last])
        # One coarse row more on both sides than the strip needs: the border of what is expanded is not the image's.
        c0, c1 = max(0, first // 2 - 1), min(self.shapes[1][0], last // 2 + 2)
        rows = min(2 * (c1 - c0), h - 2 * c0)
        up = cv2.pyrUp(self.low[0][c0:c1], self.up[:rows], (w, rows))
        cv2.subtract(strip, up[first - 2 * c0 : last - 2 * c0], strip)
        z = np.empty((last - first, w), np.float32)
        self._energy(self.series.grey(strip), 0, z)
        z, strip = z[a - first : b - first], strip[a - first : b - first]
        self.z[0][a:b] = z
        weight = cv2.multiply(z, z)
        cv2.multiply(weight, z, weight)
        if self.n_levels > 1:
            c0, c1 = max(0, a // 2 - 1), min(self.shapes[1][0], b // 2 + 2)
            rows = min(2 * (c1 - c0), h - 2 * c0)
            coarse = cv2.pyrUp(self.z[1][c0:c1], dstsize=(w, rows))[a - 2 * c0 : b - 2 * c0]
            cv2.multiply(weight, coarse, weight)
        else:
            cv2.multiply(weight, z, weight)
        cv2.multiply(weight, weight, weight)
        self._accumulate(0, slice(a, b), strip, weight)

    def _accumulate(self, level: int, rows: slice, detail: Plane32, weight: Plane32) -> None:
        cv2.accumulate(weight, self.weight[level][rows])
        if detail.ndim == 3:
            weight = cv2.merge([weight] * detail.shape[2])
        cv2.accumulateProduct(detail, weight, self.numerator[level][rows])

    def collapse(self) -> Plane32:
        """The fused image; accumulators are overwritten."""
        image = self.numerator[-1]
        image /= self.track.n
        for level in range(self.n_levels - 1, -1, -1):
            detail = self.numerator[level]
            weight = self.weight[level]
            np.divide(detail, weight if detail.ndim == 2 else weight[..., None], out=detail)
            up = cv2.pyrUp(image, dstsize=(detail.shape[1], detail.shape[0]))
            detail += up
            image = detail
        return image
