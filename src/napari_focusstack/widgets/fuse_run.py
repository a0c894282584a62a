"""The job behind *Fuse*, and its result as layers that lie on their source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion.fused import Fused
from napari_focusstack.core.progress import Job, relay
from napari_focusstack.core.stack import AXES, Stack
from napari_focusstack.widgets.layers import METADATA, Frame, Placed, frame_of, identity, place, stack_of

MAPS = {"index": "index", "depth": "height µm", "confidence": "confidence"}
"""What the maps of a result are called, by role."""
FAINT = 0.05
"""Heights of less confidence than this are noise: they are not shown. Files keep them, with the confidence beside."""


@dataclass(frozen=True)
class Look:
    """How the source layer of a channel looks, for the fused image to look alike."""

    name: str
    contrast_limits: tuple[float, float] | None = None
    colormap: Any = None
    gamma: float = 1.0
    blending: str = "translucent"

    @classmethod
    def of(cls, layer: Any) -> Look:
        """Take down the look of an image layer."""
        if layer.rgb:
            return cls(layer.name, blending=str(layer.blending))
        low, high = layer.contrast_limits
        return cls(layer.name, (float(low), float(high)), layer.colormap, float(layer.gamma), str(layer.blending))


@dataclass(frozen=True, eq=False)
class Source:
    """What is fused, detached from the layers: they may be renamed or deleted meanwhile.

    Attributes
    ----------
    stack : Stack
        The pixels, with an axis C where several layers are taken together.
    frame : Frame
        How the layer lies in the world.
    looks : tuple of Look
        Look of each source layer; one for a layer that holds its channels itself.
    keys : tuple of int or str
        What a recipe calls each channel of the stack: its name in the file, or its index where that has none.
    alone : bool
        Whether this is one of several channels of a file.
    """

    stack: Stack
    frame: Frame
    looks: tuple[Look, ...]
    keys: tuple[int | str, ...] = ()
    alone: bool = False

    @property
    def split(self) -> bool:
        """Whether the channels are layers of their own."""
        return len(self.looks) > 1


@dataclass(frozen=True, eq=False)
class FuseResult:
    """Fused images of one or more time points and positions, as arrays with their axes.

    Where the sharpest point lies is kept in slices: its height in µm follows the calibration, which may change later.

    Attributes
    ----------
    source : Source
        What was fused.
    settings : FuseSettings
        How.
    fused : Fused
        The arrays, with axes T and P in front where the source has them; without depth, see `measured`.
    peak : float32 array
        Position of the sharpest point in slices, between them too.
    shown : float32 array or None
        Its height in µm as it is shown, see `shown_depth`; None where the heights of the slices are not known.
    map_axes : str
        Axes of index, peak and confidence.
    at : mapping of str to int
        Time point and position at which the arrays begin.
    """

    source: Source
    settings: Any
    fused: Fused
    peak: NDArray[np.float32]
    shown: NDArray[np.float32] | None
    map_axes: str
    at: Mapping[str, int] = field(default_factory=dict)

    def measured(self) -> Fused:
        """The arrays with the depth in µm by the calibration of the source as it is now; None where it has none."""
        heights = self.source.stack.heights_um
        return self.fused if heights is None else dataclasses.replace(self.fused, depth_um=depth_of(self.peak, heights))

    @property
    def label(self) -> str:
        """The method, and whatever else was not left at its default, for the names of the layers."""
        said = [self.settings.method]
        stack = self.source.stack
        if self.fused.slices and len(self.fused.slices) < stack.n_slices:
            said.append(f"slices {self.fused.slices[0]}–{self.fused.slices[-1]}")
        if self.settings.align:
            said.append("aligned")
        if stack.n_channels > 1 and self.settings.drive is not None:
            channel = stack.find_channel(self.settings.drive)
            said.append(f"by {stack.channels[channel] if stack.channels else f'channel {channel}'}")
        # One of several time points: the layer shows at that one only, and is a result of its own.
        lengths = dict(zip(self.fused.axes, self.fused.image.shape, strict=True))
        for letter, words in (("T", "t"), ("P", "position")):
            if lengths.get(letter) == 1 and stack.size(letter) > 1:
                said.append(f"{words} {self.at.get(letter, 0)}")
        return ", ".join(said)


class FuseJob:
    """Makes the job that fuses every asked-for time point and position of a source, one after the other.

    Parameters
    ----------
    source : Source
        What to fuse.
    settings : FuseSettings
        How.
    times, positions : sequence of int
        Which time points and positions.
    """

    def __init__(self, source: Source, settings: Any, *, times: Sequence[int], positions: Sequence[int]) -> None:
        self.source = source
        self.settings = settings
        self.times = tuple(times)
        self.positions = tuple(positions)

    def __call__(self) -> Job[FuseResult]:
        """Make the job; called in the thread that runs it, which is the one that imports what is heavy."""
        from napari_focusstack.core.pipeline import fuse_job

        stack = self.source.stack
        wanted = [(p, t) for p in self.positions for t in self.times]
        leading = "".join(a for a in "PT" if a in stack.axes)
        lengths = {"P": len(self.positions), "T": len(self.times)}
        shape = tuple(lengths[a] for a in leading)
        # Slices for heights: the depth is the position of the peak then.
        in_slices = dataclasses.replace(stack, z_um=1.0, z_positions_um=None)
        arrays: dict[str, NDArray[Any]] = {}
        for i, (p, t) in enumerate(wanted):
            job = fuse_job(in_slices, self.settings, time=t, position=p)
            message = "" if len(wanted) == 1 else f"{i + 1} of {len(wanted)}"
            step = 1000 / len(wanted)
            one = yield from relay(job, done=round(i * step), total=round((i + 1) * step), message=message)
            for name in ("image", "index", "depth_um", "confidence"):
                part = getattr(one, name)
                # Filled in one by one: a long time series must not be in memory twice.
                if i == 0:
                    arrays[name] = np.empty((*shape, *part.shape), part.dtype) if shape else part
                if shape:
                    arrays[name].reshape(-1, *part.shape)[i] = part
            parameters, axes, method, slices = dict(one.parameters), one.axes, one.method, one.slices
            maps = "CYX" if one.index.ndim == 3 else "YX"
            del one, part, job
        if len(wanted) > 1 and "alignment" in parameters:
            parameters["alignment"] = "the slices of each series registered to its middle one"
        peak = arrays.pop("depth_um")
        fused = Fused(**arrays, axes=leading + axes, depth_um=None, method=method, parameters=parameters, slices=slices)
        at = {a: first_of[0] for a, first_of in (("P", self.positions), ("T", self.times)) if a in leading}
        shown = shown_depth(peak, fused.confidence, stack.heights_um)
        return FuseResult(self.source, self.settings, fused, peak, shown, leading + maps, at)


def depth_of(peak: NDArray[np.float32], heights_um: NDArray[np.float64]) -> NDArray[np.float32]:
    """Heights in µm at positions in slices, linear between them; the steps may be uneven."""
    depth = np.empty(peak.shape, np.float32)
    slices = np.arange(len(heights_um))
    for where in np.ndindex(*peak.shape[:-2]):
        depth[where] = np.interp(peak[where], slices, heights_um)
    return depth


@dataclass(frozen=True, eq=False)
class NewLayer:
    """A layer to be: `role` is ``"fused"``, ``"index"``, ``"depth"``, ``"confidence"`` or ``"values"``."""

    role: str
    data: Any
    kwargs: dict[str, Any]
    channel: int | None = None


@dataclass(eq=False)
class Made:
    """A result and the layers that show it; told from others by identity, as arrays have no one answer to ``==``."""

    result: FuseResult
    layers: list[tuple[NewLayer, Any]] = field(default_factory=list)

    def recalibrate(self, layers: Iterable[Any]) -> bool:
        """Take over the calibration that the layers have now; tell whether the heights of the slices changed.

        Parameters
        ----------
        layers : iterable of layers
            Those of the viewer. The source tells the heights as long as it is among them, the fused image its pixels.
        """
        source, stack = self.result.source, self.result.source.stack
        new: dict[str, Any] = {}
        fused = self.of_role("fused")
        if fused:
            frame = frame_of(fused[0])
            um = dict(zip(frame.axes, frame.um, strict=True))
            new |= {"y_um": um.get("Y"), "x_um": um.get("X")}
        layer = layer_of_id(layers, source.frame.layer_id)
        if layer is not None:
            new |= _z_of(layer, stack)
            source = dataclasses.replace(source, frame=frame_of(layer))
        before, calibrated = stack.heights_um, dataclasses.replace(stack, **new)
        self.result = dataclasses.replace(self.result, source=dataclasses.replace(source, stack=calibrated))
        after = calibrated.heights_um
        if np.array_equal(before, after) if before is not None and after is not None else before is after:
            return False
        shown = shown_depth(self.result.peak, self.result.fused.confidence, after)
        self.result = dataclasses.replace(self.result, shown=shown)
        return True

    def of_role(self, role: str) -> list[Any]:
        """The layers of one role."""
        return [layer for new, layer in self.layers if new.role == role]

    @property
    def name(self) -> str:
        """What to call it: the name of the fused image, or that of the stack where its channels are several."""
        source = self.result.source
        return f"fused {source.stack.name if source.split else source.looks[0].name} ({self.result.label})"

    @property
    def retouched(self) -> dict[str, int]:
        """How many pixels were painted by hand, by the slice they were taken from."""
        known = self.of_role("fused")[0].metadata.get(METADATA, {})
        return dict(known.get("retouched", {}))


def layer_of_id(layers: Iterable[Any], layer_id: str) -> Any:
    """The layer that has an `identity`, whatever it is called now; None where it is gone."""
    # A duplicate has the metadata of its original until it is asked.
    alike = [layer for layer in layers if layer.metadata.get(METADATA, {}).get("id") == layer_id]
    return next((layer for layer in alike if identity(layer) == layer_id), None) if layer_id else None


def _z_of(layer: Any, stack: Stack) -> dict[str, Any]:
    """Z step and heights of a layer, if it is still a stack of as many slices."""
    try:
        now = stack_of(layer)
    except InputError:
        return {}
    return {"z_um": now.z_um, "z_positions_um": now.z_positions_um} if now.n_slices == stack.n_slices else {}


def provenance_of(result: FuseResult) -> dict[str, Any]:
    """What made a result, as plain values."""
    fused, stack = result.fused, result.source.stack
    return {
        "method": fused.method,
        "parameters": dict(fused.parameters),
        "slices": list(fused.slices),
        "settings": result.settings.model_dump(),
        "channels": list(stack.channels),
        "source": str(stack.source or ""),
        "label": result.label,
    }


def layers_of_result(result: FuseResult) -> list[NewLayer]:
    """Make the layers of a result, in the order in which they are added: fused image, index, height, confidence.

    The fused image looks like its source. The maps lie above it, hidden: one click on the eye shows them.
    """
    return [*_fused_layers(result), *map_layers(result)]


def map_layers(result: FuseResult, roles: Sequence[str] = tuple(MAPS)) -> list[NewLayer]:
    """Make the layers of the maps of a result; that of the height only where the z step is known."""
    fused, source = result.fused, result.source
    name = source.stack.name if source.split else source.looks[0].name
    slices = fused.slices or (0, 1)
    last = max(slices[-1], slices[0] + 1)
    maps: list[tuple[str, Any, tuple[float, float], str]] = []
    if "index" in roles:
        maps.append(("index", fused.index, (float(slices[0]), float(last)), "viridis"))
    shown = result.shown
    if "depth" in roles and shown is not None:
        # A sixteenth of the pixels tells the range as well, and this is the main thread.
        sample = shown[..., ::4, ::4]
        finite = sample[np.isfinite(sample)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        maps.append(("depth", shown, (low, high if high > low else low + 1.0), "viridis"))
    if "confidence" in roles:
        maps.append(("confidence", fused.confidence, (0.0, 1.0), "gray"))
    made = []
    for role, data, limits, colormap in maps:
        for c in range(data.shape[result.map_axes.index("C")]) if _splits_maps(result) else (None,):
            part, axes = (data, result.map_axes) if c is None else _channel(data, result.map_axes, c)
            placed = lay(part, axes, result=result, role=role, channel=c)
            of = name if c is None else source.looks[c].name
            kwargs = {
                **placed.kwargs,
                "name": f"{MAPS[role]} {of} ({result.label})",
                "colormap": colormap,
                "contrast_limits": limits,
                "visible": False,
                "interpolation2d": "nearest",
            }
            made.append(NewLayer(role, placed.data, kwargs, c))
    return made


def shown_depth(
    peak: NDArray[np.float32], confidence: NDArray[np.float32], heights_um: NDArray[np.float64] | None
) -> NDArray[np.float32] | None:
    """Heights in µm as they are shown: NaN, which napari leaves transparent, where there is no evidence."""
    if heights_um is None:
        return None
    depth = depth_of(peak, heights_um)
    depth[confidence < FAINT] = np.nan
    return depth


def layers_of_values(result: FuseResult, values: NDArray[Any]) -> list[NewLayer]:
    """Make the layers of the source's values by index, an array like the fused image; they look like the source."""
    return _fused_layers(result, values, role="values")


