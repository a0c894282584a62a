"""What scoring finds: `PlaneScore` of a slice, `Decision` on a curve, `FocusReport` of a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Where the patches of a map lie on the image.

    Attributes
    ----------
    shape : (int, int)
        Patches along y and x.
    cell_px : (float, float)
        Height and width of a patch in pixels; need not be whole: a map may cover the image exactly.
    origin_px : (float, float)
        Upper left corner of the first patch, in pixels from the upper left corner of the image.
    """

    shape: tuple[int, int]
    cell_px: tuple[float, float]
    origin_px: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def covering(cls, plane_shape: tuple[int, int], patch_px: int) -> Grid:
        """Patches of about `patch_px` pixels that cover a plane exactly."""
        h, w = plane_shape
        shape = max(1, round(h / patch_px)), max(1, round(w / patch_px))
        return cls(shape, (h / shape[0], w / shape[1]))


@dataclass(frozen=True, eq=False)
class PlaneScore:
    """What a scorer says of one plane.

    Attributes
    ----------
    map : (gy, gx) float32
        Focus value of each patch, higher is sharper.
    grid : Grid
        Where the patches lie.
    value : float or None
        The plane's number where it is not the (specimen-weighted) mean of the map.
    layers : mapping of str to (gy, gx) array
        Whatever else the scorer knows of each patch: ``"certainty"``, ``"class"``, ``"defocus_um"``.
    energy : (gy, gx) float32 or None
        Energy of detail in each patch, for scorers that weigh their answer by it.
    notes : mapping
        What else to tell, as plain values.
    distributions : (gy, gx, C) float32 or None
        Of each patch over ordered classes, for scorers whose patches vote on their image's class.
    """

    map: Map
    grid: Grid
    value: float | None = None
    layers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    energy: Map | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    distributions: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Decision:
    """What a curve of focus values over z says.

    Attributes
    ----------
    best : int or None
        Best slice, 0-based; None where no slice is in focus.
    peak : float or None
        Sub-slice position of the peak, in slices; None as `best`.
    peak_um : float or None
        The same in µm on the stack's z axis; None also where the z step is not known.
    confidence : float
        How well the peak stands out, 0 (not at all) to 1.
    good : (int, int) or None
        First and last of the neighbouring slices that are about as good as the best.
    peaks : tuple of int
        Every separate maximum that counts; two for a phase object whose contrast inverts through focus.
    reason : str
        The decision in a sentence for the user.
    """

    best: int | None
    peak: float | None
    peak_um: float | None
    confidence: float
    good: tuple[int, int] | None
    peaks: tuple[int, ...]
    reason: str


@dataclass(frozen=True, eq=False)
class FocusReport:
    """Scores of one series (one channel, time and position) of a stack.

    Attributes
    ----------
    scorer, units : str
        Name of the scorer, and units of its values.
    values : (Z,) float64
        One number a slice, higher is sharper.
    maps : (Z, gy, gx) float32
        Focus value of each patch.
    weights : (gy, gx) float32
        How much each patch counts in the slice's number, 0…1: the specimen, or a region drawn by hand.
    grid : Grid
        Where the patches lie.
    decision : Decision
        Best slice, confidence, reason.
    heights_um : (Z,) float64 or None
        Height of each slice where known.
    layers : mapping of str to (Z, gy, gx) array
        What else the scorer knows of each patch (``"certainty"``, ``"class"``, ``"defocus_um"``).
    extras : mapping
        The `notes`, and what else it knows of each slice, as plain numbers for JSON and tables: means of the layers,
        weighted as the slice's number is.
    plane_values : (Z,) float64 or None
        The scorer's own number of each slice, where it is not the mean of the map.
    plane_shape : (int, int)
        (Y, X) of a slice in pixels.
    specimen : (Y, X) bool or None
        Outline of the specimen, for display; None where nothing stands out from the field.
    specimen_weights : (gy, gx) float32
        Share of specimen in each patch, whether or not it was asked to decide; ones where nothing stands out.
    region : (Y, X) bool or None
        The region drawn by hand that decides in the specimen's stead.
    views : (Z, vy, vx) float16 or None
        Each slice in small, all shifted and scaled alike: tells whether contrast inverts from slice to slice.
    curve_maps : (Z, gy, gx) float32 or None
        What a slice's number is the weighted mean of, where it is not `maps`.
    evidence : (gy, gx) float32 or None
        How much there is to judge a patch by, 0…1; `weights` are multiplied by it.
    notes : mapping
        What else the scorer told of the series; ``"caution"`` is shown wherever its answers are.
    distributions : (Z, gy, gx, C) float32 or None
        Of each patch over ordered classes, where patches vote on their slice's class.
    """

    scorer: str
    units: str
    values: NDArray[np.float64]
    maps: Map
    weights: Map
    grid: Grid
    decision: Decision
    heights_um: NDArray[np.float64] | None = None
    layers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)
    plane_values: NDArray[np.float64] | None = None
    plane_shape: tuple[int, int] = (0, 0)
    specimen: NDArray[np.bool_] | None = None
    specimen_weights: Map | None = None
    region: NDArray[np.bool_] | None = None
    views: NDArray[np.float16] | None = None
    curve_maps: Map | None = None
    evidence: Map | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    distributions: NDArray[np.float32] | None = None

    @property
    def caution(self) -> str:
        """What everyone has to know who sees these answers; empty where there is nothing."""
        return str({**self.notes, **self.extras}.get("caution", ""))

    @property
    def basis(self) -> str:
        """What decided: ``"region"``, ``"specimen"`` or ``"whole image"`` (also where no specimen was found)."""
        if self.region is not None:
            return "region"
        even = bool((self.weights == self.weights.flat[0]).all())
        if self.evidence is not None:
            even = even or bool((self.weights == self.evidence).all())
        return "whole image" if even or self.specimen_weights is None else "specimen"
