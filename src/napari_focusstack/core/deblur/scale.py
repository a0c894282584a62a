"""The scale of grey values on which planes are sharpened: what is common lies in 0 … 1, what is rare is kept."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import Plane32

_LOW, _HIGH = 0.001, 0.999
"""Quantiles that are scaled to 0 and 1."""
FARTHEST = 10.0
"""Objects that cover less than these quantiles do (beads, dust) lie no farther beyond 0 and 1 than this."""
_TIPS = 2 * FARTHEST
"""Single pixels (hot ones, the tip of a point) beyond this are left out of sharpening, and put back."""


@dataclass(frozen=True)
class GreyScale:
    """Scales grey values to about 0 … 1 and back.

    Attributes
    ----------
    low, span : float
        The grey value that becomes 0, and the distance to the one that becomes 1.
    """

    low: float
    span: float

    def split(self, values: NDArray[np.float32]) -> tuple[Plane32, Plane32]:
        """What is to be sharpened, on this scale, and what has to be added to it for the rest of the values."""
        scaled = np.ascontiguousarray((values - np.float32(self.low)) / np.float32(self.span), np.float32)
        inside = np.clip(scaled, -_TIPS, _TIPS)
        return inside, scaled - inside

    def back(self, scaled: Plane32) -> NDArray[np.float32]:
        """Grey values again."""
        return scaled * np.float32(self.span) + np.float32(self.low)


def grey_scale(values: NDArray[np.float32]) -> GreyScale | None:
    """The scale of a plane: between its 0.1 % and 99.9 % quantiles, wider where objects lie far beyond these.

    A 3 × 3 median tells objects from hot pixels.

    Parameters
    ----------
    values : (Y, X) or (Y, X, 3) float32 array
        All colours are scaled alike.

    Returns
    -------
    GreyScale or None
        None where there is nothing but an even plane and single pixels in it, which nothing has blurred.
    """
    few = values[:: max(1, values.shape[0] // 1024), :: max(1, values.shape[1] // 1024)]
    low, high = (float(v) for v in np.quantile(few, (_LOW, _HIGH)))
    objects = cv2.medianBlur(values, 3)
    lowest, highest = float(objects.min()), float(objects.max())
    if max(high, highest) - min(low, lowest) <= 1e-6 * max(abs(lowest), abs(highest), 1e-12):
        return None
    span = max(high - low, (highest - low) / (1 + FARTHEST), (high - lowest) / (1 + FARTHEST))
    return GreyScale(high - span if low - lowest > highest - high else low, span)
