"""The Focus widget's long jobs. They run in a worker: the core is imported here, not in the main thread. No Qt."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.learned.base import FAMILY, NetworkScorer
from napari_focusstack.core.learned.defocus import DefocusScorer
from napari_focusstack.core.progress import Job, Progress, relay
from napari_focusstack.core.report import FocusReport
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.rings import with_known_rings
from napari_focusstack.widgets.focus_state import Basis, Polygons, Scored, Target
from napari_focusstack.widgets.map_views import view_of

log = logging.getLogger(__name__)

OUTLINE_PX = 768
"""Longest side of the specimen outline as it is displayed: a layer in full size would cost time at every redraw."""


@dataclass(frozen=True)
class SeriesScored:
    """A time point of a position that has just been finished."""

    time: int
    position: int
    scored: Scored


@dataclass(frozen=True)
class SeriesFailed:
    """A time point of a position that could not be scored, with the reason for the user."""

    time: int
    position: int
    reason: str


def score_places(
    stack: Stack,
    places: Sequence[tuple[int, int]],
    *,
    channel: int,
    scorer: str,
    basis: Basis,
    patch_px: int = 32,
) -> Job[int]:
    """Score several (time point, position) of a stack; each comes as the partial result `SeriesScored`.

    One of several that can't be scored comes as `SeriesFailed`, and the others go on.

    Returns
    -------
    int
        How many were scored.

    Raises
    ------
    InputError
        If none can be scored.
    """
    from napari_focusstack.core.pipeline import score_job
    from napari_focusstack.core.settings import ScoreSettings

    if not judges_one_image(scorer):
        stack.require_slices("score its focus")
    settings = ScoreSettings(scorer=scorer, specimen=basis.specimen, patch_px=patch_px)
    stack = dataclasses.replace(stack, optics=with_known_rings(stack.optics, pixel_um=stack.x_um))
    region = region_mask(basis.region, stack.plane_shape)
    reasons: list[str] = []
    for i, (time, position) in enumerate(places):
        job = score_job(stack, settings, channel=channel, time=time, position=position, region=region)
        done, total = round(1000 * i / len(places)), round(1000 * (i + 1) / len(places))
        message = f"{i + 1} of {len(places)}" if len(places) > 1 else ""
        try:
            report = yield from relay(job, done=done, total=total, message=message)
            found: SeriesScored | SeriesFailed = SeriesScored(time, position, for_display(report, basis))
        except MemoryError:
            raise
        except Exception as error:  # whatever a broken file raises: the others must not suffer
            if len(places) == 1:
                raise
            reasons.append(_reason(error))
            found = SeriesFailed(time, position, reasons[-1])
        yield Progress(total, 1000, message, found)
    if len(reasons) == len(places):
        raise InputError(reasons[0])
    return len(places) - len(reasons)


def _reason(error: Exception) -> str:
    if isinstance(error, InputError):
        return error.in_napari
    log.error("a series could not be scored", exc_info=error)
    return f"Scoring failed ({type(error).__name__}: {error}); the log has the details.".replace("\n", " ")


def judges_one_image(scorer: str) -> bool:
    """Whether a scorer has an answer without slices to compare: networks have."""
    return SCORERS[scorer].family == FAMILY


def gives_um(scorer: str) -> bool:
    """Whether a scorer gives defocus in µm, for which the microscope has to be known."""
    return isinstance(SCORERS[scorer], DefocusScorer)


def better_told(scorer: str) -> bool:
    """Whether a scorer answers better where the microscope is known, and answers elsewhere, too."""
    chosen = SCORERS[scorer]
    return isinstance(chosen, NetworkScorer) and chosen.better_told


def rests_on_optics(scorer: str) -> bool:
    """Whether another microscope makes a scorer's answers old; one that is no longer installed rests on nothing."""
    return scorer in SCORERS and (gives_um(scorer) or better_told(scorer))


def reweigh(known: Mapping[str, Scored], basis: Basis) -> Job[dict[str, Scored]]:
    """Decide anew, by `basis`, what several scorers say of a series; nothing is scored again.

    What has lost its maps stays as it is.
    """
    found: dict[str, Scored] = {}
    for name, scored in known.items():
        if scored.whole:
            found[name] = decide_by(scored, basis)
        yield Progress(len(found), len(known))
    return found


def decide_by(scored: Scored, basis: Basis) -> Scored:
    """Decide anew by `basis`."""
    from napari_focusstack.core.scoring import reweight

    region = region_mask(basis.region, scored.report.plane_shape)
    report = reweight(scored.report, region=region, specimen=basis.specimen)
    return Scored(report, basis, scored.outline, view_of(report), report.basis)


@dataclass(frozen=True, eq=False)
class Saved:
    """A table of scores that was written, what was decided anew for it, and how many could not be."""

    path: Path
    anew: list[tuple[Target, Scored]]
    otherwise: int


def save_scores(
    path: Path,
    entries: Sequence[tuple[Target, Scored | str]],
    *,
    stack: str,
    channels: Sequence[str],
    scorer: str,
    basis: Basis,
    overwrite: bool,
) -> Job[Saved]:
    """Write the scores of all series as a table, all decided by `basis` as far as their maps are still there."""
    from napari_focusstack.io.scores import ScoredPlace
    from napari_focusstack.io.write import write_scores_csv

    anew: list[tuple[Target, Scored]] = []
    places: list[ScoredPlace] = []
    otherwise = 0
    for i, (target, scored) in enumerate(entries):
        name = channels[target.channel] if channels else target.channel
        where = (stack, target.position, target.time, name)
        if isinstance(scored, str):
            places.append(ScoredPlace(None, *where, scorer=scorer, reason=scored))
        else:
            if scored.whole and scored.basis != basis:
                scored = decide_by(scored, basis)
                anew.append((target, scored))
            otherwise += scored.basis != basis
            places.append(ScoredPlace(scored.report, *where, scored.decided_by))
        yield Progress(i + 1, len(entries))
    return Saved(write_scores_csv(path, places, overwrite=overwrite), anew, otherwise)


def for_display(report: FocusReport, basis: Basis) -> Scored:
    """Work out, beside the report, what its display needs."""
    return Scored(report, basis, _contour(report.specimen), view_of(report), report.basis)


def region_mask(region: Polygons, plane_shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """(Y, X) bool, True inside any of the outlines; None without outlines.

    Raises
    ------
    InputError
        If they lie beside the image.
    """
    if not region:
        return None
    import cv2

    mask = np.zeros(plane_shape, np.uint8)
    for outline in region:
        # Sixteenths of a pixel: the outline is drawn on a screen that may show less than one.
        points = np.rint(np.asarray(outline)[:, ::-1] * 16).astype(np.int32)
        cv2.fillPoly(mask, [points], 1, shift=4)
    if not mask.any():
        raise InputError("The drawn region lies beside the image: draw it on the image.")
    return mask.astype(bool)


def _contour(mask: NDArray[np.bool_] | None) -> NDArray[np.uint8] | None:
    """The rim of a mask in small: 1 on it, 0 elsewhere."""
    if mask is None:
        return None
    import cv2

    scale = min(1.0, OUTLINE_PX / max(mask.shape))
    size = max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale))
    small = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA).reshape(size[::-1])
    inside = (small > 127).astype(np.uint8)
    rim: NDArray[np.uint8] = inside - cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1).reshape(inside.shape)
    return rim
