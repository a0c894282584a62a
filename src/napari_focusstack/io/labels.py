"""Tables of the clearest slices that people have picked, to compare scorers with."""

from __future__ import annotations

import csv
import io
import math
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
    table = csv.DictReader(io.StringIO(text))
    found: dict[Place, Truth] = {}
    try:
        columns = set(table.fieldnames or ())
        rows = [(table.line_num, row) for row in table]
    except csv.Error as error:
        raise InputError(f"Line {table.line_num} of '{path.name}' can't be read ({error}): give a CSV file.") from error
    if not rows or "stack" not in columns or not {"best", "slice"} & columns:
        raise InputError(f"'{path}' is no table of labels: give a CSV with the columns {COLUMNS}.")
    for line, row in rows:
        place, truth = _row(row, f"Line {line} of '{path.name}'")
        if place in found:
            raise InputError(f"'{path.name}' holds '{place.stack}' twice: leave one row for each stack.")
        found[place] = truth
    return found


def _row(row: Mapping[str, str | None], where: str) -> tuple[Place, Truth]:
    """What a row says; `where` names its line and file, for messages."""
    named = "slice" if "best" not in row or (row.get("slice") and not row["best"]) else "best"
    best = _slice(row, named, None, where)
    low, high = _slice(row, "lo", best, where), _slice(row, "hi", best, where)
    if not low <= best <= high:
        raise InputError(
            f"{where}: slice {best} of column '{named}' is not within {low} to {high}, the columns 'lo' and 'hi': "
            "give a range that holds it."
        )
    stack = (row["stack"] or "").strip()
    if not stack:
        raise InputError(f"{where} names no stack: give its file's name in the column 'stack'.")
    place = Place(stack, _slice(row, "position", 0, where), _slice(row, "time", 0, where))
    return place, Truth(best, (low, high), _scores(row, where))


def _slice(row: Mapping[str, str | None], column: str, otherwise: int | None, where: str) -> int:
    """A number that counts from 0; where its cell is empty, `otherwise`, or it is refused."""
    text = (row.get(column) or "").strip()
    if not text and otherwise is not None:
        return otherwise
    if not re.fullmatch(r"[0-9]+(\.0*)?", text):
        told = f"holds '{text}'" if text else "is empty"
        what = "slice" if column not in ("position", "time") else column
        raise InputError(f"{where}: the column '{column}' {told}: give the number of a {what}, a whole one from 0 on.")
    return int(float(text))


def _scores(row: Mapping[str, str | None], where: str) -> tuple[float, ...] | None:
    """A score for each slice; None where there are none."""
    given = []
    for text in filter(None, re.split(r"[;\s]+", row.get("scores") or "")):
        try:
            given.append(float(text))
        except ValueError:
            given.append(math.nan)
        if not math.isfinite(given[-1]):
            raise InputError(
                f"{where}: the column 'scores' holds '{text}': give a number for each slice, separated by spaces."
            )
    return tuple(given) or None
