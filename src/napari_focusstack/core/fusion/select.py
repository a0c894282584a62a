"""Per-pixel selection with soft weights: pixels of the sharpest slices, mixed by a high power of their energy."""

from __future__ import annotations

import cv2
import numpy as np

from napari_focusstack.core.fusion.method import Merged, Series
from napari_focusstack.core.fusion.noise import measure_noise
from napari_focusstack.core.fusion.pyramid import Z_LIMIT, Z_SCALE
from napari_focusstack.core.fusion.sharpness import SharpnessTrack, summarise
from napari_focusstack.core.progress import Job, Progress

LOG_GAIN = 1.301
"""Variance of the Laplacian (kernel size 3) of a Gaussian (σ 1) of white noise of variance 1."""
FLICKER = (2 / 3, 1.5)
"""Ratios of mean brightness that are taken for a change of exposure."""


def fuse_select(series: Series, *, noise_constant: float) -> Job[Merged]:
    """Fuse by weighted means of the slices' own pixels.

    Every slice is divided by its mean brightness relative to the first, so that flicker does not show at the seams; the
    fused image gets the mean of those gains back.

    Parameters
    ----------
    series : Series
    noise_constant : float
        What is added to the energy (in units of the noise's) before it is raised to the eighth power.
    """
    factor = Z_SCALE / (measure_noise(series).guide * LOG_GAIN)
    h, w = series.plane_shape
    numerator = np.zeros(series.shape, np.float32)
    total = np.zeros((h, w), np.float32)
    track = SharpnessTrack(((h + 1) // 2, (w + 1) // 2), power=4, positions=series.heights)
    first = gains = 0.0
    for i in range(len(series)):
        plane = series.image(i).astype(np.float32)
        guide = series.grey(plane)
        mean = float(guide.mean()) - series.zero
        first = mean if i == 0 else first
        # A ratio far from 1 is no flicker: a background was subtracted, or the slice shows something else.
        gain = mean / first if first > 0 and FLICKER[0] < mean / first < FLICKER[1] else 1.0
        gains += gain
        energy = cv2.Laplacian(cv2.GaussianBlur(guide, (7, 7), 1.0), cv2.CV_32F, ksize=3)
        np.square(energy, out=energy)
        cv2.blur(energy, (7, 7), energy)
        cv2.blur(energy, (5, 5), energy)
        cv2.addWeighted(energy, factor / gain**2, energy, 0, noise_constant * Z_SCALE, energy)
        cv2.min(energy, Z_LIMIT * Z_SCALE, energy)
        np.square(energy, out=energy)
        np.square(energy, out=energy)
        track.add(cv2.log(cv2.pyrDown(energy)))
        np.square(energy, out=energy)
        total += energy
        energy *= 1 / gain
        if series.zero:
            plane -= np.float32(series.zero)
        cv2.accumulateProduct(plane, energy if plane.ndim == 2 else cv2.merge([energy] * plane.shape[2]), numerator)
        yield Progress(i + 1, len(series), f"slice {i + 1} of {len(series)}")
    total *= len(series) / gains
    numerator /= total if numerator.ndim == 2 else total[..., None]
    numerator += np.float32(series.zero)
    index, peak, confidence = summarise([track], (h, w))
    return Merged(numerator, index, peak, confidence)
