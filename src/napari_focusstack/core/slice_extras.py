"""What is told of each slice beside its focus value: means of what a network says of the patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.report import Map
from napari_focusstack.core.votes import ImageDistance, zero_crossing

SHARPEST = 9
"""Focus level of the sharpest class, which is class 0."""


def slice_extras(maps: Map, layers: Mapping[str, NDArray[Any]], weights: Map) -> dict[str, list[float | int | None]]:
    """Plain numbers for each slice.

    Parameters
    ----------
    maps : (Z, gy, gx) float32
        Focus values; of a classifier, the expected focus level.
    layers : mapping of str to (Z, gy, gx) array
        ``"class"``, ``"certainty"``, ``"in_focus"``, ``"side"`` and ``"defocus_um"`` are known here; NaN: nothing to
        judge by.
    weights : (gy, gx) float32
        How much each patch counts.

    Returns
    -------
    dict of str to list
        ``defocus_um``: signed, µm; None where no tile could be judged. ``classes``: the mean class, rounded.
        ``certainty``: 0…1, of the classes or of the sign. ``in_focus``: share of what counts that is in focus, 0…1.
    """
    found: dict[str, list[float | int | None]] = {}
    if {"defocus_um", "side"} <= set(layers):
        found["defocus_um"] = _means(layers["defocus_um"], weights)
        found["certainty"] = _means(np.where(np.isfinite(layers["defocus_um"]), layers["side"], np.nan), weights)
    if "class" in layers:
        found["classes"] = [None if v is None else round(SHARPEST - v) for v in _means(maps, weights)]
    if "in_focus" in layers:
        found["in_focus"] = _means(layers["in_focus"], weights)
    if "certainty" in layers:
        found["certainty"] = _means(layers["certainty"], weights)
    return found


FAR = 0.5
"""Share of the learned range from which on an answer may as well belong to a larger distance: answers saturate."""


def beyond_learned(extras: Mapping[str, Any], heights_um: NDArray[np.float64] | None) -> dict[str, Any]:
    """Say which slices are further from focus than a network can tell, by its answer or by their height.

    Parameters
    ----------
    extras : mapping
        ``"defocus_um"`` of each slice, ``"learned_um"`` (how far the network has learned) and ``"caution"``.
    heights_um : (Z,) float64 or None
        Height of each slice where known.

    Returns
    -------
    dict
        ``at_least_um`` of each slice (None where it is within reach) and the ``caution`` with a sentence more; empty
        where all are within reach, or nothing is known of it.
    """
    learned = extras.get("learned_um")
    away = np.abs([np.nan if v is None else v for v in extras.get("defocus_um", ())])
    if learned is None or not np.isfinite(away).any():
        return {}
    least = FAR * learned
    far = away >= least
    nearest = int(np.nanargmin(away))
    if heights_um is not None and not far[nearest]:
        far |= np.isfinite(away) & (np.abs(heights_um - heights_um[nearest]) > learned)
    if not far.any():
        return {}
    which = "This slice is" if len(far) == 1 else f"{far.sum()} of {len(far)} slices are"
    said = (
        f"{which} as far out of focus as this network tells, or beyond: read at least {least:.3g} µm there; it has "
        f"learned up to {learned:.3g} µm, and answers near that and beyond come out too small."
    )
    return {
        "at_least_um": [round(least, 3) if found else None for found in far],
        "caution": " ".join(filter(None, (str(extras.get("caution", "")), said))),
    }


def distance_extras(
    distributions: NDArray[np.float32], weights: Map, *, heights_um: NDArray[np.float64] | None
) -> dict[str, Any]:
    """What the patches' votes say of each slice, and of the focus between the slices.

    Parameters
    ----------
    distributions : (Z, gy, gx, 7) float32
        Of each patch over the distance classes.
    weights : (gy, gx) float32
        How much each patch counts beside its certainty.
    heights_um : (Z,) float64 or None
        Height of each slice where known.

    Returns
    -------
    dict
        ``certainty`` of each slice, ``classes`` (-3 … 3) and ``distance_index``; None where there is nothing to judge
        by. Of a stack whose index changes its sign, ``crossing``, the position between the slices where it does,
        ``crossing_um``, and ``direction``: 1 where the index rises with height, as it was taught, -1 where it falls.
    """
    images = [ImageDistance.of(p, weights) for p in distributions]
    found: dict[str, Any] = {
        "classes": [image.distance if image.evidence else None for image in images],
        "certainty": [round(image.certainty, 5) for image in images],
        "distance_index": [round(image.index, 5) if image.evidence else None for image in images],
    }
    judged = np.array([i.certainty * i.evidence for i in images])
    crossing = zero_crossing(np.array([i.index for i in images]), judged)
    if crossing is None:
        return found
    upward = heights_um is None or heights_um[-1] >= heights_um[0]
    height = None if heights_um is None else float(np.interp(crossing.slice, np.arange(len(heights_um)), heights_um))
    return found | {
        "crossing": round(crossing.slice, 4),
        "crossing_um": height,
        "direction": 1 if crossing.rising == upward else -1,
    }


def _means(layer: NDArray[Any], weights: Map) -> list[float | int | None]:
    """Weighted mean of each slice's patches, those that are NaN left out."""
    share = np.isfinite(layer) * weights[None].astype(np.float64)
    total = share.sum(axis=(1, 2))
    mean = (np.nan_to_num(layer.astype(np.float64)) * share).sum(axis=(1, 2)) / np.maximum(total, 1e-12)
    return [round(float(m), 5) if t > 0 else None for m, t in zip(mean, total, strict=True)]
