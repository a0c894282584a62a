"""What is told of each slice beside its focus value: means of what a network says of the patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.report import Map

SHARPEST = 9
"""Focus level of the sharpest class, which is class 0."""


def slice_extras(maps: Map, layers: Mapping[str, NDArray[Any]], weights: Map) -> dict[str, list[float | int | None]]:
    """Plain numbers for each slice.

    Parameters
    ----------
    maps : (Z, gy, gx) float32
        Focus values; of a classifier, the expected focus level.
    layers : mapping of str to (Z, gy, gx) array
        ``"class"``, ``"certainty"``, ``"side"`` and ``"defocus_um"`` are known here; NaN: nothing to judge by.
    weights : (gy, gx) float32
        How much each patch counts.

    Returns
    -------
    dict of str to list
        ``defocus_um``: signed, µm; None where no tile could be judged. ``classes``: the mean class, rounded.
        ``certainty``: 0…1, of the classes or of the sign.
    """
    found: dict[str, list[float | int | None]] = {}
    if {"defocus_um", "side"} <= set(layers):
        found["defocus_um"] = _means(layers["defocus_um"], weights)
        found["certainty"] = _means(np.where(np.isfinite(layers["defocus_um"]), layers["side"], np.nan), weights)
    if "class" in layers:
        found["classes"] = [None if v is None else round(SHARPEST - v) for v in _means(maps, weights)]
    if "certainty" in layers:
        found["certainty"] = _means(layers["certainty"], weights)
    return found


def _means(layer: NDArray[Any], weights: Map) -> list[float | int | None]:
    """Weighted mean of each slice's patches, those that are NaN left out."""
    share = np.isfinite(layer) * weights[None].astype(np.float64)
    total = share.sum(axis=(1, 2))
    mean = (np.nan_to_num(layer.astype(np.float64)) * share).sum(axis=(1, 2)) / np.maximum(total, 1e-12)
    return [round(float(m), 5) if t > 0 else None for m, t in zip(mean, total, strict=True)]
