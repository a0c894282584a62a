"""Focus masks: which pixels of each slice are in focus, by method."""

from __future__ import annotations

from napari_focusstack.core.masks.base import THRESHOLD, FocusMasks, MaskMethod, SliceMask, focus_masks
from napari_focusstack.core.masks.energy import EnergyMask, HarrisMask
from napari_focusstack.core.masks.learned import SEGMENTERS, installed_masks
from napari_focusstack.core.registry import Registry

__all__ = [
    "MASKS",
    "THRESHOLD",
    "FocusMasks",
    "MaskMethod",
    "SliceMask",
    "add_networks",
    "default_mask",
    "focus_masks",
]

MASKS: Registry[MaskMethod] = Registry("mask method", networks=SEGMENTERS)


def add_networks() -> None:
    """Offer the networks that are installed; call it again after one was trained or copied. Loads no weights."""
    for method in installed_masks():
        if method.name not in MASKS:
            MASKS.add(method)


add_networks()
MASKS.add(EnergyMask())
MASKS.add(HarrisMask())


def default_mask() -> str:
    """Name of the method that measures best (docs/masks.md) among those that are there."""
    return "msegnet" if "msegnet" in MASKS else "energy"
