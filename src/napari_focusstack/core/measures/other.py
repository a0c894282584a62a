"""Measures of no family: differences and correlation of neighbouring pixels, contrast, patterns, orientation."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import Plane32, area_mean, gaussian_gradient
from napari_focusstack.core.measures.base import (
    Measure,
    PlaneInfo,
    block_variance,
    blocks,
    grey_range,
    lag_energy,
)
from napari_focusstack.core.report import Map

NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
"""(row, column) of the 8 neighbours, once around."""
HELMLI_WINDOW_PX = 15
HELMLI_FLOOR = 0.01
STEERABLE_SIGMA_PX = 2.0
PATTERN_THRESHOLD = 0.016


def brenner(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``(f(x+2) − f(x))²``, along x and along y."""
    return lag_energy(plane, 2, info.grid.shape)


def vollath_f4(plane: Plane32, info: PlaneInfo) -> Map:
    """Autocorrelation at a lag of one pixel minus that at two, along x plus along y.

    Published as ``Σ f(x)·f(x+1) − Σ f(x)·f(x+2)``. As ``2·f(x)·f(x+k) = f(x)² + f(x+k)² − (f(x+k) − f(x))²``,
    it is half the lag-2 minus the lag-1 difference energy, but for pixels at the border: so it is taken here, since
    products of bright pixels cancel badly within a patch, and differences don't. White noise adds nothing.
    """
    shape = info.grid.shape
    return np.float32(0.5) * (lag_energy(plane, 2, shape) - lag_energy(plane, 1, shape))


def vollath_f5(plane: Plane32, info: PlaneInfo) -> Map:
    """Autocovariance at a lag of one pixel, the mean of that along x and that along y.

    Published as ``Σ f(x)·f(x+1) − N·mean²``; taken within each patch as its variance minus half the energy of the
    differences of neighbours, the same but for pixels at the patch's border. White noise adds nothing.
    """
    return block_variance(plane, info.grid) - np.float32(0.25) * lag_energy(plane, 1, info.grid.shape)


