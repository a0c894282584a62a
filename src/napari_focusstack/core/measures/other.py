"""Measures of no family: differences and correlation of neighbouring pixels, contrast, patterns, orientation."""

from __future__ import annotations

import numpy as np

from napari_focusstack.core.filters import Plane32, area_mean
from napari_focusstack.core.measures.base import Measure, PlaneInfo
from napari_focusstack.core.report import Map


def lag_energy(plane: Plane32, lag: int, shape: tuple[int, int]) -> Map:
    """Mean of ``(f(x+lag) − f(x))²`` over each cell, summed over both directions."""
    rows = plane[lag:] - plane[:-lag]
    cols = plane[:, lag:] - plane[:, :-lag]
    return area_mean(np.square(rows, out=rows), shape) + area_mean(np.square(cols, out=cols), shape)


def brenner(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``(f(x+2) − f(x))²``, along x and along y."""
    return lag_energy(plane, 2, info.grid.shape)


def vollath_f4(plane: Plane32, info: PlaneInfo) -> Map:
    """Autocorrelation at a lag of one pixel minus that at two.

    Published as ``Σ f(x)·f(x+1) − Σ f(x)·f(x+2)``. As ``2·f(x)·f(x+k) = f(x)² + f(x+k)² − (f(x+k) − f(x))²``,
    it is half the lag-2 minus the lag-1 difference energy, but for pixels at the border: so it is taken here, since
    products of bright pixels cancel badly within a patch, and differences don't. White noise adds nothing.
    """
    shape = info.grid.shape
    return np.float32(0.5) * (lag_energy(plane, 2, shape) - lag_energy(plane, 1, shape))


MEASURES = (
    Measure(
        "brenner",
        "Brenner gradient",
        "other",
        "grey²",
        "How much brightness changes from a pixel to its next but one; among the fastest and most used.",
        "Brenner et al. 1976, J. Histochem. Cytochem. 24:100",
        brenner,
    ),
    Measure(
        "vollath_f4",
        "Vollath F4",
        "other",
        "grey²",
        "How fast neighbouring pixels lose their likeness; camera noise cancels, so it suits dim fluorescence.",
        "Vollath 1987, J. Microsc. 147:279",
        vollath_f4,
    ),
)
