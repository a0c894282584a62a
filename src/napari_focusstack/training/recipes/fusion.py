"""Networks that compare two slices, for fusion: the siamese CNN of Liu et al. and the U-Net of Li et al."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from napari_focusstack.networks import decision_unet, fusion_cnn
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.recipes.base import Recipe
from napari_focusstack.training.two_planes import PairBatch, PairData, PairSettings

PATCHES_EACH = 8
"""Patches that are cut from each pair for the siamese network."""


def _patches(network: Any, batch: PairBatch) -> tuple[Tensor, Tensor]:
    """Patches (N, 2, 16, 16), normalised, that lie on one side of the border and hold detail; and their truth (N,)."""
    side = fusion_cnn.PATCH_PX
    pair = network.normalise(batch.pair)
    size = pair.shape[-1] - side + 1
    corners = torch.randint(size // 2, (len(pair), PATCHES_EACH, 2)) * 2
    images, truth = [], []
    for k, row in enumerate(corners.tolist()):
        for y, x in row:
            window = (slice(y, y + side), slice(x, x + side))
            share = float(batch.first[k, 0][window].mean())
            if min(share, 1 - share) < 0.02 and float(batch.evidence[k, 0][window].mean()) > 0.5:
                images.append(pair[k][(slice(None), *window)])
                truth.append(share > 0.5)
    if not images:
        return pair[..., :side, :side], (batch.first.mean(dim=(1, 2, 3)) > 0.5).float()
    return torch.stack(images), torch.tensor(truth).float()


def _cnn_loss(network: Any, batch: PairBatch, device: torch.device) -> Tensor:
    """Cross-entropy of patches."""
    patches, truth = _patches(network, batch)
    logit = network(patches.to(device)).flatten().float()
    return functional.binary_cross_entropy_with_logits(logit, truth.to(device))


def _unet_loss(network: Any, batch: PairBatch, device: torch.device) -> Tensor:
    """The hybrid objective: how close the map is to the truth, and how close the fused image and its gradients are.

    Binary cross-entropy of the map where there is evidence (a tenth of its weight elsewhere, so that the map goes on
    smoothly), plus absolute differences of the normalised images fused by the map and by the truth, and of their
    gradients.
    """
    pair, first = batch.pair.to(device), batch.first.to(device)
    logit = network(pair).float()
    weight = 0.1 + 0.9 * batch.evidence.to(device)
    map_loss = functional.binary_cross_entropy_with_logits(logit, first, weight=weight)
    a, b = network.normalise(pair).float().chunk(2, dim=1)
    error = (torch.sigmoid(logit) - first) * (a - b)
    gradients = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    loss: Tensor = map_loss + error.abs().mean() + gradients
    return loss


def _metrics(network: Any, batches: list[PairBatch], device: torch.device) -> Mapping[str, float]:
    """Share of pixels with evidence that are taken from the right slice; in all, and within 5 pixels of a border."""
    right, near = [], []
    for batch in batches:
        found = network.decide(batch.pair.to(device)).cpu() > 0.5
        truth, sure = batch.first > 0.5, batch.evidence > 0
        border = functional.max_pool2d(batch.first, 11, 1, 5) + functional.max_pool2d(-batch.first, 11, 1, 5) > 0.5
        right.append((found == truth)[sure])
        near.append((found == truth)[sure & border])
    return {"accuracy": float(torch.cat(right).float().mean()), "at_border": float(torch.cat(near).float().mean())}


_CNN = Recipe(
    name="cnn",
    title="CNN of Liu et al.",
    paper="Liu et al. 2017, Inf. Fusion 36:191",
    build=fusion_cnn.FusionCnn,
    data=PairData(PairSettings()),
    loss=_cnn_loss,
    metrics=_metrics,
    fit=FitSettings(epochs=6, steps=300, batch=16, valid_steps=6),
    architecture="fusion_cnn",
    task="Which of two slices is the sharper one, patch by patch, for fusion",
    normalisation="grey; local means and the larger local deviation of the two slices, over 44 px",
    outputs="probability that the first slice is the sharper one",
    input_px=(fusion_cnn.PATCH_PX, fusion_cnn.PATCH_PX),
    width=0.25,
)
_UNET = Recipe(
    name="unet",
    title="U-Net decision map",
    paper="Li et al. 2020, IEEE Sensors J. 19:9755",
    build=decision_unet.DecisionUNet,
    data=PairData(PairSettings()),
    loss=_unet_loss,
    metrics=_metrics,
    fit=FitSettings(epochs=12, steps=120, batch=16, learning_rate=2e-3, valid_steps=8),
    architecture="decision_unet",
    task="Which of two slices is the sharper one, pixel by pixel, for fusion",
    normalisation="grey; local means and the larger local deviation of the two slices, over 44 px",
    outputs="probability that the first slice is the sharper one",
    input_px=(96, 96),
    width=0.125,
)
RECIPES = (_CNN, _UNET)
