"""napari layer -> `Stack`, and result -> layer that lies exactly on its source. Reads references, computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_focusstack import __version__
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.report import Grid
from napari_focusstack.core.stack import AXES, Optics, Stack

METADATA = "napari_focusstack"
"""Key of our entry in ``layer.metadata``: on sources what a layer can't hold otherwise, on results the provenance."""

_KNOWN: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""Layers by their identity."""

_HELD: WeakKeyDictionary[Any, tuple[Any, int]] = WeakKeyDictionary()
"""The array that a layer held when it was last looked at, and how many there were before it."""

LABELS = {
    "P": ("p", "pos", "position", "positions", "s", "scene", "series", "m", "site", "fov", "well"),
    "T": ("t", "time", "frame", "frames", "timepoint"),
    "C": ("c", "ch", "channel", "channels", "wavelength"),
    "Z": ("z", "slice", "slices", "plane", "planes", "depth", "focus"),
    "Y": ("y", "row", "rows"),
    "X": ("x", "col", "column", "columns"),
}
"""Axis labels that name an axis, in lower case."""

UNLABELLED = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TCZYX", 6: "PTCZYX"}
"""The rule for layers whose axes are not labelled: napari shows channels as layers, so a fourth axis is time."""


@dataclass(frozen=True, eq=False)
class Frame:
    """How a layer lies in the world, detached from the layer: still good after that is renamed, moved or deleted.

    Attributes
    ----------
    name : str
        The layer's name.
    axes : str
        A letter for each axis of the layer, in its order; without S for RGB, as napari counts.
    matrix : (n + 1, n + 1) float64
        From data to world coordinates: scale, translate, rotate, shear and affine in one.
    plain : bool
        Whether `matrix` is scale and translate alone.
    units : tuple
        The layer's units, one an axis.
    um : tuple of float or None
        µm per data step along each axis; None where the layer is not calibrated.
    rgb : bool
        Whether the layer is RGB.
    note : str
        By which rule the axes were named.
    path : Path or None
        File the layer was read from.
    layer_id : str
        The layer's `identity`.
    """

    name: str
    axes: str
    matrix: NDArray[np.float64]
    plain: bool
    units: tuple[Any, ...]
    um: tuple[float | None, ...]
    rgb: bool
    note: str
    path: Path | None = None
    layer_id: str = ""


def identity(layer: Any) -> str:
    """What tells a layer from every other, whatever it is called; kept in its metadata.

    Results and regions name their source by it (`source_id`). A duplicate of a layer gets one of its own.
    """
    known = layer.metadata.get(METADATA, {})
    found = str(known.get("id", ""))
    if not found or _KNOWN.get(found, layer) is not layer:
        found = uuid4().hex
        # A new mapping: a duplicate shares the old one with its original.
        layer.metadata[METADATA] = {**known, "id": found}
    _KNOWN[found] = layer
    return found


def data_number(layer: Any) -> int:
    """Which of the arrays it is that the layer has held: another number after ``layer.data = …``."""
    held, number = _HELD.get(layer, (None, -1))
    if held is None or held() is not layer.data:
        number += 1
        _HELD[layer] = _reference(layer.data), number
    return number


def _reference(data: Any) -> Callable[[], Any]:
    """A weak reference, or a strong one to what can't have any."""
    try:
        return ref(data)
    except TypeError:
        return lambda: data


def source_id(layer: Any) -> str:
    """The `identity` of the layer that a result or region was made from (by `place`); empty where there is none."""
    return str(layer.metadata.get(METADATA, {}).get("layer_id", ""))


def name_axes(labels: Sequence[str]) -> tuple[str, str]:
    """Name the axes of a layer by its labels, and by `UNLABELLED` those that have none.

    Returns
    -------
    axes : str
        A letter of ``"PTCZYX"`` an axis, in the layer's order.
    note : str
        The rule, in a sentence for the user.

    Raises
    ------
    InputError
        If there are more axes than letters, or fewer than two.
    """
    n = len(labels)
    if n not in UNLABELLED:
        raise InputError(f"The layer has {n} axes: give one with 2 to 6 (position, time, channel, z, y, x).")
    found: list[str | None] = []
    for label in labels:
        letter = next((a for a, names in LABELS.items() if str(label).strip().lower() in names), None)
        found.append(None if letter in found else letter)
    # Free letters go, from the right, to the axes without a label: the usual ones for so many axes first.
    usual = [a for a in reversed(UNLABELLED[n]) if a not in found]
    spare = usual + [a for a in "XYZTCP" if a not in found and a not in usual]
    unlabelled = found.count(None)
    for i in reversed(range(n)):
        if found[i] is None:
            found[i] = spare.pop(0)
    axes = "".join(a for a in found if a)
    if not {"Y", "X"} <= set(axes):
        raise InputError(f"The axes are labelled {', '.join(map(str, labels))}: two of them must be y and x.")
    if not unlabelled:
        return axes, f"axes {axes}, by their labels"
    return axes, f"axes taken for {axes}: the last are z, y, x unless they are labelled otherwise"


