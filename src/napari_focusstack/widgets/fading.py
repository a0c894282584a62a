"""Colormaps for what lies over an image: transparent where there is nothing to show, whether that is dark or bright."""

from __future__ import annotations

import numpy as np
from napari.utils.colormaps import Colormap, ensure_colormap


def fading(colormap: str, *, name: str) -> Colormap:
    """One of napari's colormaps that begins transparent and is opaque from its middle on.

    Parameters
    ----------
    colormap : str
        Name of napari's.
    name : str
        What to call it.
    """
    p = np.linspace(0, 1, 256)
    colours = ensure_colormap(colormap).map(p)
    colours[:, 3] = np.minimum(2 * p, 1)
    return Colormap(colours, name=name)
