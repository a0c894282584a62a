"""Richardson-Lucy deconvolution that keeps total variation low."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import Plane32

SMOOTHNESS = 0.005
"""Weight of the total variation; without it noise grows, and rings around what the kernel is too large for."""
BACKGROUND = 0.01
"""Light that is added to image and model alike: a camera's noise has no photons to go with it."""
_FLAT = 1e-3
"""Slopes below this, in grey levels per pixel, count as none."""


def richardson_lucy(plane: Plane32, kernel: Plane32, *, turns: int) -> Plane32:
    """Find the image that most likely made this one, and that has little total variation.

    Each turn multiplies the estimate o by ``h* ⊗ (i / (h ⊗ o)) / (1 - λ div(∇o / |∇o|))``.

    Parameters
    ----------
    plane : (Y, X) float32 array
        Grey levels about 0 … 1, with a margin as wide as the kernel at least: its opposite borders are neighbours here.
    kernel : (K, L) float32 array
        What blurred it; odd sides, sum 1.
    turns : int
        Iterations.

    Returns
    -------
    (Y, X) float32
        On the same scale; below the darker of 0 and the plane's minimum by no more than `BACKGROUND`.

    References
    ----------
    Dey et al. 2006, Microsc. Res. Tech. 69:260; the background after Snyder et al. 1993, J. Opt. Soc. Am. A 10:1014
    """
    from scipy import fft

    height, width = plane.shape
    # Other lengths take the Fourier transform several times as long.
    more = [(0, fft.next_fast_len(n, real=True) - n) for n in plane.shape]
    floor = min(0.0, float(plane.min())) - BACKGROUND
    image: Plane32 = np.pad(plane, more, mode="edge") - np.float32(floor)
    there = np.zeros_like(image)
    there[: kernel.shape[0], : kernel.shape[1]] = kernel
    transfer = fft.rfft2(np.roll(there, [-(n // 2) for n in kernel.shape], axis=(0, 1)))

    def blurred(values: Plane32, by: NDArray[np.complex64]) -> Plane32:
        found: Plane32 = fft.irfft2(fft.rfft2(values) * by, image.shape)
        return found

    found = image
    for _ in range(turns):
        ratio = np.divide(image, np.maximum(blurred(found, transfer), 1e-6), dtype=np.float32)
        gain = blurred(ratio, transfer.conj())
        found = np.maximum(found * gain / (1 - SMOOTHNESS * _curvature(found)), 1e-8)
    result: Plane32 = found[:height, :width] + np.float32(floor)
    return result


def _curvature(image: Plane32) -> Plane32:
    """``div(∇o / |∇o|)``: differences forward, then backward."""
    dy, dx = np.diff(image, axis=0, append=image[-1:]), np.diff(image, axis=1, append=image[:, -1:])
    length = np.sqrt(dy * dy + dx * dx + _FLAT**2)
    dy /= length
    dx /= length
    bent: Plane32 = np.diff(dy, axis=0, prepend=np.float32(0)) + np.diff(dx, axis=1, prepend=np.float32(0))
    return bent
