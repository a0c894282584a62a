"""Classical focus measures, one file a family; `MEASURES` holds them by name."""

from __future__ import annotations

from napari_focusstack.core.measures import gradient, laplacian, other, statistics
from napari_focusstack.core.measures.base import Measure, PlaneInfo, stack_range
from napari_focusstack.core.registry import Registry

__all__ = ["MEASURES", "Measure", "PlaneInfo", "stack_range"]

MEASURES: Registry[Measure] = Registry("focus measure")
for _family in (gradient, laplacian, statistics, other):
    for _measure in _family.MEASURES:
        MEASURES.add(_measure)
