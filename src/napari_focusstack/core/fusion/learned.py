"""Fusion by networks: those that compare two slices. Each is offered only where a model of its kind is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion.end_to_end import EndToEndMethod, fuse_by_groups, fuse_ifcnn
from napari_focusstack.core.fusion.gmanet import ScoreMethod
from napari_focusstack.core.fusion.guided import LAPLACIAN_GAIN, WeightedMean, guided_filter
from napari_focusstack.core.fusion.method import FusionMethod, Merged, Plane32, Series
from napari_focusstack.core.fusion.msegnet import MaskFusion
from napari_focusstack.core.fusion.noise import measure_noise
from napari_focusstack.core.fusion.sharpness import NOISE_CONSTANT, SharpnessTrack, summarise
from napari_focusstack.core.learned.base import InstalledModel
from napari_focusstack.core.masks.learned import SegmenterMask
from napari_focusstack.core.progress import Job, Progress, by_tiles, relay
from napari_focusstack.networks.zoo import ModelCard

Mask = NDArray[np.bool_]
GUIDED_RADIUS, GUIDED_EPS = 8, 0.1


def fuse_by_pairs(series: Series, network: Any, *, smallest_share: float) -> Job[Merged]:
    """Fuse by a network that decides between two slices, one after the other, in two passes.

    First pass: each slice challenges what was fused so far. Its pixels are taken where the network gives it more than
    half; regions of either side that are too small are not believed (the papers' consistency verification). Second
    pass: the masks of the slices, smoothed by a guided filter along the edges of the image fused in the first pass, are
    the weights of their mean.

    Parameters
    ----------
    series : Series
    network : module
        Ready for inference, with ``decide(pair)`` and what `networks.infer.in_tiles` asks for.
    smallest_share : float
        Regions of a smaller share of the image than this are given to the other side.
    """
    n = len(series)
    h, w = series.plane_shape
    winner = np.zeros((h, w), np.uint16)
    fused = series.guide(0)
    floor = np.float32(NOISE_CONSTANT * LAPLACIAN_GAIN * measure_noise(series).guide)
    track = SharpnessTrack(((h + 1) // 2, (w + 1) // 2), power=1, positions=series.heights)
    track.add(_sharpness(fused, floor))
    yield Progress(1, 2 * n, f"slice 1 of {n}")
    for i in range(1, n):
        guide = series.guide(i)
        track.add(_sharpness(guide, floor))
        wins = yield from _challenge(network, fused, guide, done=i, total=2 * n, message=f"slice {i + 1} of {n}")
        wins = without_specks(wins, smallest_px=smallest_share * h * w)
        winner[wins] = i
        np.copyto(fused, guide, where=wins)
    low, span = float(fused.min()), float(np.ptp(fused)) or 1.0
    edges = np.asarray((fused - low) / span, np.float32)
    mean = WeightedMean(series)
    for i in range(n):
        mask = (winner == i).astype(np.float32)
        if mask.any():
            weight = guided_filter(mask, edges, radius=GUIDED_RADIUS, eps=GUIDED_EPS)
            mean.add(series.image(i).astype(np.float32), weight)
        yield Progress(n + i + 1, 2 * n, f"slice {i + 1} of {n}: mixing")
    _, peak, confidence = summarise([track], (h, w))
    return Merged(mean.mean(), winner, np.clip(peak, winner - np.float32(0.5), winner + np.float32(0.5)), confidence)


def _sharpness(guide: Plane32, floor: np.float32) -> Plane32:
    edges = cv2.Laplacian(guide, cv2.CV_32F, borderType=cv2.BORDER_REFLECT)
    sharpness: Plane32 = np.log(cv2.pyrDown(cv2.blur(np.square(edges), (5, 5))) + floor)
    return sharpness


def _challenge(
    network: Any, champion: Plane32, challenger: Plane32, *, done: int, total: int, message: str
) -> Job[Mask]:
    """Pixels at which the challenger is the sharper one."""
    import torch

    from napari_focusstack.networks.infer import device_of, in_tiles

    # Scaled together: the network looks at contrast, but float32 squares of a bright image leave few digits.
    low = min(float(champion.min()), float(challenger.min()))
    span = max(float(champion.max()), float(challenger.max())) - low or 1.0
    pair = torch.from_numpy((np.stack([champion, challenger])[None] - np.float32(low)) / np.float32(span))
    tiles = in_tiles(
        network.decide,
        pair,
        margin_px=network.margin_px,
        bytes_per_px=network.bytes_per_px,
        multiple_px=network.multiple_px,
        device=device_of(network),
    )
    first = yield from relay(
        by_tiles(tiles), done=1000 * done / total, total=1000 * (done + 1) / total, message=message
    )
    # Where both are the same there is nothing to win.
    wins: Mask = (first[0, 0].numpy() < 0.5) & (champion != challenger)
    return wins


def without_specks(mask: Mask, *, smallest_px: float) -> Mask:
    """A mask whose small regions, and then small holes, are given to what lies around them."""
    result = mask.copy()
    for side in (True, False):
        _, labels, stats, _ = cv2.connectedComponentsWithStats((result == side).astype(np.uint8), connectivity=4)
        small = stats[:, cv2.CC_STAT_AREA] < smallest_px
        small[0] = False
        result ^= small[labels]
    return result


@dataclass(frozen=True)
class PairMethod(InstalledModel):
    """A network that compares two slices, as a fusion method.

    Attributes
    ----------
    description : str
        What it does and when to take it.
    smallest_share : float
        See `fuse_by_pairs`.
    """

    description: str
    smallest_share: float

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The weights, by their checksum, and the settings."""
        return {**super().parameters, "smallest_share": self.smallest_share}

    def merge(self, series: Series) -> Job[Merged]:
        """Fuse as a job; the weights are loaded when it starts."""
        return (yield from fuse_by_pairs(series, self.network(series.device), smallest_share=self.smallest_share))


def _cnn(card: ModelCard, folder: Path) -> FusionMethod:
    words = "A small network compares the slices patch by patch, and pixels are copied; slow, seams like the paper's."
    return PairMethod(card, folder, words, smallest_share=0.01)


def _unet(card: ModelCard, folder: Path) -> FusionMethod:
    words = "A network draws the map of the sharper slice, and pixels are copied: borders are closer than by patches."
    return PairMethod(card, folder, words, smallest_share=0.001)


def _ifcnn(card: ModelCard, folder: Path) -> FusionMethod:
    words = "A network makes the image from joint features of all slices; by truth little better than their mean."
    return EndToEndMethod(card, folder, words, fuse_ifcnn)


def _fusegan(card: ModelCard, folder: Path) -> FusionMethod:
    words = (
        "A generative network makes the image, four slices at a time; it can invent detail, and the pyramid is better."
    )
    return EndToEndMethod(card, folder, words, fuse_by_groups)


def _masks(card: ModelCard, folder: Path) -> FusionMethod:
    return MaskFusion(SegmenterMask(card, folder))


KINDS: Mapping[str, Callable[[ModelCard, Path], FusionMethod]] = {
    "fusion_cnn": _cnn,
    "decision_unet": _unet,
    "ifcnn": _ifcnn,
    "fusegan": _fusegan,
    "gmanet": ScoreMethod,
    "msegnet": _masks,
    "segnet": _masks,
    "unet_mask": _masks,
}
"""By the architecture that a model's card names."""


def methods_of(card: ModelCard, folder: Path) -> Iterator[FusionMethod]:
    """The method of a model; none where it does not fuse. Reads no weights."""
    if card.architecture in KINDS:
        yield KINDS[card.architecture](card, folder)
