"""Gradient measures: a sharp image has steep edges."""

from __future__ import annotations

import cv2

from napari_focusstack.core.filters import Plane32, area_mean
from napari_focusstack.core.measures.base import Measure, PlaneInfo
from napari_focusstack.core.report import Map


def sobel_energy(plane: Plane32) -> Plane32:
    """(Y, X) squared gradient per pixel by the 3 × 3 Sobel masks, scaled to grey levels per pixel."""
    gx = cv2.Sobel(plane, cv2.CV_32F, 1, 0, scale=1 / 8)
    gy = cv2.Sobel(plane, cv2.CV_32F, 0, 1, scale=1 / 8)
    energy: Plane32 = cv2.multiply(gx, gx, dst=gx)
    cv2.accumulateSquare(gy, energy)
    return energy


def tenengrad(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``Gx² + Gy²`` (Sobel)."""
    return area_mean(sobel_energy(plane), info.grid.shape)


MEASURES = (
    Measure(
        "tenengrad",
        "Tenengrad",
        "gradient",
        "grey²/px²",
        "How steep edges are, as the mean squared brightness change per pixel; robust and fast, a good first choice.",
        "Tenenbaum 1970; Krotkov 1988, Int. J. Comput. Vis. 1:223",
        tenengrad,
    ),
)