def _fused_layers(result: FuseResult, image: NDArray[Any] | None = None, *, role: str = "fused") -> list[NewLayer]:
    fused, source = result.fused, result.source
    image = fused.image if image is None else image
    words = {"fused": "fused", "values": "source values"}[role]
    made = []
    for i, look in enumerate(source.looks):
        c = i if source.split else None
        data, axes = (image, fused.axes) if c is None else _channel(image, fused.axes, c)
        placed = lay(data, axes, result=result, role=role, channel=c)
        kwargs = {**placed.kwargs, "name": f"{words} {look.name} ({result.label})"}
        # The lowest of the new images hides the sources, the others are added to it as their sources are.
        kwargs["blending"] = "opaque" if i == 0 and look.blending == "additive" else look.blending
        if look.contrast_limits is not None:
            kwargs |= {"contrast_limits": look.contrast_limits, "colormap": look.colormap, "gamma": look.gamma}
        made.append(NewLayer(role, placed.data, kwargs, c))
    return made


def lay(data: Any, axes: str, *, result: FuseResult, role: str, channel: int | None = None) -> Placed:
    """Place an array of a result on its source.

    napari lines layers up by their last axes. So an axis of the source that the result lost (z) may only be left out
    where no axis stands before it that the result still has (time); else it stays with length 1, as thick as the
    source, and the result shows at every position of that slider.
    """
    frame, stack = result.source.frame, result.source.stack
    first = next(i for i, a in enumerate(frame.axes) if a in axes)
    thick = [a for a in frame.axes[first:] if a not in axes]
    letters = sorted({*axes, *thick}, key=AXES.index)
    data = np.expand_dims(data, [i for i, a in enumerate(letters) if a in thick])
    at: dict[str, Any] = {**result.at, **{a: (stack.size(a) - 1) / 2 for a in thick}}
    known = {**provenance_of(result), "role": role, "of_channel": channel}
    placed = place(data, "".join(letters), like=frame, at=at, provenance=known)
    kept = frame.axes[first:]
    stretch = np.array([stack.size(a) if a in thick else 1.0 for a in kept])
    if "scale" in placed.kwargs:
        placed.kwargs["scale"] = tuple(np.asarray(placed.kwargs["scale"]) * stretch)
    else:
        placed.kwargs["affine"][:-1, :-1] *= stretch
    return placed


def _splits_maps(result: FuseResult) -> bool:
    return result.source.split and "C" in result.map_axes


def _channel(data: Any, axes: str, c: int) -> tuple[Any, str]:
    at = axes.index("C")
    return data[(slice(None),) * at + (c,)], axes.replace("C", "")
