"""Small filters that measures, scoring and fusion share."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError

Plane32 = NDArray[np.float32]


def to_grey(plane: NDArray[Any]) -> Plane32:
    """Make a plane grey.

    Colours become their luma, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601): green, which a sensor samples and resolves
    best, counts most. The sum is taken in float32, so that 8-bit colours keep their fractions; nothing is rescaled.

    Parameters
    ----------
    plane : (Y, X) or (Y, X, 3) array
        Grey or RGB, of any integer or float type.

    Returns
    -------
    (Y, X) float32
        In the plane's own grey levels; the same array where it was grey float32 already, so don't write into it.

    Raises
    ------
    InputError
        If the plane has another shape.
    """
    if plane.ndim == 2:
        return np.ascontiguousarray(plane, dtype=np.float32)
    if plane.ndim == 3 and plane.shape[2] == 3:
        grey: Plane32 = cv2.cvtColor(np.ascontiguousarray(plane, dtype=np.float32), cv2.COLOR_RGB2GRAY)
        return grey
    raise InputError(f"An image of shape {tuple(plane.shape)} was given: give a grey (Y, X) or an RGB (Y, X, 3) plane.")


def area_mean(energy: Plane32, shape: tuple[int, int]) -> Plane32:
    """Mean of a plane over each of `shape` equal cells that cover it; pixels cut by a border count by their area.

    Parameters
    ----------
    energy : (Y, X) float32
        At least as large as `shape`.
    shape : (int, int)
        Cells along y and x.

    Returns
    -------
    (gy, gx) float32
    """
    mean: Plane32 = cv2.resize(energy, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return mean
