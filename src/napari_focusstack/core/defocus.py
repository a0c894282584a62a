"""Defocus in µm: what a network needs to know of the microscope for it, and the sides of focus by the slices' order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Optics

Series = NDArray[np.float64]

INDICES = (1.0, 1.33, 1.515)
"""Air, water and oil: the thinnest that an aperture fits in is taken where the immersion is not told."""
LEAST_SLICES = 3
"""Slices that a tile has to be judged on for a sign of its own."""
OWN_FIT = 0.5
"""How much smaller a tile's own misfit has to be than that of all tiles' sides, for it to have sides of its own."""
LEAST_AGREEMENT = 0.3
"""How far the image's own signs and the slices' order have to agree before the rings' side is told."""


def waves_per_um(*, na: float, wavelength_um: float, index: float) -> float:
    """Waves at the pupil's edge that each µm of defocus makes, ``(n - sqrt(n² - NA²)) / λ``."""
    return (index - math.sqrt(index**2 - na**2)) / wavelength_um


def ideal_transfer(s: Series) -> Series:
    """Transfer of a lens in focus under incoherent light, by frequency in NA/λ (0 … 2; 0 beyond)."""
    s = np.minimum(s, 2.0)
    return np.asarray(2 / np.pi * (np.arccos(s / 2) - s / 2 * np.sqrt(1 - s**2 / 4)), np.float64)


def defocus_transfer(s: Series, waves: Series | float) -> Series:
    """What defocus leaves of it, relative to focus: ``2·J1(x)/x``, ``x = 4π·W·s·(1 - s/2)`` (Hopkins 1955).

    Parameters
    ----------
    s : array
        Frequency in NA/λ, 0 … 2.
    waves : array or float
        Defocus in waves at the pupil's edge, of either sign; broadcast against `s`.
    """
    from scipy.special import j1

    s = np.minimum(s, 2.0)
    x = 4 * np.pi * np.abs(waves) * s * (1 - s / 2)
    return np.asarray(np.where(x < 1e-6, 1.0, 2 * j1(x) / np.maximum(x, 1e-6)), np.float64)


@dataclass(frozen=True)
class Calibration:
    """All that defocus in µm rests on.

    Attributes
    ----------
    na : float
        Numerical aperture.
    wavelength_um, pixel_um : float
        Wavelength in vacuum and pixel size.
    index : float
        Refractive index between objective and specimen.
    """

    na: float
    wavelength_um: float
    pixel_um: float
    index: float

    @property
    def sampling(self) -> float:
        """Pixel size · NA/λ."""
        return self.pixel_um * self.na / self.wavelength_um

    @property
    def um_per_wave(self) -> float:
        """µm of defocus for a wave at the pupil's edge."""
        return 1 / waves_per_um(na=self.na, wavelength_um=self.wavelength_um, index=self.index)

    @property
    def depth_of_field_um(self) -> float:
        """Total depth of field ``n·λ/NA² + n·pixel/NA`` (Inoué & Spring 1997)."""
        return self.index * (self.wavelength_um / self.na**2 + self.pixel_um / self.na)


def missing_optics(optics: Optics, pixel_um: float | None) -> str:
    """What has still to be given, in words ("wavelength and pixel size"); empty where defocus in µm is defined."""
    given = {"numerical aperture": optics.na, "wavelength": optics.wavelength_um, "pixel size": pixel_um}
    names = [name for name, value in given.items() if value is None]
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def calibration_of(optics: Optics, pixel_um: float | None) -> Calibration:
    """What is known of a microscope, complete and possible.

    Raises
    ------
    InputError
        If something is missing, or no lens can be like that.
    """
    na, wavelength_um = optics.na, optics.wavelength_um
    if na is None or wavelength_um is None or pixel_um is None:
        lacking = f"Defocus in µm can't be told without the {missing_optics(optics, pixel_um)} of this image"
        raise InputError(
            f"{lacking}: give what is missing (--na, --wavelength, --pixel-size).",
            in_napari=f"{lacking}: fill in what is missing in the panel, and press Set.",
        )
    check_objective(optics)
    if pixel_um <= 0:
        raise InputError(f"Pixels of {pixel_um:g} µm were given: give a pixel size above 0.")
    return Calibration(na, wavelength_um, pixel_um, index_of(optics))


def check_objective(optics: Optics) -> None:
    """Refuse what no objective can have, as far as it is known.

    Raises
    ------
    InputError
        If the aperture is not below the index, or the wavelength is no light's.
    """
    if optics.wavelength_um is not None and not 0.1 <= optics.wavelength_um <= 2.0:
        raise InputError(
            f"A wavelength of {optics.wavelength_um:g} µm was given: "
            "give the wavelength in µm, 0.1 to 2 (0.52 for 520 nm)."
        )
    index = index_of(optics)
    if optics.na is not None and not 0 < optics.na < index:
        raise InputError(
            f"A numerical aperture of {optics.na:g} was given for a refractive index of {index:g}: "
            "give an aperture above 0 and below the index."
        )


