"""Difference images: the fused image minus a slice is empty where that slice's sharp parts arrived as they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from napari_focusstack.core.filters import to_grey

SIDE = 220
RANGE = 0.15
"""Differences of this share of the image's range are drawn black and white; none is grey."""


def draw_differences(path: Path, slices: list[np.ndarray], fused: dict[str, np.ndarray]) -> None:
    """Write a sheet: a column for each method; the fused image above its differences from some of the slices."""
    chosen = [slices[i] for i in np.unique(np.linspace(0, len(slices) - 1, min(3, len(slices))).round().astype(int))]
    grey = np.stack([to_grey(s) for s in chosen])
    low, high = np.percentile(grey, [0.2, 99.8])
    span = max(float(high - low), 1e-9)
    columns = [_column("slices", [(g - low) / span for g in (grey.mean(axis=0), *grey)])]
    for name, image in fused.items():
        own = to_grey(image)
        differences = [0.5 + (own - g) / (2 * RANGE * span) for g in grey]
        columns.append(_column(name, [(own - low) / span, *differences]))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.hstack(columns))


def _column(name: str, planes: list[np.ndarray]) -> np.ndarray:
    head = np.full((22, SIDE), 255, np.uint8)
    cv2.putText(head, name, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 0, 1, cv2.LINE_AA)
    small = [cv2.resize(np.asarray(p, np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for p in planes]
    tiles = [np.clip(p * 255, 0, 255).astype(np.uint8) for p in small]
    return np.pad(np.vstack([head, *tiles]), ((0, 0), (0, 4)), constant_values=255)
