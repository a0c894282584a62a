"""Sharpening of images that are out of focus or blurred by motion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from napari_focusstack.core.deblur.kernel import both, defocused, disc, motion
from napari_focusstack.core.deblur.methods import (
    DEBLURRERS,
    INVENTS,
    Blur,
    Box,
    Deblurrer,
    Wish,
    default_deblurrer,
)
from napari_focusstack.core.deblur.scale import grey_scale
from napari_focusstack.core.defocus import calibration_of
from napari_focusstack.core.devices import DeviceChoice
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import Plane32
from napari_focusstack.core.progress import Job, Progress, drain, relay
from napari_focusstack.core.stack import Stack

__all__ = [
    "DEBLURRERS",
    "INVENTS",
    "DeblurSettings",
    "Deblurred",
    "Deblurrer",
    "check_blur",
    "deblur",
    "deblur_job",
    "deblur_plane",
    "default_deblurrer",
]

SMALLEST_PX = 16
_BELOW, _ABOVE = 0.5, 3.0
"""What a network makes beyond the image's own range by these multiples of it is cut: nothing real lies there."""


class DeblurSettings(BaseModel):
    """How an image is deblurred.

    Attributes
    ----------
    model : str
        Name in `DEBLURRERS`.
    blur_px : float or None
        Radius of the blur disc for the classical methods. Where nothing is known of the blur, it is estimated from each
        plane; networks see it themselves.
    defocus_um : float or None
        Distance from focus in µm, of either sign, in the place of `blur_px`: the blur is that of the stack's optics
        (aperture, wavelength, pixel size), relative to the objective in focus.
    motion_px : float or None
        How far the specimen moved while the shutter was open; with `blur_px` or `defocus_um`, both blur.
    motion_degrees : float
        Direction of that: 0 along x, 90 along y.
    device : {"auto", "cpu", "cuda", "mps", "onnx"}
        Where a network computes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(default_factory=default_deblurrer)
    blur_px: float | None = Field(default=None, gt=0, le=100)
    defocus_um: float | None = Field(default=None, ge=-1e4, le=1e4)
    motion_px: float | None = Field(default=None, gt=0, le=200)
    motion_degrees: float = Field(default=0.0, ge=-360, le=360)
    device: DeviceChoice = "auto"

    @property
    def blur_known(self) -> bool:
        """Whether the user tells what blurred the image."""
        return any(known is not None for known in (self.blur_px, self.defocus_um, self.motion_px))


@dataclasses.dataclass(frozen=True, eq=False)
class Deblurred:
    """A result.

    Attributes
    ----------
    stack : Stack
        The sharpened planes.
    blurs_px : tuple of float
        Radius of the blur disc of each plane, in the stack's order, where it had to be estimated; of colours the mean.
    """

    stack: Stack
    blurs_px: tuple[float, ...] = ()

    @property
    def blurs_um(self) -> tuple[float, ...]:
        """`blurs_px` in µm; empty where the pixel size is not known."""
        y_um, x_um = self.stack.y_um, self.stack.x_um
        return () if y_um is None or x_um is None else tuple(b * (y_um * x_um) ** 0.5 for b in self.blurs_px)

    @property
    def blur_told(self) -> str:
        """The blur in words: ``"3.2 px (0.64 µm)"``, of several planes the range and the median; else empty."""
        if not self.blurs_px:
            return ""
        um = f" ({_span(self.blurs_um)} µm)" if self.blurs_um else ""
        of_all = f", of {len(self.blurs_px)} planes" if len(self.blurs_px) > 1 else ""
        return f"{_span(self.blurs_px)} px{um}{of_all}"


def _span(values: tuple[float, ...]) -> str:
    low, middle, high = (f"{v:.3g}" for v in (min(values), float(np.median(values)), max(values)))
    return middle if low == high else f"{low} to {high}, median {middle}"


def deblur(stack: Stack, settings: DeblurSettings | None = None) -> Stack:
    """Run `deblur_job` to its end; the sharpened planes alone."""
    return drain(deblur_job(stack, settings)).stack


def deblur_job(
    stack: Stack,
    settings: DeblurSettings | None = None,
    *,
    at: Mapping[str, int] | None = None,
    within: Box | None = None,
) -> Job[Deblurred]:
    """Sharpen every plane of a stack: all its slices, channels, times and positions; RGB colour by colour.

    Parameters
    ----------
    stack : Stack
        One image, or many.
    settings : DeblurSettings, optional
        How.
    at : mapping of str to int, optional
        Only the planes at these indices, ``{"Z": 3}``; the result has length 1 along these axes.
    within : (slice, slice), optional
        Only this part of the planes, along y and x: what the whole plane's result shows there, made quicker. Grey
        values, blur and noise are judged by the whole plane.

    Returns
    -------
    Deblurred
        Of the same axes, type and calibration.

    Raises
    ------
    InputError
        If there is no such model, it does not take what is told of the blur, the optics are not known that it takes,
        or a plane holds NaN.
    """
    settings, at = settings or DeblurSettings(), at or {}
    chosen = DEBLURRERS[settings.model]
    check_blur(settings)
    lead = [a for a in stack.axes if a in "PTCZ"]
    shape = tuple(1 if a in at else stack.size(a) for a in lead)
    places = list(np.ndindex(*shape))
    size = stack.plane_shape if within is None else tuple(part.stop - part.start for part in within)
    dtype = np.dtype(np.uint8) if stack.dtype.kind == "b" else stack.dtype
    out = np.empty((*shape, *size, *((3,) if stack.is_rgb else ())), dtype)
    kernels = [known_kernel(stack.only_channel(c), settings) for c in range(stack.n_channels)]
    blurs: list[float] = []
    for i, place in enumerate(places):
        where = {"z": 0} | {a.lower(): at.get(a, k) for a, k in zip(lead, place, strict=True)}
        plane = stack.plane(**where)
        told = f"plane {i + 1} of {len(places)}" if len(places) > 1 else ""
        kernel = kernels[where.get("c", 0)]
        job = deblur_plane(plane, chosen, Wish(kernel=kernel, device=settings.device, within=within))
        first, last = (round(1000 * k / len(places)) for k in (i, i + 1))
        out[place], found = yield from _noting_blur(relay(job, done=first, total=last, message=told))
        blurs += [float(np.mean(found))] if found else []
    made = dataclasses.replace(stack, data=out, name=f"{stack.name} deblurred", source=None, **_left(stack, at))
    return Deblurred(made, tuple(blurs))


def check_blur(settings: DeblurSettings) -> None:
    """See that the method makes use of all that is told of the blur.

    Raises
    ------
    InputError
        If it is a network, which sees the blur itself; or what is told of the blur does not go together.
    """
    if settings.blur_known and DEBLURRERS[settings.model].learned:
        known = ", ".join(d.name for d in DEBLURRERS if not d.learned)
        raise InputError(
            f"A blur was given, but '{settings.model}' is a network and sees the blur itself: "
            f"leave it out, or choose one of {known}."
        )
    if settings.blur_px is not None and settings.defocus_um is not None:
        raise InputError(
            f"A blur of {settings.blur_px:g} px and a defocus of {settings.defocus_um:g} µm were given: "
            "both tell the same, give one of them."
        )
    if settings.motion_degrees and settings.motion_px is None:
        raise InputError("A direction of motion was given without its length: give the length in pixels, too.")


def known_kernel(stack: Stack, settings: DeblurSettings) -> Plane32 | None:
    """What blurred a stack of one channel, as far as the user tells; None where that has to be estimated.

    Raises
    ------
    InputError
        If it takes optics that are not known.
    """
    kernels = []
    if settings.blur_px is not None:
        kernels.append(disc(settings.blur_px))
    if settings.defocus_um is not None:
        y_um, x_um = stack.y_um, stack.x_um
        pixel_um = None if y_um is None or x_um is None else (y_um * x_um) ** 0.5
        kernels.append(defocused(calibration_of(stack.optics, pixel_um), settings.defocus_um))
    if settings.motion_px is not None:
        kernels.append(motion(settings.motion_px, degrees=settings.motion_degrees))
    return reduce(both, kernels) if kernels else None


def _left(stack: Stack, at: Mapping[str, int]) -> dict[str, Any]:
    """Names and heights of what was chosen."""
    left: dict[str, Any] = {}
    if "C" in at and stack.channels:
        left["channels"] = stack.channels[at["C"] : at["C"] + 1]
    if "Z" in at and stack.z_positions_um is not None:
        left["z_positions_um"] = stack.z_positions_um[at["Z"] : at["Z"] + 1]
    return left


def _noting_blur(job: Job[NDArray[Any]]) -> Job[tuple[NDArray[Any], list[float]]]:
    """The job, and the blurs that were estimated on its way."""
    found: list[float] = []
    while True:
        try:
            step = next(job)
        except StopIteration as end:
            return end.value, found
        if isinstance(step.partial, Blur):
            found.append(step.partial.radius_px)
        yield step


def deblur_plane(plane: NDArray[Any], deblurrer: Deblurrer, wish: Wish) -> Job[NDArray[Any]]:
    """Sharpen one plane; it keeps its type. What is blank stays as it is.

    The grey values are scaled on the way, all colours alike (`scale.grey_scale`), so gain and offset of the camera do
    not matter. Small objects, however bright, are sharpened too and may become brighter, as far as the type goes.

    Parameters
    ----------
    plane : (Y, X) or (Y, X, 3) array
        Any pixel type; without NaN.
    deblurrer : Deblurrer
        What sharpens it.
    wish : Wish
        What is known of the blur, and which part is wanted.

    Returns
    -------
    array of the same type, and of the shape of the plane or the part

    Raises
    ------
    InputError
        If the plane is smaller than `SMALLEST_PX` along an axis.
    """
    if min(plane.shape[:2]) < SMALLEST_PX:
        size = "×".join(map(str, plane.shape[:2]))
        raise InputError(f"A plane of {size} pixels is too small to sharpen: give {SMALLEST_PX}×{SMALLEST_PX} or more.")
    values = plane.astype(np.float32)
    scale = grey_scale(values)
    if scale is None:
        yield Progress(1, 1, "nothing to sharpen")
        return plane[wish.within or ...].copy()
    inside, beyond = scale.split(values[..., None] if values.ndim == 2 else values)
    part = wish.within or (slice(None), slice(None))
    restored = np.empty_like(inside[part])
    n = inside.shape[-1]
    for k in range(n):
        first, last = (round(1000 * i / n) for i in (k, k + 1))
        colour: Plane32 = np.ascontiguousarray(inside[..., k])
        restored[..., k] = yield from relay(deblurrer.run(colour, wish), done=first, total=last)
    if deblurrer.learned:
        least, most = float(inside.min()), float(inside.max())
        restored = np.nan_to_num(restored, nan=0.0)
        restored = np.clip(restored, least - _BELOW * (most - least), most + _ABOVE * (most - least))
    grey = scale.back(restored + beyond[part])
    return _like(grey if plane.ndim == 3 else grey[..., 0], plane.dtype)


def _like(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind not in "ui":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values.astype(np.float64)), limits.min, limits.max).astype(dtype)
