"""The table of focus scores: one for the command line and the widgets."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_focusstack.core.report import FocusReport

COLUMNS = (
    "stack",
    "position",
    "time",
    "channel",
    "basis",
    "scorer",
    "slice",
    "z_um",
    "value",
    "best",
    "good",
    "confidence",
    "reason",
)
"""Columns that every table of scores has; what else a scorer knows of each slice follows."""


@dataclass(frozen=True, eq=False)
class ScoredPlace:
    """A series with its place in the stack.

    Attributes
    ----------
    report : FocusReport or None
        What scoring found; None where it could not be scored.
    stack : str
        Name of the stack.
    position, time : int
        Stage position and time point, 0-based.
    channel : str or int
        Name of the channel, or its index where it has none.
    basis : str
        What decided: `FocusReport.basis` where not given.
    scorer : str
        Name of the scorer, where there is no report.
    reason : str
        Why it could not be scored, where there is no report.
    """

    report: FocusReport | None
    stack: str = ""
    position: int = 0
    time: int = 0
    channel: str | int = 0
    basis: str = ""
    scorer: str = ""
    reason: str = ""


def scores_table(places: Sequence[ScoredPlace]) -> str:
    """Make the table, with a row for each slice: `COLUMNS`, then what else the scorers know.

    Slices count from 0. Heights have three decimals, values six significant digits. `best` and `good` are 1 or 0;
    `basis` says what decided ("specimen", "whole image", "region"); `confidence` (0 to 1) and `reason` are the
    decision's, the same in all rows of a series. What is not known is empty. A series that could not be scored has one
    row, without slice and value, and the `reason`.
    """
    extras = [_extras(place.report) for place in places]
    more = list(dict.fromkeys(key for found in extras for key in found))
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow([*COLUMNS, *more])
    for place, columns in zip(places, extras, strict=True):
        where = [place.stack, place.position, place.time, place.channel]
        report = place.report
        if report is None:
            table.writerow([*where, place.basis, place.scorer, *[""] * 6, place.reason, *[""] * len(more)])
            continue
        decision, basis = report.decision, place.basis or report.basis
        for z, value in enumerate(report.values):
            height = None if report.heights_um is None else round(float(report.heights_um[z]), 3)
            good = decision.good is not None and decision.good[0] <= z <= decision.good[1]
            row = [*where, basis, report.scorer, z, height, value, int(z == decision.best), int(good)]
            row += [decision.confidence, decision.reason]
            table.writerow([_cell(v) for v in (*row, *(columns[k][z] if k in columns else None for k in more))])
    return out.getvalue()


def _extras(report: FocusReport | None) -> dict[str, list[Any]]:
    """What else the scorer knows of each slice."""
    if report is None:
        return {}
    n = len(report.values)
    return {k: list(v) for k, v in report.extras.items() if isinstance(v, (list, tuple, np.ndarray)) and len(v) == n}


def _cell(value: Any) -> Any:
    if not isinstance(value, (float, np.floating)):
        return "" if value is None else value
    return float(f"{value:.6g}") if math.isfinite(value) else ""
