"""Discrete wavelet transform: the strongest coefficients of each band, mixed by a high power of their local energy."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion.method import Merged, Plane32, Series
from napari_focusstack.core.fusion.noise import measure_noise
from napari_focusstack.core.fusion.pyramid import Z_SCALE
from napari_focusstack.core.fusion.sharpness import SharpnessTrack, summarise
from napari_focusstack.core.progress import Job, Progress

Coefficients = list[Any]


def fuse_dwt(series: Series, *, wavelet: str, levels: int, noise_constant: float) -> Job[Merged]:
    """Fuse by a decimated wavelet transform with soft weights, in one pass.

    Parameters
    ----------
    series : Series
    wavelet : str
        Name of a wavelet in PyWavelets.
    levels : int
        Number of levels, fewer where the image is small.
    noise_constant : float
        What is added to the energy (in units of the noise's) before it is raised to the eighth power.
    """
    import pywt

    h, w = series.plane_shape
    levels = max(1, min(levels, int(pywt.dwt_max_level(min(h, w), wavelet))))
    # An orthogonal transform leaves white noise its variance in every band.
    factor = Z_SCALE / measure_noise(series).guide
    numerator: Coefficients = []
    weights: list[Plane32] = []
    track = SharpnessTrack(((h + 1) // 2, (w + 1) // 2))
    for i in range(len(series)):
        plane = series.image(i).astype(np.float32)
        transform = pywt.wavedec2(plane, wavelet, mode="symmetric", level=levels, axes=(0, 1))
        energies = [_energy(bands, series, factor, noise_constant) for bands in transform[1:]]
        _track(track, energies)
        if not numerator:
            numerator = [np.zeros_like(transform[0]), *([np.zeros_like(b) for b in bands] for bands in transform[1:])]
            weights = [np.zeros_like(e) for e in energies]
        numerator[0] += transform[0]
        for bands, energy, sums, weight in zip(transform[1:], energies, numerator[1:], weights, strict=True):
            for _ in range(3):
                np.square(energy, out=energy)
            weight += energy
            for band, band_sum in zip(bands, sums, strict=True):
                band *= energy if band.ndim == 2 else energy[..., None]
                band_sum += band
        yield Progress(i + 1, len(series), f"slice {i + 1} of {len(series)}")
    numerator[0] /= len(series)
    for sums, weight in zip(numerator[1:], weights, strict=True):
        for band_sum in sums:
            band_sum /= weight if band_sum.ndim == 2 else weight[..., None]
    fused = pywt.waverec2([numerator[0], *map(tuple, numerator[1:])], wavelet, mode="symmetric", axes=(0, 1))[:h, :w]
    index, peak, confidence = summarise(track, (h, w))
    return Merged(np.ascontiguousarray(fused, np.float32), index, peak, confidence)


def _energy(bands: tuple[NDArray[np.float32], ...], series: Series, factor: float, constant: float) -> Plane32:
    """Local energy over noise of the three bands of a level together, plus the constant."""
    energy = np.zeros(bands[0].shape[:2], np.float32)
    for band in bands:
        grey = series.grey(np.ascontiguousarray(band))
        energy += np.square(grey)
    cv2.blur(energy, (3, 3), energy)
    energy *= factor / 3
    energy += constant * Z_SCALE
    return energy


def _track(track: SharpnessTrack, energies: list[Plane32]) -> None:
    """Sharpness from the two finest levels; bands reach a few coefficients beyond the image on both sides."""
    shape = track.best.shape
    sharpness = 3 * cv2.log(_centre(energies[-1], shape))
    if len(energies) > 1:
        half = (shape[0] + 1) // 2, (shape[1] + 1) // 2
        coarse = cv2.log(_centre(energies[-2], half))
        sharpness += cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    track.add(sharpness)


def _centre(plane: Plane32, shape: tuple[int, int]) -> Plane32:
    y, x = (plane.shape[0] - shape[0]) // 2, (plane.shape[1] - shape[1]) // 2
    return np.ascontiguousarray(plane[y : y + shape[0], x : x + shape[1]])
