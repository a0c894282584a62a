"""Stack and scorer to a `FocusReport`: a map and a number per slice, and the decision."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.decision import Evidence, decide
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import noise_sigma, to_grey
from napari_focusstack.core.measures import stack_range
from napari_focusstack.core.objects import object_size
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.report import Decision, FocusReport, Map, PlaneScore
from napari_focusstack.core.scorer import Joined, PlaneContext, Scorer, SeriesScorer
from napari_focusstack.core.scorers import DEFAULT_SCORER, SCORERS
from napari_focusstack.core.slice_extras import beyond_learned, distance_extras, slice_extras
from napari_focusstack.core.specimen import Specimen, SpecimenFinder, check_region, region_weights
from napari_focusstack.core.stack import Stack

LEAST_FLICKER = 0.003
"""Changes of the exposure below this share are left alone."""


@dataclass(frozen=True)
class SliceScored:
    """A slice that has just been scored.

    Attributes
    ----------
    z : int
        The slice.
    value : float
        Its number so far: the mean over the drawn region or the whole field. The specimen is not known yet.
    """

    z: int
    value: float


def score_series(
    stack: Stack,
    *,
    scorer: str = DEFAULT_SCORER,
    patch_px: int = 32,
    specimen: bool = True,
    region: NDArray[np.bool_] | None = None,
    device: str = "auto",
) -> Job[FocusReport]:
    """Score one series of a stack as a job.

    Slices are read one after the other; none is kept.

    Parameters
    ----------
    stack : Stack
        One channel, time and position: axes ZYX or ZYXS; a single plane (YX or YXS) has a value, but no best slice.
    scorer : str
        Name in `SCORERS`.
    patch_px : int
        Size of the patches of the focus maps in pixels.
    specimen : bool
        Whether the specimen decides (where one is found), or the whole field evenly.
    region : (Y, X) bool, optional
        Region drawn by hand; decides in the specimen's stead.
    device : str
        Where a network computes, see `DeviceChoice`.

    Yields
    ------
    Progress
        One a slice, with ``partial=SliceScored(z, value)``.

    Returns
    -------
    FocusReport

    Raises
    ------
    InputError
        If there is no such scorer, it lacks what it needs, the stack has other axes, or the region doesn't fit.
    """
    chosen = SCORERS[scorer]
    if set("PTC") & set(stack.axes):
        raise InputError(f"'{stack.name}' has axes {stack.axes}: choose one channel, time point and position of it.")
    if patch_px < 4:
        raise InputError(f"Patches of {patch_px} pixels were asked for: give 4 or more.")
    if region is not None:
        region = check_region(region, stack.plane_shape)
    context = yield from _context(stack, chosen, patch_px, device)
    finder = SpecimenFinder(stack.plane_shape, stack.n_slices)
    scores: list[PlaneScore] = []
    drawn: Map | None = None
    n = stack.n_slices
    for z, plane in enumerate(stack.planes()):
        score = chosen.score_plane(plane, context=context)
        finder.add(to_grey(plane))
        scores.append(score)
        if region is not None and drawn is None:
            drawn = region_weights(region, score.grid)
        value = float(np.average(score.map, weights=drawn))
        yield Progress(z + 1, n, f"Scored slice {z} of '{stack.name}'", SliceScored(z, value))
    report = _undecided(stack, chosen, scores, finder.find())
    caution = chosen.caution(context) if isinstance(chosen, SeriesScorer) else ""
    if caution:
        report = dataclasses.replace(report, notes={**report.notes, "caution": caution})
    return reweight(report, region=region, specimen=specimen)


def _undecided(stack: Stack, chosen: Scorer, scores: list[PlaneScore], found: Specimen) -> FocusReport:
    """What the planes' scores say together; nothing weighs them and nothing is decided yet."""
    joined = _joined(chosen, scores, found.exposure, stack.heights_um)
    grid = scores[0].grid
    curves = joined.maps if joined.curve_maps is None else joined.curve_maps
    return FocusReport(
        scorer=chosen.name,
        units=chosen.units,
        values=np.empty(0),
        maps=joined.maps,
        weights=np.ones(grid.shape, np.float32),
        grid=grid,
        decision=Decision(None, None, None, 0.0, None, (), ""),
        heights_um=stack.heights_um,
        layers=joined.layers,
        plane_values=_plane_values(scores, _exposure_factor(found.exposure, chosen.gain_exponent)),
        plane_shape=stack.plane_shape,
        specimen=found.drawn,
        specimen_weights=found.weights(curves, grid, stack.plane_shape),
        views=found.views,
        curve_maps=joined.curve_maps,
        evidence=joined.evidence,
        notes=joined.notes,
        distributions=joined.distributions,
    )