def frame_of(layer: Any) -> Frame:
    """Take down how a layer lies in the world."""
    axes, note = name_axes(layer.axis_labels)
    n = len(axes)
    origin = np.asarray(layer.data_to_world([0.0] * n))
    matrix = np.eye(n + 1)
    matrix[:n, n] = origin
    for i, unit in enumerate(np.eye(n)):
        matrix[:n, i] = np.asarray(layer.data_to_world(unit)) - origin
    linear = matrix[:n, :n]
    steps = np.linalg.norm(linear, axis=0)
    um = tuple(
        None if factor is None else float(step * factor)
        for step, factor in zip(steps, map(_um_per, layer.units), strict=True)
    )
    path = getattr(layer.source, "path", None) or layer.metadata.get(METADATA, {}).get("source")
    return Frame(
        name=layer.name,
        axes=axes,
        matrix=matrix,
        plain=bool(np.allclose(linear, np.diag(np.diag(linear)))),
        units=tuple(layer.units),
        um=um,
        rgb=bool(getattr(layer, "rgb", False)),
        note=note,
        path=Path(path) if path else None,
        layer_id=identity(layer),
    )


def stack_of(layer: Any) -> Stack:
    """Make a `Stack` of an image layer; nothing is read or computed. Call it in the main thread.

    The first level of a multiscale layer is taken. Heights count along the layer's z axis as napari's slider shows
    them, so a layer that is translated along z does not begin at 0.

    Raises
    ------
    InputError
        If the layer is not an image or its axes can't be named.
    """
    if not isinstance(layer, Image):
        raise InputError(f"'{layer.name}' is not an image layer: choose an image.")
    frame = frame_of(layer)
    data = layer.data[0] if layer.multiscale else layer.data
    if frame.rgb and data.shape[-1] == 4:
        data = data[..., :3]
    order = [frame.axes.index(a) for a in AXES if a in frame.axes]
    if order != sorted(order):
        data = _transposed(data, [*order, len(order)] if frame.rgb else order)
    um = dict(zip(frame.axes, frame.um, strict=True))
    known = layer.metadata.get(METADATA, {})
    axes = "".join(frame.axes[i] for i in order) + ("S" if frame.rgb else "")
    channels = tuple(known.get("channels", ()))
    n_channels = data.shape[axes.index("C")] if "C" in axes else 1
    return Stack(
        data,
        axes,
        name=layer.name,
        y_um=um["Y"],
        x_um=um["X"],
        z_um=um.get("Z"),
        z_positions_um=_z_positions(frame, data.shape[axes.index("Z")] if "Z" in axes else 1, known),
        channels=channels if len(channels) == n_channels else (),
        axes_note=frame.note,
        source=frame.path,
        optics=known.get("optics", Optics()),
    )


def shown_at(layer: Any, dims: Any) -> dict[str, int]:
    """Index of the layer's data that the sliders show, by axis letter; within the layer's extent."""
    axes, _ = name_axes(layer.axis_labels)
    point = np.asarray(dims.point, float)[-layer.ndim :]
    # While layers come and go, the viewer may have fewer axes than a layer for a moment.
    point = np.concatenate([np.zeros(layer.ndim - len(point)), point]) * _world_to_layer_units(layer, dims)
    index = np.asarray(layer.world_to_data(point))
    shape = layer.data[0].shape if layer.multiscale else layer.data.shape
    return {a: int(np.clip(np.round(i), 0, n - 1)) for a, i, n in zip(axes, index, shape, strict=False)}


def show(layer: Any, dims: Any, **where: int) -> None:
    """Move the sliders to ``show(layer, dims, Z=3, T=0)``; axes that the layer does not have are left out."""
    axes, _ = name_axes(layer.axis_labels)
    index = shown_at(layer, dims)
    wanted = {a: i for a, i in where.items() if a in axes and index[a] != i}
    if not wanted:
        return
    world = np.asarray(layer.data_to_world([{**index, **wanted}[a] for a in axes])) / _world_to_layer_units(layer, dims)
    first = dims.ndim - layer.ndim
    if first < 0:
        return
    places = [axes.index(a) for a in wanted]
    dims.set_point([first + i for i in places], [float(world[i]) for i in places])


@dataclass(frozen=True, eq=False)
class Placed:
    """A result as a layer: ``viewer.add_image(placed.data, **placed.kwargs, name=…)``."""

    data: Any
    kwargs: dict[str, Any] = field(default_factory=dict)


