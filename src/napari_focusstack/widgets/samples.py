"""Sample data: three real stacks that come with the package."""

from __future__ import annotations

from napari_focusstack.io.samples import sample_stack
from napari_focusstack.widgets.reader import LayerData, layers_of


def organoids() -> list[LayerData]:
    """Intestinal organoids at many depths, brightfield."""
    return layers_of(sample_stack("organoids"))


def beads() -> list[LayerData]:
    """Fluorescent beads."""
    return layers_of(sample_stack("beads"))


def nucleus() -> list[LayerData]:
    """One nucleus, widefield fluorescence."""
    return layers_of(sample_stack("nucleus"))
