"""Statistical measures: a sharp image has more contrast and more grey levels."""

from __future__ import annotations

import numpy as np

from napari_focusstack.core.filters import Plane32
from napari_focusstack.core.measures.base import Measure, PlaneInfo, block_variance, over
from napari_focusstack.core.report import Map


def normalised_variance(plane: Plane32, info: PlaneInfo) -> Map:
    """Variance of each patch over the plane's mean |grey level|.

    The published denominator is the mean; its modulus is the same for images without negative pixels, and keeps
    background-subtracted ones, whose mean may be 0 or less, in order.
    """
    return over(block_variance(plane, info.grid), float(np.abs(plane).mean(dtype=np.float64)))


MEASURES = (
    Measure(
        "normalised_variance",
        "Normalised variance",
        "statistics",
        "grey",
        "How much brightness varies within a patch, relative to the slice's mean; evens out a flickering lamp.",
        "Groen, Young & Ligthart 1985, Cytometry 6:81",
        normalised_variance,
        gain_exponent=1.0,
        offset_free=False,
    ),
)
