"""Small filters that measures, scoring and fusion share."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError

Plane32 = NDArray[np.float32]


def to_grey(plane: NDArray[Any]) -> Plane32:
    """Make a plane grey.

    Colours become their luma, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601): green, which a sensor samples and resolves
    best, counts most. The sum is taken in float32, so that 8-bit colours keep their fractions; nothing is rescaled.

    Parameters
    ----------
    plane : (Y, X) or (Y, X, 3) array
        Grey or RGB, of any integer or float type.

    Returns
    -------
    (Y, X) float32
        In the plane's own grey levels; the same array where it was grey float32 already, so don't write into it.

    Raises
    ------
    InputError
        If the plane has another shape.
    """
    if plane.ndim == 2:
        return np.ascontiguousarray(plane, dtype=np.float32)
    if plane.ndim == 3 and plane.shape[2] == 3:
        grey: Plane32 = cv2.cvtColor(np.ascontiguousarray(plane, dtype=np.float32), cv2.COLOR_RGB2GRAY)
        return grey
    raise InputError(f"An image of shape {tuple(plane.shape)} was given: give a grey (Y, X) or an RGB (Y, X, 3) plane.")


def area_mean(energy: Plane32, shape: tuple[int, int]) -> Plane32:
    """Mean of a plane over each of `shape` equal cells that cover it; pixels cut by a border count by their area.

    Parameters
    ----------
    energy : (Y, X) float32
        At least as large as `shape`.
    shape : (int, int)
        Cells along y and x.

    Returns
    -------
    (gy, gx) float32
    """
    mean: Plane32 = cv2.resize(energy, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return mean


def window_variance(plane: Plane32, size: int) -> Plane32:
    """Variance within the window of `size` × `size` pixels around each pixel.

    Parameters
    ----------
    plane : (Y, X) float32
    size : int
        Odd, 3 or more; the image is mirrored at its border.

    Returns
    -------
    (Y, X) float32
        In squared grey levels, 0 or more.
    """
    # In float64: the mean of squares minus the square of the mean loses all digits of float32 on a bright background.
    mean, square = np.empty(plane.shape), np.empty(plane.shape)
    exact = plane.astype(np.float64)
    cv2.boxFilter(exact, -1, (size, size), dst=mean)
    cv2.sqrBoxFilter(exact, cv2.CV_64F, (size, size), dst=square)
    square -= np.square(mean, out=mean)
    return np.maximum(square, 0.0, out=square).astype(np.float32)


def gaussian_gradient(plane: Plane32, sigma_px: float) -> tuple[Plane32, Plane32]:
    """Derivatives along y and x of a plane smoothed by a Gaussian, in grey levels per pixel; each (Y, X) float32."""
    radius = int(np.ceil(3.5 * sigma_px))
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    smooth = np.exp(-(x**2) / (2 * sigma_px**2))
    slope = x * smooth
    smooth, slope = smooth / smooth.sum(), slope / (x * slope).sum()
    gy: Plane32 = cv2.sepFilter2D(plane, cv2.CV_32F, smooth, slope)
    gx: Plane32 = cv2.sepFilter2D(plane, cv2.CV_32F, slope, smooth)
    return gy, gx


NOISE_BLOCK_PX = 16
NOISE_QUANTILE = 0.1
NOISE_QUANTILE_SHARE = 0.79
"""That quantile of the energies of blocks of pure white noise, over their mean."""
CLIPPED_SHARE = 0.05


def noise_sigma(plane: NDArray[Any]) -> float:
    """Estimate the noise of a plane where it is least: in its smoothest blocks.

    Immerkær's mask, ``[[1, -2, 1], [-2, 4, -2], [1, -2, 1]] / 6``, answers neither to slopes nor to constant curvature,
    and leaves white noise its variance. The mean square of its answer is taken for blocks of 16 × 16 pixels; blocks
    whose pixels are clipped (more than 5 % at the plane's darkest or brightest level) are skipped, as clipping hides
    noise; of the others, the lowest tenth holds noise and hardly any texture.

    Parameters
    ----------
    plane : (Y, X) or (Y, X, 3) array
        3 × 3 pixels or more.

    Returns
    -------
    float
        Standard deviation in grey levels; 0 for a constant plane. Where brightness changes the noise (photons), it is
        that of the darker, or smoother, parts. Noise that was smoothed (JPEG, demosaicing) is underestimated.

    References
    ----------
    Immerkær 1996, Comput. Vis. Image Underst. 64:300
    """
    grey = to_grey(plane)
    mask = np.array([1.0, -2.0, 1.0])
    energy = cv2.sepFilter2D(grey, cv2.CV_32F, mask, mask / 6)[1:-1, 1:-1]
    shape = max(1, energy.shape[0] // NOISE_BLOCK_PX), max(1, energy.shape[1] // NOISE_BLOCK_PX)
    # Whole blocks only, but for planes smaller than one; a block's mean is far faster for it.
    whole = tuple(slice(0, n * NOISE_BLOCK_PX) for n in shape)
    energy, inner = energy[whole], grey[1:-1, 1:-1][whole]
    energy = cv2.multiply(energy, energy)
    clipped = ((inner == grey.min()) | (inner == grey.max())).astype(np.float32)
    energies, shares = area_mean(energy, shape).ravel(), area_mean(clipped, shape).ravel()
    usable = energies[shares <= CLIPPED_SHARE]
    if usable.size == 0:
        usable = energies
    if usable.size < 1 / NOISE_QUANTILE:
        return float(np.sqrt(usable.min()))
    return float(np.sqrt(np.quantile(usable, NOISE_QUANTILE) / NOISE_QUANTILE_SHARE))
