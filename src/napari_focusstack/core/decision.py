"""From a curve of focus values over z to a decision: best slice, sub-slice peak, confidence, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from napari_focusstack.core.few_slices import Places, places
from napari_focusstack.core.report import Decision, Map

Curve = NDArray[np.float64]

RESAMPLES = 400
BLOCKS_PER_SIDE = 8
GOOD_DROP = 0.1
"""A slice is about as good as the best if it lost less than this share of the peak's height over the curve's floor."""
SECOND_PEAK = 0.15
"""A second maximum counts if the dip before it is this share of the curve's height, or deeper."""
FAINT_PEAK = 0.04
"""The same where contrast inverts between the two."""
INVERTED = -0.25
"""Correlation of two slices below which their contrast counts as inverted."""
BOTH_MAXIMA = 0.9
"""Share of what counts that has to be sharper at both maxima than between them, for these to be one object's two."""
FEW_SLICES = 5
MENTIONED = 0.25
"""Share of the specimen that is sharpest on other slices, from which on the reason tells."""
WAY_OUT = "The focus map shows where; fusing brings all of it together in one image."
COMPARED_PX = 128
"""Longest side of the slices in small that are compared, in pixels."""
LOOKED_AT = 24
"""Slices that are compared with the best one to see whether contrast inverts."""
TURN_TRUST = 0.5
"""Factor on the confidence of a peak to one side of a slice about which contrast inverts."""
EDGE_TRUST = 0.5
"""Factor on the confidence of a peak on the first or last slice: the true one may lie beyond."""


@dataclass(frozen=True)
class Evidence:
    """What a curve was made of: tells how far to trust it.

    Attributes
    ----------
    maps : (Z, gy, gx) float32
        Focus value of each patch.
    weights : (gy, gx) float32
        How much each patch counts in the curve.
    views : (Z, vy, vx) or None
        Slices in small.
    anything : bool or None
        Whether there is anything to judge by: a specimen that stands out, or nothing that the scorer finds on any
        slice; None where neither is known.
    subject : str
        What the weights are of, for the reason: ``"the specimen"``, ``"the drawn region"``, ``"the image"``.
    """

    maps: Map
    weights: Map
    views: NDArray[np.float16] | None = None
    anything: bool | None = None
    subject: str = "the image"


