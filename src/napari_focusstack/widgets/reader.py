"""Reader contribution, and how the layers of a stack look.

Each channel becomes a layer of its own: napari can then show the channels over each other, with a colour, contrast
limits and a name for each; a channel axis would be one more slider with one contrast for all. The layers remember
that they belong together, and *Fuse* takes them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.files import EXTENSIONS, VIDEOS, resolve
from napari_focusstack.io.provenance import patch_of_map
from napari_focusstack.io.read import read_stacks, to_dask
from napari_focusstack.widgets.channel_colours import channel_colours
from napari_focusstack.widgets.layers import METADATA, layer_of

LayerData = tuple[Any, dict[str, Any], str]

EAGER_BYTES = 128 * 2**20
"""Smaller stacks are read into memory at once; larger ones plane by plane as they are shown."""

LIMIT_QUANTILES = (0.001, 0.9995)
"""Quantiles of a few planes that become the contrast limits: a hot pixel must not darken the image."""


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Say how to read `path` (a file, a folder, or the slices of a stack); None where others may know better.

    That is: where it does not exist, where a folder holds no image (OME-Zarr is a folder), or where its name is that
    of a format that is not read here.
    """
    try:
        files, _, _ = resolve(path)
    except InputError:
        return None
    return read if all(file.suffix.lower() in EXTENSIONS + VIDEOS for file in files) else None


def read(path: str | Sequence[str]) -> list[LayerData]:
    """Read a file, a folder or several slices as layers; every series of a file, every channel a layer.

    Raises
    ------
    InputError
        If it can't be read; the sentence says what to do.
    """
    stacks = read_stacks(path if isinstance(path, str) else [Path(p) for p in path])
    return [layer for stack in stacks for layer in layers_of(stack)]


def layers_of(stack: Stack) -> list[LayerData]:
    """Make a napari layer of each channel of a stack, calibrated, with its colour and contrast limits."""
    group = uuid4().hex
    layers: list[LayerData] = []
    names = stack.channels or tuple(f"channel {i}" for i in range(stack.n_channels))
    # What a recipe calls a channel: names that the file has, and tells apart.
    named = len(set(stack.channels)) == stack.n_channels
    colours = channel_colours(names, stack.metadata.get("wavelengths_um") or ())
    for c in range(stack.n_channels):
        single = stack.only_channel(c)
        placed = layer_of(single)
        kwargs = _as_patches(placed.kwargs, patch_of_map(stack.metadata.get("provenance", {})))
        kwargs["metadata"][METADATA] |= {
            "axes_note": stack.axes_note,
            "source": str(stack.source or ""),
            "files": [str(path) for path in stack.metadata.get("files", ())],
        }
        if stack.n_channels > 1:
            kwargs["name"] = f"{stack.name} {names[c]}"
            kwargs["metadata"][METADATA] |= {
                "group": group,
                "channel": names[c],
                "channel_key": names[c] if named else c,
                "stack": stack.name,
            }
            kwargs |= {"colormap": colours[c], "blending": "additive"}
        if not stack.is_rgb:
            kwargs["contrast_limits"] = contrast_limits(single)
        layers.append((pixels(single), kwargs, "image"))
    return layers


def _as_patches(kwargs: dict[str, Any], patch: tuple[float, float] | None) -> dict[str, Any]:
    """Lay a focus map with a pixel for each patch onto the image that it is of.

    Files place images by their corners, napari by the middle of the first pixel: here, that of the first patch.
    """
    if patch is None:
        return kwargs
    scale, translate = list(kwargs["scale"]), list(kwargs["translate"])
    for i, cell in zip((-2, -1), patch, strict=True):
        known = kwargs["units"][i] != "pixel"
        pixel = scale[i] / cell if known else 1.0
        scale[i], translate[i] = pixel * cell, pixel * (cell - 1) / 2
    return {**kwargs, "scale": tuple(scale), "translate": tuple(translate)}


def pixels(stack: Stack) -> Any:
    """Pixels of a stack as napari likes them: in memory where they are few, else a dask array of one plane a chunk."""
    if isinstance(stack.data, np.ndarray):
        return stack.data
    if np.prod(stack.data.shape, dtype=float) * stack.dtype.itemsize <= EAGER_BYTES:
        return np.asarray(stack.data)
    if hasattr(stack.data, "dask"):
        return stack.data
    return to_dask(stack)


def contrast_limits(stack: Stack) -> tuple[float, float]:
    """Contrast limits from the first, the middle and the last slice: not the whole stack is read for them."""
    n = stack.n_slices
    low, high = np.inf, -np.inf
    for z in sorted({0, n // 2, n - 1}):
        plane = np.asarray(stack.series().data[z] if "Z" in stack.axes else stack.series().data)
        values = _some(plane)
        if values.size:
            bounds = np.quantile(values, LIMIT_QUANTILES)
            low, high = min(low, float(bounds[0])), max(high, float(bounds[1]))
    if not np.isfinite([low, high]).all():
        return 0.0, 1.0
    return (low, high) if high > low else (low, low + 1.0)


def _some(plane: NDArray[Any]) -> NDArray[Any]:
    """At most about 250 000 finite values, evenly spread."""
    step = max(1, int(np.sqrt(plane.size / 250_000)))
    values = plane[::step, ::step].ravel()
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values
