"""Q^AB/F: how much of the sources' edges arrives in the fused image."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import Plane32, to_grey
from napari_focusstack.core.quality.base import Image, Metric, check_pair, require_partners

STRENGTH_GAIN, STRENGTH_SLOPE, STRENGTH_CENTRE = 0.9994, -15.0, 0.5
ANGLE_GAIN, ANGLE_SLOPE, ANGLE_CENTRE = 0.9879, -22.0, 0.8


def _gradient(image: Image) -> tuple[Plane32, Plane32, Plane32]:
    """Sobel derivatives along x and y and their magnitude, of the luma."""
    grey = to_grey(image)
    gx = cv2.Sobel(grey, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REFLECT_101)
    gy = cv2.Sobel(grey, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REFLECT_101)
    return gx, gy, cv2.magnitude(gx, gy)


def _sigmoid(x: Plane32, gain: float, slope: float, centre: float) -> Plane32:
    answer: Plane32 = np.float32(gain) / (1 + np.exp(np.float32(slope) * (x - np.float32(centre))))
    return answer


class EdgeTally:
    """Q^AB/F at work: two sums, whatever the number of sources."""

    def __init__(self, fused: Image) -> None:
        self.fused = fused
        self.gradient = _gradient(fused)
        self.preserved = 0.0
        self.weight = 0.0
        self.n = 0

    def preservation(self, source: Image) -> tuple[Plane32, Plane32]:
        """Edge preservation of each pixel, 0…0.975, and its weight, each (Y, X)."""
        check_pair(self.fused, source)
        (fx, fy, f), (sx, sy, s) = self.gradient, _gradient(source)
        largest = np.maximum(f, s)
        strength = np.divide(np.minimum(f, s), largest, out=np.ones_like(f), where=largest > 0)
        # The angle between the two gradients as lines (0…π/2): from cross and dot product, free of atan's branches.
        angle = np.arctan2(np.abs(fx * sy - fy * sx), np.abs(fx * sx + fy * sy))
        alike = 1 - angle * np.float32(2 / np.pi)
        kept = _sigmoid(strength, STRENGTH_GAIN, STRENGTH_SLOPE, STRENGTH_CENTRE)
        kept *= _sigmoid(alike, ANGLE_GAIN, ANGLE_SLOPE, ANGLE_CENTRE)
        return kept, s

    def add(self, other: Image) -> None:
        """Take one source into account."""
        kept, weight = self.preservation(other)
        self.preserved += float(np.sum(kept * weight, dtype=np.float64))
        self.weight += float(np.sum(weight, dtype=np.float64))
        self.n += 1

    def value(self) -> float:
        """Q over all sources so far; 0 where none has an edge."""
        require_partners(self.n)
        return self.preserved / self.weight if self.weight > 0 else 0.0


def qabf(fused: Image, sources: Iterable[Image]) -> float:
    r"""Edge preservation Q^AB/F of Xydeas & Petrović, for any number of sources.

    With the Sobel gradient of the luma, strength g and direction α, each source S gives at each pixel

    .. math::
        G = \min(g_S, g_F) / \max(g_S, g_F), \qquad A = 1 - \frac{|α_S - α_F|}{π/2}

        Q^{SF} = \frac{0.9994}{1 + e^{-15 (G - 0.5)}} · \frac{0.9879}{1 + e^{-22 (A - 0.8)}}

        Q = \frac{\sum_S \sum_{ij} Q^{SF}_{ij}\, g_{S,ij}}{\sum_S \sum_{ij} g_{S,ij}}

    For two sources A and B this is the published measure (weights ``g^L`` with L = 1). Directions are those of lines:
    they differ by π/2 at most. m-SegNet's eq. 15 prints the numerator without the second source's term.

    Parameters
    ----------
    fused : (Y, X) or (Y, X, 3) array
        Any pixel type.
    sources : iterable of arrays
        Images of the fused image's shape, read one at a time.

    Returns
    -------
    float
        0 (no edge arrived) … 0.975 (the sigmoids leave a perfect copy of a single source at that).

    Raises
    ------
    InputError
        If there is no source, or a source has another shape.

    References
    ----------
    Xydeas & Petrović 2000, Electron. Lett. 36:308
    """
    tally = EdgeTally(fused)
    for source in sources:
        tally.add(source)
    return tally.value()


def edge_preservation(fused: Image, source: Image) -> NDArray[np.float32]:
    """Q of each pixel for one source, (Y, X) float32: where the edges of `source` got lost. See `qabf`."""
    return EdgeTally(fused).preservation(source)[0]


QABF = Metric(
    "qabf",
    "Edges kept (Q^AB/F)",
    "1",
    "sources",
    "How much of the edges of all slices arrived in the fused image, in strength and direction: 0 none, 0.97 all. "
    "Blurred edges count too, so no fusion of unlike slices reaches the top; compare methods on one stack only.",
    "Xydeas & Petrović 2000, Electron. Lett. 36:308",
    EdgeTally,
)
