"""LDSE-NET's signed defocus, and the networks that its paper compares it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from napari_focusstack.networks import ldsenet
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.losses import signed_defocus
from napari_focusstack.training.recipes.base import Recipe
from napari_focusstack.training.tiles import TileBatch, TileData, TileSettings

NEAR_WAVES = 3.26
"""5 µm at 20×/0.75."""
ASYMMETRIC_WAVES = 0.1
"""Spherical aberration from which on the sides of focus are taken to be told apart."""


def _loss(network: nn.Module, batch: TileBatch, device: torch.device) -> Tensor:
    keep = batch.evidence
    if not bool(keep.any()):
        keep = torch.ones_like(keep)
    out = network(batch.image[keep].to(device), batch.sampling[keep].to(device)).float()
    waves = batch.waves[keep]
    sided = (batch.asymmetry[keep] / ASYMMETRIC_WAVES).clamp(max=1.0) * (2 * waves.abs()).clamp(max=1.0)
    return signed_defocus(
        out, ldsenet.magnitude_code(waves).to(device), above=(waves > 0).to(device), sided=sided.to(device)
    )


def _metrics(network: nn.Module, batches: list[TileBatch], device: torch.device) -> Mapping[str, float]:
    """Median error of |defocus| in waves, near and in all; of the signed one and its sides, where they can be told."""
    out = torch.cat([network(b.image.to(device), b.sampling.to(device)).cpu() for b in batches])
    keep, waves, asymmetry = (torch.cat([getattr(b, n) for b in batches]) for n in ("evidence", "waves", "asymmetry"))
    found, _ = ldsenet.signed_waves(out)
    error = (found.abs() - waves.abs()).abs()
    near, told = keep & (waves.abs() < NEAR_WAVES), keep & (asymmetry >= ASYMMETRIC_WAVES)
    return {
        "median_waves": float(error[keep].median()),
        "median_waves_near": float(error[near].median()),
        "median_signed_near": float((found - waves).abs()[near & told].median()),
        "side_right": float((found.sign() == waves.sign())[told & (waves.abs() > 0.5)].float().mean()),
    }


_SEEN = "grey at pixel·NA/λ = 0.75; local mean and deviation over 92 px, asinh; the camera's pixel·NA/λ"

_LDSE = Recipe(
    name="ldsenet",
    title="LDSE-NET defocus",
    paper="Jiang et al. 2023, Front. Neurosci. 17:1213176",
    build=ldsenet.ldsenet,
    data=TileData(TileSettings()),
    loss=_loss,
    metrics=_metrics,
    fit=FitSettings(epochs=30, steps=300, batch=32, learning_rate=1e-3, weight_decay=0.0, valid_steps=12),
    architecture="ldsenet",
    task="Signed defocus of a tile",
    normalisation=f"{_SEEN}; statistics of the tile as it is",
    outputs="asinh(|waves at the pupil's edge| / 0.4); logit of the side of focus without rings",
    input_px=(ldsenet.LEAST_PX, ldsenet.LEAST_PX),
    arguments={"statistics": True},
)

RECIPES = (
    _LDSE,
    replace(_LDSE, name="ldsenet_paper", title="LDSE-NET without statistics", arguments={}, normalisation=_SEEN),
    *(
        replace(
            _LDSE,
            name=name,
            title=f"{title} defocus",
            architecture=name,
            build=build,
            arguments={},
            normalisation=_SEEN,
        )
        for name, title, build in (
            ("resnet50", "ResNet50", ldsenet.resnet50),
            ("botnet", "BotNet", ldsenet.botnet),
        )
    ),
)
