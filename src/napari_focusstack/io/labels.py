"""Tables of the clearest slices that people have picked, to compare scorers with."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_focusstack.core.agreement import Truth
from napari_focusstack.core.errors import InputError

COLUMNS = "stack, best (or slice), and, if wanted, lo, hi, scores, position, time"


@dataclass(frozen=True)
class Place:
    """Which series is meant: the stack's name (a file without its endings, or a folder), position and time point."""

    stack: str
    position: int = 0
    time: int = 0


def read_labels(path: Path) -> dict[Place, Truth]:
    """Read a CSV of clearest slices, 0-based.

    Columns: ``stack``; ``best``, or ``slice`` as the table of picks calls it; ``lo`` and ``hi``, the range that would
    do as well (the best slice alone where not given); ``scores``, a number for each slice separated by spaces or
    semicolons, higher is clearer; ``position`` and ``time``. Others are passed over.

    Raises
    ------
    InputError
        If it can't be read, lacks a column, holds no row, or a row's numbers don't fit each other.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The labels '{path}' can't be read ({getattr(error, 'strerror', None) or 'no text'}): give a CSV file."
        ) from error
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or "stack" not in rows[0] or not {"best", "slice"} & set(rows[0]):
        raise InputError(f"'{path}' is no table of labels: give a CSV with the columns {COLUMNS}.")
    found: dict[Place, Truth] = {}
    for line, row in enumerate(rows, 2):
        try:
            place, truth = _row(row)
        except ValueError as error:
            raise InputError(
                f"Line {line} of '{path.name}' can't be used ({error}): give a stack and whole slice numbers."
            ) from None
        if place in found:
            raise InputError(f"'{path.name}' holds '{place.stack}' twice: leave one row for each stack.")
        found[place] = truth
    return found


def _row(row: Mapping[str, str]) -> tuple[Place, Truth]:
    best = int(row.get("best") or row.get("slice") or "")
    low, high = int(row.get("lo") or best), int(row.get("hi") or best)
    if not 0 <= low <= best <= high:
        raise ValueError(f"slice {best} is not within {low} to {high}")
    given = [float(v) for v in re.split(r"[;\s]+", row.get("scores") or "") if v]
    if not row["stack"]:
        raise ValueError("it names no stack")
    place = Place(row["stack"], int(row.get("position") or 0), int(row.get("time") or 0))
    return place, Truth(best, (low, high), tuple(given) or None)
