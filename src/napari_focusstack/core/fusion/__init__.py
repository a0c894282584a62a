"""Focus stacking: each method turns a stack into a `Fused`."""

from __future__ import annotations

from napari_focusstack.core.fusion.dsift import DSIFT
from napari_focusstack.core.fusion.dwt import fuse_dwt
from napari_focusstack.core.fusion.fused import Fused
from napari_focusstack.core.fusion.guided import GFF
from napari_focusstack.core.fusion.learned import methods_of
from napari_focusstack.core.fusion.method import METHODS, ClassicalMethod, FusionMethod, Merged, Series
from napari_focusstack.core.fusion.multiscale import CURVELET, DTCWT, NSCT
from napari_focusstack.core.fusion.pyramid import fuse_pyramid
from napari_focusstack.core.fusion.select import fuse_select
from napari_focusstack.core.fusion.series import DEFAULT_METHOD, fuse_series

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "ClassicalMethod",
    "Fused",
    "FusionMethod",
    "Merged",
    "Series",
    "fuse_series",
]

METHODS.add(
    ClassicalMethod(
        "pyramid",
        "Soft Laplacian pyramid",
        "Mixes the slices at every scale by how far their detail stands out over noise; of two quiet slices it copies "
        "pixels where it is clear from which. Best by truth on most stacks.",
        "Burt & Kolczynski 1993, ICCV, with soft weights",
        fuse_pyramid,
        {"levels": 6, "noise_constant": 5.0, "shrink": 1.0, "boost": 1.0, "copied_noise": 0.01},
    )
)
METHODS.add(
    ClassicalMethod(
        "select",
        "Per-pixel selection",
        "Takes each pixel from the slices that are sharpest around it: pixel values stay those of the slices.",
        "Forster et al. 2004, Microsc. Res. Tech. 65:33, with soft weights",
        fuse_select,
        {"noise_constant": 12.0},
    )
)
METHODS.add(
    ClassicalMethod(
        "dwt",
        "Wavelets",
        "Mixes the wavelet coefficients of the slices by their energy; the classical reference, rarely the best.",
        "Li, Manjunath & Mitra 1995, Graph. Models Image Process. 57:235",
        fuse_dwt,
        {"wavelet": "sym4", "levels": 6, "noise_constant": 8.0, "exponent": 4.0},
    )
)
METHODS.add(DTCWT)
METHODS.add(CURVELET)
METHODS.add(NSCT)
METHODS.add(GFF)
METHODS.add(DSIFT)
METHODS.follow_models(methods_of)
