"""Which slice is sharpest at each pixel: a running maximum with its neighbours, so that slices stream through."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion.method import Plane32

Mask = NDArray[np.uint8]


class SharpnessTrack:
    """Keeps the highest sharpness of each pixel, its slice, and the sharpness of the slices beside it.

    Parameters
    ----------
    shape : (int, int)
        Of the planes of sharpness, at most half of the image along an axis.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
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
        """Take the sharpness of the next slice, (Y, X) float32: the logarithm of an energy; higher is sharper."""
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
        fall_before = self.best - self.before
        fall_after = self.best - self.after
        curvature = fall_before + fall_after
        offset: Plane32 = np.divide(
            0.5 * (fall_before - fall_after), curvature, out=np.zeros_like(curvature), where=curvature > 1e-6
        )
        offset[self._at_end()] = 0
        return np.clip(offset, -0.5, 0.5, out=offset)

    def lift(self) -> Plane32:
        """(Y, X) how far the vertex of that parabola lies above `best`, 0 or more."""
        fall_before = self.best - self.before
        fall_after = self.best - self.after
        curvature = fall_before + fall_after
        lift: Plane32 = np.divide(
            np.square(fall_before - fall_after), 8 * curvature, out=np.zeros_like(curvature), where=curvature > 1e-6
        )
        lift[self._at_end()] = 0
        return lift

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


EVIDENCE = 1.0
"""Rise of the logarithm of the sharpness over its mean of all slices that counts as full evidence."""


def summarise(track: SharpnessTrack, shape: tuple[int, int]) -> tuple[NDArray[np.uint16], Plane32, Plane32]:
    """Index, peak position and confidence at full resolution.

    Parameters
    ----------
    track : SharpnessTrack
        After the last slice.
    shape : (int, int)
        (Y, X) of the image.

    Returns
    -------
    index : (Y, X) uint16
    peak : (Y, X) float32
    confidence : (Y, X) float32, 0 … 1
    """
    rise = track.best - track.total / track.n
    confidence = 1 - np.exp(-np.maximum(rise, 0) / EVIDENCE)
    peak = fill(track.index + track.offset(), confidence)
    size = (shape[1], shape[0])
    peak = np.clip(cv2.resize(peak, size, interpolation=cv2.INTER_LINEAR), 0, track.n - 1)
    confidence = cv2.resize(confidence, size, interpolation=cv2.INTER_LINEAR)
    return np.rint(peak).astype(np.uint16), peak, confidence
