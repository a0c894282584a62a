"""Writer contributions: a layer to OME-TIFF with its pixel size, z step, channel names and provenance."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer

from napari_focusstack.core.stack import Stack
from napari_focusstack.io.write import write_stack
from napari_focusstack.widgets.fuse_channels import known_source
from napari_focusstack.widgets.layers import METADATA, stack_of

KEPT = ("name", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels", "metadata", "rgb")
"""What of a layer tells how it lies in the world."""

PROVENANCE = (
    *("version", "layer", "file", "role", "method", "parameters", "slices", "settings", "retouched"),
    *("warning", "weights_sha256", "blur"),
)
"""Entries of our metadata that go into the file."""


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write an image layer; the file that it was read from is never replaced.

    Raises
    ------
    InputError
        If it can't be written there; the sentence says why.
    """
    return _write(path, data, meta)


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a labels layer, 64 bit labels in as few bits as they need."""
    data = data[0] if isinstance(data, (list, tuple)) else data
    if np.dtype(data.dtype).itemsize > 4:
        top = int(np.max(np.asarray(data), initial=0))
        data = np.asarray(data).astype(np.uint16 if top < 2**16 else np.uint32)
    return _write(path, data, meta)


def _write(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    kept = {key: meta[key] for key in KEPT if key in meta}
    # napari would read the pixels to find limits that nobody sees.
    layer = Layer.create(data, {**kept, "contrast_limits": (0, 1)}, "image")
    source, files = known_source(layer)
    stack = dataclasses.replace(
        _without_thick_axes(stack_of(layer)), source=source, metadata={"files": files} if files else {}
    )
    return [str(write_stack(Path(path), stack, provenance=provenance(layer.metadata), overwrite=True))]


def provenance(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Say in plain words what our metadata tells of where a layer comes from."""
    known = metadata.get(METADATA, {})
    said = {key: known[key] for key in PROVENANCE if known.get(key) not in (None, "", [], {})}
    return {
        key.replace("_", " ").capitalize(): v if isinstance(v, str) else json.dumps(v, default=str)
        for key, v in said.items()
    }


def _without_thick_axes(stack: Stack) -> Stack:
    """Drop axes of length 1: a fused time series has a z axis of one slice that is as thick as its source."""
    where = tuple(
        0 if n == 1 and a not in "YXS" else slice(None) for a, n in zip(stack.axes, stack.data.shape, strict=True)
    )
    axes = "".join(a for a, w in zip(stack.axes, where, strict=True) if w != 0)
    return dataclasses.replace(
        stack,
        data=stack.data[where],
        axes=axes,
        z_um=stack.z_um if "Z" in axes else None,
        z_positions_um=stack.z_positions_um if "Z" in axes else None,
        channels=stack.channels if "C" in axes else (),
    )
