"""Scorers: whatever says of a plane how sharp it is, classical measures and networks alike."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from napari_focusstack.core.measures import MEASURES, Measure
from napari_focusstack.core.registry import Registry
from napari_focusstack.core.report import PlaneScore
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
    """

    patch_px: int = 32
    pixel_um: float | None = None
    optics: Optics = field(default_factory=Optics)
    value_range: tuple[float, float] | None = None
    noise: float | None = None


class Scorer(Protocol):
    """Says of a plane how sharp each patch is. Higher is sharper."""

    @property
    def name(self) -> str:
        """The name by which a user chooses it."""
        ...

    @property
    def title(self) -> str:
        """What to call it in a list."""
        ...

    @property
    def family(self) -> str:
        """Which kind of scorer it is: ``"gradient"``, ``"Laplacian"``, ``"network"``."""
        ...

    @property
    def units(self) -> str:
        """Units of its values."""
        ...

    @property
    def description(self) -> str:
        """What it is good for, in a sentence."""
        ...

    @property
    def reference(self) -> str:
        """Where it was published."""
        ...

    @property
    def needs(self) -> Collection[str]:
        """What of `PlaneContext` has to be measured on the stack beforehand: ``"value_range"``, ``"noise"``."""
        ...

    @property
    def gain_exponent(self) -> float | None:
        """Power of the exposure with which its values grow; None where there is no such law, 0 where they don't."""
        ...

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Score one plane, (Y, X) or (Y, X, 3), of any pixel type. All planes of a stack get the same grid."""
        ...


@dataclass(frozen=True)
class MeasureScorer:
    """A classical focus measure as a scorer.

    Attributes
    ----------
    measure : Measure
        The measure; colours are reduced to luma for it.
    """

    measure: Measure

    @property
    def name(self) -> str:
        """Name of the measure."""
        return self.measure.name

    @property
    def title(self) -> str:
        """Title of the measure."""
        return self.measure.title

    @property
    def family(self) -> str:
        """Family of the measure."""
        return self.measure.family

    @property
    def units(self) -> str:
        """Units of the measure."""
        return self.measure.units

    @property
    def description(self) -> str:
        """What the measure is good for."""
        return self.measure.description

    @property
    def reference(self) -> str:
        """Where the measure was published."""
        return self.measure.reference

    @property
    def needs(self) -> Collection[str]:
        """What the measure must be told of the stack."""
        return self.measure.needs

    @property
    def gain_exponent(self) -> float | None:
        """Power of the exposure with which the measure grows."""
        return self.measure.gain_exponent

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Score one plane, (Y, X) or (Y, X, 3), of any pixel type."""
        return self.measure.score(
            plane,
            patch_px=context.patch_px,
            pixel_um=context.pixel_um,
            optics=context.optics,
            value_range=context.value_range,
            noise=context.noise,
        )


SCORERS: Registry[Scorer] = Registry("scorer")
for _measure in MEASURES:
    SCORERS.add(MeasureScorer(_measure))

DEFAULT_SCORER = "tenengrad"
