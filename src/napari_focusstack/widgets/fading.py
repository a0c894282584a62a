"""Colours of layers: transparent where there is nothing to show, and a bar that tells what they mean."""

from __future__ import annotations

from typing import Any

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


def show_colours(layer: Any) -> None:
    """Show a layer's colour bar, with the layer's name (and unit) beside it: the bar tells neither."""
    layer.colorbar.visible = True
    overlay = getattr(layer, "name_overlay", None)
    if overlay is not None:  # older versions have none
        overlay.position = layer.colorbar.position
        overlay.visible = True
