"""How good a fused image is: by itself, against its sources, against a reference. One file a metric."""

from __future__ import annotations

from napari_focusstack.core.quality.assess import METRICS, Quality, assess
from napari_focusstack.core.quality.base import Metric, Tally
from napari_focusstack.core.quality.detail import average_gradient, spatial_frequency
from napari_focusstack.core.quality.edges import edge_preservation, qabf
from napari_focusstack.core.quality.information import mutual_information, normalised_mutual_information
from napari_focusstack.core.quality.reference import data_range, psnr, ssim

__all__ = [
    "METRICS",
    "Metric",
    "Quality",
    "Tally",
    "assess",
    "average_gradient",
    "data_range",
    "edge_preservation",
    "mutual_information",
    "normalised_mutual_information",
    "psnr",
    "qabf",
    "spatial_frequency",
    "ssim",
]
