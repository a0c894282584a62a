"""Statistical measures: a sharp image has more contrast and more grey levels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import Plane32, area_mean, window_variance
from napari_focusstack.core.measures.base import (
    Measure,
    PlaneInfo,
    block_variance,
    blocks,
    grey_range,
    mean_square,
    over,
)
from napari_focusstack.core.report import Map

LOCAL_WINDOW_PX = 7
SMOOTHING_WINDOW_PX = 15
HISTOGRAM_BINS = 256
CHEBYSHEV_ORDER = 2
EIGENVALUES = 5


def variance(plane: Plane32, info: PlaneInfo) -> Map:
    """Variance of the grey levels within each patch."""
    return block_variance(plane, info.grid)


def normalised_variance(plane: Plane32, info: PlaneInfo) -> Map:
    """Variance of each patch over the plane's mean |grey level|.

    The published denominator is the mean; its modulus is the same for images without negative pixels, and keeps
    background-subtracted ones, whose mean may be 0 or less, in order.
    """
    return over(block_variance(plane, info.grid), float(np.abs(plane).mean(dtype=np.float64)))


def modified_variance(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean squared deviation of each pixel from the mean of the 15 × 15 pixels around it."""
    deviation = cv2.boxFilter(plane, -1, (SMOOTHING_WINDOW_PX, SMOOTHING_WINDOW_PX))
    cv2.subtract(plane, deviation, dst=deviation)
    return area_mean(cv2.multiply(deviation, deviation, dst=deviation), info.grid.shape)


def local_variance(plane: Plane32, info: PlaneInfo) -> Map:
    """Variance, within each patch, of the variance of the 7 × 7 pixels around each pixel."""
    return block_variance(window_variance(plane, LOCAL_WINDOW_PX), info.grid)


def histogram_entropy(plane: Plane32, info: PlaneInfo) -> Map:
    """Entropy ``−Σ p log₂ p`` of each patch's histogram of 256 bins over the stack's range of grey levels."""
    low, high = grey_range(plane, info)
    if high <= low:
        return np.zeros(info.grid.shape, np.float32)
    cut = blocks(plane, info.grid)
    cut -= np.float32(low)
    cut *= np.float32(HISTOGRAM_BINS / (high - low))
    levels = np.clip(cut, 0, HISTOGRAM_BINS - 1, out=cut).astype(np.int64)
    n_patches, n_pixels = levels.shape[0] * levels.shape[1], levels.shape[2] * levels.shape[3]
    levels = levels.reshape(n_patches, n_pixels)
    levels += HISTOGRAM_BINS * np.arange(n_patches)[:, None]
    counts = np.bincount(levels.ravel(), minlength=n_patches * HISTOGRAM_BINS).reshape(n_patches, HISTOGRAM_BINS)
    # Σ p log p with p = c / n; an empty bin adds 0, as c log c does for c = 1.
    entropy = np.log2(n_pixels) - (counts * np.log2(np.maximum(counts, 1))).sum(axis=1) / n_pixels
    per_patch: Map = entropy.astype(np.float32).reshape(info.grid.shape)
    return per_patch


def histogram_range(plane: Plane32, info: PlaneInfo) -> Map:
    """Brightest minus darkest grey level of each patch."""
    cut = blocks(plane, info.grid)
    spread: Map = cut.max(axis=(2, 3)) - cut.min(axis=(2, 3))
    return spread


def chebyshev_polynomials(n: int, order: int) -> NDArray[np.float32]:
    """(order + 1, n) the discrete Chebyshev (Gram) polynomials on n points, orthonormal."""
    q, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, n), order + 1, increasing=True))
    return np.ascontiguousarray(q.T, np.float32)


