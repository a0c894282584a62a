"""Focus from the power spectra of a few images: what the specimen is drops out, what defocus did to it stays.

The power of an image at a spatial frequency is the specimen's times the square of the optical transfer, which is known
for each distance from focus (Hopkins 1955). Of two images at different heights the unknown specimen is the same, so
their ratio tells both distances, and the side, whatever lies under the lens (Pentland 1987, depth from defocus). Every
image that was taken takes part; the stage goes where all of them together put focus.

The transfer is that of a lens without aberrations under incoherent light. A condenser that is stopped down, or an
aperture that is not quite as told, makes the same blur at another distance: how fast the blur grows is fitted too.
Thick specimens follow no such law: where the image that should be in focus is not the sharpest one, the stage
climbs from the sharpest to where sharpness is highest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.autofocus.base import (
    Look,
    Move,
    Moves,
    Reading,
    Spectrum,
    Travel,
    Verdict,
    first_sight,
    sharpness,
)
from napari_focusstack.core.autofocus.climb import climb
from napari_focusstack.core.defocus import Calibration, defocus_transfer, ideal_transfer
from napari_focusstack.core.filters import noise_sigma, to_grey

Row = NDArray[np.float64]

BANDS = 12
LOWEST_CYCLES_PX = 1 / 100
"""Shading and the window's own leakage lie below this frequency."""
HIGHEST_CYCLES_PX, HIGHEST = 0.45, 1.7
"""Where bands end: just below the camera's limit, or that of the lens (2 NA/λ)."""
EVIDENT = 3.0
"""Power over that of the noise in the strongest band, below which an image is blank."""
DOUBTFUL = 1.5
SUB_BANDS = 8
STRAY = 1e-4
"""Power that aberrations, dust and scattered light leave where theory has zeros."""
GRID_DOF, FARTHEST_DOF = 0.1, 200.0
RATES = (0.45, 0.6, 0.8, 1.0, 1.25)
"""How fast blur grows with distance, relative to theory, and …"""
RATE_SPREAD = 0.4
"""… how much is expected of that, in powers of e."""
MISFIT, CAP = 0.2, 9.0
"""How far spectra usually are from theory, in powers of e; no band counts more than this against a place."""
DYNAMIC = 0.02
"""Share of a band's highest power below which blur is only known to be at least so large."""
FALL, FALL_SPREAD, ROUGH = 2.5, 1.0, 0.7
"""Spectra of specimens fall by this power of frequency, give or take; and how far they are from a power law."""
SURE = 4.0
"""Places whose cost is not above the best one's by more than this may be in focus, too."""
SWEEP_DOF = 5.0
PROBE_DOF, KNOWN_DOF = 0.8, 0.7
"""How far beside focus the stage looks, on both sides; focus is known where no likely place is farther than this."""
LEAST_IMAGES = 4
FIRST_DOF, DOUBT = 20.0, 0.5
"""Longest first move; costs of the two sides that differ by no more leave the side open."""
ALIKE = 0.97
"""Images that are as sharp as this, relative to each other, are equally sharp."""
MOST_DOUBT_DOF = 6.0


def spectrum_of(image: NDArray[Any], known: Calibration) -> Spectrum:
    """Mean power of an image in bands of spatial frequency.

    Parameters
    ----------
    image : (Y, X) or (Y, X, 3) array
        Any pixel type; both sides 32 px at least.
    known : Calibration
        Of the microscope.
    """
    grey = to_grey(image)
    sigma = max(noise_sigma(image), 0.29 if image.dtype.kind in "ui" else 0.0)
    level = max(float(np.abs(grey).mean()), 1e-12)
    h, w = grey.shape
    window = np.outer(np.hanning(h + 2)[1:-1], np.hanning(w + 2)[1:-1])
    share = window / window.sum()
    flat = grey - _plane(grey)
    power = np.abs(np.fft.rfft2((flat - (flat * share).sum()) * window)) ** 2
    cycles = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None, :])
    highest = min(HIGHEST_CYCLES_PX, HIGHEST * known.sampling)
    edges = np.geomspace(min(max(LOWEST_CYCLES_PX, 2.5 / min(h, w)), highest / 4), highest, BANDS + 1)
    band = np.digitize(cycles, edges).ravel()
    count = np.bincount(band, minlength=BANDS + 2)[1 : BANDS + 1]
    total = np.bincount(band, weights=power.ravel(), minlength=BANDS + 2)[1 : BANDS + 1]
    there = count > 0
    norm = float((window**2).sum()) * level**2
    noise = np.full(BANDS, sigma**2 / level**2)
    return Spectrum(
        power=(total / np.maximum(count, 1) / norm)[there],
        noise=noise[there],
        low=(edges[:-1] / known.sampling)[there],
        high=(edges[1:] / known.sampling)[there],
        waves_per_um=1 / known.um_per_wave,
    )


