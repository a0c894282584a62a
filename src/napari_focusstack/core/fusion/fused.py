"""`Fused`: what every fusion method returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Fused:
    """An all-in-focus image and where it came from.

    Attributes
    ----------
    image : (Y, X), (Y, X, 3) or (C, Y, X) array
        The fused image in the stack's own pixel type and range.
    axes : str
        ``"YX"``, ``"YXS"`` or ``"CYX"``.
    index : (Y, X) or (C, Y, X) uint16
        Slice of the stack (0-based, in the numbering of the whole stack) that each pixel mostly came from. With C where
        every channel was fused by itself.
    depth_um : float32 array like `index`, or None
        Height of the sharpest point at each pixel in µm, between slices too; None where the z step is not known.
    confidence : float32 array like `index`
        How clearly that slice stands out at this pixel, 0 (no evidence) to 1.
    method : str
        Name of the method.
    parameters : mapping
        Every parameter that the result depends on, for the provenance.
    slices : tuple of int
        The slices that were fused, in the numbering of the whole stack.
    """

    image: NDArray[Any]
    axes: str
    index: NDArray[np.uint16]
    depth_um: NDArray[np.float32] | None
    confidence: NDArray[np.float32]
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    slices: tuple[int, ...] = ()
