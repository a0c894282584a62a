"""Gradient measures: a sharp image has steep edges."""

from __future__ import annotations

import cv2
import numpy as np

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import Plane32, area_mean, gaussian_gradient, noise_sigma
from napari_focusstack.core.measures.base import Measure, PlaneInfo, block_variance, blocks, lag_energy
from napari_focusstack.core.report import Map

NOISE_DEVIATIONS = 3.0
"""A difference of two pixels counts where it exceeds this many standard deviations of what noise alone makes."""
SMOOTHING_PX = 1.0


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


def tenengrad_variance(plane: Plane32, info: PlaneInfo) -> Map:
    """Variance of the gradient's magnitude ``√(Gx² + Gy²)`` (Sobel) within each patch."""
    magnitude = sobel_energy(plane)
    return block_variance(np.sqrt(magnitude, out=magnitude), info.grid)


def gaussian_derivative(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean squared gradient of the plane smoothed by a Gaussian of σ = 1 pixel."""
    gy, gx = gaussian_gradient(plane, SMOOTHING_PX)
    energy = cv2.multiply(gx, gx, dst=gx)
    cv2.accumulateSquare(gy, energy)
    return area_mean(energy, info.grid.shape)


def gradient_energy(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``(f(x+1) − f(x))²``, along x and along y."""
    return lag_energy(plane, 1, info.grid.shape)


def _differences(plane: Plane32) -> tuple[Plane32, Plane32]:
    """Moduli of the differences of neighbours, along y (Y−1, X) and x (Y, X−1)."""
    return cv2.absdiff(plane[1:], plane[:-1]), cv2.absdiff(plane[:, 1:], plane[:, :-1])


def _threshold(plane: Plane32, info: PlaneInfo) -> float:
    noise = noise_sigma(plane) if info.noise is None else info.noise
    return NOISE_DEVIATIONS * float(np.sqrt(2.0)) * noise


def absolute_gradient(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``|f(x+1) − f(x)|``, along x and along y (sum modulus difference)."""
    rows, cols = _differences(plane)
    return area_mean(rows, info.grid.shape) + area_mean(cols, info.grid.shape)


def thresholded_gradient(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``|f(x+1) − f(x)|`` where it exceeds 3 √2 σ of the noise, 0 elsewhere, along x and along y."""
    least = _threshold(plane, info)
    rows, cols = (cv2.threshold(d, least, 0, cv2.THRESH_TOZERO)[1] for d in _differences(plane))
    return area_mean(rows, info.grid.shape) + area_mean(cols, info.grid.shape)


def squared_gradient(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``(f(x+1) − f(x))²`` where the difference exceeds 3 √2 σ of the noise, 0 elsewhere, along x and y."""
    least = _threshold(plane, info)
    rows, cols = (cv2.threshold(d, least, 0, cv2.THRESH_TOZERO)[1] for d in _differences(plane))
    return area_mean(cv2.multiply(rows, rows), info.grid.shape) + area_mean(cv2.multiply(cols, cols), info.grid.shape)


def _quad_gradient(plane: Plane32) -> Plane32:
    """(Y−1, X−1) mean of the four differences of neighbours in each 2 × 2 pixels of the z-scored plane."""
    deviation = float(plane.std(dtype=np.float64))
    if deviation == 0:
        return np.zeros((plane.shape[0] - 1, plane.shape[1] - 1), np.float32)
    rows, cols = _differences(plane)
    quad = rows[:, 1:] + rows[:, :-1]
    quad += cols[1:]
    quad += cols[:-1]
    quad *= np.float32(0.25 / deviation)
    return quad


def local_maximum_gradient_map(plane: Plane32, *, block_px: tuple[int, int] = (32, 32)) -> Plane32:
    """GMANet's attention map: the local maximum gradient around every pixel (stride 1, same size as the image).

    On the z-scored image, ``g(ξ)`` is the mean of the four absolute differences of neighbours in the 2 × 2 pixels ξ
    (eq. 1-5), and ``g(φ)`` the maximum of ``g(ξ)`` over all ξ within the block φ (eq. 6). The block of pixel y spans
    rows ``y − (h−1)//2 … y + h//2``, cut at the image's border; columns alike.

    Parameters
    ----------
    plane : (Y, X) float32
        Grey image, 2 × 2 pixels or more.
    block_px : (int, int)
        Height and width h, w of φ, 2 or more; the paper takes 32 × 32 or 8 × 8.

    Returns
    -------
    (Y, X) float32
        In standard deviations of the image per pixel; all 0 for a constant image.

    Raises
    ------
    InputError
        If the block is smaller than 2 × 2 pixels.

    References
    ----------
    Wang et al. 2021, Appl. Sci. 11:10293
    """
    h, w = block_px
    if min(h, w) < 2:
        raise InputError(f"A block of {h}×{w} pixels holds no gradient: give 2×2 pixels at least.")
    # Each 2 × 2 belongs to its upper left pixel; the last row and column start none, and 0 never wins a maximum.
    quad = cv2.copyMakeBorder(_quad_gradient(plane), 0, 1, 0, 1, cv2.BORDER_CONSTANT, value=0)
    window = np.ones((h - 1, w - 1), np.uint8)
    running: Plane32 = cv2.dilate(quad, window, anchor=((w - 1) // 2, (h - 1) // 2) if min(h, w) > 2 else None)
    return running


def local_maximum_gradient(plane: Plane32, info: PlaneInfo) -> Map:
    """GMANet's ``g(φ)`` with the patch as φ; see `local_maximum_gradient_map`."""
    largest: Map = blocks(_quad_gradient(plane), info.grid).max(axis=(2, 3))
    return largest


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
    Measure(
        "tenengrad_variance",
        "Tenengrad variance",
        "gradient",
        "grey²/px²",
        "How much steepness varies: high where crisp edges stand beside smooth parts, low in even noise.",
        "Pech-Pacheco et al. 2000, ICPR 3:314",
        tenengrad_variance,
    ),
    Measure(
        "gaussian_derivative",
        "Gaussian derivative",
        "gradient",
        "grey²/px²",
        "How steep edges are after a slight smoothing; steadier than Tenengrad on noisy images.",
        "Geusebroek et al. 2000, Cytometry 39:1",
        gaussian_derivative,
    ),
    Measure(
        "gradient_energy",
        "Gradient energy",
        "gradient",
        "grey²/px²",
        "Mean squared difference of neighbouring pixels; fine detail counts, and noise with it.",
        "Subbarao, Choi & Nikzad 1993, Opt. Eng. 32:2824",
        gradient_energy,
    ),
    Measure(
        "absolute_gradient",
        "Absolute gradient",
        "gradient",
        "grey/px",
        "Mean difference of neighbouring pixels; a few very bright edges weigh less than in squared measures.",
        "Jarvis 1976, Microscope 24:163 (sum modulus difference)",
        absolute_gradient,
        gain_exponent=1.0,
    ),
    Measure(
        "thresholded_gradient",
        "Thresholded gradient",
        "gradient",
        "grey/px",
        "Mean difference of neighbouring pixels, counting only those that stand out of the camera's noise.",
        "Santos et al. 1997, J. Microsc. 188:264",
        thresholded_gradient,
        needs=("noise",),
        gain_exponent=1.0,
    ),
    Measure(
        "squared_gradient",
        "Squared gradient",
        "gradient",
        "grey²/px²",
        "Mean squared difference of neighbouring pixels, counting only those that stand out of the camera's noise.",
        "Santos et al. 1997, J. Microsc. 188:264; Eskicioglu & Fisher 1995, IEEE Trans. Commun. 43:2959",
        squared_gradient,
        needs=("noise",),
    ),
    Measure(
        "local_maximum_gradient",
        "Local maximum gradient",
        "gradient",
        "σ/px",
        "The steepest spot of each patch, relative to the image's contrast: sees sharp objects, not only their rims.",
        "Wang et al. 2021, Appl. Sci. 11:10293 (GMANet)",
        local_maximum_gradient,
        gain_exponent=0.0,
    ),
)