def _plane(grey: NDArray[np.float32]) -> NDArray[np.float64]:
    """Brightness that rises evenly across the field: a window does not hide it from the lowest band."""
    small = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float64)
    t = (np.arange(16) - 7.5) / 16
    down, across = (small * t[:, None]).sum() / 16 / (t**2).sum(), (small * t[None]).sum() / 16 / (t**2).sum()
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in grey.shape)
    sloped: NDArray[np.float64] = small.mean() + down * y[:, None] + across * x[None]
    return sloped


def read_spectrum(image: NDArray[Any], known: Calibration) -> Reading:
    """An image's spectrum, and whether there is anything in it beside noise."""
    found = spectrum_of(image, known)
    evident = found.power > EVIDENT * found.noise
    # The energy of the gradient; how much of the finest bands is noise is known no better than by half.
    gradient = np.maximum(found.power - DOUBTFUL * found.noise, 0) * (found.low * found.high) ** 2
    return Reading(spectrum=found, value=float(gradient.sum()), evidence=bool(evident.any()))


def transferred(low: Row, high: Row, waves: Row) -> Row:
    """Share of the power that defocus leaves in bands of frequency.

    Parameters
    ----------
    low, high : (K,) arrays
        Edges of the bands in NA/λ, 0 … 2.
    waves : array
        Defocus in waves at the pupil's edge.

    Returns
    -------
    array of the shape of `waves` and K
        Mean of ``(T0(s) · 2·J1(x)/x)²`` with ``x = 4π·W·s·(1 - s/2)``, 0 … 1.
    """
    t = (np.arange(SUB_BANDS) + 0.5) / SUB_BANDS
    s = np.minimum(low[:, None] + (high - low)[:, None] * t, 2.0)
    blurred = defocus_transfer(s, waves[..., None, None])
    return np.asarray(((ideal_transfer(s) * blurred) ** 2).mean(axis=-1) + STRAY, np.float64)


