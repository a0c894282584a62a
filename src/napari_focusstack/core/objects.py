"""How large the things in an image are."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

VIEW_PX = 512
"""Longest side at which objects are looked for."""
LEAST_PX = 12
"""Pixels there that an object has at least."""
APART = 3.0
"""Robust standard deviations of the field that objects depart from it by."""


def object_size(plane: NDArray[np.float32]) -> float | None:
    """Diameter in pixels of the objects that fill most of what stands out from a grey plane (Y, X).

    What departs from the slow background, in either direction, is split off by Otsu's threshold; of the pieces'
    diameters (of a disc of the same area) the median by area is told. None where nothing stands out.
    """
    scale = min(1.0, VIEW_PX / max(plane.shape))
    small = cv2.resize(plane, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else plane
    side = max(small.shape) // 2 * 2 + 1
    background = cv2.blur(small, (side, side), borderType=cv2.BORDER_REFLECT)
    departs = np.abs(cv2.GaussianBlur(small, (0, 0), 1.5) - background)
    departs = np.abs(departs - np.median(departs))
    split, usual = float(threshold_otsu(departs)), float(np.median(departs))
    if split <= APART * usual or split <= 0:
        return None
    _, _, pieces, _ = cv2.connectedComponentsWithStats((departs > split).astype(np.uint8), connectivity=8)
    areas = np.sort(pieces[1:, cv2.CC_STAT_AREA].astype(np.float64))
    areas = areas[areas >= LEAST_PX]
    if areas.size == 0:
        return None
    middle = areas[np.searchsorted(np.cumsum(areas), areas.sum() / 2)]
    return float(np.sqrt(4 * middle / np.pi) / scale)
