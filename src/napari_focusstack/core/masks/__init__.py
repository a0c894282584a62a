"""Focus masks: which pixels of each slice are in focus, by method."""

from __future__ import annotations

from napari_focusstack.core.masks.base import THRESHOLD, FocusMasks, MaskMethod, SliceMask, focus_masks
from napari_focusstack.core.masks.energy import EnergyMask, HarrisMask
from napari_focusstack.core.masks.learned import SEGMENTERS, masks_of
from napari_focusstack.core.registry import Registry

__all__ = [
    "MASKS",
    "THRESHOLD",
    "FocusMasks",
    "MaskMethod",
    "SliceMask",
    "default_mask",
    "focus_masks",
]

MASKS: Registry[MaskMethod] = Registry("mask method", networks=SEGMENTERS)
MASKS.follow_models(masks_of)
MASKS.add(EnergyMask())
MASKS.add(HarrisMask())


def default_mask() -> str:
    """Name of the method that measures best (docs/masks.md) among those that are there."""
    return "msegnet" if "msegnet" in MASKS else "energy"
