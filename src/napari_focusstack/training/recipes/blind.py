"""BRISQUE and CNNIQA: quality without a reference, learned from simulated distortions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.networks.blind import CNNIQA, Brisque
from napari_focusstack.training.distortions import DistortionData, DistortionSettings, Rated
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.recipes.base import Recipe

TOLERANCE = 3.0
"""Error, of 100, that support vector regression does not mind."""


def _support_vectors(network: nn.Module, rated: Rated, device: torch.device) -> Tensor:
    """Absolute error beyond the tolerance; the recipe's weight decay is the regression's penalty."""
    error = (network(rated.image.to(device)) - rated.quality.to(device)).abs()
    return functional.relu(error - TOLERANCE).mean() / 100


def _patches(network: nn.Module, rated: Rated, device: torch.device) -> Tensor:
    """Absolute error of each patch, which is given its image's quality."""
    assert isinstance(network, CNNIQA)
    return (network.patches(rated.image.to(device)) - rated.quality.to(device)[:, None]).abs().mean() / 100


def _metrics(network: nn.Module, batches: list[Rated], device: torch.device) -> Mapping[str, float]:
    """Mean absolute error, of 100, and Pearson's and Spearman's correlation with the truth."""
    found = torch.cat([network(b.image.to(device)).cpu() for b in batches])
    true = torch.cat([b.quality for b in batches])
    ranks = torch.stack([v.argsort().argsort().float() for v in (found, true)])
    return {
        "error": float((found - true).abs().mean()),
        "correlation": float(torch.corrcoef(torch.stack([found, true]))[0, 1]),
        "rank_correlation": float(torch.corrcoef(ranks)[0, 1]),
    }


_BRISQUE = Recipe(
    name="brisque",
    title="BRISQUE",
    paper="Mittal, Moorthy & Bovik 2012, IEEE Trans. Image Process. 21:4695",
    build=Brisque,
    data=DistortionData(DistortionSettings()),
    loss=_support_vectors,
    metrics=_metrics,
    fit=FitSettings(epochs=8, steps=60, batch=48, weight_decay=1e-5, valid_steps=8, learning_rate=3e-3),
    architecture="brisque",
    task="How little an image is distorted (blur, noise, compression, lost grey levels), without a reference",
    normalisation="0 to 1 between the image's 0.1 % and 99.9 % quantiles",
    outputs="quality, 0 the worst … 100 undistorted: structural similarity to the undistorted image, in percent",
    input_px=(128, 128),
)
RECIPES = (
    _BRISQUE,
    replace(
        _BRISQUE,
        name="cnniqa",
        title="CNNIQA",
        paper="Kang, Ye, Li & Doermann 2014, CVPR",
        build=CNNIQA,
        loss=_patches,
        fit=_BRISQUE.fit.model_copy(update={"batch": 24, "weight_decay": 0.0, "learning_rate": 1e-3}),
        architecture="cnniqa",
        width=0.5,
    ),
)
