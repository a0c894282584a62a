"""Soft Laplacian pyramid: every level mixes the slices by how far their local energy stands out over noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from napari_focusstack.core.fusion.copies import Copies
from napari_focusstack.core.fusion.method import Merged, Plane, Plane32, Series
from napari_focusstack.core.fusion.noise import Noise, measure_noise
from napari_focusstack.core.fusion.restore import STRIP_ROWS, Lift, restore, spread
from napari_focusstack.core.fusion.sharpness import SharpnessTrack, summarise
from napari_focusstack.core.progress import Job, Progress

NOISE_GAIN = (0.889, 0.0529, 0.0101, 0.00234, 0.00057, 0.000143, 0.000036)
"""Variance of the coefficients of each level where the image is white noise of variance 1."""
HALO = 2
"""Rows beside a strip that its pyramid level and its windows reach into."""
WINDOW = np.array([1.0, 2.0, 3.0, 2.0, 1.0]) / 9
"""Window of the local energy, along each axis: that of two 3 × 3 boxes."""
EXPONENT = 8
Z_SCALE = 1.25e-5
Z_LIMIT = 3e8
"""Factor on z before it is raised to a power, and the most that z may be: float32 then holds (z + 8)⁸ times a
coefficient of 16 bit summed over a thousand slices, and z = 0 is no denormal number yet."""
BOOSTED_LEVELS = 3
"""The finest levels: only there does defocus between two slices take detail away."""
LIFT_WINDOW = (5, 5)
"""Pixels of half the size over which the lift of the finest level is averaged: it is noisier than others."""


@dataclass(frozen=True)
class PyramidSettings:
    """Settings of `fuse_pyramid`, see there."""

    levels: int
    noise_constant: float
    shrink: float
    boost: float


def fuse_pyramid(
    series: Series,
    *,
    levels: int,
    noise_constant: float,
    shrink: float,
    boost: float,
    copied_noise: float,
) -> Job[Merged]:
    """Fuse by a soft Laplacian pyramid, in one pass.

    At every level, z is the local energy of the guide's coefficients (mean square in a 5 × 5 window) over the
    variance of the noise there; but for the finest level, that of the colours where they hold more. A slice weighs
    (z + c)⁸, a quarter of that exponent taken from the levels beside. Then:

    - between two slices the sharpest one has lost detail already. The parabola through the logarithms of z of the
      sharpest slice and its neighbours says how much energy the peak between them would have, and coefficients are
      amplified to that.
    - coefficients that do not stand out over noise are shrunk as Wiener's filter would: ``1 - noise / energy``.

    Both by `restore`, which does it for the lower and higher frequencies of a level apart.

    Of two quiet slices, pixels are copied wherever it is clear from which one, see `Copies`, and nothing is shrunk.

    Parameters
    ----------
    series : Series
    levels : int
        Number of levels of detail, fewer where the image is small.
    noise_constant : float
        The c that is added to z.
    shrink : float
        Factor on the noise variance when coefficients are shrunk; 0 leaves them.
    boost : float
        Factor on the logarithm of the amplification towards the peak between slices; 0 leaves coefficients.
    copied_noise : float
        Noise, over the range of grey levels, up to which pixels of two slices are copied; from twice that on, none are.
    """
    noise = measure_noise(series)
    copied = _share_copied(noise, copied_noise) if len(series) == 2 else 0.0
    settings = PyramidSettings(levels, noise_constant, shrink * (1 - copied), boost)
    engine = _Pyramid(series, settings, noise)
    copies = Copies()
    for i in range(len(series)):
        plane = series.image(i)
        engine.add(plane)
        if copied:
            copies.add(plane, engine.z[0])
        yield Progress(i + 1, len(series), f"slice {i + 1} of {len(series)}")
    index, peak, confidence = summarise(engine.tracks, series.plane_shape)
    merged = Merged(engine.collapse(), index, peak, confidence)
    return copies.lay_over(merged, share=copied) if copied else merged


def _share_copied(noise: Noise, limit: float) -> float:
    """1 for slices as quiet as the limit, 0 from twice its noise on."""
    return min(1.0, max(0.0, 2 - noise.guide**0.5 / (noise.span * limit))) if noise.span * limit > 0 else 0.0


class _Pyramid:
    """Accumulators of all levels; buffers are made once, as fresh memory costs more than the arithmetic."""

    def __init__(self, series: Series, settings: PyramidSettings, noise: Noise) -> None:
        self.series = series
        self.settings = settings
        self.noise = noise
        h, w = series.plane_shape
        shapes = [(h, w)]
        while len(shapes) <= settings.levels and min(shapes[-1]) >= 8:
            shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
        self.shapes = shapes
        samples = series.shape[2:]
        self.n_levels = len(shapes) - 1
        self.numerator = [np.zeros((*s, *samples), np.float32) for s in shapes]
        self.weight = [np.zeros(s, np.float32) for s in shapes[:-1]]
        self.most = [np.zeros(s, np.float32) for s in shapes[:-1]]
        self.low = [np.empty((*s, *samples), np.float32) for s in shapes[1:]]
        self.detail = [np.empty((*s, *samples), np.float32) for s in shapes[1:-1]]
        self.z = [np.empty(s, np.float32) for s in shapes[:-1]]
        gain = [NOISE_GAIN[min(i, 6)] * 0.25 ** max(0, i - 6) for i in range(self.n_levels)]
        # Where hardly any noise is left at a level, so little variance is taken for noise that z fits below its limit.
        least = 0.25 * noise.span**2 / Z_LIMIT / noise.guide
        self.gain = [max(g, least) for g in gain]
        # Tracks of levels 1, 2, ...: the first also makes index and depth.
        self.tracks = [
            SharpnessTrack(s, power=EXPONENT, positions=series.heights)
            for s in shapes[1 : max(2, min(1 + BOOSTED_LEVELS, self.n_levels))]
        ]
        # The finest level's, at half its size: only for what it lacks between slices.
        self.finest = SharpnessTrack(shapes[1], power=1, positions=series.heights)
        rows = min(h, STRIP_ROWS + 2 * HALO)
        self.strip = np.empty((rows, w, *samples), np.float32)
        self.up = np.empty((rows + 4, w, *samples), np.float32)
        self.spread = np.empty((min(h, STRIP_ROWS), w, *samples), np.float32)
        self.lowest: Plane | None = None
        self.highest: Plane | None = None
        self.colours = len(series.mix) > 1 and min(series.mix) > 0
        self.n = 0

    def add(self, plane: Plane) -> None:
        """Take the next slice."""
        self._see_range(plane)
        self._reduce(plane)
        for level in range(1, self.n_levels):
            self._energy(self._detail(level), level, self.z[level])
        for a in range(0, self.shapes[0][0], STRIP_ROWS):
            self._add_finest(plane, a, min(a + STRIP_ROWS, self.shapes[0][0]))
        for level in range(1, self.n_levels):
            z = self.z[level]
            weight = cv2.multiply(z, z)
            cv2.multiply(weight, z, weight)
            cv2.multiply(weight, weight, weight)
            finer = cv2.pyrDown(self.z[level - 1])
            cv2.multiply(weight, finer, weight)
            if level + 1 < self.n_levels:
                cv2.multiply(weight, _expand(self.z[level + 1], z.shape), weight)
            else:
                cv2.multiply(weight, z, weight)
            if level == 1:
                self.finest.add(cv2.log(finer))
            if level <= len(self.tracks):
                self.tracks[level - 1].add(cv2.log(weight))
            self._accumulate(level, slice(None), self.detail[level - 1], weight)
        cv2.accumulate(self.low[-1], self.numerator[-1])
        self.n += 1

    def _see_range(self, plane: Plane) -> None:
        """Darkest and brightest value of each pixel so far, in the slices' own type."""
        if self.lowest is None or self.highest is None:
            self.lowest, self.highest = plane.copy(), plane.copy()
        else:
            np.minimum(self.lowest, plane, out=self.lowest)
            np.maximum(self.highest, plane, out=self.highest)

    def _within_range(self, image: Plane32) -> None:
        """Bring pixels back to what some slice shows there or beside.

        Where bright blur lies over a dark place in all slices but one, levels that choose different slices add up to
        values that no slice has, down to black.
        """
        assert self.lowest is not None
        assert self.highest is not None
        beside = np.ones((3, 3), np.uint8)
        h = image.shape[0]
        for a in range(0, h, STRIP_ROWS):
            b = min(a + STRIP_ROWS, h)
            first, last = max(0, a - 1), min(h, b + 1)
            inner = slice(a - first, a - first + b - a)
            low = cv2.erode(_eroded_type(self.lowest[first:last]), beside)[inner]
            high = cv2.dilate(_eroded_type(self.highest[first:last]), beside)[inner]
            np.clip(image[a:b], low, high, out=image[a:b])

    def _reduce(self, plane: Plane) -> None:
        """Low-pass levels 1 … of a plane."""
        half = self.low[0]
        for a in range(0, half.shape[0], STRIP_ROWS // 2):
            b = min(a + STRIP_ROWS // 2, half.shape[0])
            first, last = max(0, 2 * a - HALO), min(plane.shape[0], 2 * b + HALO)
            strip = self.strip[: last - first]
            np.copyto(strip, plane[first:last])
            half[a:b] = cv2.pyrDown(strip)[a - first // 2 : b - first // 2]
        for finer, coarser in zip(self.low[:-1], self.low[1:], strict=True):
            cv2.pyrDown(finer, coarser)

    def _detail(self, level: int) -> Plane32:
        """Coefficients of a level from 1 on, in colour."""
        fine, coarse = self.low[level - 1 : level + 1]
        detail: Plane32 = cv2.subtract(fine, _expand(coarse, fine.shape), self.detail[level - 1])
        return detail

    def _energy(self, detail: Plane32, level: int, out: Plane32) -> None:
        """Local energy of coefficients over noise, plus the constant."""
        grey = self.series.grey(detail)
        scale = 1 / (self.noise.guide * self.gain[level])
        np.square(grey, out=out)
        if level and self.colours:
            # What differs in hue alone has no energy in grey. The finest level has to do without: it costs too much.
            hues = cv2.transform(np.square(detail), self._per_energy(level) / np.float32(scale))
            cv2.max(out, hues, out)
        constant = self.settings.noise_constant * Z_SCALE
        cv2.sepFilter2D(out, cv2.CV_32F, WINDOW * scale * Z_SCALE, WINDOW, out, delta=constant)
        cv2.min(out, Z_LIMIT * Z_SCALE, out)

    def _add_finest(self, plane: Plane, a: int, b: int) -> None:
        """Level 0 of the rows a … b."""
        h, w = self.shapes[0]
        first, last = max(0, a - HALO), min(h, b + HALO)
        strip = self.strip[: last - first]
        np.copyto(strip, plane[first:last])
        cv2.subtract(strip, self._expanded_rows(self.low[0], first, last), strip)
        z = np.empty((last - first, w), np.float32)
        self._energy(strip, 0, z)
        z, strip = z[a - first : b - first], strip[a - first : b - first]
        self.z[0][a:b] = z
        weight = cv2.multiply(z, z)
        cv2.multiply(weight, z, weight)
        cv2.multiply(weight, self._expanded_rows(self.z[1], a, b), weight)
        cv2.multiply(weight, weight, weight)
        self._accumulate(0, slice(a, b), strip, weight)

    def _expanded_rows(self, coarse: Plane32, first: int, last: int) -> Plane32:
        """Rows first … last of what a plane of level 1 is expanded to."""
        h, w = self.shapes[0]
        # One coarse row more on both sides than is needed: the border of a strip is not that of the image.
        c0, c1 = max(0, first // 2 - 1), min(coarse.shape[0], last // 2 + 2)
        rows = min(2 * (c1 - c0), h - 2 * c0)
        out = self.up[:rows] if coarse is self.low[0] else None
        up: Plane32 = cv2.pyrUp(coarse[c0:c1], out, (w, rows))
        return up[first - 2 * c0 : last - 2 * c0]

    def _accumulate(self, level: int, rows: slice, detail: Plane32, weight: Plane32) -> None:
        most = self.most[level][rows]
        cv2.max(most, weight, most)
        cv2.accumulate(weight, self.weight[level][rows])
        buffer = self.spread[: len(weight)] if level == 0 else None
        cv2.accumulateProduct(detail, spread(weight, detail, buffer), self.numerator[level][rows])

    def collapse(self) -> Plane32:
        """The fused image; accumulators are overwritten."""
        lifts = self._lifts()
        image = self.numerator[-1]
        image /= self.n
        for level in range(self.n_levels - 1, -1, -1):
            detail = self.numerator[level]
            restore(
                detail,
                level,
                per_energy=self._per_energy(level),
                left=self._average(level),
                lift=lifts[level] if level < len(lifts) else None,
                shrink=self.settings.shrink,
                boost=self.settings.boost,
            )
            cv2.add(detail, _expand(image, detail.shape), detail)
            image = detail
        self._within_range(image)
        return image

    def _lifts(self) -> list[Lift]:
        """What the finest levels lack between slices."""
        first, *others = [track.lift() for track in self.tracks]
        finest = Lift.of(cv2.blur(self.finest.lift(), LIFT_WINDOW), cv2.blur(first, LIFT_WINDOW))
        if not others:
            return [finest, Lift(first)]
        return [finest, Lift.of(first, _expand(others[0], first.shape)), *(Lift(lift) for lift in others)]

    def _average(self, level: int) -> Plane32:
        """Make weighted means of the sums of a level; returns how much noise is left in them, 1 is that of a slice."""
        weight, share, detail = self.weight[level], self.most[level], self.numerator[level]
        for a in range(0, detail.shape[0], STRIP_ROWS):
            rows = slice(a, a + STRIP_ROWS)
            inverse = np.reciprocal(weight[rows])
            # A mean of n equal weights keeps 1 / n of the noise: the largest weight over the sum says how much is left.
            share[rows] *= inverse
            cv2.multiply(detail[rows], spread(inverse, detail), detail[rows])
        return share

    def _per_energy(self, level: int) -> Plane32:
        """Matrix from squared coefficients to energies over noise: one for all colours, or one for each channel."""
        over = 1 / (np.asarray(self.noise.samples) * self.gain[level])
        # Colours share their detail. Channels don't: where one is empty, its noise goes whatever the driving one holds.
        shared = self.colours or len(over) == 1
        return np.asarray(over[None] / len(over) if shared else np.diag(over), np.float32)


def _expand(coarse: Plane32, shape: tuple[int, ...]) -> Plane32:
    """The next finer level's low-pass, of a given shape."""
    up: Plane32 = cv2.pyrUp(coarse, dstsize=(shape[1], shape[0]))
    return up


def _eroded_type(plane: Plane) -> Plane:
    """The plane in a type that OpenCV erodes."""
    return plane.astype(np.int16) if plane.dtype == np.int8 else plane
