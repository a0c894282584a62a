"""Laplacian measures: a sharp image has strong second derivatives."""

from __future__ import annotations

import cv2
import numpy as np

from napari_focusstack.core.filters import Plane32, area_mean
from napari_focusstack.core.measures.base import Measure, PlaneInfo, block_variance
from napari_focusstack.core.report import Map

SMOOTHING_PX = 1.5


def _laplacian(plane: Plane32) -> Plane32:
    """(Y, X) Laplacian of 4 neighbours, in grey levels per squared pixel."""
    answer: Plane32 = cv2.Laplacian(plane, cv2.CV_32F, ksize=1)
    return answer


def _mean_square(response: Plane32, info: PlaneInfo) -> Map:
    return area_mean(cv2.multiply(response, response, dst=response), info.grid.shape)


def laplacian_energy(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``(∂²f/∂x² + ∂²f/∂y²)²`` (4 neighbours)."""
    return _mean_square(_laplacian(plane), info)


def variance_of_laplacian(plane: Plane32, info: PlaneInfo) -> Map:
    """Variance of the 4-neighbour Laplacian within each patch."""
    return block_variance(_laplacian(plane), info.grid)


def laplacian_of_gaussian(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean squared Laplacian of the plane smoothed by a Gaussian of σ = 1.5 pixels."""
    return _mean_square(_laplacian(cv2.GaussianBlur(plane, (0, 0), SMOOTHING_PX)), info)


def _second_difference(plane: Plane32, direction: str) -> Plane32:
    """(Y, X) ``|2 f(p) − f(p−d) − f(p+d)|``, d one pixel along ``"y"``, ``"x"`` or a diagonal, ``"\\"`` or ``"/"``."""
    kernel = np.zeros((3, 3), np.float32)
    ends = {"y": ((0, 1), (2, 1)), "x": ((1, 0), (1, 2)), "\\": ((0, 0), (2, 2)), "/": ((0, 2), (2, 0))}[direction]
    kernel[1, 1] = 2
    for end in ends:
        kernel[end] = -1
    response: Plane32 = cv2.filter2D(plane, cv2.CV_32F, kernel)
    return np.abs(response, out=response)


def modified_laplacian(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``|∂²f/∂x²| + |∂²f/∂y²|``, which can't cancel each other as in the Laplacian."""
    response = _second_difference(plane, "x")
    response += _second_difference(plane, "y")
    return area_mean(response, info.grid.shape)


def diagonal_laplacian(plane: Plane32, info: PlaneInfo) -> Map:
    """Modified Laplacian plus the second differences along both diagonals, each divided by √2."""
    response = _second_difference(plane, "\\")
    response += _second_difference(plane, "/")
    response *= np.float32(np.sqrt(0.5))
    response += _second_difference(plane, "x")
    response += _second_difference(plane, "y")
    return area_mean(response, info.grid.shape)


MEASURES = (
    Measure(
        "laplacian_energy",
        "Energy of Laplacian",
        "Laplacian",
        "grey²/px⁴",
        "How strong the finest detail is; sharper peaked than gradients, and more easily misled by noise.",
        "Subbarao, Choi & Nikzad 1993, Opt. Eng. 32:2824",
        laplacian_energy,
    ),
    Measure(
        "modified_laplacian",
        "Modified Laplacian",
        "Laplacian",
        "grey/px²",
        "How bent brightness is along rows and along columns, so that opposite bends can't cancel out.",
        "Nayar & Nakagawa 1994, IEEE Trans. Pattern Anal. Mach. Intell. 16:824",
        modified_laplacian,
        gain_exponent=1.0,
    ),
    Measure(
        "diagonal_laplacian",
        "Diagonal Laplacian",
        "Laplacian",
        "grey/px²",
        "As the modified Laplacian, with both diagonals: oblique structures count as much as upright ones.",
        "Thelen et al. 2009, IEEE Trans. Image Process. 18:151",
        diagonal_laplacian,
        gain_exponent=1.0,
    ),
    Measure(
        "variance_of_laplacian",
        "Variance of Laplacian",
        "Laplacian",
        "grey²/px⁴",
        "How much the finest detail varies; sees single-pixel texture best, and noise with it.",
        "Pech-Pacheco et al. 2000, ICPR 3:314",
        variance_of_laplacian,
    ),
    Measure(
        "laplacian_of_gaussian",
        "Laplacian of Gaussian",
        "Laplacian",
        "grey²/px⁴",
        "How strong detail of a few pixels is, after smoothing; a Laplacian that withstands noise.",
        "Marr & Hildreth 1980, Proc. R. Soc. Lond. B 207:187",
        laplacian_of_gaussian,
    ),
)