def _context(stack: Stack, scorer: Scorer, patch_px: int, device: str) -> Job[PlaneContext]:
    """What the scorer is told of the stack; a few slices are read beforehand for those that need it."""
    context = PlaneContext(patch_px=patch_px, pixel_um=stack.x_um, optics=stack.optics, device=device)
    n = stack.n_slices
    if isinstance(scorer, SeriesScorer):
        scorer.check(context)
        yield Progress(0, n, f"Loading {scorer.title}")
        scorer.get_ready(context)
        yield Progress(0, n, f"Loaded {scorer.title}")
    if not {"value_range", "noise", "object_px"} & set(scorer.needs):
        return context
    ranges, noises, sizes = [], [], []
    for z in sorted({0, n // 4, n // 2, 3 * n // 4, n - 1}):
        plane = stack.plane(z)
        ranges.append(stack_range([plane]))
        noises.append(noise_sigma(plane))
        sizes.append(object_size(to_grey(plane)) if "object_px" in scorer.needs else None)
        yield Progress(0, n, f"Looked at slice {z} of '{stack.name}'")
    lows, highs = zip(*ranges, strict=True)
    known = [size for size in sizes if size is not None]
    object_px = float(np.median(known)) if known else None
    return dataclasses.replace(context, value_range=(min(lows), max(highs)), noise=min(noises), object_px=object_px)


def _joined(
    scorer: Scorer,
    scores: list[PlaneScore],
    exposure: NDArray[np.float64],
    heights_um: NDArray[np.float64] | None,
) -> Joined:
    """All slices put together, flicker taken out."""
    if isinstance(scorer, SeriesScorer):
        return scorer.join(scores, exposure=_exposure_factor(exposure, 1.0), heights_um=heights_um)
    factor = _exposure_factor(exposure, scorer.gain_exponent)
    maps = np.stack([s.map / e for s, e in zip(scores, factor, strict=True)]).astype(np.float32, copy=False)
    return Joined(maps, {key: np.stack([s.layers[key] for s in scores]) for key in scores[0].layers})


def reweight(report: FocusReport, *, region: NDArray[np.bool_] | None = None, specimen: bool = True) -> FocusReport:
    """Decide anew on the same maps.

    Parameters
    ----------
    report : FocusReport
        Scores of a series.
    region : (Y, X) bool, optional
        Region drawn by hand; decides in the specimen's stead.
    specimen : bool
        Without a region: whether the specimen decides (where one was found), or the whole field evenly.

    Returns
    -------
    FocusReport

    Raises
    ------
    InputError
        If the region has another shape than the slices, or holds none of their pixels.
    """
    anything: bool | None = None
    subject = "the image"
    if region is not None:
        region = check_region(region, report.plane_shape)
        weights, subject = region_weights(region, report.grid), "the drawn region"
    elif specimen and report.specimen_weights is not None:
        weights, anything, subject = report.specimen_weights, True, "the specimen"
    else:
        weights = np.ones(report.grid.shape, np.float32)
    if report.evidence is not None:
        judged = weights * report.evidence
        weights, anything = (judged, anything) if judged.any() else (weights, False)
    maps = report.maps if report.curve_maps is None else report.curve_maps
    even = bool((weights == weights.flat[0]).all())
    if even and report.plane_values is not None:
        values = report.plane_values
    else:
        values = np.average(maps.reshape(len(maps), -1), axis=1, weights=weights.ravel()).astype(np.float64)
    evidence = Evidence(maps, weights, report.views, anything, subject)
    decision = decide(values, heights_um=report.heights_um, evidence=evidence)
    extras = {**report.notes, **slice_extras(report.maps, report.layers, weights)}
    extras |= beyond_learned(extras, report.heights_um)
    if report.distributions is not None:
        extras |= distance_extras(report.distributions, weights, heights_um=report.heights_um)
        if len(values) > 1 and all(found is None for found in extras["classes"]):
            # The curve of such answers is a guess, however well the patches agree in it.
            decision = Decision(None, None, None, 0.0, None, (), "The network has nothing to judge by on any slice.")
    return dataclasses.replace(report, values=values, weights=weights, region=region, decision=decision, extras=extras)


def curve(report: FocusReport, region: NDArray[np.bool_]) -> tuple[NDArray[np.float64], Decision]:
    """Curve (Z,) and decision of one region, (Y, X) bool, of a scored series."""
    there = reweight(report, region=region)
    return there.values, there.decision


def _exposure_factor(exposure: NDArray[np.float64], exponent: float | None) -> NDArray[np.float32]:
    """What flicker between the slices did to a scorer's values; ones where there is none to speak of."""
    if not exponent or np.abs(exposure - 1).max() < LEAST_FLICKER:
        return np.ones(len(exposure), np.float32)
    return (exposure**exponent).astype(np.float32)


def _plane_values(scores: list[PlaneScore], exposure: NDArray[np.float32]) -> NDArray[np.float64] | None:
    given = [s.value / e for s, e in zip(scores, exposure, strict=True) if s.value is not None]
    return np.asarray(given, np.float64) if len(given) == len(scores) else None
