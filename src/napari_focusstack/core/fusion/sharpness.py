"""Which slice is sharpest at each pixel: a running maximum with its neighbours, so that slices stream through."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion.method import Plane32

Mask = NDArray[np.uint8]

NOISE_SHARE = (0.14, 0.033)
"""Share of energy by which noise alone makes the best of n slices stand out, but at one pixel in a thousand:
``a + b·ln n``, read off noise of 3 to 50 slices fused by the default method."""
NOISE_CONSTANT = 8.0
"""Multiple of an energy's mean in noise that methods add to it, so that noise alone makes no slice stand out."""
FULL_TRUST = 0.3
"""Confidence from which on a pixel's own answer stays as it is."""
SPILL_REACH = 31
SPILL_DROP = (3.0, 5.0)
"""Sharpness below the highest within that window (of pixels of the track) from which on, and at which fully, it is
taken for the blur of what lies there: energies of 5 % and 0.7 %."""


class SharpnessTrack:
    """Keeps the highest sharpness of each pixel, its slice, and the sharpness of the slices beside it.

    Sharpness is ``log(z + c)``, z the local energy over noise and c a constant: it is flat where there is only noise.

    Parameters
    ----------
    shape : (int, int)
        Of the planes of sharpness.
    power : int
        What is added is the logarithm of ``(z + c)`` to this power.
    positions : (Z,) float64
        Where the slices lie, in any unit: the steps may be uneven.
    """

    def __init__(self, shape: tuple[int, int], *, power: int, positions: NDArray[np.float64]) -> None:
        self.power = power
        self.positions = positions
        self.best: Plane32 = np.full(shape, -np.inf, np.float32)
        self.before: Plane32 = np.zeros(shape, np.float32)
        self.after: Plane32 = np.zeros(shape, np.float32)
        self.total: Plane32 = np.zeros(shape, np.float32)
        self.index: NDArray[np.uint16] = np.zeros(shape, np.uint16)
        self._last: Plane32 = np.zeros(shape, np.float32)
        self._number: NDArray[np.uint16] = np.zeros(shape, np.uint16)
        self._led: Mask = np.zeros(shape, np.uint8)
        self.n = 0

    def add(self, sharpness: Plane32) -> None:
        """Take the next slice's logarithm, (Y, X) float32; higher is sharper."""
        if self.n:
            cv2.copyTo(sharpness, self._led, self.after)
        led = cv2.compare(sharpness, self.best, cv2.CMP_GT)
        cv2.copyTo(self._last if self.n else sharpness, led, self.before)
        cv2.copyTo(sharpness, led, self.after)
        self._number.fill(self.n)
        cv2.copyTo(self._number, led, self.index)
        cv2.max(self.best, sharpness, self.best)
        cv2.accumulate(sharpness, self.total)
        np.copyto(self._last, sharpness)
        self._led = led
        self.n += 1

    def offset(self) -> Plane32:
        """(Y, X) position of the peak beside `index`, -0.5 … 0.5 slices: vertex of the parabola through three slices.

        With the logarithm of an energy this is exact where the energy falls like a Gaussian over z.
        """
        vertex, _, step_before, step_after = self._parabola()
        offset = np.divide(vertex, np.where(vertex < 0, step_before, step_after), dtype=np.float32)
        return np.clip(offset, -0.5, 0.5)

    def lift(self) -> Plane32:
        """(Y, X) how far the vertex of that parabola lies above the best slice, in sharpness, 0 or more."""
        vertex, slope, _, _ = self._parabola()
        lift: Plane32 = vertex * slope
        lift /= 2 * self.power
        return lift

    def _parabola(self) -> tuple[Plane32, Plane32, Plane32, Plane32]:
        """Vertex of the parabola beside the best slice, its slope at that slice, and the steps to its neighbours.

        Through (-a, -f), (0, 0) and (b, -g): slope m = (f·b/a - g·a/b) / (a + b), vertex m·ab / 2(f·b + g·a)·(a + b).
        """
        steps = np.abs(np.diff(self.positions)).astype(np.float32)
        steps /= steps.mean()
        a = np.concatenate([steps[:1], steps])[self.index]
        b = np.concatenate([steps, steps[-1:]])[self.index]
        f = self.best - self.before
        g = self.best - self.after
        slope = (f * b / a - g * a / b) / (a + b)
        curvature = (f * b + g * a) / (a * b * (a + b))
        vertex: Plane32 = np.divide(slope, 2 * curvature, out=np.zeros_like(slope), where=curvature > 1e-6)
        vertex[self._at_end()] = 0
        return vertex, slope, a, b

    def confidence(self) -> Plane32:
        """(Y, X) how clearly the best slice stands out, 0 … 1.

        The share of the best slice's energy (noise and constant included) that the slices lack in the geometric mean,
        less what noise makes of it; 0 where that energy is so much below one nearby that it may be its blur.
        """
        share = 1 - np.exp((self.total / self.n - self.best) / self.power)
        noise = NOISE_SHARE[0] + NOISE_SHARE[1] * math.log(self.n)
        confidence: Plane32 = np.clip((share - noise) / (1 - noise), 0, 1)
        reach = cv2.dilate(self.best, np.ones((SPILL_REACH, SPILL_REACH), np.uint8))
        below = (reach - self.best) / self.power
        confidence *= np.clip((SPILL_DROP[1] - below) / (SPILL_DROP[1] - SPILL_DROP[0]), 0, 1)
        return confidence

    def _at_end(self) -> NDArray[np.bool_]:
        # At the first and last slice the curve may rise further outside: there is no vertex to find.
        ends: NDArray[np.bool_] = (self.index == 0) | (self.index == self.n - 1)
        return ends


