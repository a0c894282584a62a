"""What fused coefficients of a pyramid lack, and what they have too much: defocus between two slices, and noise.

The coefficients of the finest levels are divided once more, into what a 3 × 3 binomial window keeps (*low*) and the
rest (*high*). Noise is nearly all in the high part of the finest level, detail mostly in the low one, so that each is
shrunk by its own signal to noise; and blur by a pixel or two takes the higher part of a level long before the lower.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion.method import Plane32

STRIP_ROWS = 128
HALO = 2
"""Rows beside a strip that the windows reach into."""
LEAST_ENERGY = 1e-6
"""Of coefficients over noise: far below what is shrunk to nothing."""


@dataclass(frozen=True)
class Part:
    """What is done to a part of a level's coefficients.

    Attributes
    ----------
    noise : float
        Share of the level's noise variance that is in this part.
    shrink : float
        Factor on that variance when coefficients are shrunk.
    rate : float
        Coefficients are amplified by ``exp(rate · lift + drowned_rate · drowned)``, see `Lift`.
    drowned_rate : float
    limit : float
        Largest amplification.
    faint : float
        Lift (and what drowned, where that counts) from which on coefficients are not shrunk: they are small by defocus,
        not by noise. From 0 up to it they are shrunk less and less.
    """

    noise: float
    shrink: float
    rate: float = 0.0
    drowned_rate: float = 0.0
    limit: float = 1.0
    faint: float = 0.15


LEVELS = (
    (Part(0.079, 0.5, drowned_rate=4.0, limit=1.8, faint=0.3), Part(0.711, 1.1, rate=1.65, limit=2.0, faint=0.2)),
    (Part(0.188, 0.5), Part(0.475, 0.5, rate=1.0, drowned_rate=3.0, limit=2.0, faint=0.3)),
    (Part(0.219, 0.5), Part(0.423, 0.5, rate=0.6, limit=1.5)),
)
"""Low and high part of the finest levels."""
COARSER = Part(1.0, 0.8, rate=0.625, limit=1.5)
DROP = 2.0
"""A level's lift over that of the next coarser one, at least: blur takes finer detail first."""


@dataclass(frozen=True)
class Lift:
    """How much energy the slices of a level lack, as they lie beside the focus.

    Attributes
    ----------
    lift : (Y, X) float32
        How far the vertex of the energy's logarithm, between slices, lies above the best slice: see `SharpnessTrack`.
        At the level's size or half of it.
    drowned : float32 array like `lift`, optional
        How much more it should be by what the next coarser level says. Where both slices beside the focus have lost so
        much that only noise is left, a level tells nothing of its own.
    """

    lift: Plane32
    drowned: Plane32 | None = None

    @classmethod
    def of(cls, lift: Plane32, coarser: Plane32) -> Lift:
        """That of a level with a lift, and of the next coarser level at the same size."""
        return cls(lift, np.maximum(np.float32(DROP) * coarser - lift, 0))

    def rows(self, a: int, b: int, shape: tuple[int, int]) -> Lift:
        """The rows a … b of a level of this shape."""
        if self.lift.shape == shape:
            return Lift(self.lift[a:b], None if self.drowned is None else self.drowned[a:b])
        return Lift(
            _expanded(self.lift, a, b, shape), None if self.drowned is None else _expanded(self.drowned, a, b, shape)
        )


