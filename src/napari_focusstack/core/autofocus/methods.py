"""Ways to find focus by name: the classical search, and each network that is installed and can steer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.autofocus.base import Policy, Reading, Sensor
from napari_focusstack.core.autofocus.guided import GuidedPolicy
from napari_focusstack.core.autofocus.index import IndexPolicy
from napari_focusstack.core.autofocus.jumps import JumpPolicy
from napari_focusstack.core.autofocus.search import CurvePolicy
from napari_focusstack.core.autofocus.spectra import SpectraPolicy, read_spectrum
from napari_focusstack.core.defocus import calibration_of
from napari_focusstack.core.learned.base import NetworkScorer
from napari_focusstack.core.registry import Registry
from napari_focusstack.core.report import PlaneScore
from napari_focusstack.core.scorer import PlaneContext
from napari_focusstack.core.scorers import DEFAULT_SCORER, SCORERS
from napari_focusstack.core.votes import DISTANCES, certainty, certainty_vote

Kind = Literal["search", "index", "jumps", "spectra"]
STEERS: dict[str, Kind] = {"hhnet": "index", "ldsenet": "jumps", "resnet50": "jumps", "botnet": "jumps"}
"""How a network steers, by its architecture."""
LEAST_TILES = 0.02
"""Share of the tiles that a network must be able to judge."""
LEAST_CERTAINTY = 0.08
"""An image whose vote is less certain than this is blank: it was taught to be all classes alike."""


@dataclass(frozen=True)
class FocusMethod:
    """A way to find focus.

    Attributes
    ----------
    name : str
        By which a user chooses it.
    title : str
        What to call it in a list.
    kind : str
        ``"search"``, ``"index"``, ``"jumps"`` or ``"spectra"``.
    scorer : str
        Name in `SCORERS` of what reads the images; spectra need none.
    """

    name: str
    title: str
    kind: Kind
    scorer: str = ""

    def policy(self) -> Policy:
        """What moves the stage."""
        if self.kind == "index":
            return GuidedPolicy(IndexPolicy(name=self.name))
        if self.kind == "jumps":
            return GuidedPolicy(JumpPolicy(name=self.name))
        return SpectraPolicy(name=self.name) if self.kind == "spectra" else CurvePolicy(name=self.name)

    def sensor(self, context: PlaneContext) -> Sensor:
        """What reads the images; loads the network.

        Raises
        ------
        InputError
            If more has to be known of the microscope.
        """
        if self.kind != "search":
            known = calibration_of(context.optics, context.pixel_um)
        if self.kind == "spectra":
            return lambda image: read_spectrum(image, known)
        scorer = SCORERS[self.scorer]
        read = {"search": _value, "index": _index, "jumps": _defocus}[self.kind]
        if isinstance(scorer, NetworkScorer):
            check = getattr(scorer, "check", None)
            if check is not None:
                check(context)
            scorer.get_ready(context)

        def sense(image: NDArray[Any]) -> Reading:
            reading = read(scorer.score_plane(image, context=context))
            if self.kind == "search":
                return reading
            return sharpness_of(read_spectrum(image, known), reading)

        return sense


def focus_methods(*, measure: str = DEFAULT_SCORER) -> Registry[FocusMethod]:
    """What there is to choose from: networks only where their weights are installed.

    Parameters
    ----------
    measure : str
        The focus measure of the classical search.
    """
    found: Registry[FocusMethod] = Registry("way to focus", networks=STEERS)
    title = SCORERS[measure].title
    # The first one is the default: it measures best (benchmarks/autofocus.py).
    found.add(FocusMethod("spectra", "Power spectra of a few images", "spectra"))
    found.add(FocusMethod("brent", f"Classical search ({title}, Brent)", "search", measure))
    for scorer in SCORERS:
        if isinstance(scorer, NetworkScorer) and scorer.card.architecture in STEERS:
            title = f"By sharpness, begun by {scorer.title}"
            found.add(FocusMethod(scorer.name, title, STEERS[scorer.card.architecture], scorer.name))
    return found


def sharpness_of(seen: Reading, told: Reading) -> Reading:
    """What a network told of an image, with the sharpness that was seen in it, if there is anything."""
    return replace(told, value=seen.value if seen.evidence else None)


def _value(score: PlaneScore) -> Reading:
    return Reading(value=float(score.map.mean()) if score.value is None else score.value)


def reading_of(distribution: NDArray[np.floating[Any]]) -> Reading:
    """What a distribution over HH-Net's classes says.

    The index is the mean of its amount over the classes, with the sign of the likelier side: where both sides are
    possible, the mean of the signed classes would be "in focus". Its certainty is that of the amount.

    Parameters
    ----------
    distribution : (7,) array
        Of `votes.DISTANCES`; sums to 1.
    """
    p, k = np.asarray(distribution, np.float64), np.asarray(DISTANCES)
    far, near = float(p[k > 0].sum()), float(p[k < 0].sum())
    folded = np.array([p[np.abs(k) == amount].sum() for amount in range(max(DISTANCES) + 1)])
    index = float(p @ np.abs(k))
    return Reading(
        index=index if far >= near else -index,
        certainty=float(certainty(folded)),
        side=abs(far - near) / max(far + near, 1e-9),
        evidence=float(certainty(p)) >= LEAST_CERTAINTY,
    )


def _index(score: PlaneScore) -> Reading:
    """The certainty-weighted vote of the patches."""
    assert score.distributions is not None
    return reading_of(certainty_vote(score.distributions.reshape(-1, len(DISTANCES))))


def _defocus(score: PlaneScore) -> Reading:
    """The median of the tiles; the side by their mean vote."""
    tiles = np.asarray(score.layers["defocus_um"], np.float64)
    judged = np.isfinite(tiles)
    if judged.mean() < LEAST_TILES:
        return Reading(evidence=False)
    distance, side = np.abs(tiles[judged]), np.asarray(score.layers["side"], np.float64)[judged]
    votes = np.sign(tiles[judged]) * side
    vote = float(votes.sum() / max(side.sum(), 1e-9))
    far = float(np.median(distance))
    return Reading(defocus_um=far if vote >= 0 else -far, certainty=float(side.mean()), side=abs(vote))
