"""The job behind *Fuse*, and its result as layers that lie on their source."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion.fused import Fused
from napari_focusstack.core.progress import Job, relay
from napari_focusstack.core.stack import AXES, Stack
from napari_focusstack.widgets.layers import METADATA, Frame, Placed, place

NOT_FOR_QUANTIFICATION = (
    "Intensities of a fused image are not for quantification: they mix slices. "
    "Measure in the source, at the slice that the index names."
)


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

    Attributes
    ----------
    source : Source
        What was fused.
    settings : FuseSettings
        How.
    fused : Fused
        The arrays, with axes T and P in front where the source has them.
    map_axes : str
        Axes of index, depth and confidence.
    at : mapping of str to int
        Time point and position at which the arrays begin.
    """

    source: Source
    settings: Any
    fused: Fused
    map_axes: str
    at: Mapping[str, int] = field(default_factory=dict)

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
        results: list[Fused] = []
        for i, (p, t) in enumerate(wanted):
            job = fuse_job(stack, self.settings, time=t, position=p)
            message = "" if len(wanted) == 1 else f"{i + 1} of {len(wanted)}"
            step = 1000 / len(wanted)
            results.append((yield from relay(job, done=round(i * step), total=round((i + 1) * step), message=message)))
        leading = "".join(a for a in "PT" if a in stack.axes)
        lengths = {"P": len(self.positions), "T": len(self.times)}
        shape = tuple(lengths[a] for a in leading)
        first = results[0]
        maps = "CYX" if first.index.ndim == 3 else "YX"
        depth = None if first.depth_um is None else _joined([r.depth_um for r in results], shape)
        fused = dataclasses.replace(
            first,
            image=_joined([r.image for r in results], shape),
            axes=leading + first.axes,
            index=_joined([r.index for r in results], shape),
            depth_um=depth,
            confidence=_joined([r.confidence for r in results], shape),
        )
        at = {a: first_of[0] for a, first_of in (("P", self.positions), ("T", self.times)) if a in leading}
        return FuseResult(self.source, self.settings, fused, leading + maps, at)


def _joined(arrays: Sequence[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if not shape:
        return np.asarray(arrays[0])
    return np.stack(arrays).reshape(*shape, *arrays[0].shape)


@dataclass(frozen=True, eq=False)
class NewLayer:
    """A layer to be: `role` is ``"fused"``, ``"index"``, ``"depth"`` or ``"values"``."""

    role: str
    data: Any
    kwargs: dict[str, Any]
    channel: int | None = None


@dataclass(eq=False)
class Made:
    """A result and the layers that show it; told from others by identity, as arrays have no one answer to ``==``."""

    result: FuseResult
    layers: list[tuple[NewLayer, Any]] = field(default_factory=list)

    def of_role(self, role: str) -> list[Any]:
        """The layers of one role."""
        return [layer for new, layer in self.layers if new.role == role]

    @property
    def name(self) -> str:
        """What to call it: the name of the fused image, or that of the stack where its channels are several."""
        source = self.result.source
        return f"{source.stack.name if source.split else source.looks[0].name} fused ({self.result.label})"

    @property
    def retouched(self) -> dict[str, int]:
        """How many pixels were painted by hand, by the slice they were taken from."""
        known = self.of_role("fused")[0].metadata.get(METADATA, {})
        return dict(known.get("retouched", {}))


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
    }


def layers_of_result(result: FuseResult) -> list[NewLayer]:
    """Make the layers of a result, in the order in which they are added: fused image, index, height.

    The fused image looks like its source. Index and height lie above it, hidden: one click on the eye shows them.
    """
    return [*_fused_layers(result), *reversed(_map_layers(result))]


def _map_layers(result: FuseResult) -> list[NewLayer]:
    fused, source = result.fused, result.source
    name = source.stack.name if source.split else source.looks[0].name
    slices = fused.slices or (0, 1)
    last = max(slices[-1], slices[0] + 1)
    maps: list[tuple[str, Any, str, tuple[float, float], str]] = []
    if fused.depth_um is not None:
        finite = fused.depth_um[np.isfinite(fused.depth_um)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        maps.append(("depth", fused.depth_um, "height µm", (low, high if high > low else low + 1.0), "viridis"))
    maps.append(("index", fused.index, "index", (float(slices[0]), float(last)), "viridis"))
    made = []
    for role, data, words, limits, colormap in maps:
        for c in range(data.shape[result.map_axes.index("C")]) if _splits_maps(result) else (None,):
            part, axes = (data, result.map_axes) if c is None else _channel(data, result.map_axes, c)
            placed = lay(part, axes, result=result, role=role)
            of = name if c is None else source.looks[c].name
            kwargs = {
                **placed.kwargs,
                "name": f"{of} {words} ({result.label})",
                "colormap": colormap,
                "contrast_limits": limits,
                "visible": False,
                "interpolation2d": "nearest",
            }
            made.append(NewLayer(role, placed.data, kwargs, c))
    return made


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
        placed = lay(data, axes, result=result, role=role)
        kwargs = {**placed.kwargs, "name": f"{look.name} {words} ({result.label})"}
        # The lowest of the new images hides the sources, the others are added to it as their sources are.
        kwargs["blending"] = "opaque" if i == 0 and look.blending == "additive" else look.blending
        if look.contrast_limits is not None:
            kwargs |= {"contrast_limits": look.contrast_limits, "colormap": look.colormap, "gamma": look.gamma}
        made.append(NewLayer(role, placed.data, kwargs, c))
    return made


def lay(data: Any, axes: str, *, result: FuseResult, role: str) -> Placed:
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
    placed = place(data, "".join(letters), like=frame, at=at, provenance={**provenance_of(result), "role": role})
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
