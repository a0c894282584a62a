"""Trained networks as scorers. One is offered only where a model of its kind is installed, under the model's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from napari_focusstack.core.learned.classes import ClassScorer
from napari_focusstack.core.learned.defocus import DefocusScorer
from napari_focusstack.core.learned.gmanet import GmaScorer, ProtocolScorer
from napari_focusstack.core.learned.hhnet import DistanceScorer
from napari_focusstack.core.learned.iqa import QualityScorer
from napari_focusstack.core.scorer import Scorer
from napari_focusstack.networks.zoo import ModelCard

SCORERS: dict[str, tuple[Callable[[ModelCard, Path], Scorer], ...]] = {
    "mmdf": (ClassScorer,),
    "ldsenet": (DefocusScorer,),
    "resnet50": (DefocusScorer,),
    "botnet": (DefocusScorer,),
    "gmanet": (GmaScorer, ProtocolScorer),
    "twostream_iqa": (QualityScorer,),
    "wadiqam": (QualityScorer,),
    "hhnet": (DistanceScorer,),
}
"""By the architecture that a model's card names; some models score in more than one way."""


def scorers_of(card: ModelCard, folder: Path) -> Iterator[Scorer]:
    """The ways in which a model scores focus; none where it doesn't. Reads no weights."""
    return (scorer(card, folder) for scorer in SCORERS.get(card.architecture, ()))
