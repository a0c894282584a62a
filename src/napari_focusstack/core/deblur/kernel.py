"""How blurred an image is, and the kernel that blurred it: what classical deblurring has to be told."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.defocus import Calibration, defocus_transfer, ideal_transfer
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import Plane32

WIDEST_PX = 100.0
"""Largest radius of a blur that is undone."""
_REBLUR_PX = 1.5
_LEAST_PX = 0.3
_SHARPEST = 0.75
"""Quantile of the edges' ratios: some of the specimen is soft itself, so the sharper edges tell more."""
_LEFT = 0.1
"""Transfer squared of the lens in focus below which its kernel fades: it would ring, and nothing is seen there."""
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


def motion(length_px: float, *, degrees: float) -> Plane32:
    """Blur of a specimen that moves evenly along a line while the shutter is open: an antialiased line, sum 1.

    Parameters
    ----------
    length_px : float
        Speed times exposure, in pixels.
    degrees : float
        Direction from the rows' (0) towards the columns' (90, down).
    """
    half = int(np.ceil(length_px / 2)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    angle = np.deg2rad(degrees)
    along, across = np.abs(x * np.cos(angle) + y * np.sin(angle)), np.abs(y * np.cos(angle) - x * np.sin(angle))
    line = (np.clip(length_px / 2 + 0.5 - along, 0, 1) * np.clip(1 - across, 0, 1)).astype(np.float32)
    kernel: Plane32 = line / line.sum()
    return kernel


def defocused(known: Calibration, defocus_um: float) -> Plane32:
    """Blur of an objective out of focus, relative to the same objective in focus.

    The transfer is Hopkins' (`defocus_transfer`), which diffraction softens where the geometrical disc has a sharp rim;
    it fades where the lens in focus transfers nothing either.

    Parameters
    ----------
    known : Calibration
        Of the microscope.
    defocus_um : float
        Distance from focus, of either sign.

    Returns
    -------
    (K, K) float32 array
        Odd sides, sum 1, nowhere negative.

    Raises
    ------
    InputError
        If it blurs over more than `WIDEST_PX`.
    """
    waves = abs(defocus_um) / known.um_per_wave
    radius_px = 2 * waves / known.sampling
    if radius_px > WIDEST_PX:
        raise InputError(
            f"A defocus of {defocus_um:g} µm blurs over a radius of {radius_px:.0f} px with this objective: "
            f"give one that blurs over {WIDEST_PX:g} px at most."
        )
    half = int(np.ceil(1.2 * radius_px + 2 / known.sampling)) + 1
    size = 4 * half
    s = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) / known.sampling
    power = ideal_transfer(s) ** 2
    point = np.fft.irfft2(defocus_transfer(s, waves) * power * (1 + _LEFT) / (power + _LEFT), (size, size))
    inner = np.fft.fftshift(point)[half : 3 * half + 1, half : 3 * half + 1]
    return _as_kernel(inner)


def both(a: Plane32, b: Plane32) -> Plane32:
    """The kernel of two blurs, one after the other."""
    from scipy.signal import fftconvolve

    return _as_kernel(fftconvolve(a, b))


def _as_kernel(values: NDArray[Any]) -> Plane32:
    """Without what is negative, sum 1."""
    light = np.maximum(values, 0)
    kernel: Plane32 = (light / light.sum()).astype(np.float32)
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