def index_of(optics: Optics) -> float:
    """Refractive index before the objective: what is told, or the least of the usual ones that its aperture allows."""
    return optics.immersion_index or next((n for n in INDICES if (optics.na or 0) < n), INDICES[-1])


@dataclass(frozen=True)
class Sides:
    """Which side of focus each slice lies on, by the order of the slices.

    Attributes
    ----------
    signs : (Z, P)
        -1 or 1: below (the slice lies lower than what is in focus there) or above.
    line : (Z, P)
        The straight line over height that the signed distances were found nearest to.
    """

    signs: Series
    line: Series


def sides(distance: Series, heights: Series, weights: Series | None = None, *, votes: Series | None = None) -> Sides:
    """Sides of focus by the order of the slices, and by what the images themselves say of them.

    One image of a lens without aberrations looks alike on both sides of focus; a stack tells them apart: distances fall
    towards focus and rise behind it. Of all ways to call the slices below some height negative and the others positive,
    that one is taken whose signed distances lie nearest to a straight line that rises with height. A series that never
    reaches focus is one-sided by the same rule.

    Parameters
    ----------
    distance : (Z, P)
        |defocus| of each slice and tile; NaN where it is not known.
    heights : (Z,)
        Height of each slice, in any unit, in any order.
    weights : (P,), optional
        How much each tile counts where all together decide: for tiles that are known on too few slices.
    votes : (Z, P), optional
        Side of focus by each image alone, -1 (surely below) … 1 (surely above): to call a slice against its vote costs
        as much as the square of (certainty times distance).
    """
    order = np.argsort(heights, kind="stable")
    rising, d = np.asarray(heights, np.float64)[order], np.asarray(distance, np.float64)[order]
    known = np.isfinite(d)
    v = np.zeros_like(d) if votes is None else np.where(known, np.asarray(votes, np.float64)[order], 0)
    filled, there = np.where(known, d, 0), known.astype(np.float64)
    share = known * (1.0 if weights is None else np.asarray(weights, np.float64)[None])
    total = share.sum(axis=1, keepdims=True)
    mean = (filled * share).sum(axis=1, keepdims=True) / np.maximum(total, 1e-12)
    vote = (v * share).sum(axis=1, keepdims=True) / np.maximum(total, 1e-12)
    common = _fits(mean, (total > 0).astype(np.float64), rising, vote).first[0]
    each = _fits(filled, there, rising, v)
    # A tile has sides of its own only where they fit it clearly better than those of all together.
    own = each.misfit[each.first, np.arange(d.shape[1])] < OWN_FIT * each.misfit[common]
    own &= known.sum(axis=0) >= LEAST_SLICES
    first = np.where(own, each.first, common)
    line = each.lines[first, :, np.arange(d.shape[1])].T
    signs, back = np.empty_like(d), np.empty_like(d)
    signs[order] = np.where(np.arange(len(d))[:, None] >= first[None], 1.0, -1.0)
    back[order] = line
    return Sides(signs, back)


@dataclass(frozen=True)
class _Fits:
    """Straight lines for every way to part (Z, P) distances: (P,) best, (Z + 1, P) misfits, (Z + 1, Z, P) lines."""

    first: NDArray[np.intp]
    misfit: Series
    lines: Series


def _fits(d: Series, known: Series, heights: Series, votes: Series) -> _Fits:
    """Least squares, the slices from `first` on above focus and those before it below."""
    count = np.maximum(known.sum(axis=0), 1e-12)
    middle = (known * heights[:, None]).sum(axis=0) / count
    h = heights[:, None] - middle
    spread = np.maximum((known * h * h).sum(axis=0), 1e-12)
    misfits, lines = [], []
    for k in range(len(d) + 1):
        sign = np.where(np.arange(len(d))[:, None] >= k, 1.0, -1.0)
        signed = sign * d * known
        slope = np.maximum((h * signed).sum(axis=0) / spread, 0)
        lines.append(signed.sum(axis=0) / count + slope * h)
        against = np.maximum(-sign * votes, 0) * d
        misfits.append((known * ((signed - lines[-1]) ** 2 + against**2)).sum(axis=0))
    misfit = np.stack(misfits)
    best = (misfit <= misfit.min(axis=0) * (1 + 1e-9) + 1e-12).argmax(axis=0)
    return _Fits(best, misfit, np.stack(lines))


def agreement(votes: Series, distance: Series, signs: Series) -> float:
    """How far votes of single images agree with signs: 1 wholly, -1 not at all, 0 by chance; weighted by distance.

    Both sides of focus count alike: images that all vote the same way agree with nothing, however many lie above.

    Parameters
    ----------
    votes : (Z, P)
        Side of focus by each image alone, -1 … 1.
    distance : (Z, P)
        |defocus|; NaN where it is not known.
    signs : (Z, P)
        By the order of the slices.
    """
    weight = np.nan_to_num(distance) * np.abs(votes)
    right = np.nan_to_num(distance) * votes * signs
    shares = [float(right[signs == side].sum()) / max(float(weight[signs == side].sum()), 1e-12) for side in (-1, 1)]
    return sum(shares) / 2
