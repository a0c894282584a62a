"""What two, three or four slices can say where their mean values say nothing: too few leave no curve to judge by.

Then the places have to tell. Noise differs from patch to patch as it likes; what has to do with a specimen lies
together: patches near each other go the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.report import Map

Field = NDArray[np.floating]

APART = 3
"""Patches whose changes are compared lie so far apart: nearer ones share pixels, where networks look beyond a patch."""
LEAST_PAIRS = 64
"""Fewer pairs of patches leave nothing to tell by."""
CERTAIN = 4.0
"""Standard deviations by which more pairs have to go the same way than by chance."""


@dataclass(frozen=True)
class Places:
    """What the places say of a few slices.

    Attributes
    ----------
    empty : bool
        Nothing but noise is seen on any slice. False where there are too few patches to tell.
    shares : tuple of float
        Share of what counts that is sharpest on each slice, a patch the more, the more it changes; empty where nothing
        changes but by noise, or it can't be told.
    """

    empty: bool
    shares: tuple[float, ...]


def places(maps: Map, weights: Map) -> Places:
    """Tell by the places.

    Parameters
    ----------
    maps : (Z, gy, gx) float32
        Focus value of each patch.
    weights : (gy, gx) float32
        How much each patch counts.

    Returns
    -------
    Places
    """
    counts = weights > 0
    if not counts.any():
        return Places(empty=False, shares=())
    seen = [_lies_together(plane - np.median(plane[counts]), counts, apart=1) for plane in maps]
    means = np.average(maps[:, counts], axis=1, weights=weights[counts])
    change = maps[means.argmax()] - maps[means.argmin()]
    if not _lies_together(change, counts, apart=APART):
        return Places(empty=not any(together is not False for together in seen), shares=())
    # By how much it changes: else the noise of an empty rest would be shared out among the slices.
    amount = np.where(counts, weights * np.ptp(maps, axis=0), 0)
    won = np.bincount(maps.argmax(axis=0).ravel(), weights=amount.ravel(), minlength=len(maps))
    return Places(empty=False, shares=tuple(float(share) for share in won / won.sum()))


def _lies_together(field: Field, counts: NDArray[np.bool_], *, apart: int) -> bool | None:
    """Whether the signs of patches near each other agree more often than by chance; None: too few to tell."""
    if not field[counts].any():
        return False
    signs = np.sign(field) * counts
    pairs = np.concatenate([(signs[apart:] * signs[:-apart]).ravel(), (signs[:, apart:] * signs[:, :-apart]).ravel()])
    n = np.count_nonzero(pairs)
    if n < LEAST_PAIRS:
        return None
    up = float((signs[counts] > 0).mean())
    chance = up**2 + (1 - up) ** 2
    error = np.sqrt(max(chance * (1 - chance), 1 / n) / n)
    return bool((pairs > 0).sum() / n > chance + CERTAIN * error)
