"""What the Focus widget shows, as values: compared with the last ones, they tell what must be done anew. No Qt."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.report import FocusReport
from napari_focusstack.widgets.map_views import MapView, slice_text

KEPT_BYTES = 512 * 2**20
"""Room for the maps and views of scored series: about a hundred series of 20 slices of 1024² pixels."""

Polygons = tuple[tuple[tuple[float, float], ...], ...]
"""Drawn outlines in (y, x) pixels of the image."""


@dataclass(frozen=True)
class Target:
    """Which series is looked at.

    Attributes
    ----------
    layer : str
        The layer's `identity`.
    data : int
        Which of the arrays it is that the layer has held.
    channel, time, position : int
        Channel, time point and position.
    """

    layer: str
    data: int = 0
    channel: int = 0
    time: int = 0
    position: int = 0


@dataclass(frozen=True)
class Basis:
    """What decides: the specimen, the whole image, or outlines drawn by hand."""

    specimen: bool = True
    region: Polygons = ()


SPECIMEN = Basis()
WHOLE = Basis(specimen=False)


@dataclass(frozen=True, eq=False)
class Scored:
    """A report with what the display needs of it.

    Attributes
    ----------
    report : FocusReport
        Decided by `basis`.
    basis : Basis or None
        What decided; None where it must be decided anew.
    outline : (y, x) uint8 array or None
        The rim of the specimen in small, for display: 1 on it.
    view : MapView
        What the focus map shows.
    decided_by : str
        What decided in the end, in words: `FocusReport.basis`.
    whole : bool
        Whether maps and views are still there: without them there is no focus map, and nothing can be decided anew.
    """

    report: FocusReport
    basis: Basis | None
    outline: NDArray[np.uint8] | None
    view: MapView
    decided_by: str = ""
    whole: bool = True

    @property
    def nbytes(self) -> int:
        """Memory that maps, views and masks take."""
        report = self.report
        maps = (report.maps, report.curve_maps, report.distributions, self.view.data, *report.layers.values())
        arrays = (*maps, report.views, report.specimen, report.region, self.outline)
        # What is shown may be one of the maps: it counts once.
        return sum(a.nbytes for a in {id(a): a for a in arrays if a is not None}.values())

    def curve_alone(self) -> Scored:
        """The curve and the decision without maps and views."""
        none = np.empty((0, 0, 0), np.float32)
        report = dataclasses.replace(
            self.report,
            maps=none,
            curve_maps=None,
            views=None,
            layers={},
            specimen=None,
            region=None,
            distributions=None,
        )
        view = dataclasses.replace(self.view, data=none)
        return dataclasses.replace(self, report=report, outline=None, view=view, whole=False)

    def at_heights(self, heights_um: NDArray[np.float64] | None) -> Scored:
        """The same with the slices at other heights, to be decided anew where it can be."""
        report = dataclasses.replace(self.report, heights_um=heights_um)
        if self.whole:
            return dataclasses.replace(self, report=report, basis=None)
        peak, height = report.decision.peak, None
        if peak is not None and heights_um is not None:
            height = float(np.interp(peak, np.arange(len(heights_um)), heights_um))
        return dataclasses.replace(
            self, report=dataclasses.replace(report, decision=dataclasses.replace(report.decision, peak_um=height))
        )


@dataclass(frozen=True)
class View:
    """All that decides what is drawn. Equal views look the same."""

    target: Target | None
    scorer: str
    basis: Basis


class ScoredSeries:
    """What was scored, by target and scorer. Curves and decisions stay; maps and views go where they become too many.

    Parameters
    ----------
    limit_bytes : int
        Room for maps and views: the least recently used go first.
    """

    def __init__(self, *, limit_bytes: int = KEPT_BYTES) -> None:
        self._limit = limit_bytes
        self._kept: dict[Target, dict[str, Scored]] = {}
        self._failed: dict[tuple[Target, str], str] = {}
        self._whole: OrderedDict[tuple[Target, str], int] = OrderedDict()
        self._microscopes: dict[str, object] = {}

    def put(self, target: Target, scored: Scored) -> None:
        """Remember what was scored."""
        name = scored.report.scorer
        known = self._kept.setdefault(target, {})
        known.pop(name, None)  # the latest last
        known[name] = scored
        self._failed.pop((target, name), None)
        self._whole.pop((target, name), None)
        if scored.whole:
            self._whole[target, name] = scored.nbytes
        while len(self._whole) > 1 and sum(self._whole.values()) > self._limit:
            (old, scorer), _ = self._whole.popitem(last=False)
            self._kept[old][scorer] = self._kept[old][scorer].curve_alone()

    def fail(self, target: Target, scorer: str, reason: str) -> None:
        """Remember why a series could not be scored."""
        self._kept.get(target, {}).pop(scorer, None)
        self._whole.pop((target, scorer), None)
        self._failed[target, scorer] = reason

    def of(self, target: Target | None) -> dict[str, Scored]:
        """Everything known of a target, by scorer; the latest last."""
        if target is None:
            return {}
        known = self._kept.get(target, {})
        for name in known:
            if (target, name) in self._whole:
                self._whole.move_to_end((target, name))
        return dict(known)

    def failure(self, target: Target | None, scorer: str) -> str:
        """Why a series could not be scored; empty where it could, or was not tried."""
        return "" if target is None else self._failed.get((target, scorer), "")

    def beside(self, target: Target, scorer: str) -> list[tuple[Target, Scored | str]]:
        """Every channel, position and time point of a target's layer that was scored by `scorer`, in order.

        A series that could not be scored comes with the reason in the place of its scores.
        """
        found: list[tuple[Target, Scored | str]] = [
            (t, known[scorer]) for t, known in self._kept.items() if scorer in known
        ]
        found += [(t, reason) for (t, name), reason in self._failed.items() if name == scorer]
        pixels = target.layer, target.data
        return sorted([(t, s) for t, s in found if (t.layer, t.data) == pixels], key=_by_place)

    def recalibrate(self, layer: str, heights_um: NDArray[np.float64] | None) -> None:
        """Take note that the slices of a layer lie at other heights: the values stay, decisions are made anew."""
        for target, known in self._kept.items():
            if target.layer == layer:
                for name, scored in known.items():
                    if not _alike(scored.report.heights_um, heights_um):
                        known[name] = scored.at_heights(heights_um)

    def note_microscope(self, layer: str, microscope: object, *, resting: Callable[[str], bool]) -> bool:
        """Forget what scorers that rest on the microscope said of a layer where it is another one than before.

        Gives whether it is.
        """
        if self._microscopes.setdefault(layer, microscope) == microscope:
            return False
        self._microscopes[layer] = microscope
        for target, known in self._kept.items():
            if target.layer == layer:
                for name in [n for n, s in known.items() if "defocus_um" in s.report.extras or resting(n)]:
                    del known[name]
                    self._whole.pop((target, name), None)
        return True

    def drop(self, layer: str) -> None:
        """Forget a layer."""
        self._kept = {t: known for t, known in self._kept.items() if t.layer != layer}
        self._failed = {k: reason for k, reason in self._failed.items() if k[0].layer != layer}
        for key in [k for k in self._whole if k[0].layer == layer]:
            del self._whole[key]


def _alike(a: NDArray[np.float64] | None, b: NDArray[np.float64] | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def _by_place(item: tuple[Target, Any]) -> tuple[int, int, int]:
    return item[0].channel, item[0].position, item[0].time


INDEX_LABEL = "distance index"


def distance_index(report: FocusReport) -> NDArray[np.float64] | None:
    """(Z,) distance index of the slices, NaN where there is nothing to judge by; None of scorers that have none."""
    told = report.extras.get("distance_index")
    return None if told is None else np.array([np.nan if v is None else v for v in told])


def height_text(report: FocusReport, z: int) -> str:
    """Height of a slice, ``"1003 µm"``; empty where not known."""
    if report.heights_um is None:
        return ""
    return micrometres(float(report.heights_um[z]), step=_step(report.heights_um))


def micrometres(value: float, *, step: float = 1.0) -> str:
    """A height with as many digits as steps of `step` µm need."""
    digits = 0 if step >= 10 else 1 if step >= 1 else 2 if step >= 0.1 else 3
    return f"{value:.{digits}f} µm"


def verdict(scored: Scored) -> tuple[str, str]:
    """What was found: a sentence, and a second one with what else one should know (may be empty; no cautions)."""
    report = scored.report
    decision = report.decision
    if len(report.values) == 1 and slice_text(report, 0):
        return slice_text(report, 0).replace("Slice 0", "This image"), ""
    if decision.best is None or decision.good is None:
        index = distance_index(report)
        judged = index is None or bool(np.isfinite(index).any())
        return decision.reason, slice_text(report, int(report.values.argmax())) if judged else ""
    height = height_text(report, decision.best)
    first, last = decision.good
    beside = f"; {first}–{last} about as good" if last > first else ""
    said = f"Best slice {decision.best}{f' (z {height})' if height else ''}, certain {decision.confidence:.2f}{beside}."
    notable = len(decision.peaks) > 1 or decision.best in (0, len(report.values) - 1) or decision.confidence < 0.5
    # The first sentence of the reason names the best slice again; what follows it is news.
    news = decision.reason if notable else decision.reason.partition(". ")[2]
    more = [news] if news else []
    if slice_text(report, decision.best):
        more.append(slice_text(report, decision.best))
    basis = scored.basis or SPECIMEN
    if basis.region:
        more.append("Decided by the drawn region.")
    elif scored.decided_by == "specimen":
        more.append("Curve and best slice are of the specimen alone.")
    elif basis.specimen and report.specimen is None and scored.decided_by == "whole image":
        more.append("No specimen stands out in it, so Specimen looks at the whole image.")
    if not scored.whole:
        more.append("Its maps made room for those of other stacks: score it again to see them, or to look elsewhere.")
    return said, " ".join(more)


def _step(heights: NDArray[np.float64]) -> float:
    return float(np.abs(np.diff(heights)).min()) if len(heights) > 1 else 1.0
