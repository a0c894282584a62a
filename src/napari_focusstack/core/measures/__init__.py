"""Classical focus measures, one file a family; `MEASURES` holds them by name."""

from __future__ import annotations

from napari_focusstack.core.measures import (
    blur,
    corner,
    cosine,
    gradient,
    laplacian,
    other,
    spectrum,
    statistics,
    wavelet,
)
from napari_focusstack.core.measures.base import Measure, PlaneInfo, stack_range
from napari_focusstack.core.measures.blur import Blur, blur_metric
from napari_focusstack.core.measures.corner import harris_response
from napari_focusstack.core.measures.gradient import local_maximum_gradient_map
from napari_focusstack.core.registry import Registry

__all__ = [
    "MEASURES",
    "Blur",
    "Measure",
    "PlaneInfo",
    "blur_metric",
    "harris_response",
    "local_maximum_gradient_map",
    "stack_range",
]

MEASURES: Registry[Measure] = Registry("focus measure")
for _family in (gradient, corner, laplacian, wavelet, statistics, cosine, spectrum, other, blur):
    for _measure in _family.MEASURES:
        MEASURES.add(_measure)
