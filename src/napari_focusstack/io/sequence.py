"""Many files with a plane each: one stack."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.lazy import PlaneArray, join_planes
from napari_focusstack.io.found import Found

# A letter with its number: "z003", "t=1", "ch02"; with "_" between only where the word can't be part of a name.
_MARK = re.compile(r"(?<![a-z])(?:(z|slice|time|ch|channel|pos|xy)[=_\-]?|(t|c)=?)(\d+)(?!\d)", re.IGNORECASE)
_LETTER = {"z": "Z", "slice": "Z", "t": "T", "time": "T", "c": "C", "ch": "C", "channel": "C", "pos": "P", "xy": "P"}


def join_slices(found: Sequence[Found], paths: Sequence[Path]) -> Found:
    """Put the single planes of files one behind the other; nothing is read.

    Raises
    ------
    InputError
        If a file differs in size or type from the first; the message names both.
    """
    first = found[0]
    for one, path in zip(found, paths, strict=True):
        if (one.data.shape, one.data.dtype) != (first.data.shape, first.data.dtype):
            raise InputError(
                f"'{paths[0].name}' is {_kind(first)} and '{path.name}' is {_kind(one)}: "
                "the slices of a stack need the same size and type; take out or convert the ones that differ."
            )
    joined = join_planes([one.data for one in found])
    letters, numbers = _marked_axes(paths)
    if numbers is None:
        return replace(
            first, data=joined, letters="Q", teller="the folder", files=tuple(paths), notes=("in natural order",)
        )
    flat = [int(i) for i in numbers.flat]
    data = PlaneArray(
        lambda number: np.asarray(joined[flat[number]]),
        np.arange(numbers.size).reshape(numbers.shape),
        plane_shape=first.data.shape,
        dtype=first.data.dtype,
    )
    files = tuple(paths[i] for i in flat)
    return replace(first, data=data, letters=letters, teller="the file names", files=files)


def _kind(one: Found) -> str:
    height, width = one.data.shape[:2]
    return f"{width}×{height} {one.data.dtype} {'RGB' if one.rgb else 'grey'}"


def _marked_axes(paths: Sequence[Path]) -> tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.intp]] | None]:
    """Axes that the file names mark ("t01z03c1") and the number of the file at each place, if they fill a grid."""
    marks = [_marks(path.stem) for path in paths]
    if len({tuple(m) for m in marks}) != 1 or not marks[0]:
        return "", None
    varying = [a for a in marks[0] if len({m[a] for m in marks}) > 1]
    if not varying or len({_MARK.sub(lambda m: _masked(m, varying), p.stem) + p.suffix for p in paths}) != 1:
        return "", None
    letters = "".join(a for a in "PTCZ" if a in varying)
    values = {a: sorted({m[a] for m in marks}) for a in letters}
    where = {tuple(m[a] for a in letters): i for i, m in enumerate(marks)}
    grid = list(itertools.product(*(values[a] for a in letters)))
    if len(where) != len(paths) or set(grid) != set(where):
        return "", None
    return letters, np.array([where[g] for g in grid]).reshape([len(values[a]) for a in letters])


def _marks(stem: str) -> dict[str, int]:
    found = [(_LETTER[(m[1] or m[2]).lower()], int(m[3])) for m in _MARK.finditer(stem)]
    return dict(found) if len({a for a, _ in found}) == len(found) else {}


def _masked(mark: re.Match[str], varying: Sequence[str]) -> str:
    letter = _LETTER[(mark[1] or mark[2]).lower()]
    return letter if letter in varying else mark[0]
