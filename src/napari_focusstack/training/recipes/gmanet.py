"""GMANet in two stages: L0 without attention, then L1 from its weights with attention in the first layer.

As in the paper, losses are those of one stack at a time (eq. 8-12) and the three outputs weigh 1, 0.8 and 0.6. L0 is
kept from the epoch with the least rank loss, L1 from that with the least score loss, both only where the clearest slice
or a neighbour of it is found in 98 % of the validation stacks (section 4.3). The paper also sets upper bounds for L0,
against learning its stacks by heart; stacks that are simulated anew in every step can't be, so there are none here.

Other than in the paper: a step takes two stacks, each with its own loss, as batch norm then sees more than one
microscope, and L1 keeps L0's statistics of it; there are no ImageNet weights to start from, so the learning rate begins
at 2e-3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from napari_focusstack.core.agreement import spearman
from napari_focusstack.networks.gmanet import GMANet, Outputs
from napari_focusstack.training.fit import EpochRecord, FitSettings
from napari_focusstack.training.losses import stack_scores
from napari_focusstack.training.recipes.base import Recipe
from napari_focusstack.training.series import SeriesBatch, SeriesData, SeriesSettings

WEIGHTS = (1.0, 0.8, 0.6)
"""Of Output1 and of the two auxiliary ones."""
ACCURACY = 0.98


def _outputs(network: nn.Module, batch: SeriesBatch, device: torch.device) -> Outputs:
    assert isinstance(network, GMANet)
    pixels, attention = network.ready(batch.image.to(device), block_px=batch.block_px)
    return network.outputs(batch.crops(pixels), None if attention is None else batch.crops(attention))


def _loss(network: nn.Module, batch: SeriesBatch, device: torch.device) -> Tensor:
    """Eq. 8 of each output, the mean over the stacks."""
    found, label = _outputs(network, batch, device), batch.score.to(device)
    total = torch.zeros((), device=device)
    for weight, score in zip(WEIGHTS, (found.score, *found.auxiliary), strict=True):
        scores, differences, wrong = stack_scores(score.float().reshape(label.shape), label)
        total = total + weight * (scores + wrong * differences).mean()
    return total


def _settled_loss(network: nn.Module, batch: SeriesBatch, device: torch.device) -> Tensor:
    """The same with batch norm's statistics as L0 left them.

    A batch shows one stack or two: normalised by its own statistics, a slice is told apart by its fellows, which it
    does not have when it is scored.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return _loss(network, batch, device)


def _metrics(network: nn.Module, batches: list[SeriesBatch], device: torch.device) -> Mapping[str, float]:
    return hits([_outputs(network, b, device).score.reshape(b.score.shape).cpu() for b in batches], batches)


def hits(found: Sequence[Tensor], batches: Sequence[SeriesBatch]) -> Mapping[str, float]:
    """Parts of the loss, and how often the clearest slice (t0), or it or a neighbour (acc), has the highest score.

    Parameters
    ----------
    found : sequence of (S, K) tensors
        Scores of each batch's stacks.
    batches : sequence of SeriesBatch
        The truth.
    """
    score = torch.cat(list(found))
    label, steps = (torch.cat([getattr(b, n) for b in batches]) for n in ("score", "steps"))
    scores, differences, _ = stack_scores(score, label)
    off = steps.gather(1, score.argmax(dim=1, keepdim=True)).abs()
    ranks = [spearman(s.numpy(), t.numpy()) for s, t in zip(score, label, strict=True)]
    return {
        "l_score": float(scores.mean()),
        "l_diff": float(differences.mean()),
        "t0": float((off < 0.5).float().mean()),
        "acc": float((off < 1.5).float().mean()),
        "spearman": float(np.nanmean(ranks)),
    }


def least(name: str) -> Callable[[EpochRecord], float]:
    """Rank epochs by a part of the loss, those that find too few slices last."""

    def rank(record: EpochRecord) -> float:
        return record.metrics[name] + (0.0 if record.metrics["acc"] >= ACCURACY else 1000.0)

    return rank


_L0 = Recipe(
    name="gmanet_l0",
    title="GMANet without attention",
    paper="Wang et al. 2021, Appl. Sci. 11:10293",
    build=GMANet,
    data=SeriesData(SeriesSettings()),
    loss=_loss,
    metrics=_metrics,
    fit=FitSettings(epochs=10, steps=140, batch=14, valid_steps=24, patience=10, learning_rate=2e-3),
    architecture="gmanet",
    task="How sharp an image is, relative to the clearest of its stack",
    normalisation="grey; z-scored over the whole image, logarithmic beyond 3 standard deviations",
    outputs="score of the image and of every 16×16 px, 0 … 100; 100: as clear as the clearest slice of a stack",
    input_px=(512, 768),
    width=0.125,
    arguments={"attended": 0, "channels": 1},
    rank=least("l_diff"),
)
_L1 = replace(
    _L0,
    name="gmanet",
    title="GMANet",
    loss=_settled_loss,
    fit=FitSettings(epochs=14, steps=140, batch=14, valid_steps=24, patience=14, learning_rate=1e-3),
    arguments={"attended": 1, "channels": 1},
    before=_L0,
    rank=least("l_score"),
)
_PAPER_DATA = SeriesData(SeriesSettings(field_px=1024, crop_px=512, blocks_px=(32,)))
_PAPER_FIT = FitSettings(epochs=70, steps=621, batch=7, valid_steps=207, patience=70, learning_rate=1e-5)
_PAPER_L0 = replace(
    _L0,
    name="gmanet_paper_l0",
    title="GMANet in the paper's size, without attention",
    data=_PAPER_DATA,
    fit=_PAPER_FIT,
    arguments={"attended": 0, "channels": 3},
    width=1.0,
)
_PAPER = replace(
    _PAPER_L0,
    name="gmanet_paper",
    title="GMANet in the paper's size",
    fit=_PAPER_FIT.model_copy(update={"epochs": 40, "patience": 40}),
    arguments={"attended": 1, "channels": 3},
    before=_PAPER_L0,
    rank=least("l_score"),
)
RECIPES = (_L0, _L1, _PAPER_L0, _PAPER)
"""The bundled network, and the paper's size with the paper's training, for a graphics card and ImageNet's weights."""