def decide(values: Curve, *, heights_um: Curve | None = None, evidence: Evidence | None = None) -> Decision:
    """Find the best slice of a curve.

    Parameters
    ----------
    values : (Z,)
        Focus value of each slice, higher is sharper.
    heights_um : (Z,), optional
        Height of each slice in µm; steps may be uneven.
    evidence : Evidence, optional
        The patches that the curve is the mean of. Without them, confidence rests on the curve's own scatter.

    Returns
    -------
    Decision
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    if n == 1:
        alone = "One plane alone has no curve to compare on; networks, such as mmdf, judge single images."
        return Decision(None, None, None, 0.0, None, (), alone)
    told = places(evidence.maps, evidence.weights) if evidence is not None and n < FEW_SLICES else None
    height = float(np.ptp(values))
    scatter = _scatter(values, evidence)
    best = int(values.argmax())
    same = height <= 1e-9 * float(np.abs(values).max())
    rises = not same and float(values[best] - np.quantile(values, 0.25)) >= _noise_maximum(n) * scatter
    blank = told is not None and evidence is not None and evidence.anything is False
    if blank or (not rises and (told is None or not told.shares)):
        return Decision(None, None, None, 0.0, None, (), _nothing(n, same, evidence, told))
    peaks = _peaks(values, max(FAINT_PEAK * height, 4 * scatter))
    inverted = unlike = False
    if len(peaks) == 2 and evidence is not None:
        dip = peaks[0] + 1 + int(values[peaks[0] + 1 : peaks[1]].argmin())
        unlike = bool(_correlations(evidence, peaks[0], peaks[1:])[0] < INVERTED)
        inverted = unlike and _both_maxima(evidence, peaks, dip) >= BOTH_MAXIMA
    if inverted:
        best = dip
    else:
        peaks = _peaks(values, max(SECOND_PEAK * height, 4 * scatter))
    confidence = _agreement(values, best, scatter, evidence, peaks if inverted else None)
    turn = None if unlike or evidence is None else _turn(evidence, best)
    if turn is not None:
        confidence *= TURN_TRUST
    if best in (0, n - 1):
        confidence *= EDGE_TRUST
    signed = -values if inverted else values
    good = _good(signed, best, scatter)
    reason = _reason(best, n, peaks, inverted, turn, confidence)
    elsewhere = None if inverted or turn is not None or evidence is None else _elsewhere(evidence, good)
    if evidence is not None:
        if told is not None and told.shares and (not rises or 1 - told.shares[best] >= MENTIONED):
            reason = _different_places(told.shares, best, evidence.subject)
        elif elsewhere is not None:
            reason += _other_slices(*elsewhere, evidence.subject)
    return Decision(
        best=best,
        peak=peak_height(signed, best, np.arange(n, dtype=np.float64)),
        peak_um=None if heights_um is None else peak_height(signed, best, heights_um),
        confidence=round(confidence, 4),
        good=good,
        peaks=peaks,
        reason=reason,
    )


def peak_height(values: Curve, best: int, heights: Curve) -> float:
    """Height of the peak around slice `best`: that of the Gaussian through it and its neighbours.

    Parameters
    ----------
    values : (Z,)
        Focus values.
    best : int
        A slice with a maximum. On the first or last slice the peak is that slice's own height.
    heights : (Z,)
        Height of each slice, in any unit; the steps may be uneven.

    Returns
    -------
    float
        Within half a step of the slice.

    Notes
    -----
    A Gaussian is a parabola in the logarithm, taken here above a floor a little below the curve's lowest value
    (a plain parabola errs twice as far at narrow peaks). With Newton's divided differences
    ``s1 = (v1 - v0) / (h1 - h0)``, ``s2 = (v2 - v1) / (h2 - h1)`` and ``c = (s2 - s1) / (h2 - h0)`` of the logarithms
    the vertex is ``(h0 + h1) / 2 - s1 / (2 c)``.
    """
    if best in (0, len(values) - 1):
        return float(heights[best])
    h0, h1, h2 = (float(h) for h in heights[best - 1 : best + 2])
    floor = float(values.min()) - 0.05 * float(np.ptp(values))
    v0, v1, v2 = (float(np.log(max(v - floor, 1e-300))) for v in values[best - 1 : best + 2])
    if len({h0, h1, h2}) < 3:
        return h1
    s1, s2 = (v1 - v0) / (h1 - h0), (v2 - v1) / (h2 - h1)
    curvature = (s2 - s1) / (h2 - h0)
    if curvature >= 0:
        return h1
    vertex = (h0 + h1) / 2 - s1 / (2 * curvature)
    lo, hi = sorted(((h0 + h1) / 2, (h1 + h2) / 2))
    return float(min(max(vertex, lo), hi))


def _noise_maximum(n: int) -> float:
    """How many standard deviations the maximum of `n` noisy values may stand above their lower quartile."""
    return float(np.sqrt(2 * np.log(n)) + 0.67 + 1.0)


def _scatter(values: Curve, evidence: Evidence | None) -> float:
    """Standard deviation of a value of the curve by noise that differs from slice to slice."""
    if evidence is None:
        return float(_roughness(values[:, None])[0])
    if len(values) < FEW_SLICES:
        return _disagreement(values, evidence)
    weights = evidence.weights.ravel().astype(np.float64)
    used = weights > 0
    each = _roughness(evidence.maps.reshape(len(values), -1)[:, used].astype(np.float64))
    return float(np.sqrt(np.sum((weights[used] * each) ** 2)) / weights[used].sum())


def _disagreement(values: Curve, evidence: Evidence) -> float:
    """Standard error of a value from how much the blocks disagree on the highest and lowest slice's difference.

    Too few slices leave no roughness to see noise by.
    """
    sums, weights = _blocks(evidence)
    if len(weights) < 2:
        return 0.0
    high, low = values.argmax(), values.argmin()
    differences = sums[:, high] - sums[:, low] - weights * (values[high] - values[low])
    error = np.sqrt(np.sum(differences**2) * len(weights) / (len(weights) - 1)) / weights.sum()
    return float(error / np.sqrt(2))


def _roughness(curves: Curve) -> Curve:
    """(P,) noise of (Z, P) curves: median absolute second difference, which a smooth curve leaves near zero."""
    if len(curves) < 3:
        return np.zeros(curves.shape[1])
    second = curves[2:] - 2 * curves[1:-1] + curves[:-2]
    noise: Curve = np.median(np.abs(second), axis=0) / (0.6745 * np.sqrt(6))
    return noise


def _peaks(values: Curve, prominence: float) -> tuple[int, ...]:
    """The highest maximum, and the highest other one that a dip of `prominence` parts from it; in order of z."""
    padded = np.pad(values, 1, constant_values=values.min() - 2 * np.ptp(values))
    found = find_peaks(padded, prominence=prominence)[0] - 1
    highest = sorted(found, key=lambda z: -values[z])[:2]
    return tuple(sorted(int(z) for z in highest)) or (int(values.argmax()),)


def _correlations(evidence: Evidence, z: int, others: Sequence[int]) -> Curve:
    """Correlation of the detail of slice `z` with that of `others` where it counts: negative if contrast inverts."""
    if evidence.views is None:
        return np.ones(len(others))
    views = evidence.views
    side = max(views.shape[1:])
    scale = min(1.0, COMPARED_PX / side)
    shape = max(1, round(views.shape[2] * scale)), max(1, round(views.shape[1] * scale))
    root = np.sqrt(cv2.resize(evidence.weights, shape, interpolation=cv2.INTER_NEAREST)).ravel()

    def detail(k: int) -> NDArray[np.float32]:
        small = cv2.resize(views[k].astype(np.float32), shape, interpolation=cv2.INTER_AREA)
        fine = (small - cv2.GaussianBlur(small, (0, 0), max(shape) / 32)).ravel() * root
        length = float(np.linalg.norm(fine))
        return np.asarray(fine / length if length > 0 else fine, np.float32)

    reference = detail(z)
    return np.array([float(reference @ detail(k)) for k in others])


def _both_maxima(evidence: Evidence, peaks: tuple[int, ...], dip: int) -> float:
    """Share of what counts that is sharper at both maxima than at the dip between them.

    All of a phase object is. Of two objects at different heights, each has its own maximum and loses towards the other,
    however unlike the two look.
    """
    sums, weights = _blocks(evidence)
    both = sums[:, peaks].min(axis=1) > sums[:, dip]
    return float(weights[both].sum() / weights.sum())


def _turn(evidence: Evidence, best: int) -> int | None:
    """The slice about which contrast inverts against `best`, the nearest there is; None where it does not."""
    n = len(evidence.maps)
    others = np.unique(np.linspace(0, n - 1, min(n, LOOKED_AT)).round().astype(int))
    turned = others[_correlations(evidence, best, others.tolist()) < INVERTED]
    if not turned.size:
        return None
    nearest = int(turned[np.abs(turned - best).argmin()])
    between = range(min(best, nearest), max(best, nearest) + 1)
    return between[int(np.abs(_correlations(evidence, best, between)).argmin())]


def _blocks(evidence: Evidence) -> tuple[Curve, Curve]:
    """(B, Z) weighted sums and (B,) weights of blocks of neighbouring patches that count."""
    z, gy, gx = evidence.maps.shape
    rows = np.arange(gy) * min(gy, BLOCKS_PER_SIDE) // gy
    cols = np.arange(gx) * min(gx, BLOCKS_PER_SIDE) // gx
    label = (rows[:, None] * BLOCKS_PER_SIDE + cols).ravel()
    weights = evidence.weights.ravel().astype(np.float64)
    member = np.zeros((BLOCKS_PER_SIDE**2, weights.size))
    member[label, np.arange(weights.size)] = weights
    member = member[member.sum(1) > 0]
    return member @ evidence.maps.reshape(z, -1).T.astype(np.float64), member.sum(1)


def _agreement(
    values: Curve, best: int, scatter: float, evidence: Evidence | None, between: tuple[int, ...] | None
) -> float:
    """Share of resamples of the patches, noise added, that put the best slice within one slice of `best`."""
    n = len(values)
    random = np.random.default_rng(0)
    curves = np.broadcast_to(values, (RESAMPLES, n))
    if evidence is not None:
        sums, weights = _blocks(evidence)
        if len(weights) > 1:
            counts = random.multinomial(len(weights), np.full(len(weights), 1 / len(weights)), RESAMPLES)
            curves = (counts @ sums) / (counts @ weights)[:, None]
    curves = curves + random.normal(0, scatter, (RESAMPLES, n))
    if between is not None:
        a, b = between
        found = a + 1 + curves[:, a + 1 : b].argmin(axis=1)
    else:
        found = curves.argmax(axis=1)
    reach = 1 if n >= FEW_SLICES else 0
    return float(np.mean(np.abs(found - best) <= reach))


def _good(values: Curve, best: int, scatter: float) -> tuple[int, int]:
    """First and last of the neighbouring slices that lost little against `best`."""
    top = values[best]
    least = top - max(GOOD_DROP * (top - values.min()), scatter)
    first = last = best
    while first > 0 and values[first - 1] >= least:
        first -= 1
    while last < len(values) - 1 and values[last + 1] >= least:
        last += 1
    return first, last


def _elsewhere(evidence: Evidence, good: tuple[int, int]) -> tuple[float, int, float] | None:
    """Share of the weight whose own best slice is off the good ones, the slice that has most of it, and how much.

    None if little is.
    """
    n = len(evidence.maps)
    if n < FEW_SLICES:
        return None
    maps = evidence.maps.reshape(n, -1).astype(np.float64)
    weights = evidence.weights.ravel() * (np.ptp(maps, axis=0) > _noise_maximum(n) * 2 * _roughness(maps))
    share = np.bincount(maps.argmax(axis=0), weights=weights, minlength=n)
    total = share.sum()
    share[max(0, good[0] - 1) : good[1] + 2] = 0
    off = float(share.sum() / total) if total > 0 else 0.0
    return (off, int(share.argmax()), float(share.max() / total)) if off >= MENTIONED else None


def _nothing(n: int, same: bool, evidence: Evidence | None, told: Places | None) -> str:
    """Why there is no best slice."""
    if told is None or evidence is None:
        flat = "all slices score the same" if same else "the curve rises no further than its own noise does"
        return f"No slice is in focus: {flat}."
    if evidence.anything is False or (evidence.anything is None and told.empty):
        return f"No slice is in focus: nothing stands out of the noise on any of the {n}."
    return f"The {n} slices score alike: so few can't tell whether all of them are in focus, or none is."


def _different_places(shares: tuple[float, ...], best: int, subject: str) -> str:
    """Tell which slice is the sharpest on how much."""
    each = ", ".join(f"slice {z} on {100 * share:.0f} %" for z, share in enumerate(shares))
    found = f"Different places are sharpest on different slices ({each} of {subject}); slice {best} is so on the whole."
    return f"{found} {WAY_OUT}"


def _other_slices(off: float, z: int, there: float, subject: str) -> str:
    """Tell how much is sharpest on other slices than the good ones, and on which."""
    on = f"{100 * there:.0f} % on slice {z} alone"
    return f" But {100 * off:.0f} % of {subject} is sharpest on other slices ({on}). {WAY_OUT}"


def _reason(best: int, n: int, peaks: tuple[int, ...], inverted: bool, turn: int | None, confidence: float) -> str:
    """What was found, in a sentence."""
    if inverted:
        return (
            f"Sharpness has two maxima, at slices {peaks[0]} and {peaks[1]}, between which contrast inverts (a phase "
            f"object): focus lies at the minimum between them, slice {best}."
        )
    beyond = ""
    if best in (0, n - 1):
        rises, end = ("falls from", "first") if best == 0 else ("still rises at", "last")
        beyond = f", but the curve {rises} the {end} slice: focus may lie beyond"
    if turn is not None:
        return (
            f"Slice {best} is the sharpest{beyond}; contrast inverts about slice {turn} (a phase object): see whether "
            "focus lies there."
        )
    if len(peaks) == 2:
        other = peaks[0] if best == peaks[1] else peaks[1]
        return f"Objects at two depths: slice {best} is the stronger maximum, slice {other} the other{beyond}."
    if beyond:
        return f"Slice {best} is the sharpest{beyond}."
    trust = "stands out clearly" if confidence >= 0.8 else "stands out" if confidence >= 0.5 else "hardly stands out"
    return f"Slice {best} is the sharpest: its peak {trust}."
