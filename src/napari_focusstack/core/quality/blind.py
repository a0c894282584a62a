"""Metrics that a network has learned: quality without a reference. Offered where a model of the kind is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import to_grey
from napari_focusstack.core.learned.base import load_network
from napari_focusstack.core.quality.base import Image, Known, Metric, Tally
from napari_focusstack.networks.zoo import ModelCard

ARCHITECTURES = ("brisque", "cnniqa")
HINT = (
    "How undistorted the image looks, 0 … 100, to something that has seen blur, noise, compression and rounding. "
    "It knows neither the slices nor the truth: compare images of one stack only. Those "
    "trained by our recipes did not find the focus of real stacks."
)


class DamagedMetricError(InputError):
    """The weights of a metric's network are missing or damaged."""


def metrics_of(card: ModelCard, folder: Path) -> Iterator[Metric]:
    """The metric that a model is; none where it judges something else. Reads no weights."""
    if card.architecture in ARCHITECTURES:
        begin = _judging(folder, card.sha256)
        yield Metric(card.name, card.title, "of 100", "itself", HINT, card.paper, begin)


def _judging(folder: Path, sha256: str) -> Callable[[Image], Tally]:
    def begin(fused: Image) -> Tally:
        try:
            network = load_network(str(folder), sha256, "cpu")
        except InputError as error:
            raise DamagedMetricError(str(error)) from error
        from napari_focusstack.networks.blind import judge_image

        return Known(judge_image(network, to_grey(fused)))

    return begin
