"""`fuse_series`: any method on any series; it keeps the pixel type and puts the parts together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion.fused import Fused
from napari_focusstack.core.fusion.method import METHODS, Merged, Plane, Plane32, Series
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack

DEFAULT_METHOD = "pyramid"
"""The method that measures best by truth, see docs/fusion.md."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in the guide (ITU-R BT.601)."""

MIN_SIDE = 16
"""Smaller planes are continued by their border pixels to this size: methods need not care."""


def fuse_series(
    stack: Stack, *, method: str = DEFAULT_METHOD, drive: int | None = None, slices: Sequence[int] | None = None
) -> Job[Fused]:
    """Fuse one z-series into one all-in-focus image.

    Slices are read one at a time, so that memory does not grow with their number. The image keeps the stack's pixel
    type and range: nothing is rescaled, integers are rounded to the nearest, and what overshoots saturates at the
    limits of the integer type, or at the lowest and highest input value for floats.

    Parameters
    ----------
    stack : Stack
        Axes ZYX, ZYXS or CZYX, two slices or more.
    method : str
        Name in `METHODS`.
    drive : int, optional
        The channel whose sharpness chooses for all channels; else each channel chooses for itself. Without axis C, 0 at
        most.
    slices : sequence of int, optional
        Which slices to fuse, in ascending order (0-based); all by default.

    Yields
    ------
    Progress
        After every slice of every pass.

    Returns
    -------
    Fused

    Raises
    ------
    InputError
        If there are fewer than two slices, a slice or channel does not exist, or a plane holds NaN or infinity.
    """
    if not set(stack.axes) <= set("CZYXS"):
        raise InputError(
            f"'{stack.name}' has the axes {stack.axes}: choose one time point and one position before fusing."
        )
    stack.require_slices("fuse it")
    chosen = _chosen(stack, slices)
    if drive is not None:
        drive = stack.find_channel(drive)
    return _fuse(stack, method, drive, chosen)


def _fuse(stack: Stack, method: str, drive: int | None, chosen: tuple[int, ...]) -> Job[Fused]:
    engine = METHODS[method]
    alone = "C" not in stack.axes
    groups = [(c,) for c in range(stack.n_channels)] if drive is None or alone else [tuple(range(stack.n_channels))]
    images: list[NDArray[Any]] = []
    index, peak, confidence = [], [], []
    for g, channels in enumerate(groups):
        limits = _Limits(stack.dtype)
        merged = yield from _counted(
            engine.merge(_series(stack, chosen, channels, drive, limits)), g, len(groups), len(chosen)
        )
        h, w = stack.plane_shape
        images.append(limits.fit(merged.image[:h, :w]))
        index.append(np.asarray(chosen, np.uint16)[merged.index[:h, :w]])
        peak.append(merged.peak[:h, :w])
        confidence.append(merged.confidence[:h, :w])
        del merged
    heights = stack.heights_um
    depth = None
    if heights is not None:
        depth = [np.interp(p, np.arange(len(chosen)), heights[list(chosen)]).astype(np.float32) for p in peak]
    own = len(groups) > 1
    if alone:
        image = images[0]
    elif len(groups) == 1 and len(groups[0]) > 1:
        image = np.ascontiguousarray(np.moveaxis(images[0], -1, 0))
    else:
        image = np.stack(images)
    return Fused(
        image=image,
        axes=stack.axes.replace("Z", ""),
        index=np.stack(index) if own else index[0],
        depth_um=None if depth is None else np.stack(depth) if own else depth[0],
        confidence=np.stack(confidence) if own else confidence[0],
        method=method,
        parameters={**engine.parameters, "drive": drive},
        slices=chosen,
    )


def _chosen(stack: Stack, slices: Sequence[int] | None) -> tuple[int, ...]:
    chosen = tuple(range(stack.n_slices)) if slices is None else tuple(sorted({int(z) for z in slices}))
    if len(chosen) < 2 or chosen[0] < 0 or chosen[-1] >= stack.n_slices:
        said = ", ".join(map(str, chosen[:8])) or "no slice"
        raise InputError(
            f"To fuse '{stack.name}', slices {said} were chosen: choose two or more from 0 to {stack.n_slices - 1}."
        )
    return chosen


def _series(
    stack: Stack, chosen: tuple[int, ...], channels: tuple[int, ...], drive: int | None, limits: _Limits
) -> Series:
    def read(i: int) -> Plane:
        planes = [stack.plane(chosen[i], c=c) for c in channels]
        plane = planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)
        limits.see(plane)
        if pad != (0, 0):
            plane = np.pad(plane, ((0, pad[0]), (0, pad[1]), *[(0, 0)] * (plane.ndim - 2)), mode="edge")
        return np.ascontiguousarray(plane)

    mix: tuple[float, ...] = (1.0,)
    h, w = stack.plane_shape
    pad = max(0, MIN_SIDE - h), max(0, MIN_SIDE - w)
    shape: tuple[int, ...] = (h + pad[0], w + pad[1])
    if stack.is_rgb:
        mix, shape = LUMA, (*shape, 3)
    elif len(channels) > 1:
        mix, shape = tuple(float(c == drive) for c in channels), (*shape, len(channels))
    dtype = np.dtype(np.uint8) if stack.dtype.kind == "b" else stack.dtype
    return Series(read, len(chosen), shape, dtype, mix)


def _counted(job: Job[Merged], group: int, n_groups: int, n_slices: int) -> Job[Merged]:
    """Relay a job as one of several, telling the progress in slices of all of them."""
    while True:
        try:
            step = next(job)
        except StopIteration as end:
            merged: Merged = end.value
            return merged
        done = round(step.done / step.total * n_slices)
        yield Progress(group * n_slices + done, n_groups * n_slices, step.message)


class _Limits:
    """Brings a float32 image back to the stack's type without wrapping."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype
        self.is_bool = dtype.kind == "b"
        self.low, self.high = np.inf, -np.inf

    def see(self, plane: Plane) -> None:
        """Take note of the range of a float plane."""
        if plane.dtype.kind == "f":
            self.low = min(self.low, float(plane.min()))
            self.high = max(self.high, float(plane.max()))

    def fit(self, image: Plane32) -> NDArray[Any]:
        """Round and saturate; `image` is overwritten."""
        if self.dtype.kind == "f":
            np.clip(image, self.low, self.high, out=image)
            return image.astype(self.dtype, copy=False)
        info = np.iinfo(self.dtype)
        np.rint(image, out=image)
        high = 1.0 if self.is_bool else float(info.max)
        # The largest float32 that is within the type: 2³²-1 would round up to 2³² and wrap.
        top = np.float32(high)
        if float(top) > high:
            top = np.nextafter(top, np.float32(0))
        np.clip(image, np.float32(info.min), top, out=image)
        return image.astype(self.dtype)
