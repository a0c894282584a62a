"""Of two slices, the pixels themselves, wherever their surroundings agree on which slice is the sharper one.

A mean of two slices is hardly quieter than either, and blurs what one of them shows. So where there are only two, and
they are quiet, pixels are copied; a pyramid goes on mixing where one slice's share meets the other's, which hides the
seams. With more slices copying loses: the means of those that are alike are much quieter, and what lies between
slices is sharper in none of them.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion.method import Merged, Plane, Plane32

ENERGY_PX, VOTE_PX, AGREE_PX = 5, 7, 3
"""Sides of the boxes, in pixels of half the size, over which energy is summed; over which contrasts vote, twice; and
within which decisions have to agree, twice."""
DISAGREEMENT = (0.02, 0.19)
"""Variance of the decision (0 or 1) around a pixel up to which it is copied, and from which on it is mixed."""

STRIP_ROWS = 128


class Copies:
    """Two slices, and which one each pixel is copied from."""

    def __init__(self) -> None:
        self.planes: list[Plane] = []
        self.energies: list[Plane32] = []

    def add(self, plane: Plane, z: Plane32) -> None:
        """Take a slice, and the local energy of its finest detail over noise, plus a constant, both at full size."""
        self.planes.append(plane)
        self.energies.append(cv2.blur(cv2.pyrDown(z), (ENERGY_PX, ENERGY_PX)))

    def lay_over(self, merged: Merged, *, share: float) -> Merged:
        """Put the copies in the place of what was merged.

        Parameters
        ----------
        merged : Merged
            Its arrays are overwritten.
        share : float
            How much of what can be copied is: 0 … 1.
        """
        h, w = merged.index.shape
        first, second = self.energies
        # Contrasts, not energies, vote: a strong edge must not decide for all that lies around it.
        votes = _mean((second - first) / (second + first), VOTE_PX)
        decision = (votes > 0).astype(np.float32)
        around = _mean(decision, AGREE_PX)
        low, high = DISAGREEMENT
        gate = cv2.resize(np.clip((high - around * (1 - around)) / (high - low), 0, 1), (w, h)) * np.float32(share)
        chosen: NDArray[np.uint8] = (cv2.resize(votes, (w, h)) > 0).view(np.uint8)
        # In strips, which stay in the processor's cache.
        for a in range(0, h, STRIP_ROWS):
            rows = slice(a, a + STRIP_ROWS)
            copied = self.planes[0][rows].astype(np.float32)
            cv2.copyTo(self.planes[1][rows].astype(np.float32), chosen[rows], copied)
            image, part = merged.image[rows], gate[rows]
            cv2.subtract(copied, image, copied)
            cv2.accumulateProduct(copied, part if image.ndim == 2 else cv2.merge([part] * image.shape[2]), image)
        np.copyto(merged.index, chosen, where=gate > 0.5)
        peak = np.clip(merged.peak, merged.index - np.float32(0.5), merged.index + np.float32(0.5))
        return Merged(merged.image, merged.index, np.clip(peak, 0, 1), merged.confidence)


def _mean(plane: Plane32, size: int) -> Plane32:
    smooth: Plane32 = cv2.blur(cv2.blur(plane, (size, size)), (size, size))
    return smooth
