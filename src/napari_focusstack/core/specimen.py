"""Where the specimen lies: found from the whole stack in one pass, or drawn by hand."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.report import Grid, Map

SMALL_PX = 256
"""Longest side of the reduced slices, in pixels."""


@dataclass(frozen=True)
class Specimen:
    """What was found.

    Attributes
    ----------
    outline : (Y, X) bool or None
        The specimen; None where nothing stands out from the field.
    views : (Z, vy, vx) float16
        Each slice in small, high-pass filtered, in units of the first slice's standard deviation.
    """

    outline: NDArray[np.bool_] | None
    views: NDArray[np.float16]


class SpecimenFinder:
    """Collects a reduced image of each slice, then says where the specimen lies.

    Parameters
    ----------
    plane_shape : (int, int)
        (Y, X) of a slice in pixels.
    """

    def __init__(self, plane_shape: tuple[int, int]) -> None:
        self._shape = plane_shape
        scale = min(1.0, SMALL_PX / max(plane_shape))
        self._small = max(1, round(plane_shape[0] * scale)), max(1, round(plane_shape[1] * scale))
        self._sum = np.zeros(self._small)
        self._views: list[NDArray[np.float16]] = []
        self._unit = 0.0

    def add(self, plane: NDArray[np.float32]) -> None:
        """Take in the next slice, (Y, X) float32."""
        small = cv2.resize(plane, self._small[::-1], interpolation=cv2.INTER_AREA).reshape(self._small)
        self._sum += small
        sigma = max(self._small) / 64
        view = small - cv2.GaussianBlur(small, (0, 0), sigma)
        self._unit = self._unit or float(view.std())
        self._views.append(np.clip(view / (self._unit or 1.0), -6e4, 6e4).astype(np.float16))

    def find(self) -> Specimen:
        """Say where the specimen lies."""
        mean = (self._sum / len(self._views)).astype(np.float32)
        views = np.stack(self._views)
        outline = None
        deviation = np.abs(mean - _background(mean))
        if deviation.max() > 0:
            log = np.log(deviation + 0.01 * deviation.max())
            found = log > threshold_otsu(log)
            if 0 < found.mean() < 0.9:
                whole = cv2.resize(found.astype(np.float32), self._shape[::-1], interpolation=cv2.INTER_LINEAR)
                outline = whole.reshape(self._shape) > 0.5
        return Specimen(outline, views)


def _background(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth background: quadratic surface, refitted to what lies near it."""
    h, w = image.shape
    y, x = np.mgrid[-1 : 1 : complex(0, h), -1 : 1 : complex(0, w)]
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1).T
    values = image.ravel().astype(np.float64)
    weights = np.ones_like(values)
    surface = np.full_like(values, np.median(values))
    for _ in range(15):
        residual = values - surface
        spread = 1.4826 * np.median(np.abs(residual)) + 1e-12
        weights = 1 / (1 + (residual / spread) ** 2) ** 2
        root = np.sqrt(weights)[:, None]
        surface = basis @ np.linalg.lstsq(basis * root, values * root[:, 0], rcond=None)[0]
    return surface.reshape(h, w).astype(np.float32)


def region_weights(region: NDArray[np.bool_], grid: Grid) -> Map:
    """Share of each patch that lies in a region.

    Parameters
    ----------
    region : (Y, X) bool
        The region.
    grid : Grid
        Where the patches lie.

    Returns
    -------
    (gy, gx) float32
        0…1.
    """
    area = cv2.integral(np.ascontiguousarray(region, dtype=np.uint8)).astype(np.float64)
    edges = []
    for axis in (0, 1):
        edge = grid.origin_px[axis] + grid.cell_px[axis] * np.arange(grid.shape[axis] + 1)
        edges.append(np.clip(np.rint(edge).astype(int), 0, region.shape[axis]))
    corner = area[np.ix_(edges[0], edges[1])]
    inside = corner[1:, 1:] - corner[:-1, 1:] - corner[1:, :-1] + corner[:-1, :-1]
    pixels = np.diff(edges[0])[:, None] * np.diff(edges[1])[None, :]
    return (inside / np.maximum(pixels, 1)).astype(np.float32)


def check_region(region: NDArray[np.bool_], plane_shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A drawn region as (Y, X) bool; `InputError` if it has another shape or holds no pixel."""
    region = np.asarray(region).astype(bool)
    if region.shape != tuple(plane_shape):
        given, needed = ("×".join(map(str, s)) for s in (region.shape, plane_shape))
        raise InputError(f"The region has {given} pixels, the slices have {needed}: give a mask of the slices' shape.")
    if not region.any():
        raise InputError("The region holds no pixel of the image: draw it on the image.")
    return region
