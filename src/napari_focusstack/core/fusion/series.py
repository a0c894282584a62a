"""`fuse_series`: any method on any series; it keeps the pixel type and puts the parts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion.fused import Fused
from napari_focusstack.core.fusion.method import METHODS, FusionMethod, Merged, Plane, Plane32, Series
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack

DEFAULT_METHOD = "pyramid"
"""The method that measures best by truth, see docs/fusion.md."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in the guide (ITU-R BT.601)."""

MIN_SIDE = 16
"""Smaller planes are continued by their border pixels to this size: methods need not care."""


def fuse_series(
    stack: Stack,
    *,
    method: str = DEFAULT_METHOD,
    drive: int | None = None,
    slices: Sequence[int] | None = None,
    device: str = "auto",
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
    device : str
        Where a network computes, a `DeviceChoice`; the classical methods always take the CPU.

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
        If there are fewer than two slices or a slice, channel or method does not exist (at once), a plane holds NaN or
        infinity (when it is read), or a network can't run on the device (when it is loaded).
    """
    if not set(stack.axes) <= set("CZYXS"):
        raise InputError(
            f"'{stack.name}' has the axes {stack.axes}: choose one time point and one position before fusing."
        )
    stack.require_slices("fuse it")
    chosen = _chosen(stack, slices)
    if drive is not None:
        drive = stack.find_channel(drive)
    return _fuse(stack, METHODS[method], drive, chosen, device)


def _fuse(stack: Stack, engine: FusionMethod, drive: int | None, chosen: tuple[int, ...], device: str) -> Job[Fused]:
    alone = "C" not in stack.axes
    groups = [(c,) for c in range(stack.n_channels)] if drive is None or alone else [tuple(range(stack.n_channels))]
    images: list[NDArray[Any]] = []
    index, peak, confidence = [], [], []
    for g, channels in enumerate(groups):
        limits = _Limits(stack.dtype)
        levels = _Levels.of(stack, chosen[0], channels)
        series = replace(_series(stack, chosen, channels, drive, limits, levels), device=device)
        merged = yield from _counted(engine.merge(series), g, len(groups), len(chosen))
        h, w = stack.plane_shape
        images.append(limits.fit(levels.undo(merged.image[:h, :w])))
        index.append(np.asarray(chosen, np.uint16)[merged.index[:h, :w]])
        peak.append(merged.peak[:h, :w])
        confidence.append(merged.confidence[:h, :w])
        del merged
    heights = stack.heights_um
    depth = None
    if heights is not None:
        depth = [_heights(p, heights[list(chosen)].astype(np.float32)) for p in peak]
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
        method=engine.name,
        parameters={**engine.parameters, "drive": drive},
        slices=chosen,
    )


def _heights(peak: Plane32, heights: Plane32) -> Plane32:
    """Height at a position between slices: linear, the steps may be uneven."""
    below = np.minimum(peak.astype(np.intp), len(heights) - 2)
    steps = np.diff(heights)
    depth: Plane32 = heights[below] + (peak - below) * steps[below]
    return depth.astype(np.float32, copy=False)


def _chosen(stack: Stack, slices: Sequence[int] | None) -> tuple[int, ...]:
    chosen = tuple(range(stack.n_slices)) if slices is None else tuple(sorted({int(z) for z in slices}))
    if len(chosen) < 2 or chosen[0] < 0 or chosen[-1] >= stack.n_slices:
        said = ", ".join(map(str, chosen[:8])) or "no slice"
        raise InputError(
            f"To fuse '{stack.name}', slices {said} were chosen: choose two or more from 0 to {stack.n_slices - 1}."
        )
    return chosen


def _series(
    stack: Stack,
    chosen: tuple[int, ...],
    channels: tuple[int, ...],
    drive: int | None,
    limits: _Limits,
    levels: _Levels,
) -> Series:
    def read(i: int) -> Plane:
        planes = [stack.plane(chosen[i], c=c) for c in channels]
        plane = planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)
        limits.see(plane)
        plane = levels.apply(plane)
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
    dtype = np.dtype(np.uint8) if stack.dtype.kind == "b" else np.dtype(np.float32) if levels.wide else stack.dtype
    heights = stack.heights_um
    positions = None if heights is None else heights[list(chosen)]
    return Series(read, len(chosen), shape, dtype, mix, positions, levels.zero)


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


@dataclass(frozen=True)
class _Levels:
    """Grey levels that methods work in: those of 8 and 16 bit as they are, others moved and scaled to fit float32.

    A small structure on a large background would drown in float32's rounding otherwise, and large values overflow.
    """

    wide: bool = False
    offset: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, stack: Stack, z: int, channels: tuple[int, ...]) -> _Levels:
        """Levels for a stack, told from slice `z`: its median is moved to 0 and its range scaled to 1000."""
        if stack.dtype.kind != "f" and stack.dtype.itemsize < 4:
            return cls()
        sample = np.stack([stack.plane(z, c=c) for c in channels]).astype(np.float64)
        span = float(np.ptp(sample))
        return cls(True, float(np.median(sample)), 1000 / span if span > 0 else 1.0)

    @property
    def zero(self) -> float:
        """What 0 becomes."""
        return -self.offset * self.scale

    def apply(self, plane: Plane) -> Plane:
        """A plane in these levels."""
        if not self.wide:
            return plane
        return ((plane.astype(np.float64) - self.offset) * self.scale).astype(np.float32)

    def undo(self, image: Plane32) -> NDArray[Any]:
        """An image back in the stack's own levels, float64 where they are wide."""
        return image.astype(np.float64) / self.scale + self.offset if self.wide else image


class _Limits:
    """Brings a float32 image back to the stack's type without wrapping."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = np.dtype(np.uint8) if dtype.kind == "b" else dtype
        self.is_bool = dtype.kind == "b"
        # One for each sample: a dim channel must not overshoot to the range of a bright one.
        self.low: NDArray[Any] = np.asarray(np.inf)
        self.high: NDArray[Any] = np.asarray(-np.inf)

    def see(self, plane: Plane) -> None:
        """Take note of the range of a float plane."""
        if plane.dtype.kind == "f":
            self.low = np.minimum(self.low, plane.min(axis=(0, 1)))
            self.high = np.maximum(self.high, plane.max(axis=(0, 1)))

    def fit(self, image: NDArray[Any]) -> NDArray[Any]:
        """Round and saturate a float32 or float64 image; it is overwritten."""
        if not np.isfinite(image).all():
            raise RuntimeError("the fused image is not finite: no image was made of it")
        if self.dtype.kind == "f":
            np.clip(image, self.low, self.high, out=image)
            return image.astype(self.dtype, copy=False)
        info = np.iinfo(self.dtype)
        np.rint(image, out=image)
        high = 1.0 if self.is_bool else float(info.max)
        # The largest float that is within the type: 2⁶⁴-1 would round up to 2⁶⁴ and wrap.
        top = image.dtype.type(high)
        if int(top) > int(info.max):
            top = np.nextafter(top, image.dtype.type(0))
        np.clip(image, image.dtype.type(info.min), top, out=image)
        return image.astype(self.dtype)