def place(
    data: Any,
    axes: str,
    *,
    like: Frame,
    grid: Grid | None = None,
    at: Mapping[str, int] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Placed:
    """Place a result on its source: axes in the source's order, scale, translate, units and labels as its own.

    Parameters
    ----------
    data : array
        The result.
    axes : str
        Its axes: some of the source's, in the order of ``"PTCZYXS"``. Axes that are left out are dropped, which napari
        shows at every slider position; give an axis of length 1 and `at` to show it at one only.
    like : Frame
        Frame of the source.
    grid : Grid, optional
        The result is a map of patches: each patch is put where it lies on the image.
    at : mapping of str to int, optional
        Index of the source at which the result begins along an axis: ``{"Z": 3}`` for slices cut out from 3 on.
    provenance : mapping, optional
        What made it; goes into the metadata with the source's name and file and our version.

    Returns
    -------
    Placed
        With keywords ``scale``, ``translate`` (``affine`` where the source is rotated or sheared), ``units``,
        ``axis_labels``, ``metadata``, and ``rgb`` for axes with S.
    """
    kept = [a for a in like.axes if a in axes]
    colour = "S" if axes.endswith("S") else ""
    wanted = [axes.index(a) for a in (*kept, *colour)]
    if wanted != list(range(len(axes))):
        data = _transposed(data, wanted)
    step, offset = np.ones(len(kept)), np.array([float((at or {}).get(a, 0)) for a in kept])
    if grid is not None:
        for letter, cell, origin in zip("YX", grid.cell_px, grid.origin_px, strict=True):
            i = kept.index(letter)
            # The centre of the first patch, counted from the centre of the first pixel.
            step[i], offset[i] = cell, offset[i] + origin + (cell - 1) / 2
    rows = [like.axes.index(a) for a in kept]
    linear = like.matrix[np.ix_(rows, rows)]
    translate = like.matrix[rows, -1] + linear @ offset
    kwargs: dict[str, Any] = {
        "units": tuple(like.units[i] for i in rows),
        "axis_labels": tuple(a.lower() for a in kept),
        "metadata": {
            METADATA: {
                "version": __version__,
                "layer": like.name,
                "layer_id": like.layer_id,
                "file": str(like.path) if like.path else None,
                **(provenance or {}),
            }
        },
    }
    if like.plain:
        kwargs |= {"scale": tuple(np.diag(linear) * step), "translate": tuple(translate)}
    else:
        affine = np.eye(len(kept) + 1)
        affine[:-1, :-1], affine[:-1, -1] = linear * step, translate
        kwargs["affine"] = affine
    if colour:
        kwargs["rgb"] = True
    return Placed(data, kwargs)


def layer_of(stack: Stack) -> Placed:
    """Make an image layer of a stack: the way back of `stack_of`, for readers and samples. Nothing is read."""
    um = {"Y": stack.y_um, "X": stack.x_um, "Z": stack.z_um}
    axes = stack.axes.rstrip("S")
    heights = stack.z_positions_um
    steps = np.diff(heights or ())
    # Scale and translate can hold heights that rise evenly; any others, falling ones too, are kept beside.
    even = len(steps) > 0 and steps[0] > 0 and np.allclose(steps, steps[0])
    if len(steps):
        um["Z"] = abs(float(np.mean(steps))) or None
    known: dict[str, Any] = {"channels": list(stack.channels), "optics": stack.optics}
    if heights is not None and not even:
        known["z_positions_um"] = list(heights)
    kwargs: dict[str, Any] = {
        "name": stack.name,
        "scale": tuple(um.get(a) or 1.0 for a in axes),
        "translate": tuple(heights[0] if a == "Z" and heights else 0.0 for a in axes),
        "units": tuple("um" if um.get(a) else "pixel" for a in axes),
        "axis_labels": tuple(a.lower() for a in axes),
        "metadata": {METADATA: known},
    }
    if stack.is_rgb:
        kwargs["rgb"] = True
    return Placed(stack.data, kwargs)


def _um_per(unit: Any) -> float | None:
    """µm in a pint unit; None for pixels and anything else that is not a length."""
    import pint

    registry: Any = pint.get_application_registry()  # type: ignore[no-untyped-call]
    quantity = registry.Quantity(1.0, unit)
    return float(quantity.to("micrometer").magnitude) if quantity.check("[length]") else None


def _world_to_layer_units(layer: Any, dims: Any) -> NDArray[np.float64]:
    """By what a world coordinate is multiplied to be in the layer's units (napari shows one unit for all layers)."""
    units = getattr(dims, "units", None)
    if units is None or len(units) < layer.ndim:
        return np.ones(layer.ndim)
    pairs = zip(units[-layer.ndim :], layer.units, strict=True)
    return np.array([(_um_per(world) or 1.0) / (_um_per(own) or 1.0) for world, own in pairs])


def _z_positions(frame: Frame, n: int, known: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Heights that a step alone can't tell: uneven ones, and those of a layer that does not begin at 0."""
    given = known.get("z_positions_um")
    if given is not None and len(given) == n:
        return tuple(map(float, given))
    if "Z" not in frame.axes:
        return None
    i = frame.axes.index("Z")
    factor, step, start = _um_per(frame.units[i]), frame.matrix[i, i], frame.matrix[i, -1]
    if factor is None or (start == 0 and step > 0):
        return None
    return tuple(float((start + k * step) * factor) for k in range(n))


def _transposed(data: Any, order: Sequence[int]) -> Any:
    """Transposed, and still lazy where it was."""
    if not hasattr(data, "transpose"):
        import dask.array as da

        data = da.from_array(data)
    return data.transpose(order)