def fill(values: Plane32, weight: Plane32) -> Plane32:
    """Replace values of little weight by those around them: normalised averages, the wider the less evidence there is.

    Push-pull (Gortler et al. 1996): weighted means down a pyramid, then back up, each level keeping its own as far as
    its weight reaches.

    Parameters
    ----------
    values, weight : (Y, X) float32
        ``weight`` is 0 (take it from around) to 1 (keep it).
    """
    if min(values.shape) < 4:
        total = float(weight.sum())
        mean = float((values * weight).sum() / total) if total > 0 else float(values.mean())
        return np.asarray(weight * values + (1 - weight) * mean, np.float32)
    down = cv2.pyrDown(weight)
    product = cv2.pyrDown(values * weight)
    # Evidence adds up over an area: four neighbours of a quarter each are as good as one of 1.
    coarse_values = np.divide(product, down, out=cv2.pyrDown(values), where=down > 1e-6)
    coarse = fill(coarse_values, np.minimum(1, 4 * down))
    around = cv2.pyrUp(coarse, dstsize=(values.shape[1], values.shape[0]))
    return np.asarray(weight * values + (1 - weight) * around, np.float32)


def summarise(tracks: Sequence[SharpnessTrack], shape: tuple[int, int]) -> tuple[NDArray[np.uint16], Plane32, Plane32]:
    """Index, peak position and confidence at full resolution.

    Where the finest track has little evidence, coarser ones fill in, and where none has any, the surroundings.

    Parameters
    ----------
    tracks : sequence of SharpnessTrack
        After the last slice, from fine to coarse.
    shape : (int, int)
        (Y, X) of the image.

    Returns
    -------
    index : (Y, X) uint16
    peak : (Y, X) float32
    confidence : (Y, X) float32, 0 … 1
    """
    peak = trust = None
    own = np.empty(0, np.float32)
    for track in reversed(tracks):
        own = track.confidence()
        keep = np.minimum(1, own / FULL_TRUST)
        found = track.index + track.offset()
        size = (found.shape[1], found.shape[0])
        if peak is None or trust is None:
            peak, trust = found, keep
            continue
        # A coarser level's answer counts less: it reaches beyond the borders of things.
        below = 0.5 * cv2.resize(trust, size, interpolation=cv2.INTER_LINEAR)
        coarse = cv2.resize(peak, size, interpolation=cv2.INTER_LINEAR)
        peak = keep * found + (1 - keep) * coarse
        trust = keep + (1 - keep) * below
    peak = fill(np.asarray(peak, np.float32), np.asarray(trust, np.float32))
    size = (shape[1], shape[0])
    peak = np.clip(cv2.resize(peak, size, interpolation=cv2.INTER_LINEAR), 0, tracks[0].n - 1)
    confidence = cv2.resize(own, size, interpolation=cv2.INTER_LINEAR)
    return np.rint(peak).astype(np.uint16), peak, confidence
