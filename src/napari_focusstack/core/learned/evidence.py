"""What networks' answers are joined with: where there is anything to judge, and the energy of detail over z."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import area_mean, noise_sigma
from napari_focusstack.core.report import Grid, Map, PlaneScore

Cell = tuple[float, float]
"""Height and width in pixels."""

EVIDENCE_PX = 84
"""Side of the surroundings of a cell that are looked at."""
MEANS_PX = 8
STANDS_OUT = 3.0
"""Means over `MEANS_PX` pixels have to vary by this many times what white noise makes them vary."""
ROUNDING = 0.29
"""Standard deviation of rounding to whole grey levels."""
ENERGY_FLOOR = 2.0**-12


def noise_of(plane: NDArray[Any], known: float | None) -> float:
    """Noise of a plane in grey levels: the stack's where it is known, and never less than rounding makes."""
    noise = noise_sigma(plane) if known is None else known
    return max(noise, ROUNDING if plane.dtype.kind in "ui" else 0.0)


def octaves_below_peak(scores: Sequence[PlaneScore], exposure: NDArray[np.float32]) -> Map:
    """(Z, gy, gx) log2 of each cell's energy over its maximum over z, 0 … -12; 0 where all slices are black.

    `exposure` is each slice's brightness, which is taken out.
    """
    energy = np.stack([s.energy / e**2 for s, e in zip(scores, exposure, strict=True) if s.energy is not None])
    share = energy / np.maximum(energy.max(axis=0), 1e-30)
    octaves = np.where(energy.max(axis=0) > 0, np.log2(np.maximum(share, ENERGY_FLOOR)), 0)
    return octaves.astype(np.float32)


def detail_energy(grey: NDArray[np.float32], shape: tuple[int, int], cell_px: Cell) -> Map:
    """Tenengrad's energy, the mean square of Sobel's gradient, in each cell."""
    gx, gy = (cv2.Sobel(grey, cv2.CV_32F, *along, scale=1 / 8) for along in ((1, 0), (0, 1)))
    return area_mean(to_cells(gx * gx + gy * gy, shape, cell_px), shape)


def blank_cells(grey: NDArray[np.float32], shape: tuple[int, int], cell_px: Cell, *, noise: float) -> NDArray[np.bool_]:
    """Patches of `EVIDENCE_PX` around each cell that vary no more than noise does.

    Means over 8×8 pixels vary by an eighth of white noise; slow shading is taken off them first.
    """
    h, w = grey.shape
    small = max(1, h // MEANS_PX), max(1, w // MEANS_PX)
    means = area_mean(grey, small)
    side = 2 * round(EVIDENCE_PX / MEANS_PX / 2) + 1
    detail = means - cv2.blur(means, (side, side), borderType=cv2.BORDER_REFLECT)
    variance = cv2.blur(detail * detail, (side, side), borderType=cv2.BORDER_REFLECT)
    rows, columns = (_cells_of(*axis) for axis in zip(small, (h, w), shape, cell_px, strict=True))
    deviation = np.sqrt(rows @ variance @ columns.T)
    blank: NDArray[np.bool_] = deviation <= max(STANDS_OUT * noise / MEANS_PX, 1e-6 * float(np.abs(grey).max()))
    return blank


@lru_cache(maxsize=8)
def _cells_of(n_small: int, n_px: int, cells: int, cell_px: float) -> NDArray[np.float32]:
    """(cells, n_small) what each value of an axis in small, enlarged linearly to its pixels, adds to a cell's mean."""
    pixels = cv2.resize(np.eye(n_small, dtype=np.float32), (n_small, n_px), interpolation=cv2.INTER_LINEAR)
    return area_mean(to_cells(pixels, (cells, n_small), (cell_px, 1.0)), (cells, n_small))


def onto_image(values: NDArray[Any], cell_px: Cell, plane_shape: tuple[int, int]) -> tuple[NDArray[np.float32], Grid]:
    """Values of cells that reach beyond the image, for about as many cells that cover it exactly.

    Parameters
    ----------
    values : (gy, gx) or (gy, gx, K) array
        The first cell begins at the image's corner.
    cell_px : (float, float)
        Size of a cell.
    plane_shape : (int, int)
        Of the image.

    Returns
    -------
    values : (gy', gx') or (gy', gx', K) float32 array
        Each the mean over what lies below the new cell, by area: distributions stay distributions.
    grid : Grid
        The new cells.
    """
    shape = tuple(max(1, round(n / cell)) for n, cell in zip(plane_shape, cell_px, strict=True))
    moved: NDArray[Any] = np.asarray(values, np.float32)
    for axis, (n_px, cell, n_new) in enumerate(zip(plane_shape, cell_px, shape, strict=True)):
        shares = _overlaps(moved.shape[axis], cell, n_new, n_px)
        moved = np.moveaxis(np.tensordot(shares, moved, axes=(1, axis)), 0, axis)
    grid = Grid((shape[0], shape[1]), (plane_shape[0] / shape[0], plane_shape[1] / shape[1]))
    return np.ascontiguousarray(moved), grid


def _overlaps(n_old: int, cell: float, n_new: int, n_px: int) -> NDArray[np.float32]:
    """(n_new, n_old) share of each old cell in each new one; rows sum to 1."""
    old, new = np.arange(n_old + 1) * cell, np.linspace(0, n_px, n_new + 1)
    common = np.minimum(new[1:, None], old[None, 1:]) - np.maximum(new[:-1, None], old[None, :-1])
    common = common.clip(min=0)
    return np.asarray(common / common.sum(axis=1, keepdims=True), np.float32)


def to_cells(image: NDArray[np.float32], shape: tuple[int, int], cell_px: Cell) -> NDArray[np.float32]:
    """An image mirrored (or cut) to whole cells."""
    wanted = round(shape[0] * cell_px[0]), round(shape[1] * cell_px[1])
    below, right = wanted[0] - image.shape[0], wanted[1] - image.shape[1]
    image = image[: wanted[0], : wanted[1]]
    if max(below, right) <= 0:
        return image
    filled: NDArray[np.float32] = cv2.copyMakeBorder(image, 0, max(below, 0), 0, max(right, 0), cv2.BORDER_REFLECT)
    return filled
