"""Wavelet measures: a sharp image has strong coefficients at fine scales."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import Plane32, area_mean
from napari_focusstack.core.measures.base import Measure, PlaneInfo, block_variance, mean_square, over
from napari_focusstack.core.report import Map

WAVELET = "bior4.4"
"""Cohen-Daubechies-Feauveau 9/7: its filters are symmetric, so turning or flipping an image changes nothing."""
RATIO_LEVELS = 3


def _taps(level: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high pass of a level, the low pass with sum 1; zeros between the taps instead of fewer pixels."""
    import pywt  # loaded where it is needed: the table of measures is read by methods that use none of these

    wavelet = pywt.Wavelet(WAVELET)
    pair = []
    for taps in (wavelet.dec_lo, wavelet.dec_hi):
        inner = np.trim_zeros(np.asarray(taps)) / np.sqrt(2)
        spread = np.zeros((len(inner) - 1) * 2 ** (level - 1) + 1)
        spread[:: 2 ** (level - 1)] = inner
        pair.append(spread)
    return pair[0], pair[1]


def details(plane: Plane32, level: int = 1) -> tuple[Plane32, Plane32, Plane32]:
    """Detail coefficients along x, along y and along both, without subsampling; each (Y, X) float32."""
    low, high = _taps(level)
    along_x, along_y, both = (
        cv2.sepFilter2D(plane, cv2.CV_32F, x, y) for x, y in ((high, low), (low, high), (high, high))
    )
    return along_x, along_y, both


def wavelet_sum(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of the moduli of the finest detail coefficients, summed over the three bands."""
    total = np.zeros(plane.shape, np.float32)
    for band in details(plane):
        total += np.abs(band, out=band)
    return area_mean(total, info.grid.shape)


def wavelet_variance(plane: Plane32, info: PlaneInfo) -> Map:
    """Variance of the finest detail coefficients within each patch, summed over the three bands."""
    total = np.zeros(info.grid.shape, np.float32)
    for band in details(plane):
        total += block_variance(band, info.grid)
    return total


def wavelet_ratio(plane: Plane32, info: PlaneInfo) -> Map:
    """Energy of the details of the three finest levels over that of the smooth rest (of the whole plane)."""
    energy = np.zeros(plane.shape, np.float32)
    smooth = plane
    for level in range(1, RATIO_LEVELS + 1):
        for band in details(smooth, level):
            cv2.accumulateSquare(band, energy)
        low, _ = _taps(level)
        smooth = cv2.sepFilter2D(smooth, cv2.CV_32F, low, low)
    return over(area_mean(energy, info.grid.shape), mean_square(smooth))


MEASURES = (
    Measure(
        "wavelet_sum",
        "Wavelet sum",
        "wavelet",
        "grey",
        "How much fine detail there is, by the size of the finest wavelet coefficients.",
        "Yang & Nelson 2003, IEEE/RSJ IROS 2143",
        wavelet_sum,
        gain_exponent=1.0,
    ),
    Measure(
        "wavelet_variance",
        "Wavelet variance",
        "wavelet",
        "grey²",
        "How much the finest wavelet coefficients vary; strong lonely detail counts more than in their sum.",
        "Yang & Nelson 2003, IEEE/RSJ IROS 2143",
        wavelet_variance,
    ),
    Measure(
        "wavelet_ratio",
        "Wavelet ratio",
        "wavelet",
        "1",
        "Fine detail relative to the smooth rest of the slice; a brighter lamp changes nothing.",
        "Xie, Rong & Sun 2006, IEEE/RSJ IROS 229",
        wavelet_ratio,
        gain_exponent=0.0,
        offset_free=False,
    ),
)
