"""Layers that are channels of one stack, taken together as one `Stack`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.read import to_dask
from napari_focusstack.widgets.fuse_run import Look, Source
from napari_focusstack.widgets.layers import METADATA, frame_of, stack_of


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
    if "axes_note" in known or "version" in known:
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


def source_of(taken: Sequence[Any], layers: Iterable[Any] = ()) -> Source:
    """Take down what is to be fused of the viewer; call it in the main thread.

    Parameters
    ----------
    taken : sequence of image layers
        The layer to fuse, or all that are its channels.
    layers : iterable of layers
        The layers of the viewer, to know whether one that is taken alone is a channel of others.

    Raises
    ------
    InputError
        If the layers can't be a stack.
    """
    stack = joined_stack(taken)
    siblings = list(taken) if len(taken) > 1 else channel_layers(taken[0], layers)
    if len(siblings) > 1:
        keys = tuple(_channel_key(layer, siblings) for layer in taken)
    else:
        named = len(set(stack.channels)) == stack.n_channels
        keys = stack.channels if named else tuple(range(stack.n_channels))
    alone = len(taken) == 1 and len(siblings) > 1
    return Source(stack, frame_of(taken[0]), tuple(Look.of(layer) for layer in taken), keys, alone)


def _channel_key(layer: Any, siblings: Sequence[Any]) -> int | str:
    """What a recipe calls a channel: as the reader said; of others' layers the names are not those of the file."""
    key = layer.metadata.get(METADATA, {}).get("channel_key", siblings.index(layer))
    return key if isinstance(key, str) else int(key)


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
    # "channel 0" is our word for a layer, no name to write into a file.
    unnamed = all("group" in k and not k.get("channels") for k in (o.metadata.get(METADATA, {}) for o in layers))
    return dataclasses.replace(
        first,
        data=da.stack([s.data if hasattr(s.data, "dask") else to_dask(s) for s in stacks], axis=at),
        axes=first.axes[:at] + "C" + first.axes[at:],
        name=str(known.get("stack") or first.name),
        channels=() if unnamed else tuple(channel_name(layer) for layer in layers),
    )
