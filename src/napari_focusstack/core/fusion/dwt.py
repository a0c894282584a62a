"""Discrete wavelet transform: the strongest coefficients of each band, mixed by a high power of their local energy."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion.method import Merged, Plane32, Series
from napari_focusstack.core.fusion.noise import measure_noise
from napari_focusstack.core.fusion.sharpness import SharpnessTrack, summarise
from napari_focusstack.core.progress import Job, Progress

Coefficients = list[Any]

LOG_MIDDLE = float(np.log(1e4))
"""Subtracted from logarithms: float32 then holds the fourth power of anything over noise from 1 to 1e10."""
NEIGHBOUR_SHARE = 0.2


def fuse_dwt(series: Series, *, wavelet: str, levels: int, noise_constant: float, exponent: float) -> Job[Merged]:
    """Fuse by a decimated wavelet transform with soft weights, in one pass.

    Parameters
    ----------
    series : Series
    wavelet : str
        Name of an orthogonal wavelet in PyWavelets.
    levels : int
        Number of levels, fewer where the image is small.
    noise_constant : float
        What is added to the energy (in units of the noise's) before it is raised to a power.
    exponent : float
        That power.
    """
    import pywt

    h, w = series.plane_shape
    levels = max(1, min(levels, int(pywt.dwt_max_level(min(h, w), wavelet))))
    # An orthogonal transform leaves white noise its variance in every band.
    variance = measure_noise(series).guide
    numerator: Coefficients = []
    weights: list[Plane32] = []
    track = SharpnessTrack(((h + 1) // 2, (w + 1) // 2), power=1, positions=series.heights)
    for i in range(len(series)):
        plane = series.image(i).astype(np.float32)
        transform = pywt.wavedec2(plane, wavelet, mode="symmetric", level=levels, axes=(0, 1))
        sharpness = [_sharpness(bands, series, variance, noise_constant) for bands in transform[1:]]
        mixed = [_with_neighbours(sharpness, level) for level in range(levels)]
        track.add(_centre(cv2.blur(mixed[-1], (3, 3)), track.best.shape))
        if not numerator:
            numerator = [np.zeros_like(transform[0]), *([np.zeros_like(b) for b in bands] for bands in transform[1:])]
            weights = [np.zeros_like(m) for m in mixed]
        numerator[0] += transform[0]
        for bands, logarithm, sums, total in zip(transform[1:], mixed, numerator[1:], weights, strict=True):
            logarithm -= LOG_MIDDLE
            logarithm *= exponent
            weight = cv2.exp(logarithm)
            total += weight
            for band, band_sum in zip(bands, sums, strict=True):
                band *= weight if band.ndim == 2 else weight[..., None]
                band_sum += band
        yield Progress(i + 1, len(series), f"slice {i + 1} of {len(series)}")
    numerator[0] /= len(series)
    for sums, total in zip(numerator[1:], weights, strict=True):
        for band_sum in sums:
            band_sum /= total if band_sum.ndim == 2 else total[..., None]
    fused = pywt.waverec2([numerator[0], *map(tuple, numerator[1:])], wavelet, mode="symmetric", axes=(0, 1))[:h, :w]
    index, peak, confidence = summarise([track], (h, w))
    return Merged(np.ascontiguousarray(fused, np.float32), index, peak, confidence)


def _sharpness(bands: tuple[NDArray[np.float32], ...], series: Series, variance: float, constant: float) -> Plane32:
    """Logarithm of the energy of the three bands of a level over noise, plus the constant.

    No window: neighbouring coefficients of a decimated transform lie far apart already.
    """
    energy = np.zeros(bands[0].shape[:2], np.float32)
    for band in bands:
        energy += np.square(series.grey(np.ascontiguousarray(band)))
    energy /= 3 * variance
    energy += constant
    logarithm: Plane32 = cv2.log(energy)
    return logarithm


def _with_neighbours(sharpness: list[Plane32], level: int) -> Plane32:
    """Mix a level's sharpness with that of the levels beside it (coarsest first), so that they choose alike."""
    own = sharpness[level]
    size = (own.shape[1], own.shape[0])
    beside = [sharpness[k] for k in (level - 1, level + 1) if 0 <= k < len(sharpness)]
    mixed = (1 - NEIGHBOUR_SHARE * len(beside)) * own
    for other in beside:
        smaller = other.shape[0] < own.shape[0]
        interpolation = cv2.INTER_LINEAR if smaller else cv2.INTER_AREA
        mixed += NEIGHBOUR_SHARE * cv2.resize(other, size, interpolation=interpolation)
    return np.asarray(mixed, np.float32)


def _centre(plane: Plane32, shape: tuple[int, ...]) -> Plane32:
    """Bands reach a few coefficients beyond the image on both sides: its own part."""
    y, x = (plane.shape[0] - shape[0]) // 2, (plane.shape[1] - shape[1]) // 2
    return np.ascontiguousarray(plane[y : y + shape[0], x : x + shape[1]])