class Likeness:
    """How well each place explains all spectra so far.

    Parameters
    ----------
    travel : Travel
        Its limits; places a quarter of the travel beyond them are weighed too, to tell that focus is not between them.
    first : Spectrum
        Bands and optics.
    around_um : float
        Where it was taken: places farther than `FARTHEST_DOF` from there are not weighed, nothing is seen from there.
    """

    def __init__(self, travel: Travel, first: Spectrum, around_um: float) -> None:
        self._first = first
        beyond, farthest = 0.25 * (travel.high_um - travel.low_um), FARTHEST_DOF * travel.dof_um
        low = max(travel.low_um - beyond, around_um - farthest)
        high = min(travel.high_um + beyond, around_um + farthest)
        count = 3 + int((high - low) / (GRID_DOF * travel.dof_um))
        self.places_um = np.linspace(low, high, count)
        widest = max(RATES) * first.waves_per_um * (self.places_um[-1] - self.places_um[0])
        self._waves = np.concatenate([np.arange(0, min(widest, 10), 0.02), np.arange(10, widest + 1, 0.2)])
        self._log = np.log(transferred(first.low, first.high, self._waves))
        self._heights: list[float] = []
        self._power: list[Row] = []
        self.cost = np.zeros(count)

    def add(self, z_um: float, spectrum: Spectrum) -> None:
        """Weigh every place by all images, a new one among them."""
        self._heights.append(z_um)
        self._power.append(np.maximum(spectrum.power - spectrum.noise, 1e-3 * spectrum.noise))
        self.cost = np.min([self._cost(rate) for rate in RATES], axis=0)

    def _cost(self, rate: float) -> Row:
        first, power = self._first, np.stack(self._power)[:, None]
        waves = rate * first.waves_per_um * np.abs(np.array(self._heights)[:, None] - self.places_um)
        share = np.stack([np.exp(np.interp(waves, self._waves, column)) for column in self._log.T], axis=-1)
        specimen = (share * power).sum(axis=0) / (share**2).sum(axis=0)
        floor = first.noise + DYNAMIC * power.max(axis=0)
        evident = power.max(axis=0)[0] > first.noise
        off = np.log((power + floor) / (share * specimen + floor)) / MISFIT
        misfit = (np.minimum(off**2, CAP) * evident).sum(axis=(0, 2)) / 2
        return np.asarray(misfit + self._unlikely(specimen, evident) + (math.log(rate) / RATE_SPREAD) ** 2)

    def _unlikely(self, specimen: Row, evident: NDArray[np.bool_]) -> Row:
        """How unusual the specimen's own spectrum would be; (M, K) → (M,)."""
        if evident.sum() < 3:
            return np.zeros(len(specimen))
        x = np.log(np.sqrt(self._first.low * self._first.high))[evident]
        y = np.log(np.maximum(specimen[:, evident], 1e-30))
        x, y = x - x.mean(), y - y.mean(axis=1, keepdims=True)
        fall = -(x * y).sum(axis=1) / (x**2).sum()
        rough = y + fall[:, None] * x
        return np.asarray(
            ((fall - FALL) / FALL_SPREAD) ** 2 + np.minimum((rough / ROUGH) ** 2, CAP).sum(axis=1) / 2, np.float64
        )

    def first_um(self, z_um: float, *, away: int, most_um: float) -> float:
        """Where to go after one image, which hardly tells the side: away from the specimen if in doubt."""
        way = (self.places_um - z_um) * away
        sides = [self.cost + np.where((side * way >= 0) & (np.abs(way) <= most_um), 0, np.inf) for side in (1, -1)]
        chosen = sides[0] if sides[0].min() <= sides[1].min() + DOUBT else sides[1]
        return float(self.places_um[chosen.argmin()])

    @property
    def best_um(self) -> float:
        """The likeliest place, between the grid's places by a parabola."""
        k = int(self.cost.argmin())
        if not 0 < k < len(self.cost) - 1:
            return float(self.places_um[k])
        left, middle, right = self.cost[k - 1 : k + 2]
        bend = left - 2 * middle + right
        shift = 0.0 if bend <= 0 else float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))
        return float(self.places_um[k] + shift * (self.places_um[1] - self.places_um[0]))

    def range_um(self) -> tuple[float, float]:
        """Lowest and highest place that may be in focus."""
        likely = self.places_um[self.cost <= self.cost.min() + SURE]
        return float(likely[0]), float(likely[-1])


