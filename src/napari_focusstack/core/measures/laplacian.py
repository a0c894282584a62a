"""Laplacian measures: a sharp image has strong second derivatives."""

from __future__ import annotations

import cv2

from napari_focusstack.core.filters import Plane32
from napari_focusstack.core.measures.base import Measure, PlaneInfo, block_variance
from napari_focusstack.core.report import Map


def variance_of_laplacian(plane: Plane32, info: PlaneInfo) -> Map:
    """Variance of the 4-neighbour Laplacian within each patch."""
    return block_variance(cv2.Laplacian(plane, cv2.CV_32F, ksize=1), info.grid)


MEASURES = (
    Measure(
        "variance_of_laplacian",
        "Variance of Laplacian",
        "laplacian",
        "grey²/px⁴",
        "How much the finest detail varies; sees single-pixel texture best, and noise with it.",
        "Pech-Pacheco et al. 2000, ICPR 3:314",
        variance_of_laplacian,
    ),
)
