"""Layers that are channels of one stack, taken together as one `Stack`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.read import to_dask
from napari_focusstack.widgets.layers import METADATA, stack_of


def channel_layers(layer: Any, layers: Iterable[Any]) -> list[Any]:
    """The layers that show the channels of one stack, `layer` among them, in their order.

    They are those that our reader made together, else the grey images of one file that agree in shape.
    """
    if getattr(layer, "_type_string", "") != "image" or layer.rgb or layer.multiscale:
        return [layer]
    group = _group(layer)
    if group is None:
        return [layer]
    found: list[Any] = []
    for other in layers:
        alike = (
            getattr(other, "_type_string", "") == "image"
            and not other.rgb
            and not other.multiscale
            and _group(other) == group
            and other.data.shape == layer.data.shape
            and other.data.dtype == layer.data.dtype
        )
        # A copy of a channel is no other channel.
        if other is layer or (alike and channel_name(other) not in {channel_name(o) for o in (*found, layer)}):
            found.append(other)
    return found if layer in found else [layer]


def _group(layer: Any) -> tuple[str, str] | None:
    known = layer.metadata.get(METADATA, {})
    if known:
        # Ours: a channel that the reader made, or else a single stack or a result.
        return ("group", str(known["group"])) if "channel" in known else None
    path = getattr(layer.source, "path", None)
    return ("file", str(path)) if path else None


def channel_name(layer: Any) -> str:
    """Name of the channel that a layer shows."""
    return str(layer.metadata.get(METADATA, {}).get("channel") or layer.name)


def known_source(layer: Any) -> tuple[Path | None, tuple[Path, ...]]:
    """File or folder that a layer was read from, and the files in it; None and () where it was not."""
    known = layer.metadata.get(METADATA, {})
    path = known.get("source") or getattr(layer.source, "path", None)
    return (Path(path) if path else None), tuple(Path(p) for p in known.get("files", ()))


def joined_stack(layers: Sequence[Any]) -> Stack:
    """Make one stack with an axis C of the layers of its channels; nothing is read.

    Raises
    ------
    InputError
        If the layers can't be channels of one stack.
    """
    source, files = known_source(layers[0])
    stacks = [
        dataclasses.replace(stack_of(layer), source=source, metadata={"files": files} if files else {})
        for layer in layers
    ]
    first = stacks[0]
    if len(stacks) == 1:
        return first
    if any(s.axes != first.axes or s.data.shape != first.data.shape for s in stacks) or "C" in first.axes:
        raise InputError(f"The channels of '{first.name}' differ in shape: choose one of them, or crop them alike.")
    import dask.array as da

    axes = next(a for a in ("PT", "T", "P", "") if first.axes.startswith(a))
    at = len(axes)
    known = layers[0].metadata.get(METADATA, {})
    return dataclasses.replace(
        first,
        data=da.stack([s.data if hasattr(s.data, "dask") else to_dask(s) for s in stacks], axis=at),
        axes=first.axes[:at] + "C" + first.axes[at:],
        name=str(known.get("stack") or first.name),
        channels=tuple(channel_name(layer) for layer in layers),
    )