@dataclass(frozen=True)
class SpectraPolicy:
    """Go where the spectra of all images together put focus.

    Attributes
    ----------
    tolerance : float
        Distance that counts as in focus, in depths of field.
    most_images : int
        After so many the stage ends where focus is likeliest, if that is known to a few depths of field.
    """

    tolerance: float = 0.25
    most_images: int = 10
    name: str = "spectra"

    def moves(self, travel: Travel) -> Moves:
        """See `Policy.moves`."""
        seen = yield from first_sight(travel, step_um=SWEEP_DOF * travel.dof_um, blank=_blank)
        if isinstance(seen, Verdict):
            return seen
        look = seen[-1]
        likeness: Likeness | None = None
        looks: list[Look] = []
        lost: list[float] = []
        while True:
            spectrum = look.reading.spectrum
            if _blank(look):  # so far out, detail drowns in noise: as far on the other side?
                lost.append(look.z_um)
                target = travel.within(2 * looks[-1].z_um - look.z_um)
                tried = [*lost, *(other.z_um for other in looks)]
                if min(abs(target - z) for z in tried) < travel.dof_um:
                    return Verdict(False, look.z_um, "What was seen is lost: start nearer to focus.")
                look = yield Move(target, "search", "nothing to judge by on the other side")
                continue
            looks.append(look)
            assert spectrum is not None
            likeness = likeness or Likeness(travel, spectrum, look.z_um)
            likeness.add(look.z_um, spectrum)
            if self._misled(likeness, looks, travel):
                fine = self.tolerance * travel.dof_um
                return (yield from climb(looks, travel, fine_um=fine, most=2 * self.most_images))
            step = self._next(likeness, looks, travel)
            if isinstance(step, Verdict):
                return step
            look = yield step

    def _misled(self, likeness: Likeness, looks: list[Look], travel: Travel) -> bool:
        """Whether an image elsewhere is sharper than the one at the likeliest place."""
        here = abs(travel.within(likeness.best_um) - looks[-1].z_um) <= self.tolerance * travel.dof_um
        return (
            len(looks) >= LEAST_IMAGES
            and (here or len(looks) > self.most_images)
            and sharpness(looks[-1]) < ALIKE * max(map(sharpness, looks))
        )

    def _next(self, likeness: Likeness, looks: list[Look], travel: Travel) -> Move | Verdict:
        best, (low, high), dof = likeness.best_um, likeness.range_um(), travel.dof_um
        inside, here, likely = travel.within(best), looks[-1].z_um, (low - GRID_DOF * dof, high + GRID_DOF * dof)
        way = f"move by {inside - here:+.1f} µm"
        if len(looks) == 1:
            first = likeness.first_um(here, away=-travel.toward, most_um=FIRST_DOF * dof)
            first = travel.within(first if abs(first - here) > dof else here - travel.toward * dof)
            if abs(first - here) < PROBE_DOF * dof:  # no room on this side
                first = travel.within(here + travel.toward * dof)
            return Move(first, "jump", f"move by {first - here:+.1f} µm")
        beside = self._beside(inside, looks, travel)
        known = beside is None and len(looks) >= LEAST_IMAGES and max(best - low, high - best) <= KNOWN_DOF * dof
        over = len(looks) >= self.most_images
        if abs(inside - here) <= self.tolerance * dof and (known or over):
            if abs(best - inside) > dof:
                beyond = f"Focus seems to lie beyond the travel limit at {inside:.1f} µm: check the limits."
                return Verdict(False, inside, beyond, likely)
            if high - low > MOST_DOUBT_DOF * dof:
                return Verdict(False, inside, "The spectra of the images do not tell where focus is.", likely)
            return Verdict(True, here, f"The spectra of {len(looks)} images put focus here.", likely)
        if beside is None and not known and abs(inside - here) <= self.tolerance * dof:
            beside = self._farther(inside, looks, travel)
        if beside is not None and not over:
            return Move(beside, "search", f"focus lies between {low:.1f} and {high:.1f} µm")
        return Move(inside, "settle", way)

    def _farther(self, best: float, looks: list[Look], travel: Travel) -> float:
        """A place twice as far from focus as any on its side: where a little blur shows nothing, more of it does."""
        targets = []
        for side in (-1, 1):
            reach = max((side * (look.z_um - best) for look in looks), default=0.0)
            targets.append(travel.within(best + side * 2 * max(reach, PROBE_DOF * travel.dof_um)))
        return max(targets, key=lambda z: min(abs(z - look.z_um) for look in looks))

    def _beside(self, best: float, looks: list[Look], travel: Travel) -> float | None:
        """A place on that side of focus where none near it was looked at; None where both were."""
        near, off = np.array([look.z_um for look in looks]) - best, PROBE_DOF * travel.dof_um
        open_sides = []
        for side in (-1, 1):
            target = travel.within(best + side * off)
            there = (near * side > 0.3 * off) & (near * side < 2.5 * off)
            if not there.any() and abs(target - best) > 0.5 * off:
                open_sides.append(target)
        return min(open_sides, key=lambda z: abs(z - looks[-1].z_um), default=None)


def _blank(look: Look) -> bool:
    return look.reading.spectrum is None or not look.reading.evidence
