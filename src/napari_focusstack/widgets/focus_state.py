"""What the Focus widget shows, as values: compared with the last ones, they tell what must be done anew. No Qt."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.report import FocusReport
from napari_focusstack.widgets.map_views import MapView, slice_text

KEPT_SERIES = 300
"""Scored series that are remembered; an hour of clicking through stacks fits, and memory stays bounded."""

Polygons = tuple[tuple[tuple[float, float], ...], ...]
"""Drawn outlines in (y, x) pixels of the image."""


@dataclass(frozen=True)
class Target:
    """Which series is looked at: a layer with the data it holds now, a channel, time point and position."""

    layer: int
    data: int
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


@dataclass(frozen=True)
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
    """

    report: FocusReport
    basis: Basis | None
    outline: NDArray[np.uint8] | None
    view: MapView


@dataclass(frozen=True)
class View:
    """All that decides what is drawn. Equal views look the same."""

    target: Target | None
    scorer: str
    basis: Basis


class ScoredSeries:
    """What was scored, by target and scorer; the least recently used goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Target, str], Scored] = OrderedDict()

    def put(self, target: Target, scored: Scored) -> None:
        """Remember what was scored."""
        key = target, scored.report.scorer
        self._kept[key] = scored
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_SERIES:
            self._kept.popitem(last=False)

    def of(self, target: Target | None) -> dict[str, Scored]:
        """Everything known of a target, by scorer; the latest last."""
        return {scorer: scored for (t, scorer), scored in self._kept.items() if t == target}

    def of_layer(self, layer: int, scorer: str) -> list[tuple[Target, Scored]]:
        """Every time point and position of a layer that was scored by `scorer`, in order."""
        found = [(t, s) for (t, name), s in self._kept.items() if t.layer == layer and name == scorer]
        return sorted(found, key=_by_place)

    def recalibrate(self, layer: int, heights_um: NDArray[np.float64] | None) -> None:
        """Take note that the slices of a layer lie at other heights: the values stay, decisions are made anew.

        Defocus in µm does not stay: it rests on the pixel size.
        """
        self.drop_defocus(layer)
        for key, scored in self._kept.items():
            if key[0].layer == layer:
                report = dataclasses.replace(scored.report, heights_um=heights_um)
                self._kept[key] = dataclasses.replace(scored, report=report, basis=None)

    def drop_defocus(self, layer: int) -> None:
        """Forget defocus in µm of a layer: its microscope has turned out to be another."""
        for key, scored in list(self._kept.items()):
            if key[0].layer == layer and "defocus_um" in scored.report.layers:
                del self._kept[key]

    def drop(self, layer: int) -> None:
        """Forget a layer."""
        for key in [k for k in self._kept if k[0].layer == layer]:
            del self._kept[key]


def _by_place(item: tuple[Target, Any]) -> tuple[int, int, int]:
    return item[0].channel, item[0].position, item[0].time


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
    """What was found: a sentence, and a second one with what else one should know (may be empty)."""
    report = scored.report
    decision = report.decision
    if len(report.values) == 1 and slice_text(report, 0):
        return slice_text(report, 0).replace("Slice 0", "This image"), ""
    if decision.best is None or decision.good is None:
        return decision.reason, slice_text(report, int(report.values.argmax()))
    height = height_text(report, decision.best)
    first, last = decision.good
    beside = f"; {first}–{last} about as good" if last > first else ""
    said = f"Best slice {decision.best}{f' (z {height})' if height else ''}, certain {decision.confidence:.2f}{beside}."
    notable = len(decision.peaks) > 1 or decision.best in (0, len(report.values) - 1) or decision.confidence < 0.5
    more = [decision.reason] if notable else []
    if slice_text(report, decision.best):
        more.append(slice_text(report, decision.best))
    basis = scored.basis or SPECIMEN
    if basis.region:
        more.append("Decided by the drawn region.")
    elif basis.specimen and report.specimen is None:
        more.append("Nothing stands out as a specimen: the whole image decides.")
    return said, " ".join(more)


def scores_table(entries: Sequence[tuple[Target, Scored]]) -> str:
    """A CSV with a row for each slice of several time points and positions."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    more = [k for k, v in entries[0][1].report.extras.items() if isinstance(v, list)] if entries else []
    table.writerow(["position", "time", "slice", "z_um", "scorer", "value", "best", "good", *more])
    for target, scored in entries:
        report = scored.report
        good = report.decision.good or (1, 0)
        for z, value in enumerate(report.values):
            height = "" if report.heights_um is None else float(report.heights_um[z])
            best, is_good = int(z == report.decision.best), int(good[0] <= z <= good[1])
            known = ["" if report.extras[k][z] is None else report.extras[k][z] for k in more]
            row = [target.position, target.time, z, height, report.scorer, float(value), best, is_good]
            table.writerow([*row, *known])
    return out.getvalue()


def _step(heights: NDArray[np.float64]) -> float:
    return float(np.abs(np.diff(heights)).min()) if len(heights) > 1 else 1.0
