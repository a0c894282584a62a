"""m-SegNet's focus masks, and its baselines, the plain SegNet and the U-Net, on the same scenes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.networks import msegnet
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.layered import SceneBatch, SceneData, SceneSettings
from napari_focusstack.training.losses import focal
from napari_focusstack.training.recipes.base import Recipe


def _loss(network: nn.Module, batch: SceneBatch, device: torch.device) -> Tensor:
    """Focal loss at every level of the decoder; all levels count alike (Pei et al. 2021, section 2.1.4)."""
    clear, weight = batch.clear.to(device), batch.weight.to(device)
    losses = []
    for logits in cast(msegnet.FocusSegmenter, network).levels(batch.image.to(device)):
        step = clear.shape[-1] // logits.shape[-1]
        if step == 1:
            losses.append(focal(logits.float(), clear, weight=weight))
            continue
        known = functional.avg_pool2d(weight, step)
        share = functional.avg_pool2d(clear * weight, step) / known.clamp(min=1e-6)
        losses.append(focal(logits.float(), share, weight=known))
    return torch.stack(losses).mean()


def _metrics(network: nn.Module, batches: list[SceneBatch], device: torch.device) -> Mapping[str, float]:
    """Of the pixels that can be told: accuracy where there is texture, both recalls, IoU, and empty places let in."""
    found, clear, counted, textured = [], [], [], []
    for b in batches:
        found.append((network(b.image.to(device)) > 0.5).cpu())
        clear.append(b.clear > 0)
        counted.append(b.weight > 0)
        textured.append(b.textured > 0)
    f, c, k, t = (torch.cat(v) for v in (found, clear, counted, textured))
    judged, empty = k & t, k & ~t
    recall = float(f[judged & c].float().mean())
    rejected = float((~f)[judged & ~c].float().mean())
    return {
        "accuracy": float((f == c)[judged].float().mean()),
        "accuracy_all": float((f == c)[k].float().mean()),
        "balanced": (recall + rejected) / 2,
        "recall": recall,
        "iou": float((f & c & k).sum() / ((f | c) & k).sum().clamp(min=1)),
        "empty_let_in": float(f[empty].float().mean()),
    }


_MSEGNET = Recipe(
    name="msegnet",
    title="m-SegNet focus mask",
    paper="Pei et al. 2021, IEEE Photonics J. 13(3), doi:10.1109/JPHOT.2021.3073022",
    build=msegnet.msegnet,
    data=SceneData(SceneSettings()),
    loss=_loss,
    metrics=_metrics,
    fit=FitSettings(epochs=30, steps=80, batch=16, learning_rate=4e-3, weight_decay=0.0, valid_steps=12, patience=10),
    architecture="msegnet",
    task="Which pixels of a slice are in focus",
    normalisation="grey; local mean and deviation over 60 px",
    outputs="probability that the pixel is in focus (within half a depth of field)",
    input_px=(160, 160),
    width=0.375,
)

RECIPES = (
    _MSEGNET,
    replace(
        _MSEGNET,
        name="segnet",
        title="SegNet focus mask",
        paper="Badrinarayanan, Kendall & Cipolla 2017, IEEE Trans. Pattern Anal. Mach. Intell. 39:2481",
        build=msegnet.segnet,
        architecture="segnet",
    ),
    replace(
        _MSEGNET,
        name="unet_mask",
        title="U-Net focus mask",
        paper="Ronneberger, Fischer & Brox 2015, MICCAI 9351:234",
        build=msegnet.unet_mask,
        architecture="unet_mask",
    ),
)