def absolute_central_moment(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean distance of the grey levels of a patch from their mean."""
    cut = blocks(plane, info.grid)
    cut -= cut.mean(axis=(2, 3), keepdims=True)
    moment: Map = np.abs(cut, out=cut).mean(axis=(2, 3))
    return moment


def _distances(plane: Plane32) -> list[Plane32]:
    """How far each pixel is from each of its 8 neighbours in grey level, each (Y, X); mirrored at the border."""
    h, w = plane.shape
    framed = cv2.copyMakeBorder(plane, 1, 1, 1, 1, cv2.BORDER_REFLECT_101)
    return [cv2.absdiff(plane, framed[1 + y : 1 + y + h, 1 + x : 1 + x + w]) for y, x in NEIGHBOURS]


def contrast(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean over the pixels of ``Σ |f − f(neighbour)|`` over the 8 neighbours."""
    total = np.zeros(plane.shape, np.float32)
    for distance in _distances(plane):
        total += distance
    return area_mean(total, info.grid.shape)


def curvature(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``|a| + |b| + |c| + |d|`` of the surface ``a x + b y + c x² + d y²`` through each pixel.

    The surface is fitted by least squares to the 3 × 3 pixels, their grey levels taken relative to the central one (the
    fit has no constant term; without this, a bright background would count as curvature).
    """
    line, ends, one = np.array([-1.0, 0.0, 1.0]), np.array([1.0, 0.0, 1.0]), np.ones(3)
    c_mask = 0.3 * np.outer(one, ends) - 0.2 * np.outer(ends, one)
    c_mask[1, 1] -= c_mask.sum()
    total = np.zeros(plane.shape, np.float32)
    for mask in (np.outer(one, line) / 6, np.outer(line, one) / 6, c_mask, c_mask.T):
        response = cv2.filter2D(plane, cv2.CV_32F, mask)
        total += np.abs(response, out=response)
    return area_mean(total, info.grid.shape)


def helmli_mean(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``max(f, m) / min(f, m) − 1``, m the mean of the 15 × 15 pixels around (0 where they are all alike).

    One per cent of the plane's mean is added to both, so that a black pixel does not decide alone; where a plane holds
    negative pixels, its darkest is set to 0 first.
    """
    level = plane - min(0.0, float(plane.min()))
    floor = np.float32(HELMLI_FLOOR * level.mean(dtype=np.float64))
    if floor <= 0:
        return np.zeros(info.grid.shape, np.float32)
    level += floor
    mean = cv2.boxFilter(level, -1, (HELMLI_WINDOW_PX, HELMLI_WINDOW_PX))
    ratio = cv2.divide(cv2.max(level, mean), cv2.min(level, mean))
    return area_mean(ratio, info.grid.shape) - np.float32(1)


def _sharp_patterns() -> NDArray[np.uint8]:
    """(256,) 1 for the codes of rotation-invariant uniform patterns 6 to 9, which blur makes rare, else 0.

    A uniform pattern changes at most twice around the circle, and is numbered by its set bits; 9 are all the others.
    """
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    number = np.where(changes <= 2, bits.sum(axis=1), 9)
    return (number >= 6).astype(np.uint8)


def local_binary_patterns(plane: Plane32, info: PlaneInfo) -> Map:
    """Share of pixels of which nearly all 8 neighbours differ by 1.6 % of the stack's range of grey levels or more.

    A bit is set where ``|f − f(neighbour)|`` reaches the threshold; rotation-invariant uniform patterns 6, 7, 8 and the
    non-uniform ones (9) are counted, as they vanish with blur.
    """
    low, high = grey_range(plane, info)
    least = PATTERN_THRESHOLD * (high - low)
    if least <= 0:
        return np.zeros(info.grid.shape, np.float32)
    code = np.zeros(plane.shape, np.uint8)
    for bit, distance in enumerate(_distances(plane)):
        code |= (distance >= np.float32(least)).astype(np.uint8) << np.uint8(bit)
    return area_mean(cv2.LUT(code, _sharp_patterns()).astype(np.float32), info.grid.shape)


def steerable_filters(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of the strongest answer over all directions of the Gaussian derivative filter (σ = 2 pixels).

    A first derivative steers as ``cos θ · Gx + sin θ · Gy``, whose maximum over θ is ``√(Gx² + Gy²)``.
    """
    gy, gx = gaussian_gradient(plane, STEERABLE_SIGMA_PX)
    return area_mean(cv2.magnitude(gx, gy), info.grid.shape)


def spatial_frequency(plane: Plane32, info: PlaneInfo) -> Map:
    """``√(RF² + CF²)``: root of the mean squared differences of neighbours along rows and along columns."""
    return np.sqrt(lag_energy(plane, 1, info.grid.shape))


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
    Measure(
        "vollath_f5",
        "Vollath F5",
        "other",
        "grey²",
        "Contrast that neighbouring pixels share, so that camera noise cancels; coarse contrast counts too.",
        "Vollath 1988, J. Microsc. 151:133",
        vollath_f5,
    ),
    Measure(
        "absolute_central_moment",
        "Absolute central moment",
        "other",
        "grey",
        "How far the grey levels of a patch lie from their mean; a variance that bright spots do not rule.",
        "Shirvaikar 2004, IEEE SSST 472",
        absolute_central_moment,
        gain_exponent=1.0,
    ),
    Measure(
        "contrast",
        "Contrast",
        "other",
        "grey",
        "How much each pixel differs from its eight neighbours.",
        "Nanda & Cutler 2001, CVPR technical sketches",
        contrast,
        gain_exponent=1.0,
    ),
    Measure(
        "curvature",
        "Curvature",
        "other",
        "grey",
        "How steep and how bent the brightness surface is around each pixel.",
        "Helmli & Scherer 2001, ISPA 188",
        curvature,
        gain_exponent=1.0,
    ),
    Measure(
        "helmli_mean",
        "Helmli and Scherer’s mean",
        "other",
        "1",
        "How far each pixel is above or below its surroundings, in proportion; dim detail counts as much as bright.",
        "Helmli & Scherer 2001, ISPA 188",
        helmli_mean,
        gain_exponent=0.0,
        offset_free=False,
    ),
    Measure(
        "local_binary_patterns",
        "Local binary patterns",
        "other",
        "1",
        "The share of pixels that stand out from nearly all their neighbours: crisp spots and texture.",
        "Lorenzo et al. 2008, CIMCA 855; as in Yi & Eramian 2016, IEEE Trans. Image Process. 25:1626",
        local_binary_patterns,
        needs=("value_range",),
        gain_exponent=0.0,
    ),
    Measure(
        "steerable_filters",
        "Steerable filters",
        "other",
        "grey/px",
        "How strong edges are in their own direction, whichever it is, at a scale of a few pixels.",
        "Minhas et al. 2009, ICIAR 573; Freeman & Adelson 1991, IEEE Trans. Pattern Anal. Mach. Intell. 13:891",
        steerable_filters,
        gain_exponent=1.0,
    ),
    Measure(
        "spatial_frequency",
        "Spatial frequency",
        "other",
        "grey/px",
        "The typical difference of neighbouring pixels, patch by patch.",
        "Eskicioglu & Fisher 1995, IEEE Trans. Commun. 43:2959",
        spatial_frequency,
        gain_exponent=1.0,
    ),
)
