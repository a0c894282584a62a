"""HH-Net's 18 handcrafted features of an image (Ge et al. 2020, section 2.2.3), each a function of its own.

Four moments of the grey values, four of Haralick's features of the co-occurrence of grey levels, four of the specimen's
outline, and the six correlations between four parts. Moments and co-occurrence are those of the specimen, where one
stands out. Grey values are first brought to the image's own range, so exposure and number of bits don't matter.

Where the paper is misprinted: the difference variance (eq. 7) is taken about the difference's own mean (Haralick 1973),
and the correlation (eq. 13) divides by standard deviations. The four parts are drawn at random with a fixed seed, one
in each quarter of the image, so that none overlaps another.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import graycomatrix

from napari_focusstack.core.filters import to_grey

Probabilities = NDArray[np.float64]
Mask = NDArray[np.bool_]

NAMES = (
    "mean",
    "variance",
    "skewness",
    "kurtosis",
    "sum entropy",
    "sum average",
    "difference variance",
    "difference entropy",
    "convexity",
    "compactness",
    "aspect ratio",
    "area ratio",
    *(f"correlation {a}-{b}" for a in range(4) for b in range(a + 1, 4)),
)
LEVELS = 32
"""Grey levels of the co-occurrence matrix."""
PART_PX = 100
SEED = 2020
_SMALL_PX = 256
_BAND_ROWS, _BANDS = 32, 12


def features(plane: NDArray[Any]) -> NDArray[np.float32]:
    """(18,) features of a plane (Y, X) or (Y, X, 3) of any pixel type, in the order of `NAMES`."""
    levels = to_levels(plane)
    mask = specimen_mask(levels)
    inside = mask if mask.any() else np.ones_like(mask)
    p = histogram(levels, inside)
    pairs = cooccurrence(levels, inside)
    values = [mean(p), variance(p), skewness(p), kurtosis(p)]
    values += [sum_entropy(pairs), sum_average(pairs), difference_variance(pairs), difference_entropy(pairs)]
    values += [convexity(inside), compactness(inside), aspect_ratio(inside), area_ratio(inside)]
    parts = four_parts(levels)
    values += [correlation(parts[a], parts[b]) for a in range(4) for b in range(a + 1, 4)]
    return np.asarray(values, np.float32)


def to_levels(plane: NDArray[Any]) -> NDArray[np.uint8]:
    """(Y, X) grey levels 0 … 255 over the image's range from the 0.1st to the 99.9th percentile; 0 if it is flat."""
    grey = to_grey(plane)
    sample = grey[:: max(1, grey.shape[0] // 100), :: max(1, grey.shape[1] // 100)]
    low, high = (float(v) for v in np.percentile(sample, (0.1, 99.9)))
    if high - low <= 1e-6 * max(abs(high), abs(low)):
        return np.zeros(grey.shape, np.uint8)
    scale = 255 / (high - low)
    levels: NDArray[np.uint8] = cv2.convertScaleAbs(np.maximum(grey - low, 0), alpha=scale)
    return levels


def specimen_mask(levels: NDArray[np.uint8]) -> Mask:
    """Where grey levels depart from the background (their median), by Otsu's threshold, on at most 256 pixels a side.

    Returns
    -------
    (y, x) bool
        None True where the image is flat.
    """
    scale = min(1.0, _SMALL_PX / max(levels.shape))
    size = max(1, round(levels.shape[1] * scale)), max(1, round(levels.shape[0] * scale))
    small = cv2.resize(levels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    departure = cv2.convertScaleAbs(cv2.GaussianBlur(small - np.float32(np.median(small)), (0, 0), 1.5))
    mask: Mask = cv2.threshold(departure, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1].astype(bool)
    return mask if departure.any() else np.zeros(mask.shape, bool)


def histogram(levels: NDArray[np.uint8], mask: Mask) -> Probabilities:
    """(256,) probability of each grey level inside a mask, which may be on a coarser raster."""
    inside = cv2.resize(mask.astype(np.uint8), levels.shape[::-1], interpolation=cv2.INTER_NEAREST)
    counts = cv2.calcHist([levels], [0], inside, [256], [0, 256]).ravel().astype(np.float64)
    return np.asarray(counts / max(counts.sum(), 1.0))


_GREY = np.arange(256) / 255


def mean(p: Probabilities) -> float:
    """Eq. 1: mean grey value, 0 … 1, of a histogram (256,)."""
    return float(p @ _GREY)


def variance(p: Probabilities) -> float:
    """Eq. 2: variance of the grey values."""
    return _moment(p, 2)


def skewness(p: Probabilities) -> float:
    """Eq. 3: third central moment over the cube of the standard deviation; 0 where all values are one."""
    spread = variance(p)
    return _moment(p, 3) / spread**1.5 if spread > 0 else 0.0


def kurtosis(p: Probabilities) -> float:
    """Eq. 4: fourth central moment over the square of the variance; 0 where all values are one."""
    spread = variance(p)
    return _moment(p, 4) / spread**2 if spread > 0 else 0.0


def _moment(p: Probabilities, order: int) -> float:
    return float(p @ (_GREY - mean(p)) ** order)


def cooccurrence(levels: NDArray[np.uint8], mask: Mask) -> Probabilities:
    """How often each pair of grey levels lies side by side inside a mask.

    Neighbours at a distance of one pixel along x and y, both orders alike. Of a large image, bands of rows spread
    evenly over it stand for all.

    Returns
    -------
    (LEVELS, LEVELS) float64
        Symmetric, sums to 1; zeros where there is no pair.
    """
    h, w = levels.shape
    if h > _BANDS * _BAND_ROWS:
        starts = np.linspace(0, h - _BAND_ROWS, _BANDS).round().astype(int)
        rows = [slice(y, y + _BAND_ROWS) for y in starts]
    else:
        rows = [slice(0, h)]
    full = cv2.resize(mask.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST)
    # Level 0 is what lies outside; its pairs are left out.
    coarse = np.where(full > 0, levels // (256 // LEVELS) + 1, 0).astype(np.uint8)
    total = np.zeros((LEVELS, LEVELS))
    for band in rows:
        counts = graycomatrix(coarse[band], [1], [0, np.pi / 2], levels=LEVELS + 1, symmetric=True)
        total += counts[1:, 1:].sum(axis=(2, 3))
    return np.asarray(total / max(total.sum(), 1.0))


_FIRST, _SECOND = np.indices((LEVELS, LEVELS))


def _of_sums(pairs: Probabilities) -> Probabilities:
    """Probability of each sum of two neighbours' levels; levels count from 1, so the first is that of 2."""
    return np.bincount((_FIRST + _SECOND).ravel(), weights=pairs.ravel()).astype(np.float64)


def _of_differences(pairs: Probabilities) -> Probabilities:
    """Probability of each difference 0 … LEVELS - 1 of two neighbours' levels."""
    return np.bincount(np.abs(_FIRST - _SECOND).ravel(), weights=pairs.ravel()).astype(np.float64)


def _entropy(p: Probabilities) -> float:
    return float(-(p * np.log(np.where(p > 0, p, 1.0))).sum())


def sum_entropy(pairs: Probabilities) -> float:
    """Eq. 5: entropy (nats) of the sum of two neighbours' levels."""
    return _entropy(_of_sums(pairs))


def sum_average(pairs: Probabilities) -> float:
    """Eq. 6: mean sum of two neighbours' levels, 2 … 2·LEVELS."""
    p = _of_sums(pairs)
    return float(p @ np.arange(2, 2 * LEVELS + 1))


def difference_variance(pairs: Probabilities) -> float:
    """Eq. 7: variance of the difference of two neighbours' levels about its own mean."""
    p, k = _of_differences(pairs), np.arange(LEVELS)
    return float(p @ (k - p @ k) ** 2)


def difference_entropy(pairs: Probabilities) -> float:
    """Eq. 8: entropy (nats) of the difference of two neighbours' levels."""
    return _entropy(_of_differences(pairs))


def _outlines(mask: Mask) -> Any:
    return cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]


def convexity(mask: Mask) -> float:
    """Eq. 9: area of a region that is not empty over that of its convex hull, up to 1."""
    rows = np.flatnonzero(mask.any(axis=1))
    left = mask[rows].argmax(axis=1)
    right = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    # A pixel is a square: the corners of each row's first and last one span the hull.
    corners = np.concatenate([np.stack([x, rows + below], axis=1) for x in (left, right) for below in (0, 1)])
    return float(mask.sum() / cv2.contourArea(cv2.convexHull(corners.astype(np.int32))))


def compactness(mask: Mask) -> float:
    """Eq. 10: squared perimeter over 4·pi·area of a region that is not empty: 1 for a disc, large for ragged ones."""
    perimeter = sum(cv2.arcLength(line, True) for line in _outlines(np.pad(mask, 1)))
    return float(perimeter**2 / (4 * np.pi * mask.sum()))


def aspect_ratio(mask: Mask) -> float:
    """Eq. 11: height over width of a region that is not empty."""
    height, width = _extent(mask)
    return height / width


def area_ratio(mask: Mask) -> float:
    """Eq. 12: area of a region that is not empty over that of its bounding box, up to 1."""
    height, width = _extent(mask)
    return float(mask.sum()) / (height * width)


def _extent(mask: Mask) -> tuple[int, int]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def four_parts(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(4, s, s) parts of 100 pixels a side (less in a small image), one at a random place of each quarter."""
    h, w = levels.shape
    side = max(1, min(PART_PX, h // 2, w // 2))
    rng = np.random.default_rng(SEED)
    parts = []
    for top, left in ((0, 0), (0, w // 2), (h // 2, 0), (h // 2, w // 2)):
        y = min(top + int(rng.integers(max(1, h // 2 - side + 1))), h - side)
        x = min(left + int(rng.integers(max(1, w // 2 - side + 1))), w - side)
        parts.append(levels[y : y + side, x : x + side].astype(np.float32))
    return np.stack(parts)


def correlation(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Eq. 13: covariance of two parts over the product of their standard deviations, -1 … 1; 0 if one is flat."""
    a, b = (v - v.mean() for v in (x, y))
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
