"""Where things lie in z: depth maps in µm, and layers that hide one another."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from napari_focusstack.training.settings import Relief

Map = NDArray[np.float32]


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], *, knots: int = 5) -> Map:
    """(Y, X) random smooth surface, 0 … 1: cubic interpolation of a coarse random grid."""
    grid = torch.from_numpy(rng.normal(size=(1, 1, knots, knots))).float()
    field = functional.interpolate(grid, size=shape, mode="bicubic", align_corners=True)[0, 0].numpy()
    low, high = float(field.min()), float(field.max())
    scaled: Map = ((field - low) / max(high - low, 1e-9)).astype(np.float32)
    return scaled


def depth_map(kind: Relief, shape: tuple[int, int], *, relief_um: float, rng: np.random.Generator) -> Map:
    """Height of the specimen in µm, within ``±relief_um/2``.

    Parameters
    ----------
    kind : str
        "flat"; "tilt" (a plane in a random direction); "smooth" (a hilly surface); "layers" (four terraces with steep
        walls).
    shape : (int, int)
        Y, X.
    relief_um : float
        From lowest to highest point.
    rng : Generator
        Chance.
    """
    h, w = shape
    if kind == "flat":
        return np.zeros(shape, np.float32)
    if kind == "tilt":
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[-0.5 : 0.5 : h * 1j, -0.5 : 0.5 : w * 1j]
        plane = y * np.sin(angle) + x * np.cos(angle)
        unit = (plane / max(float(np.ptp(plane)), 1e-9)).astype(np.float32)
    else:
        unit = smooth_field(rng, shape) - 0.5
        if kind == "layers":
            ranks = np.searchsorted(np.quantile(unit, (0.3, 0.55, 0.8)), unit)
            unit = (ranks / 3 - 0.5).astype(np.float32)
    depth: Map = (unit * relief_um).astype(np.float32)
    return depth


def depth_planes(depth_um: Map, *, spacing_um: float, most: int = 48) -> tuple[Map, Map]:
    """Share a depth map out among planes of constant depth.

    Returns
    -------
    heights : (M,) float32
        Depth of each plane in µm.
    weights : (M, Y, X) float32
        Linear interpolation between the two nearest planes: sums to 1 everywhere.
    """
    low, high = float(depth_um.min()), float(depth_um.max())
    m = int(np.clip(np.ceil((high - low) / spacing_um) + 1, 1, most)) if high > low else 1
    heights = np.linspace(low, high, m, dtype=np.float32)
    if m == 1:
        return heights, np.ones((1, *depth_um.shape), np.float32)
    position = (depth_um - low) / (high - low) * (m - 1)
    distance = np.abs(position[None] - np.arange(m, dtype=np.float32)[:, None, None])
    return heights, np.maximum(1 - distance, 0).astype(np.float32)
