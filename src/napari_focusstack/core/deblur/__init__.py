"""Sharpening of images that are out of focus or blurred by motion."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_focusstack.core.deblur.methods import DEBLURRERS, INVENTS, Deblurrer, Wish, default_deblurrer
from napari_focusstack.core.devices import DeviceChoice
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import Plane32
from napari_focusstack.core.progress import Job, Progress, drain, relay
from napari_focusstack.core.stack import Stack

__all__ = [
    "DEBLURRERS",
    "INVENTS",
    "DeblurSettings",
    "Deblurrer",
    "deblur",
    "deblur_job",
    "deblur_plane",
    "default_deblurrer",
]

SMALLEST_PX = 16
_LOW, _HIGH = 0.001, 0.999
_LOWEST, _HIGHEST = -0.5, 3.0
"""Results beyond these multiples of the image's range are cut: nothing real lies there."""


class DeblurSettings(BaseModel):
    """How an image is deblurred.

    Attributes
    ----------
    model : str
        Name in `DEBLURRERS`.
    blur_px : float or None
        Radius of the blur disc for the classical methods; None: estimated from each plane.
    device : {"auto", "cpu", "cuda", "mps", "onnx"}
        Where a network computes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(default_factory=default_deblurrer)
    blur_px: float | None = Field(default=None, gt=0, le=100)
    device: DeviceChoice = "auto"


def deblur(stack: Stack, settings: DeblurSettings | None = None) -> Stack:
    """Run `deblur_job` to its end."""
    return drain(deblur_job(stack, settings))


def deblur_job(stack: Stack, settings: DeblurSettings | None = None) -> Job[Stack]:
    """Sharpen every plane of a stack by itself: slices, channels, times, positions; RGB colour by colour.

    Parameters
    ----------
    stack : Stack
        One image, or many.
    settings : DeblurSettings, optional
        How.

    Returns
    -------
    Stack
        Of the same axes, type and calibration.

    Raises
    ------
    InputError
        If there is no such model, or a plane holds NaN.
    """
    settings = settings or DeblurSettings()
    chosen = DEBLURRERS[settings.model]
    lead = [a for a in stack.axes if a in "PTCZ"]
    places = list(np.ndindex(*(stack.size(a) for a in lead)))
    out = np.empty(stack.data.shape, np.uint8 if stack.dtype.kind == "b" else stack.dtype)
    for i, place in enumerate(places):
        at = {"z": 0} | {a.lower(): k for a, k in zip(lead, place, strict=True)}
        plane = stack.plane(**at)
        told = f"plane {i + 1} of {len(places)}" if len(places) > 1 else ""
        job = deblur_plane(plane, chosen, Wish(blur_px=settings.blur_px, device=settings.device))
        first, last = (round(1000 * k / len(places)) for k in (i, i + 1))
        out[place] = yield from relay(job, done=first, total=last, message=told)
    return dataclasses.replace(stack, data=out, name=f"{stack.name} deblurred", source=None)


def deblur_plane(plane: NDArray[Any], deblurrer: Deblurrer, wish: Wish) -> Job[NDArray[Any]]:
    """Sharpen one plane, (Y, X) or (Y, X, 3); it keeps its type. What is blank stays as it is.

    The grey values are scaled to 0 … 1 between the plane's 0.1 % and 99.9 % quantiles (of all its colours together) on
    the way, so gain and offset of the camera do not matter.
    """
    if min(plane.shape[:2]) < SMALLEST_PX:
        size = "×".join(map(str, plane.shape[:2]))
        raise InputError(f"A plane of {size} pixels is too small to sharpen: give {SMALLEST_PX}×{SMALLEST_PX} or more.")
    values = plane.astype(np.float32)
    few = values[:: max(1, values.shape[0] // 1024), :: max(1, values.shape[1] // 1024)]
    low, high = (float(v) for v in np.quantile(few, (_LOW, _HIGH)))
    if high - low <= 1e-6 * max(abs(high), 1e-12):
        yield Progress(1, 1, "nothing to sharpen")
        return plane.copy()
    colours = values[..., None] if values.ndim == 2 else values
    restored = np.empty_like(colours)
    n = colours.shape[-1]
    for k in range(n):
        scaled: Plane32 = np.ascontiguousarray((colours[..., k] - low) / (high - low))
        first, last = (round(1000 * i / n) for i in (k, k + 1))
        restored[..., k] = yield from relay(deblurrer.run(scaled, wish), done=first, total=last)
    grey = np.clip(np.nan_to_num(restored, nan=0.0), _LOWEST, _HIGHEST) * (high - low) + low
    return _like(grey.reshape(plane.shape), plane.dtype)


def _like(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind not in "ui":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values.astype(np.float64)), limits.min, limits.max).astype(dtype)
