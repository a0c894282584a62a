"""Metrics that a network has learned: quality without a reference. Offered where a model of the kind is installed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from napari_focusstack.core.filters import to_grey
from napari_focusstack.core.learned.base import load_network
from napari_focusstack.core.quality.base import Image, Known, Metric, Tally
from napari_focusstack.networks.zoo import ModelError, find_models, read_card

log = logging.getLogger(__name__)

ARCHITECTURES = ("brisque", "cnniqa")
HINT = (
    "How undistorted the image looks, 0 … 100, to something that has seen blur, noise, compression and rounding. "
    "It knows neither the slices nor the truth: compare images of one stack only."
)


def installed_metrics() -> Iterator[Metric]:
    """Metrics for the models that are installed. Reads cards, no weights."""
    for name, folder in find_models().items():
        try:
            card = read_card(folder)
        except ModelError as error:
            log.warning("%s", error)
            continue
        if card.architecture in ARCHITECTURES and card.name == name:
            begin = _judging(folder, card.sha256)
            yield Metric(name, card.title, "of 100", "itself", HINT, card.paper, begin)


def _judging(folder: Path, sha256: str) -> Callable[[Image], Tally]:
    def begin(fused: Image) -> Tally:
        network = load_network(str(folder), sha256, "cpu")
        from napari_focusstack.networks.blind import judge_image

        return Known(judge_image(network, to_grey(fused)))

    return begin