def chebyshev_moments(plane: Plane32, info: PlaneInfo) -> Map:
    """Energy of the Chebyshev moments above order 2 in each patch, over that of the lower ones (of all patches)."""
    cut = blocks(plane, info.grid)
    along_y = chebyshev_polynomials(cut.shape[2], CHEBYSHEV_ORDER)
    along_x = chebyshev_polynomials(cut.shape[3], CHEBYSHEV_ORDER)
    moments = along_y @ cut @ along_x.T
    p = np.arange(CHEBYSHEV_ORDER + 1)
    moments *= p[:, None] + p[None, :] <= CHEBYSHEV_ORDER
    # The energy above is that of what the low moments leave: a difference of two energies would lose its digits.
    cut -= along_y.T @ moments @ along_x
    high: Map = np.square(cut, out=cut).mean(axis=(2, 3))
    low = float(np.square(moments, dtype=np.float64).sum()) / cut.size
    return over(high, low)


def eigenvalues(plane: Plane32, info: PlaneInfo) -> Map:
    """Sum of the 5 largest eigenvalues of each patch's covariance, over the plane's mean square.

    The eigenvalues are the squared singular values of the patch about its mean, per pixel, so rows and columns play the
    same part. The published image is normalised to unit energy first, hence the denominator.
    """
    cut = blocks(plane, info.grid)
    cut -= cut.mean(axis=(2, 3), keepdims=True)
    n_pixels = cut.shape[2] * cut.shape[3]
    covariance = cut @ cut.swapaxes(2, 3) / np.float32(n_pixels)
    largest: Map = np.linalg.eigvalsh(covariance)[..., -EIGENVALUES:].sum(axis=-1, dtype=np.float32)
    return over(np.maximum(largest, 0), mean_square(plane))


MEASURES = (
    Measure(
        "variance",
        "Variance",
        "statistics",
        "grey²",
        "How much brightness varies within a patch; any contrast counts, fine or coarse.",
        "Groen, Young & Ligthart 1985, Cytometry 6:81",
        variance,
    ),
    Measure(
        "normalised_variance",
        "Normalised variance",
        "statistics",
        "grey",
        "How much brightness varies within a patch, relative to the slice's mean; softens a flickering lamp.",
        "Groen, Young & Ligthart 1985, Cytometry 6:81",
        normalised_variance,
        gain_exponent=1.0,
        offset_free=False,
    ),
    Measure(
        "modified_variance",
        "Modified variance",
        "statistics",
        "grey²",
        "How far pixels stand off their surroundings; slow shading doesn't count.",
        "Sun, Duthaler & Nelson 2004, Microsc. Res. Tech. 65:139",
        modified_variance,
    ),
    Measure(
        "local_variance",
        "Local variance",
        "statistics",
        "grey⁴",
        "How unevenly contrast is spread within a patch: high where crisp detail stands beside smooth parts.",
        "Pech-Pacheco et al. 2000, ICPR 3:314",
        local_variance,
        gain_exponent=4.0,
    ),
    Measure(
        "histogram_entropy",
        "Histogram entropy",
        "statistics",
        "bit",
        "How many different grey levels a patch uses; for dense texture, not for lonely bright spots.",
        "Firestone et al. 1991, Cytometry 12:195",
        histogram_entropy,
        needs=("value_range",),
        gain_exponent=0.0,
    ),
    Measure(
        "histogram_range",
        "Histogram range",
        "statistics",
        "grey",
        "Brightest minus darkest pixel of a patch; a single hot pixel can mislead it.",
        "Firestone et al. 1991, Cytometry 12:195",
        histogram_range,
        gain_exponent=1.0,
    ),
    Measure(
        "chebyshev_moments",
        "Chebyshev moments",
        "statistics",
        "1",
        "What a patch holds beyond brightness and slow shading, relative to those.",
        "Yap & Raveendran 2004, IEE Proc. Vis. Image Signal Process. 151:128",
        chebyshev_moments,
        gain_exponent=0.0,
        offset_free=False,
    ),
    Measure(
        "eigenvalues",
        "Eigenvalues",
        "statistics",
        "1",
        "The contrast in a patch's few strongest patterns, relative to brightness; noise counts little.",
        "Wee & Paramesran 2007, Inf. Sci. 177:2533",
        eigenvalues,
        gain_exponent=0.0,
        offset_free=False,
    ),
)
