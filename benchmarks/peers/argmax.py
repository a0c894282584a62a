"""Each pixel from the slice whose Laplacian of Gaussian is strongest around it: the ten lines that everybody writes."""

from __future__ import annotations

import cv2
import numpy as np


def fuse(planes: list[np.ndarray]) -> np.ndarray:
    """Fuse planes of one shape and type."""
    fused, best = planes[0].copy(), None
    for plane in planes:
        grey = cv2.cvtColor(plane, cv2.COLOR_RGB2GRAY) if plane.ndim == 3 else plane
        edges = cv2.Laplacian(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1), cv2.CV_32F)
        energy = cv2.blur(np.square(edges), (9, 9))
        if best is None:
            best = energy
            continue
        better = energy > best
        fused[better] = plane[better]
        np.maximum(best, energy, out=best)
    return fused
