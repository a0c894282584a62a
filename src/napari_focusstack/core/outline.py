"""What of a specimen is drawn: its outline without specks, pinholes and the blur of a fibre beside it.

Scores don't go by it: there each place counts as much as it counts.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label

Mask = NDArray[np.bool_]

CORE = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
"""What parts when this much is taken off its rim is of two pieces: a fibre that touches an object is none of it."""
NEIGHBOURS = np.ones((3, 3), bool)
SPECK = 0.01
"""A piece, or a hole, of less than this share of the largest piece's area is a speck."""
SMALL = 0.1
WEAK = 0.5
"""A piece of less than `SMALL` of the largest one, whose places count less than `WEAK` of the mean, hardly counts."""
LITTLE = 0.05
"""Pieces that together make up more than this share of what counts are drawn, whatever their size."""


def main_pieces(mask: Mask, strength: NDArray[np.float32]) -> Mask:
    """Leave out the pieces of a specimen that hardly count, and fill pinholes.

    Parameters
    ----------
    mask : (vy, vx) bool
        Where the specimen is.
    strength : (vy, vx) float32
        How much each place counts, 0…1.

    Returns
    -------
    (vy, vx) bool
        The mask without specks and weak small pieces, unless these make up more than `LITTLE` of what counts.
    """
    piece = _pieces(mask)
    area = np.bincount(piece.ravel())
    mass = np.bincount(piece.ravel(), weights=strength.ravel())
    area[0] = mass[0] = 0
    if not area.any():
        return mask
    weak = mass * area.sum() < WEAK * mass.sum() * area
    left_out = (area < SPECK * area.max()) | (weak & (area < SMALL * area.max()))
    kept = mask if mass[left_out].sum() > LITTLE * mass.sum() else mask & ~left_out[piece]
    holes, _ = label(~kept)
    filled: Mask = kept | (np.bincount(holes.ravel())[holes] < SPECK * area.max())
    return filled


def _pieces(mask: Mask) -> NDArray[Any]:
    """(vy, vx) number of the piece that each place belongs to, 0 outside; bridges thinner than `CORE` join nothing."""
    whole, n = label(mask, NEIGHBOURS)
    core = cv2.erode(mask.astype(np.uint8), CORE, borderValue=1).astype(bool)
    cores, _ = label(core, NEIGHBOURS)
    thick = np.zeros(n + 1, bool)
    thick[whole[core]] = True
    nearest = distance_transform_edt(~core, return_distances=False, return_indices=True)
    pieces: NDArray[Any] = np.where(thick[whole], cores[tuple(nearest)], whole + cores.max())
    pieces[~mask] = 0
    return pieces
