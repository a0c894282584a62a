"""Align -> score -> fuse -> depth: the one road that the widgets, the command line and scripts share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.align import align_series
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion import fuse_series
from napari_focusstack.core.fusion.fused import Fused
from napari_focusstack.core.progress import Job, drain, relay
from napari_focusstack.core.report import FocusReport
from napari_focusstack.core.settings import FuseSettings, ScoreSettings, settings_from
from napari_focusstack.core.stack import Stack, as_stack


def score_job(
    stack: Stack,
    settings: ScoreSettings,
    *,
    channel: int | str = 0,
    time: int = 0,
    position: int = 0,
    region: NDArray[np.bool_] | None = None,
) -> Job[FocusReport]:
    """Score one series of a stack as a job; see `score`."""
    from napari_focusstack.core.scoring import score_series  # brings much of SciPy, which fusion does without

    series = stack.series(t=time, p=position)
    series = series.only_channel(series.find_channel(channel))
    return score_series(
        series,
        scorer=settings.scorer,
        patch_px=settings.patch_px,
        specimen=settings.specimen,
        region=region,
        device=settings.device,
    )


def score(
    stack: Stack | NDArray[Any],
    *,
    channel: int | str = 0,
    time: int = 0,
    position: int = 0,
    region: NDArray[np.bool_] | None = None,
    **options: Any,
) -> FocusReport:
    """Say how sharp each slice is, and which is best.

    Parameters
    ----------
    stack : Stack or array
        A z-stack, or a single plane (which has a value, but no best slice). An array is (Z, Y, X) or (Z, Y, X, 3); make
        a stack by `from_array` to name its axes and give its z step.
    channel : int or str
        Channel index or name.
    time, position : int
        Time point and position, 0-based.
    region : (Y, X) bool, optional
        Where to look; the specimen is found where not given.
    **options
        Fields of `ScoreSettings`: ``scorer``, ``patch_px``, ``specimen``, ``device``.

    Returns
    -------
    FocusReport

    Raises
    ------
    InputError
        If the stack or an option can't be used; the message says what to do.
    """
    settings = settings_from(ScoreSettings, options)
    job = score_job(as_stack(stack), settings, channel=channel, time=time, position=position, region=region)
    return drain(job)


def fuse_job(stack: Stack, settings: FuseSettings, *, time: int = 0, position: int = 0) -> Job[Fused]:
    """Fuse one time point of one position as a job; see `fuse`."""
    series = stack.series(t=time, p=position)
    series.require_slices("fuse it")
    if settings.channel is not None:
        if settings.drive is not None:
            raise InputError(
                f"Channel {settings.channel} alone and channel {settings.drive} to drive all were asked for: "
                "give channel to fuse one, or drive to fuse all."
            )
        series = series.only_channel(series.find_channel(settings.channel))
    drive = None if settings.drive is None else series.find_channel(settings.drive)
    first = settings.first or 0
    last = series.n_slices - 1 if settings.last is None else settings.last
    if not 0 <= first < last < series.n_slices:
        raise InputError(
            f"Slices {first} to {last} were asked for, but '{stack.name}' has slices 0 to {series.n_slices - 1}: "
            "give a range of two slices or more within them."
        )
    chosen = range(first, last + 1)
    start = 0
    if settings.align:
        start = 300
        registration = align_series(series, drive=drive or 0, slices=chosen)
        series = yield from relay(registration, done=0, total=start)
    job = fuse_series(series, method=settings.method, drive=drive, slices=chosen, device=settings.device)
    fused = yield from relay(job, done=start, total=1000)
    if settings.align:
        fused = replace(fused, parameters={**fused.parameters, "alignment": series.metadata["alignment"]})
    return fused


def fuse(stack: Stack | NDArray[Any], *, time: int = 0, position: int = 0, **options: Any) -> Fused:
    """Fuse a z-stack into one all-in-focus image.

    Parameters
    ----------
    stack : Stack or array
        Two slices or more along z; an array as in `score`.
    time, position : int
        Time point and position, 0-based.
    **options
        Fields of `FuseSettings`: ``method``, ``drive``, ``channel``, ``first``, ``last``, ``align``, ``device``.

    Returns
    -------
    Fused

    Raises
    ------
    InputError
        If the stack or an option can't be used; the message says what to do.
    """
    return drain(fuse_job(as_stack(stack), settings_from(FuseSettings, options), time=time, position=position))
