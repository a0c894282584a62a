"""GMANet's opponents as scorers: a quality of every 32 px, weighted or not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import to_grey
from napari_focusstack.core.learned.base import NetworkScorer, large_enough, stacked
from napari_focusstack.core.report import Grid, PlaneScore
from napari_focusstack.core.scorer import Joined, PlaneContext


@dataclass(frozen=True)
class QualityScorer(NetworkScorer):
    """Quality of patches of 32 px (TwostreamIQA, WaDIQaM); the slice's number is their weighted mean.

    Where a specimen or a region decides, it is the mean of the patches there, whatever the network weighs them by.
    """

    @property
    def units(self) -> str:
        """Units of the map."""
        return "score, 100 is clearest"

    @property
    def description(self) -> str:
        """What it is good for."""
        return "Judges patches of 32 px by themselves; published for photographs, here to compare GMANet with."

    @property
    def needs(self) -> Collection[str]:
        """Nothing."""
        return ()

    def check(self, context: PlaneContext) -> None:
        """Nothing is needed beyond the pixels."""

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Judge the patches of one plane."""
        from napari_focusstack.networks import iqa

        quality, weight = iqa.judge_plane(self.network(context.device), to_grey(large_enough(plane)))
        grid = Grid((quality.shape[0], quality.shape[1]), (float(iqa.PATCH_PX), float(iqa.PATCH_PX)))
        return PlaneScore(quality, grid, value=float(np.average(quality, weights=weight)), layers={"weight": weight})

    def join(
        self, scores: Sequence[PlaneScore], *, exposure: NDArray[np.float32], heights_um: NDArray[np.float64] | None
    ) -> Joined:
        """Nothing is joined: each slice has its score."""
        return Joined(np.stack([s.map for s in scores]), stacked(scores))
