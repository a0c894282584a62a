"""HH-Net's distance classes as a scorer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.defocus import check_objective, index_of
from napari_focusstack.core.filters import to_grey
from napari_focusstack.core.learned.base import NetworkScorer, large_enough, sampling_of, stacked
from napari_focusstack.core.learned.evidence import detail_energy, octaves_below_peak
from napari_focusstack.core.report import Grid, PlaneScore
from napari_focusstack.core.scorer import Joined, PlaneContext
from napari_focusstack.core.votes import DISTANCES, certainty

CLASSES_PER_OCTAVE = 0.5
"""How much an octave of energy counts beside a class, in which blur doubles and energy falls by two octaves or so."""


@dataclass(frozen=True)
class DistanceScorer(NetworkScorer):
    """Distance classes, -3 (objective too near) to 3 (too far), of 300 px patches (HH-Net).

    The map is minus the expected distance, ``-Σ |d|·p(d)``; 0 is in focus. Patches are weighted by their certainty in
    the slice where it is highest. The slice's class, certainty and distance index are voted by its patches. Which side
    is which rests on the optics: see `docs/hhnet.md`; a stack tells by its order (``direction``). Where the objective
    is known the network is told it, as high apertures show their defocus otherwise.
    """

    @property
    def units(self) -> str:
        """Units of the map."""
        return "-|distance| in classes, 0 is in focus"

    @property
    def description(self) -> str:
        """What it is good for."""
        return (
            "Tells how far a single image is from focus, in seven classes from too near to too far, and how certain "
            "that is; made for autofocus. Its distance index comes nearest to zero at focus, and changes its sign "
            "there in a stack from optics like those that it was trained on."
        )

    @property
    def needs(self) -> Collection[str]:
        """Nothing of the stack; what is known of the objective it takes into account."""
        return ()

    @property
    def better_told(self) -> bool:
        """High apertures show their defocus otherwise."""
        return bool(self.card.arguments.get("objective"))

    def check(self, context: PlaneContext) -> None:
        """Nothing is needed beyond the pixels; an objective that is told must be possible."""
        check_objective(context.optics)

    def network(self, device: str) -> Any:
        """The network, ready for inference; loaded once."""
        network = super().network(device)
        from napari_focusstack.networks.infer import hasten

        return hasten(network)

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Classify the patches of one plane."""
        from napari_focusstack.core.handcrafted import features
        from napari_focusstack.networks import hhnet

        optics = context.optics
        aperture = None if optics.na is None else optics.na / index_of(optics)
        p = hhnet.classify_plane(
            self.network(context.device),
            large_enough(plane),
            features(plane),
            sampling=None if optics.wavelength_um is None else sampling_of(context),
            aperture=aperture,
        )
        distances = np.asarray(DISTANCES, np.float32)
        (gy, gx), (h, w) = p.shape[:2], plane.shape[:2]
        layers = {"distance": p @ distances, "certainty": certainty(p).astype(np.float32)}
        grid = Grid((gy, gx), (h / gy, w / gx))
        energy = detail_energy(to_grey(plane), grid.shape, grid.cell_px)
        return PlaneScore(-(p @ np.abs(distances)), grid, layers=layers, energy=energy, distributions=p)

    def join(
        self, scores: Sequence[PlaneScore], *, exposure: NDArray[np.float32], heights_um: NDArray[np.float64] | None
    ) -> Joined:
        """Join the distance with the energy of detail over z; weigh each patch by what there is to judge it by."""
        layers = stacked(scores)
        told = np.stack([s.distributions for s in scores if s.distributions is not None])
        evidence = np.asarray(layers["certainty"].max(axis=0), np.float32)
        maps = np.stack([s.map for s in scores])
        values = maps + CLASSES_PER_OCTAVE * octaves_below_peak(scores, exposure)
        return Joined(maps, layers, values, evidence, distributions=told)
