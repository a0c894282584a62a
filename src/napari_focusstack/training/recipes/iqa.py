"""GMANet's opponents, on the same series and with the same losses (Wang et al. 2021, section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from napari_focusstack.networks.iqa import PatchQuality, TwostreamIQA, WaDIQaM
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.losses import stack_scores
from napari_focusstack.training.recipes.base import Recipe
from napari_focusstack.training.recipes.gmanet import hits, least
from napari_focusstack.training.series import SeriesBatch, SeriesData, SeriesSettings


def _scores(network: nn.Module, batch: SeriesBatch, device: torch.device) -> Tensor:
    """(S, K) scores of the judged parts."""
    assert isinstance(network, PatchQuality)
    ready = batch.crops(network.ready(batch.image.to(device)))
    return network.scores(ready).float().reshape(batch.score.shape)


def _loss(network: nn.Module, batch: SeriesBatch, device: torch.device) -> Tensor:
    scores, differences, wrong = stack_scores(_scores(network, batch, device), batch.score.to(device))
    return (scores + wrong * differences).mean()


def _metrics(network: nn.Module, batches: list[SeriesBatch], device: torch.device) -> Mapping[str, float]:
    return hits([_scores(network, b, device).cpu() for b in batches], batches)


_TWOSTREAM = Recipe(
    name="twostream_iqa",
    title="TwostreamIQA",
    paper="Yan et al. 2019, IEEE Trans. Image Process. 28:2200",
    build=TwostreamIQA,
    data=SeriesData(SeriesSettings()),
    loss=_loss,
    metrics=_metrics,
    fit=FitSettings(epochs=20, steps=120, batch=21, valid_steps=16, patience=20),
    architecture="twostream_iqa",
    task="How sharp an image is, relative to the clearest of its stack",
    normalisation="grey; z-scored over the whole image, logarithmic beyond 3 standard deviations",
    outputs="quality and weight of every 32×32 px; 100: as clear as the clearest slice of a stack",
    input_px=(32, 32),
    width=0.25,
    rank=least("l_score"),
)
_WADIQAM = replace(
    _TWOSTREAM,
    name="wadiqam_nr",
    title="WaDIQaM-NR",
    paper="Bosse et al. 2018, IEEE Trans. Image Process. 27:206",
    build=WaDIQaM,
    architecture="wadiqam",
)
RECIPES = (
    _TWOSTREAM,
    _WADIQAM,
    replace(_WADIQAM, name="wadiqam_fr", title="WaDIQaM-FR", arguments={"reference": True}),
)
