"""HH-Net's distance classes as a scorer, and as a reader of single images for autofocus."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.defocus import Calibration
from napari_focusstack.core.learned.base import NetworkScorer, large_enough, stacked
from napari_focusstack.core.report import Grid, PlaneScore
from napari_focusstack.core.scorer import Joined, PlaneContext
from napari_focusstack.core.votes import DISTANCES, ImageDistance, certainty

EVIDENCE = 0.2
"""An image of less certainty than this holds nothing to judge by: between two classes it is 0.64, over four 0.29."""


@dataclass(frozen=True)
class DistanceScorer(NetworkScorer):
    """Distance classes, -3 (objective too near) to 3 (too far), of 300 px patches (HH-Net).

    The map is minus the expected distance, ``-Σ |d|·p(d)``; 0 is in focus. Patches are weighted by their certainty in
    the slice where it is highest. The slice's class, certainty and distance index are voted by its patches. Which side
    is which rests on the optics: see `docs/hhnet.md`; a stack tells by its order (``direction``).
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
            "that is; made for autofocus. In a stack its distance index goes through zero at focus."
        )

    @property
    def needs(self) -> Collection[str]:
        """Nothing of the stack."""
        return ()

    def check(self, context: PlaneContext) -> None:
        """Nothing is needed beyond the pixels."""

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Classify the patches of one plane."""
        p = patch_distributions(self._network(context), plane)
        distances = np.asarray(DISTANCES, np.float32)
        (gy, gx), (h, w) = p.shape[:2], plane.shape[:2]
        layers = {"distance": p @ distances, "certainty": certainty(p).astype(np.float32)}
        return PlaneScore(-(p @ np.abs(distances)), Grid((gy, gx), (h / gy, w / gx)), layers=layers, distributions=p)

    def join(
        self, scores: Sequence[PlaneScore], *, exposure: NDArray[np.float32], heights_um: NDArray[np.float64] | None
    ) -> Joined:
        """Weigh each patch by what there is to judge it by."""
        layers = stacked(scores)
        told = np.stack([s.distributions for s in scores if s.distributions is not None])
        evidence = np.asarray(layers["certainty"].max(axis=0), np.float32)
        return Joined(np.stack([s.map for s in scores]), layers, evidence=evidence, distributions=told)


def patch_distributions(network: Any, plane: NDArray[Any]) -> NDArray[np.float32]:
    """(gy, gx, 7) distributions of a plane's patches over the distance classes."""
    from napari_focusstack.core.handcrafted import features
    from napari_focusstack.networks import hhnet

    return hhnet.classify_plane(network, large_enough(plane), features(plane))


@dataclass(frozen=True)
class HHNetReader:
    """Image → `ImageDistance`, for autofocus.

    Attributes
    ----------
    scorer : DistanceScorer
        An installed HH-Net.
    direction : {1, -1}
        -1 where the microscope's sides are the other way round than those taught: a stack scored with it tells.
    device : str
        As `PlaneContext.device`.
    """

    scorer: DistanceScorer
    direction: Literal[1, -1] = 1
    device: str = "auto"

    def get_ready(self) -> None:
        """Import torch and load the weights."""
        self.scorer.get_ready(PlaneContext(device=self.device))

    def __call__(self, image: NDArray[Any]) -> ImageDistance:
        """Judge one image, (Y, X) or (Y, X, 3), of any pixel type."""
        network = self.scorer._network(PlaneContext(device=self.device))
        voted = ImageDistance.of(patch_distributions(network, image))
        return voted if self.direction == 1 else ImageDistance(voted.distribution[::-1])


def band_um(distance: int, known: Calibration) -> tuple[float, float]:
    """Heights above focus, in µm, from and to, that a class stands for on a microscope.

    The blur disc's radius of ``b`` pixels is ``b·sampling/2`` waves at the pupil's edge (fluorescence, and brightfield
    with the condenser open; a condenser stopped down to a share of the aperture makes distances longer by its inverse).

    Parameters
    ----------
    distance : int
        Class, -3 … 3.
    known : Calibration
        The microscope.

    Returns
    -------
    (float, float)
        Lower and higher end; of ±3, the end towards focus and infinity; of 0, both sides of focus.
    """
    from napari_focusstack.networks.hhnet import BANDS_PX

    near, far = (b * known.sampling / 2 * known.um_per_wave for b in BANDS_PX[abs(distance)])
    if distance == 0:
        return -far, far
    far = far if abs(distance) < max(DISTANCES) else float("inf")
    return (near, far) if distance > 0 else (-far, -near)
