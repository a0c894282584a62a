"""Guided filtering fusion (GFF): where each slice is sharpest, smoothed along the image's own edges."""

from __future__ import annotations

import cv2
import numpy as np

from napari_focusstack.core.fusion.method import ClassicalMethod, Merged, Plane32, Series
from napari_focusstack.core.fusion.noise import measure_noise
from napari_focusstack.core.fusion.sharpness import NOISE_CONSTANT, SharpnessTrack, summarise
from napari_focusstack.core.progress import Job, Progress

LAPLACIAN_GAIN = 20 * 2 / np.pi
"""Squared mean magnitude of the Laplacian of white noise of variance 1."""


def guided_filter(mask: Plane32, guide: Plane32, *, radius: int, eps: float) -> Plane32:
    """Smooth a plane but for the edges of another: local linear regression of `mask` on `guide`.

    In each window k of ``2 · radius + 1`` pixels, ``a = cov(guide, mask) / (var(guide) + eps)`` and ``b = mean(mask) −
    a · mean(guide)``; the result is ``mean(a) · guide + mean(b)`` over the windows that hold the pixel.

    Parameters
    ----------
    mask, guide : (Y, X) float32
        The guide about 0 … 1; `eps` is in its units squared.

    References
    ----------
    He, Sun & Tang 2013, IEEE Trans. Pattern Anal. Mach. Intell. 35:1397
    """
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(plane: Plane32) -> Plane32:
        smooth: Plane32 = cv2.boxFilter(plane, -1, size, borderType=cv2.BORDER_REFLECT)
        return smooth

    # About its mean, as float32 squares of a bright guide leave no digits for a small eps.
    centred: Plane32 = guide - np.float32(guide.mean(dtype=np.float64))
    mean_guide, mean_mask = mean(centred), mean(mask)
    variance: Plane32 = np.maximum(mean(centred * centred) - mean_guide * mean_guide, np.float32(0))
    a: Plane32 = (mean(centred * mask) - mean_guide * mean_mask) / (variance + np.float32(eps))
    b: Plane32 = mean_mask - a * mean_guide
    smooth: Plane32 = mean(a) * centred + mean(b)
    return smooth


def fuse_gff(
    series: Series,
    *,
    saliency_sigma: float,
    base_px: int,
    base_radius: int,
    base_eps: float,
    detail_radius: int,
    detail_eps: float,
) -> Job[Merged]:
    """Fuse by guided filtering, in two passes, for any number of slices.

    First pass: the saliency of each pixel of each slice, ``|Laplacian| ∗ Gaussian``, of which the highest so far and
    its slice are kept. Second pass: each slice is parted into a base (mean of `base_px`²) and the detail that it
    leaves; the mask of the pixels where it is the most salient, smoothed by a wide guided filter for the base and a
    narrow one for the detail, with the slice as guide, gives their weights. Weights are normalised over the slices,
    negative ones taken for 0. The guide is the slice's grey plane, scaled to 0 … 1 by the range of all slices.

    Parameters
    ----------
    series : Series
    saliency_sigma : float
        σ in pixels of the Gaussian (of 11 × 11 pixels) that smooths the saliency.
    base_px : int
        Side of the mean filter that parts base and detail, odd.
    base_radius, detail_radius : int
        Radius of the guided filters in pixels.
    base_eps, detail_eps : float
        Their ε, in squares of the range of grey levels.
    """
    n = len(series)
    h, w = series.plane_shape
    best = np.full((h, w), -1, np.float32)
    winner = np.zeros((h, w), np.uint16)
    track = SharpnessTrack(((h + 1) // 2, (w + 1) // 2), power=1, positions=series.heights)
    floor = np.float32(NOISE_CONSTANT * LAPLACIAN_GAIN * measure_noise(series).guide)
    low, high = np.inf, -np.inf
    for i in range(n):
        guide = series.guide(i)
        low, high = min(low, float(guide.min())), max(high, float(guide.max()))
        saliency = np.abs(cv2.Laplacian(guide, cv2.CV_32F, borderType=cv2.BORDER_REFLECT))
        saliency = cv2.GaussianBlur(saliency, (11, 11), saliency_sigma, borderType=cv2.BORDER_REFLECT)
        winner[saliency > best] = i
        cv2.max(best, saliency, best)
        # Squared, for the logarithm of an energy, like the other methods' sharpness.
        track.add(np.log(np.square(cv2.pyrDown(saliency)) + floor))
        yield Progress(i + 1, 2 * n, f"slice {i + 1} of {n}: where it is sharp")
    scale = np.float32(1 / (high - low)) if high > low else np.float32(1)
    sums = [WeightedMean(series), WeightedMean(series)]
    for i in range(n):
        plane = series.image(i).astype(np.float32)
        guide = (series.grey(plane) - np.float32(low)) * scale
        mask = (winner == i).astype(np.float32)
        base = cv2.boxFilter(plane, -1, (base_px, base_px), borderType=cv2.BORDER_REFLECT)
        sums[0].add(base, guided_filter(mask, guide, radius=base_radius, eps=base_eps))
        plane -= base
        sums[1].add(plane, guided_filter(mask, guide, radius=detail_radius, eps=detail_eps))
        yield Progress(n + i + 1, 2 * n, f"slice {i + 1} of {n}: mixing")
    index, peak, confidence = summarise([track], (h, w))
    return Merged(sums[0].mean() + sums[1].mean(), index, peak, confidence)


class WeightedMean:
    """A weighted mean over the slices; plain where no slice has weight."""

    def __init__(self, series: Series) -> None:
        self.total = np.zeros(series.shape, np.float32)
        self.weight = np.zeros(series.plane_shape, np.float32)

    def add(self, plane: Plane32, weight: Plane32) -> None:
        """Take a plane, (Y, X[, K]), and its (Y, X) weight."""
        weight = np.maximum(weight, np.float32(1e-6))
        self.weight += weight
        self.total += plane * (weight if plane.ndim == 2 else weight[..., None])

    def mean(self) -> Plane32:
        """The mean; the sums are overwritten."""
        self.total /= self.weight if self.total.ndim == 2 else self.weight[..., None]
        return self.total


GFF = ClassicalMethod(
    "gff",
    "Guided filtering",
    "Cuts the image into the sharpest slice of each place and smooths the seams along the image's own edges; fast.",
    "Li, Kang & Hu 2013, IEEE Trans. Image Process. 22:2864",
    fuse_gff,
    {
        "saliency_sigma": 5.0,
        "base_px": 31,
        "base_radius": 45,
        "base_eps": 0.3,
        "detail_radius": 7,
        "detail_eps": 1e-6,
    },
)
