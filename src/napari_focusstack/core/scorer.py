"""What a scorer is: whatever says of a plane how sharp it is, classical measures and networks alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.registry import Choice
from napari_focusstack.core.report import Map, PlaneScore
from napari_focusstack.core.stack import Optics


@dataclass(frozen=True)
class PlaneContext:
    """What a scorer may want to know beside the pixels.

    Attributes
    ----------
    patch_px : int
        Wished size of a patch in pixels; a network may have a grid of its own.
    pixel_um : float or None
        Pixel size in µm.
    optics : Optics
        What is known of the microscope.
    value_range : (float, float) or None
        Darkest and brightest grey level of the stack; told to scorers that need it.
    noise : float or None
        Standard deviation of the stack's noise in grey levels; told to scorers that need it.
    device : str
        Where a network computes: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    object_px : float or None
        Diameter of what lies in the stack, in pixels; told to scorers that need it, None where nothing stands out.
    """

    patch_px: int = 32
    pixel_um: float | None = None
    optics: Optics = field(default_factory=Optics)
    value_range: tuple[float, float] | None = None
    noise: float | None = None
    device: str = "auto"
    object_px: float | None = None


class Scorer(Choice, Protocol):
    """Says of a plane how sharp each patch is. Higher is sharper."""

    @property
    def family(self) -> str:
        """Which kind of scorer it is: ``"gradient"``, ``"Laplacian"``, ``"networks"``."""
        ...

    @property
    def units(self) -> str:
        """Units of its values."""
        ...

    @property
    def needs(self) -> Collection[str]:
        """What of `PlaneContext` has to be measured on the stack beforehand.

        ``"value_range"``, ``"noise"``, ``"object_px"``.
        """
        ...

    @property
    def gain_exponent(self) -> float | None:
        """Power of the exposure with which its values grow; None where there is no such law, 0 where they don't."""
        ...

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Score one plane, (Y, X) or (Y, X, 3), of any pixel type. All planes of a stack get the same grid."""
        ...


@dataclass(frozen=True)
class Joined:
    """What a scorer says of a whole series, once it has seen all slices.

    Attributes
    ----------
    maps : (Z, gy, gx) float32
        Focus value of each patch, finite.
    layers : mapping of str to (Z, gy, gx) array
        What else is known of each patch.
    curve_maps : (Z, gy, gx) float32 or None
        What a slice's number is the weighted mean of, where it is not `maps`.
    evidence : (gy, gx) float32 or None
        How much there is to judge a patch by, 0…1, in the slice where there is most of it.
    notes : mapping
        What else to tell of the series, as plain values.
    distributions : (Z, gy, gx, C) float32 or None
        Of each patch over ordered classes, where patches vote on their slice's class.
    """

    maps: Map
    layers: Mapping[str, NDArray[Any]]
    curve_maps: Map | None = None
    evidence: Map | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    distributions: NDArray[np.float32] | None = None


@runtime_checkable
class SeriesScorer(Protocol):
    """A `Scorer` that has to get ready before the first slice, and that knows more after the last."""

    def check(self, context: PlaneContext) -> None:
        """Say at once what is missing.

        Raises
        ------
        InputError
            If the series can't be scored: what is needed, and where to give it.
        """
        ...

    def caution(self, context: PlaneContext) -> str:
        """What everyone has to know who sees its answers on such a series, in sentences; empty where there is nothing.

        Goes into the series' notes as ``"caution"``.
        """
        ...

    def get_ready(self, context: PlaneContext) -> None:
        """Load what takes long to load; may be called again and again."""
        ...

    def join(
        self, scores: Sequence[PlaneScore], *, exposure: NDArray[np.float32], heights_um: NDArray[np.float64] | None
    ) -> Joined:
        """Put the slices together.

        Parameters
        ----------
        scores : sequence of PlaneScore
            Of every slice, in order.
        exposure : (Z,) float32
            Brightness of each slice relative to the mean one.
        heights_um : (Z,) or None
            Height of each slice where known.
        """
        ...
