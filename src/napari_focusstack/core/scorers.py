"""The scorers by name: the classical measures, and the networks that are installed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from napari_focusstack.core.learned import SCORERS as NETWORKS
from napari_focusstack.core.learned import scorers_of
from napari_focusstack.core.measures import MEASURES, Measure
from napari_focusstack.core.registry import Registry
from napari_focusstack.core.report import PlaneScore
from napari_focusstack.core.scorer import PlaneContext, Scorer

__all__ = ["DEFAULT_SCORER", "SCORERS", "MeasureScorer", "PlaneContext", "Scorer"]


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


SCORERS: Registry[Scorer] = Registry("scorer", listing="focusstack scorers", networks=NETWORKS)
for _measure in MEASURES:
    SCORERS.add(MeasureScorer(_measure))
SCORERS.follow_models(scorers_of)

DEFAULT_SCORER = "tenengrad"
