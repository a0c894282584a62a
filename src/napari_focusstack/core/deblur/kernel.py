"""How blurred an image is, and the kernel that blurred it: what classical deblurring has to be told."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import Plane32

_REBLUR_PX = 1.5
_LEAST_PX = 0.3
_SHARPEST = 0.75
"""Quantile of the edges' ratios: some of the specimen is soft itself, so the sharper edges tell more."""
_IN_FOCUS_PX = 0.63
"""Width of an edge (standard deviation) in an image that nothing has blurred: optics in focus, and the pixel."""


def disc(radius_px: float) -> Plane32:
    """Geometrical blur of defocus: an even disc with an antialiased rim, odd sides, sum 1.

    Parameters
    ----------
    radius_px : float
        0 or more; below half a pixel it is a single pixel.
    """
    half = int(np.ceil(radius_px))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    inside = np.clip(radius_px + 0.5 - np.hypot(y, x), 0, 1).astype(np.float32)
    kernel: Plane32 = inside / inside.sum()
    return kernel


def estimate_blur(plane: Plane32, *, noise: float = 0.0) -> float:
    """Radius in pixels of the disc that would blur as much as the image's sharpest edges are blurred.

    A step blurred by a Gaussian of width s, blurred again by one of width r, loses the factor sqrt(1 + r²/s²) of its
    slope (Zhuo and Sim 2011, Pattern Recognit. 44:1852, eq. 4-6). Of the image's strongest edges the sharper ones are
    taken, less what an edge in focus is wide: a kernel that is too large digs holes, one that is too small leaves some
    blur. A disc of radius R has the variance of a Gaussian of R/2.

    Parameters
    ----------
    plane : (Y, X) float32 array
        Grey image.
    noise : float
        Standard deviation of its noise; slopes below that are no edges.

    Returns
    -------
    float
        0 where no edge stands out.
    """
    smooth = cv2.GaussianBlur(plane, (0, 0), 1.0)
    again = cv2.GaussianBlur(smooth, (0, 0), _REBLUR_PX)
    slope, lower = _slope(smooth), _slope(again)
    crest = slope >= cv2.dilate(slope, np.ones((5, 5), np.uint8))
    strong = crest & (slope > max(float(np.quantile(slope, 0.97)), noise))
    if not strong.any() or float(slope.max()) <= 0:
        return 0.0
    ratio = float(np.quantile(slope[strong] / np.maximum(lower[strong], 1e-12), _SHARPEST))
    variance = _REBLUR_PX**2 / max(ratio**2 - 1, 1e-3) - 1.0 - _IN_FOCUS_PX**2
    return 2 * float(np.sqrt(max(variance, _LEAST_PX**2)))


def _slope(plane: Plane32) -> NDArray[np.float32]:
    gx, gy = (cv2.Sobel(plane, cv2.CV_32F, *along, scale=1 / 8) for along in ((1, 0), (0, 1)))
    slope: NDArray[np.float32] = np.hypot(gx, gy)
    return slope