def restore(
    detail: Plane32,
    level: int,
    *,
    per_energy: NDArray[np.float32],
    left: Plane32,
    lift: Lift | None,
    shrink: float,
    boost: float,
) -> None:
    """Shrink coefficients that do not stand out over noise, amplify those that lie between slices; in place.

    Parameters
    ----------
    detail : (Y, X) or (Y, X, K) float32
        Coefficients of a level.
    level : int
    per_energy : (M, K) float32
        From squared coefficients to M energies over the noise of a slice: one for all samples, or one for each.
    left : (Y, X) float32
        How much of a slice's noise variance is left, 0 … 1.
    lift : Lift, optional
        None where nobody knows.
    shrink, boost : float
        Factors on the noise variance and on the logarithm of the amplification.
    """
    parts = LEVELS[level] if level < len(LEVELS) else (COARSER,)
    height = detail.shape[0]
    above = detail[:0]
    for a in range(0, height, STRIP_ROWS):
        b = min(a + STRIP_ROWS, height)
        rows = np.concatenate([above, detail[a : min(b + HALO, height)]])
        inner = slice(len(above), len(above) + b - a)
        above = detail[max(a, b - HALO) : b].copy()
        noise = left[a:b] * np.float32(shrink)
        here = None if lift is None else lift.rows(a, b, (height, detail.shape[1]))
        bands = _divided(rows) if len(parts) > 1 else (rows,)
        for k, (part, band) in enumerate(zip(parts, bands, strict=True)):
            energy = _energy(band, per_energy / np.float32(part.noise))[inner]
            factor = _factor(part, np.ascontiguousarray(energy), noise, here, boost)
            band = band[inner]
            full = factor if factor.ndim == band.ndim else spread(factor, band)
            if k == 0:
                cv2.multiply(band, full, detail[a:b])
            else:
                cv2.accumulateProduct(band, full, detail[a:b])


def _divided(rows: Plane32) -> tuple[Plane32, Plane32]:
    low: Plane32 = cv2.GaussianBlur(rows, (3, 3), 0)
    return low, cv2.subtract(rows, low, rows)


def _energy(band: Plane32, per_energy: NDArray[np.float32]) -> Plane32:
    squares = np.square(band)
    energy: Plane32 = cv2.transform(squares, per_energy) if squares.ndim == 3 else squares * per_energy[0, 0]
    energy = cv2.blur(energy, (3, 3))
    # The running sums of blur leave rests of either sign where there is nothing.
    return np.maximum(energy, LEAST_ENERGY, out=energy)


def _factor(part: Part, energy: Plane32, noise: Plane32, lift: Lift | None, boost: float) -> Plane32:
    """What the coefficients of a part are multiplied by."""
    factor: Plane32 = cv2.divide(spread(noise, energy), energy, scale=part.shrink)
    np.minimum(factor, 1, out=factor)
    if lift is not None and boost:
        factor *= spread(np.maximum(1 - _missing(part, lift, 1.0, 1.0) / np.float32(part.faint), 0), energy)
    np.subtract(1, factor, out=factor)
    if lift is not None and part.limit > 1:
        raised = cv2.exp(_missing(part, lift, part.rate, part.drowned_rate) * np.float32(boost))
        factor *= spread(np.minimum(raised, np.float32(part.limit)), energy)
    return factor


def _missing(part: Part, lift: Lift, rate: float, drowned_rate: float) -> Plane32:
    """The lift, and what drowned where that counts for the part, each times a rate."""
    missing = lift.lift * np.float32(rate)
    if part.drowned_rate and lift.drowned is not None:
        missing += lift.drowned * np.float32(drowned_rate)
    return missing


def _expanded(half: Plane32, a: int, b: int, shape: tuple[int, int]) -> Plane32:
    """Rows a … b of what a plane of half the size is expanded to."""
    # One row more on both sides than is needed: the border of a strip is not that of the image.
    first, last = max(0, a // 2 - 1), min(half.shape[0], b // 2 + 2)
    size = (shape[1], min(2 * (last - first), shape[0] - 2 * first))
    up: Plane32 = cv2.pyrUp(half[first:last], dstsize=size)
    return up[a - 2 * first : b - 2 * first]


def spread(plane: Plane32, like: Plane32, out: Plane32 | None = None) -> Plane32:
    """(Y, X) repeated over the samples of `like`, where it has some: much faster than broadcasting."""
    if like.ndim == 2:
        return plane
    wide: Plane32 = cv2.merge([plane] * like.shape[2], out)
    return wide
