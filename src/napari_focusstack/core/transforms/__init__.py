"""Multi-scale transforms that are undone exactly: pure functions of one plane."""

from __future__ import annotations

from napari_focusstack.core.transforms.base import Transform, extend
from napari_focusstack.core.transforms.curvelet import Curvelet
from napari_focusstack.core.transforms.dtcwt import DualTreeWavelet
from napari_focusstack.core.transforms.nsct import Contourlet

__all__ = ["Contourlet", "Curvelet", "DualTreeWavelet", "Transform", "extend"]
