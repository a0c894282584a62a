"""Trained networks as scorers. One is offered only where a model of its kind is installed, under the model's name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from napari_focusstack.core.learned.classes import ClassScorer
from napari_focusstack.core.learned.defocus import DefocusScorer
from napari_focusstack.core.learned.gmanet import GmaScorer, ProtocolScorer
from napari_focusstack.core.learned.hhnet import DistanceScorer
from napari_focusstack.core.learned.iqa import QualityScorer
from napari_focusstack.core.scorer import Scorer
from napari_focusstack.networks.zoo import CARD, ModelCard, ModelError, find_models, read_card

log = logging.getLogger(__name__)

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


def installed_networks() -> Iterator[Scorer]:
    """Scorers for the models that are installed and score focus. Reads cards, no weights."""
    for name, folder in find_models().items():
        try:
            card = read_card(folder)
        except ModelError as error:
            log.warning("%s", error)
            continue
        if card.name != name:
            log.warning("The model in '%s' calls itself '%s': it is left out.", folder / CARD, card.name)
        elif card.architecture in SCORERS:
            yield from (scorer(card, folder) for scorer in SCORERS[card.architecture])
