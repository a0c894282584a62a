"""What a transform is, and how a plane is continued so that its end meets its beginning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Plane32 = NDArray[np.float32]
Band = NDArray[Any]


class Transform(Protocol):
    """A linear transform of planes of one shape, made once and used for many planes.

    Bands come one at a time, so that nobody has to hold all the bands of a plane: first those of detail, the low-pass
    last. Every band covers the plane and its continuation below and to the right (`padded`), evenly.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X) of the planes."""
        ...

    @property
    def padded(self) -> tuple[int, int]:
        """(Y, X) of the plane with its continuation."""
        ...

    @property
    def levels(self) -> tuple[int, ...]:
        """Level of each band of detail, 0 the finest, in the order in which they come."""
        ...

    def forward(self, plane: Plane32) -> Iterator[Band]:
        """Yield the bands of a (Y, X) plane, float32 or complex64, each (by, bx)."""
        ...

    def inverse(self, bands: Iterable[Band]) -> Plane32:
        """Put a plane together again, (Y, X) float32."""
        ...


def extend(plane: Plane32, shape: tuple[int, int]) -> Plane32:
    """Continue a plane below and to the right so that it is periodic without a jump.

    The continuation goes over from the mirrored end to the mirrored beginning, by a raised cosine.

    Parameters
    ----------
    plane : (Y, X) float32
    shape : (int, int)
        To what size, not smaller.

    Returns
    -------
    (Y', X') float32
    """
    return _extend_rows(_extend_rows(plane, shape[0]).T, shape[1]).T


def _extend_rows(plane: Plane32, n: int) -> Plane32:
    rows = plane.shape[0]
    more = n - rows
    if more <= 0:
        return plane
    t = np.arange(more)
    after = plane[_mirrored(rows + t, rows)]
    before = plane[_mirrored(t - more, rows)]
    weight = (0.5 - 0.5 * np.cos(np.pi * (t + 0.5) / more)).astype(np.float32)[:, None]
    return np.concatenate([plane, after + weight * (before - after)])


def _mirrored(i: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Index into n rows of the position `i` of the rows mirrored at both ends, again and again."""
    inside = i % (2 * n)
    return np.minimum(inside, 2 * n - 1 - inside)


def smooth_step(x: NDArray[Any]) -> NDArray[Any]:
    """Meyer's auxiliary function ν: 0 below 0, 1 above 1, three times differentiable, ``ν(x) + ν(1 − x) = 1``."""
    x = np.clip(x, 0, 1)
    step: NDArray[Any] = x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3)
    return step
