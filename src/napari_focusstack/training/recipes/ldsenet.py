"""LDSE-NET's signed defocus, and the networks that its paper compares it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from napari_focusstack.networks import ldsenet
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.losses import signed_defocus
from napari_focusstack.training.patches import Batch, PatchData, PatchSettings
from napari_focusstack.training.recipes.base import Recipe

TRAINED_PX = 128
"""LDSE-NET is convolutions and a mean, so it learns on smaller tiles, three times as many in the same time."""


def _ldse_loss(network: nn.Module, batch: Batch, device: torch.device) -> Tensor:
    keep = batch.evidence
    if not bool(keep.any()):
        keep = torch.ones_like(keep)
    out = network(_middle(batch.image[keep]).to(device), batch.sampling[keep].to(device)).float()
    waves = batch.waves[keep]
    target = ldsenet.blur_code(waves, batch.sampling[keep])
    sided = batch.asymmetry[keep].clamp(max=1.0) * (2 * waves.abs()).clamp(max=1.0)
    return signed_defocus(out, target.to(device), above=(waves > 0).to(device), sided=sided.to(device))


def _ldse_metrics(network: nn.Module, batches: list[Batch], device: torch.device) -> Mapping[str, float]:
    """Median error of |defocus| in waves, near focus and in all; share of right sides where they can be told."""
    out = torch.cat([network(_middle(b.image).to(device), b.sampling.to(device)).cpu() for b in batches])
    keep = torch.cat([b.evidence for b in batches])
    waves, asymmetry = (torch.cat([getattr(b, n) for b in batches]) for n in ("waves", "asymmetry"))
    found, _ = ldsenet.signed_waves(out, torch.cat([b.sampling for b in batches]))
    error = (found.abs() - waves.abs()).abs()
    near, sided = keep & (waves.abs() < 3), keep & (asymmetry > 0.5) & (waves.abs() > 1)
    return {
        "median_waves": float(error[keep].median()),
        "median_waves_near": float(error[near].median()),
        "side_right": float(((out[:, 1] > 0) == (waves > 0))[sided].float().mean()),
    }


def _middle(image: Tensor) -> Tensor:
    """Tiles without their margin of 16 px."""
    return image[..., 16:-16, 16:-16]


_LDSE_PATCHES = PatchSettings(
    patch_px=TRAINED_PX,
    tile_px=160,
    max_waves=16.0,
    blur_px=(0.0, 64.0),
    sampling=(0.22, 2.5),
    spherical_waves=(0.0, 0.4),
    modes=(0.6, 0.2, 0.2, 0.0),
    blank=0.0,
    dirt=0.05,
    haze=0.1,
)
_LDSE = Recipe(
    name="ldsenet",
    title="LDSE-NET defocus",
    paper="Jiang et al. 2023, Front. Neurosci. 17:1213176",
    build=ldsenet.ldsenet,
    data=PatchData(_LDSE_PATCHES),
    loss=_ldse_loss,
    metrics=_ldse_metrics,
    fit=FitSettings(epochs=40, steps=120, batch=48, schedule="step", weight_decay=0.0),
    architecture="ldsenet",
    task="Signed defocus of a tile",
    normalisation="grey; local mean and deviation over 92 px; pixel · NA/λ beside it",
    outputs="asinh(blur disc radius in px / 1.5), blur = 2·|waves|/(pixel·NA/λ); logit of the side above focus",
    input_px=(ldsenet.TILE_PX, ldsenet.TILE_PX),
)

_WHOLE_TILES = PatchData(
    _LDSE_PATCHES.model_copy(update={"patch_px": ldsenet.TILE_PX, "tile_px": ldsenet.TILE_PX + 32})
)

RECIPES = (
    _LDSE,
    *(
        replace(_LDSE, name=name, title=f"{title} defocus", architecture=name, build=build, data=_WHOLE_TILES)
        for name, title, build in (
            ("resnet50", "ResNet50", ldsenet.resnet50),
            ("botnet", "BotNet", ldsenet.botnet),
        )
    ),
)
