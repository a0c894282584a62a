"""What a focus measure is, and the tools that the families share.

A measure is a function of one grey plane that gives a focus value for each patch of a grid. The number of a slice is
the mean of its map, weighted by the specimen: this is so for every measure here, which is why a specimen mask, or a
region drawn by hand, can be changed without scoring again. Where the published number is a ratio of two sums over the
image (normalised variance, wavelet and cosine ratios, …), each patch holds its own share of the numerator over the
*plane's* denominator: the mean of the map is the published number, and an empty patch does not count as sharp because
noise was divided by next to nothing.

Some measures need to know more than the plane to be comparable between the slices of a stack. `Measure.needs` names it:

``"value_range"``
    Darkest and brightest grey level of the *stack* (`stack_range` estimates it from a few slices): sets the width of a
    histogram's bins and the threshold of the binary patterns. Without it the type's range is taken for 8 bits, and the
    plane's own range for every other type, which is right for a single plane only.
``"noise"``
    Standard deviation of the *stack's* noise in grey levels (the least of `filters.noise_sigma` over some slices): sets
    a threshold. Without it the noise of the plane itself is estimated.
``"optics"``
    Pixel size, numerical aperture and wavelength: set the band of spatial frequencies. Without them a band that suits a
    well-sampled image is taken, the same for every slice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import Plane32, area_mean, to_grey
from napari_focusstack.core.report import Grid, Map, PlaneScore
from napari_focusstack.core.stack import Optics

Need = Literal["value_range", "noise", "optics"]
SMALLEST_PLANE_PX = 8
SMALLEST_PATCH_PX = 4
UNKNOWN_OPTICS = Optics()


@dataclass(frozen=True)
class PlaneInfo:
    """What a measure may know besides the plane.

    Attributes
    ----------
    grid : Grid
        The patches.
    pixel_um : float or None
        Pixel size in µm.
    optics : Optics
        The microscope, as far as it is known.
    value_range : (float, float) or None
        Darkest and brightest grey level of the stack.
    noise : float or None
        Standard deviation of the stack's noise in grey levels.
    """

    grid: Grid
    pixel_um: float | None = None
    optics: Optics = UNKNOWN_OPTICS
    value_range: tuple[float, float] | None = None
    noise: float | None = None


Function = Callable[[Plane32, PlaneInfo], Map]
"""A grey (Y, X) float32 plane, 8 × 8 pixels at least -> (gy, gx) float32 map, finite, higher is sharper."""


@dataclass(frozen=True)
class Measure:
    """A classical focus measure: higher is sharper.

    Attributes
    ----------
    name : str
        By which a user chooses it.
    title : str
        What to call it in a menu.
    family : str
        Gradient, Laplacian, wavelet, statistics, cosine transform, spectrum or other.
    units : str
        Units of its values; ``"1"`` where it is a plain number.
    description : str
        What it measures, in one sentence for a biologist.
    reference : str
        Where it was published.
    function : Function
        Grey plane and `PlaneInfo` -> map.
    needs : tuple of str
        What it should be told of the stack; see the module.
    gain_exponent : float or None
        ``value(g · image) = g ** gain_exponent · value(image)`` for g > 0, with noise and range scaled alike. None
        where there is no such law.
    offset_free : bool
        Whether adding a constant to the image changes nothing.
    """

    name: str
    title: str
    family: str
    units: str
    description: str
    reference: str
    function: Function
    needs: tuple[Need, ...] = ()
    gain_exponent: float | None = 2.0
    offset_free: bool = True

    def score(
        self,
        plane: NDArray[Any],
        *,
        patch_px: int = 32,
        pixel_um: float | None = None,
        optics: Optics = UNKNOWN_OPTICS,
        value_range: tuple[float, float] | None = None,
        noise: float | None = None,
    ) -> PlaneScore:
        """Score a plane.

        Parameters
        ----------
        plane : (Y, X) or (Y, X, 3) array
            Grey or RGB (its luma is scored), of any integer or float type.
        patch_px : int
            Size of a patch in pixels, 4 or more.
        pixel_um, optics, value_range, noise
            See `PlaneInfo`; each is used by the measures that need it.

        Returns
        -------
        PlaneScore
            Its value is left to the mean of the map.

        Raises
        ------
        InputError
            If the plane or the patch is too small.
        """
        grey = to_grey(plane)
        h, w = grey.shape
        if min(h, w) < SMALLEST_PLANE_PX:
            raise InputError(
                f"A plane of {h}×{w} pixels is too small to be scored: "
                f"give one of {SMALLEST_PLANE_PX}×{SMALLEST_PLANE_PX} pixels at least."
            )
        if patch_px < SMALLEST_PATCH_PX:
            raise InputError(f"Patches of {patch_px} pixels are too small: choose {SMALLEST_PATCH_PX} pixels at least.")
        if value_range is None and plane.dtype == np.uint8:
            value_range = (0.0, 255.0)
        grid = Grid.covering((h, w), patch_px)
        info = PlaneInfo(grid, pixel_um, optics, value_range, noise)
        return PlaneScore(self.function(grey, info), grid)


def stack_range(planes: Iterable[NDArray[Any]]) -> tuple[float, float]:
    """Darkest and brightest grey level over some planes, a fifth-of-a-permille of outliers (hot pixels) left out.

    Parameters
    ----------
    planes : iterable of (Y, X) or (Y, X, 3) arrays
        A few slices of a stack, from its ends and its middle; every fourth row and column of each is looked at.

    Returns
    -------
    (float, float)
    """
    ranges = [np.quantile(to_grey(plane[::4, ::4]), (0.0002, 0.9998)) for plane in planes]
    return float(min(low for low, _ in ranges)), float(max(high for _, high in ranges))


def grey_range(plane: Plane32, info: PlaneInfo) -> tuple[float, float]:
    """The stack's range of grey levels where it is known, the plane's own otherwise."""
    return info.value_range if info.value_range is not None else (float(plane.min()), float(plane.max()))


def blocks(plane: Plane32, grid: Grid) -> Plane32:
    """Cut a plane into the pixels of each patch, for statistics that are no mean of a local energy.

    Every block has the same whole size, that of a cell rounded up, so that a range or an entropy is taken over the same
    number of pixels everywhere. Blocks are spread evenly: neighbours share a row of pixels where cells aren't whole.

    Returns
    -------
    (gy, gx, by, bx) float32
        A copy.
    """
    (gy, gx), (h, w) = grid.shape, plane.shape
    by, bx = -(-h // gy), -(-w // gx)
    rows = np.rint(np.linspace(0, h - by, gy)).astype(int)
    cols = np.rint(np.linspace(0, w - bx, gx)).astype(int)
    windows = np.lib.stride_tricks.sliding_window_view(plane, (by, bx))
    cut: Plane32 = windows[rows[:, None], cols[None, :]]
    return cut


def block_variance(plane: Plane32, grid: Grid) -> Map:
    """Variance within each patch, about the patch's own mean (in two passes: exact on a large background too)."""
    cut = blocks(plane, grid)
    cut -= cut.mean(axis=(2, 3), keepdims=True)
    np.square(cut, out=cut)
    variance: Map = cut.mean(axis=(2, 3))
    return variance


def lag_energy(plane: Plane32, lag: int, shape: tuple[int, int]) -> Map:
    """Mean of ``(f(x+lag) − f(x))²`` over each cell, along x plus along y."""
    rows = cv2.subtract(plane[lag:], plane[:-lag])
    cols = cv2.subtract(plane[:, lag:], plane[:, :-lag])
    return area_mean(cv2.multiply(rows, rows, dst=rows), shape) + area_mean(cv2.multiply(cols, cols, dst=cols), shape)


def mean_square(plane: Plane32) -> float:
    """Mean of the squared grey levels, background included."""
    return float(np.square(plane).mean(dtype=np.float64))


def over(numerator: Map, denominator: float) -> Map:
    """Divide a map by a plane's number; 0 where the plane is black (its number is 0)."""
    if denominator <= 0:
        return np.zeros_like(numerator)
    return numerator / np.float32(denominator)
