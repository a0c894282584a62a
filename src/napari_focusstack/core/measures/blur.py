"""No-reference blur metric: how far edge points stand out from the mean of their two neighbours.

Settled where m-SegNet's paper (Pei et al. 2021, eq. 5-13) leaves it open or can't be meant as printed:

- Eq. 9 prints ``A = ½ D``, half the *difference* of the two neighbours; then no edge point is ever blurred. The method
  that it cites (Choi, Jung & Jeon 2009) takes half their *sum*, and so do we.
- Eq. 11 prints BR_h twice: the larger of BR_h and BR_v is meant.
- Eq. 12-13 subtract the mean *inverse* blurriness of the blurred points, which gets smaller as blur grows: the metric
  would rise, on stained cells from the first bit of blur on. We take the mean *blurriness* of these points, ``1 − BR /
  Th_B``, 0 at the threshold and 1 for complete blur. So both terms grow with blur, and the metric falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import Plane32, area_mean, to_grey
from napari_focusstack.core.measures.base import Measure, PlaneInfo
from napari_focusstack.core.report import Map

THRESHOLD = 0.1
MEAN_WEIGHT, RATIO_WEIGHT = 1.0, 0.95
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Blur:
    """What the blur metric says of a region or an image.

    Attributes
    ----------
    metric : float
        ``1 − (mean + 0.95 · ratio)``, 1 (no edge is blurred) … −0.95 (all are, entirely); −0.95 without any edge.
        Higher is sharper.
    mean : float
        Mean blurriness of the blurred edge points, 0 … 1.
    ratio : float
        Share of blurred points among the edge points, 0 … 1.
    n_edges : int
        Number of edge points.
    """

    metric: float
    mean: float
    ratio: float
    n_edges: int


def blur_metric(image: NDArray[Any], *, region: Mask | None = None) -> Blur:
    r"""No-reference blur metric of an image, or of a region of it.

    Along x (and alike along y), with f the grey level:

    .. math::
        D_h = |f(x+1) - f(x-1)|, \qquad A_h = \tfrac12 (f(x+1) + f(x-1)), \qquad BR_h = |f - A_h| / A_h

    A point is an edge point where D exceeds its mean over the region and is larger than at both neighbours, along x or
    along y. It is blurred where ``max(BR_h, BR_v) < 0.1``. See the module for how misprints were settled.

    Parameters
    ----------
    image : (Y, X) or (Y, X, 3) array
        Any pixel type; 3 × 3 pixels or more. Colours are reduced to luma.
    region : (Y, X) bool, optional
        Where to look; everywhere by default.

    Returns
    -------
    Blur

    Raises
    ------
    InputError
        If the image is too small or the region has another shape.

    References
    ----------
    Choi, Jung & Jeon 2009, World Acad. Sci. Eng. Technol. 50:163; Pei et al. 2021, IEEE Photonics J. 13(3)
    """
    grey = to_grey(image)
    if min(grey.shape) < 3:
        raise InputError(f"An image of {grey.shape[0]}×{grey.shape[1]} pixels has no edge points: give 3×3 or more.")
    if region is not None and region.shape != grey.shape:
        raise InputError(
            f"The region is {region.shape} and the image {grey.shape}: give a region of the image's height and width."
        )
    edge, inverse = _edges(grey, region)
    n_edges = int(edge.sum())
    if n_edges == 0:
        return Blur(1 - MEAN_WEIGHT - RATIO_WEIGHT, 1.0, 1.0, 0)
    blurred = edge & (inverse < THRESHOLD)
    n_blurred = int(blurred.sum())
    mean = float(np.mean(1 - inverse[blurred] / THRESHOLD, dtype=np.float64)) if n_blurred else 0.0
    ratio = n_blurred / n_edges
    return Blur(1 - (MEAN_WEIGHT * mean + RATIO_WEIGHT * ratio), mean, ratio, n_edges)


def _edges(grey: Plane32, region: Mask | None) -> tuple[Mask, Plane32]:
    """Edge points, and the inverse blurriness of each pixel (infinite beside black neighbours)."""
    found = np.zeros(grey.shape, np.bool_)
    inverse = np.zeros(grey.shape, np.float32)
    for plane, target, within, into in (
        (grey, inverse, region, found),
        (np.ascontiguousarray(grey.T), inverse.T, None if region is None else region.T, found.T),
    ):
        framed = cv2.copyMakeBorder(plane, 0, 0, 1, 1, cv2.BORDER_REFLECT_101)
        before, after = framed[:, :-2], framed[:, 2:]
        difference = cv2.absdiff(after, before)
        counted = difference if within is None else difference[within]
        least = counted.mean(dtype=np.float64) if counted.size else np.inf
        candidate = np.where(difference > np.float32(least), difference, np.float32(0))
        beside = cv2.copyMakeBorder(candidate, 0, 0, 1, 1, cv2.BORDER_CONSTANT, value=0)
        edge = (candidate > beside[:, :-2]) & (candidate > beside[:, 2:])
        into |= edge if within is None else edge & within
        middle: Plane32 = (before + after) * np.float32(0.5)
        apart = np.abs(plane - middle)
        ratio = np.divide(apart, np.abs(middle), out=np.where(apart > 0, np.float32(np.inf), 0), where=middle != 0)
        np.maximum(target, ratio, out=target)
    return found, inverse


def inverse_blurriness(plane: Plane32, info: PlaneInfo) -> Map:
    """The metric from 0 (blurred entirely) to 1 (sharp), each patch with its own edge points' share of it.

    ``(metric + 0.95) / 1.95 = (mean BR / Th_B of the blurred edge points + 0.95 · share of the others) / 1.95``; both
    counts are the plane's, so that the mean of the map is the plane's number and a patch without edges has 0.
    """
    edge, inverse = _edges(plane, None)
    shape = info.grid.shape
    n_edges = float(edge.sum())
    if n_edges == 0:
        return np.zeros(shape, np.float32)
    blurred = edge & (inverse < THRESHOLD)
    sharp = area_mean((edge & ~blurred).astype(np.float32), shape) * np.float32(plane.size / n_edges)
    n_blurred = float(blurred.sum())
    if n_blurred:
        clear = area_mean(np.where(blurred, inverse / THRESHOLD, 0).astype(np.float32), shape)
        clear *= np.float32(plane.size / n_blurred)
    else:
        clear = sharp
    share = np.float32(MEAN_WEIGHT / (MEAN_WEIGHT + RATIO_WEIGHT))
    total: Map = share * clear + (1 - share) * sharp
    return total


MEASURES = (
    Measure(
        "inverse_blurriness",
        "No-reference blur",
        "other",
        "1",
        "How many edge points are crisp, and how crisp the others are, relative to their brightness.",
        "Choi, Jung & Jeon 2009, World Acad. Sci. Eng. Technol. 50:163; Pei et al. 2021, IEEE Photonics J. 13(3)",
        inverse_blurriness,
        gain_exponent=0.0,
        offset_free=False,
    ),
)
