"""Slices cut out of a stack, or their projection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack

PROJECTIONS = ("none", "max", "mean")


def extract_series(stack: Stack, *, first: int, last: int, projection: str = "none") -> Job[NDArray[Any]]:
    """Cut slices out of a series as a job, one plane in memory at a time for projections.

    Parameters
    ----------
    stack : Stack
        One channel, time and position: axes ZYX or ZYXS.
    first, last : int
        First and last slice, 0-based, both included.
    projection : {"none", "max", "mean"}
        Keep the slices, or take the maximum or the mean of each pixel (and colour) over them.

    Returns
    -------
    (Z, Y, X[, 3]) array, or (Y, X[, 3]) for a projection
        In the stack's pixel type; the mean of integers is rounded to the nearest.

    Raises
    ------
    InputError
        If a slice lies outside the stack or the projection is unknown.
    """
    if not 0 <= first <= last < stack.n_slices:
        raise InputError(
            f"Slices {first} to {last} were asked for, but '{stack.name}' has slices 0 to {stack.n_slices - 1}: "
            "choose some of these."
        )
    if projection not in PROJECTIONS:
        raise InputError(f"There is no projection '{projection}': choose one of {', '.join(PROJECTIONS)}.")
    n = last - first + 1
    steps = _keep if projection == "none" else _maximum if projection == "max" else _mean
    take, finish = steps(n)
    for done, z in enumerate(range(first, last + 1), 1):
        take(stack.plane(z))
        yield Progress(done, n, f"Read slice {z}")
    return finish()


Steps = tuple[Callable[[NDArray[Any]], None], Callable[[], NDArray[Any]]]


def _keep(n: int) -> Steps:
    planes: list[NDArray[Any]] = []
    return planes.append, lambda: np.stack(planes)


def _maximum(n: int) -> Steps:
    best: list[NDArray[Any]] = []

    def take(plane: NDArray[Any]) -> None:
        if best:
            np.maximum(best[0], plane, out=best[0])
        else:
            best.append(plane.copy())

    return take, lambda: best[0]


def _mean(n: int) -> Steps:
    sums: list[NDArray[np.float64]] = []
    types: list[np.dtype[Any]] = []

    def take(plane: NDArray[Any]) -> None:
        if sums:
            sums[0] += plane
        else:
            sums.append(plane.astype(np.float64))
            types.append(plane.dtype)

    def finish() -> NDArray[Any]:
        mean = sums[0] / n
        whole = types[0].kind in "ui"
        result: NDArray[Any] = (np.rint(mean) if whole else mean).astype(types[0])
        return result

    return take, finish
