"""The slices behind a result: registered as they were fused, and their values where the index points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.by_index import copy_by_index
from napari_focusstack.core.progress import Job, Progress, relay
from napari_focusstack.core.stack import Stack
from napari_focusstack.widgets.fuse_run import FuseResult


def is_single(result: FuseResult) -> bool:
    """Whether a result is of one time point and position."""
    return all(n == 1 for a, n in zip(result.fused.axes, result.fused.image.shape, strict=True) if a in "PT")


def series_job(result: FuseResult, *, time: int, position: int) -> Job[Stack]:
    """Give the slices of one time point and position as they were fused: registered, where they were.

    Parameters
    ----------
    result : FuseResult
        The result.
    time, position : int
        Counted in the source.
    """
    from napari_focusstack.core.align import align_series

    series = result.source.stack.series(t=time, p=position)
    yield Progress(0, 1000, "Reading")
    if result.settings.align:
        drive = result.settings.drive
        channel = 0 if drive is None else series.find_channel(drive)
        # Of the slices that were fused, as then: with others, they would be moved otherwise.
        registration = align_series(series, drive=channel, slices=result.fused.slices)
        series = yield from relay(registration, done=0, total=1000)
    return series


class SliceJob:
    """Makes the job that gives the slices of a result of one time point and position."""

    def __init__(self, result: FuseResult) -> None:
        self.result = result

    def __call__(self) -> Job[Stack]:
        """Make the job; called in the thread that runs it."""
        return series_job(self.result, time=self.result.at.get("T", 0), position=self.result.at.get("P", 0))


class ValuesJob:
    """Makes the job that copies every pixel of a result from the slice that its index names."""

    def __init__(self, result: FuseResult) -> None:
        self.result = result

    def __call__(self) -> Job[NDArray[Any]]:
        """Make the job; called in the thread that runs it."""
        fused, at = self.result.fused, self.result.at
        leading = [a for a in fused.axes if a in "PT"]
        shape = fused.image.shape[: len(leading)]
        n = int(np.prod(shape, dtype=int))
        values = np.empty_like(fused.image)
        for i, where in enumerate(np.ndindex(*shape)):
            place = {a: at.get(a, 0) + k for a, k in zip(leading, where, strict=True)}
            start, stop = round(1000 * i / n), round(1000 * (i + 1) / n)
            aligned = series_job(self.result, time=place.get("T", 0), position=place.get("P", 0))
            middle = (start + stop) // 2 if self.result.settings.align else start
            series = yield from relay(aligned, done=start, total=middle)
            values[where] = yield from relay(copy_by_index(series, fused.index[where]), done=middle, total=stop)
        return values
