"""MMDF's focus classifier, and the paper's ablations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from napari_focusstack.networks import mmdf
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.losses import cross_entropy, ranked_probability_score
from napari_focusstack.training.patches import Batch, PatchData, PatchSettings
from napari_focusstack.training.recipes.base import Recipe

UNFOCUSED_DOF = 2.0
FOCUSED_DOF = 0.5


def class_targets(batch: Batch) -> Tensor:
    """(K, 10) true distributions over MMDF's classes.

    One class by defocus; all alike where there is no evidence ("can't say" must not read as a middling blur); all
    unfocused classes alike where there is nothing but dirt.
    """
    edges = torch.tensor(mmdf.CLASS_EDGES_PX)
    index = torch.searchsorted(edges, batch.blur_px, right=True) - 1
    target = torch.nn.functional.one_hot(index, mmdf.CLASSES).float()
    target[~batch.evidence] = 1 / mmdf.CLASSES
    unfocused = (torch.arange(mmdf.CLASSES) >= mmdf.FOCUSED_CLASSES).float()
    target[~batch.evidence & batch.dirty] = unfocused / unfocused.sum()
    return target


def _mmdf_loss(score: Callable[[Tensor, Tensor], Tensor]) -> Callable[[nn.Module, Batch, torch.device], Tensor]:
    def loss(network: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        return score(network(batch.image.to(device)).float(), class_targets(batch).to(device))

    return loss


def _mmdf_metrics(network: nn.Module, batches: list[Batch], device: torch.device) -> Mapping[str, float]:
    """Accuracy of focused against unfocused, mean class error, and certainty with and without evidence."""
    p = torch.cat([torch.softmax(network(b.image.to(device)), dim=1).cpu() for b in batches])
    dof, evidence, dirty = (torch.cat([getattr(b, n) for b in batches]) for n in ("dof", "evidence", "dirty"))
    sharp = p[:, : mmdf.FOCUSED_CLASSES].sum(dim=1) > 0.5
    focused, unfocused = (dof <= FOCUSED_DOF) & evidence, (dof >= UNFOCUSED_DOF) & evidence
    right = torch.cat([sharp[focused], ~sharp[unfocused]]).float()
    blur = torch.cat([b.blur_px for b in batches])
    truth = (torch.searchsorted(torch.tensor(mmdf.CLASS_EDGES_PX), blur, right=True) - 1).float()
    sure = mmdf.certainty(p)
    return {
        "accuracy": float(right.mean()),
        "recall": float(sharp[focused].float().mean()),
        "class_error": float((mmdf.level(p) - truth)[evidence].abs().mean()),
        "certainty": float(sure[evidence].mean()),
        "certainty_blank": float(sure[~evidence].mean()),
        "dirt_rejected": float((~sharp[dirty]).float().mean()),
    }


_MMDF_PATCHES = PatchSettings()
_MMDF = Recipe(
    name="mmdf",
    title="MMDF focus classifier",
    paper="Kornilova et al. 2020, MMDF: Mobile Microscopy Deep Framework, section 3.1",
    build=mmdf.FocusClassifier,
    data=PatchData(_MMDF_PATCHES),
    loss=_mmdf_loss(ranked_probability_score),
    metrics=_mmdf_metrics,
    fit=FitSettings(epochs=40, steps=400, batch=64),
    architecture="mmdf",
    task="Focus class of a patch: in focus (0) to wholly blurred (9)",
    normalisation="grey; local mean and deviation over 44 px",
    outputs="logits of 10 ordered classes; lower edges of |blur| in px: 0, 1.5, 3, 4.5, 6, 9, 12, 18, 27, 42",
    input_px=(mmdf.PATCH_PX, mmdf.PATCH_PX),
    width=0.25,
)

RECIPES = (
    _MMDF,
    replace(_MMDF, name="mmdf_cross_entropy", title="MMDF with cross-entropy", loss=_mmdf_loss(cross_entropy)),
    replace(
        _MMDF,
        name="mmdf_without_dirt",
        title="MMDF that has never seen dirt",
        data=PatchData(_MMDF_PATCHES.model_copy(update={"dirt": 0.0})),
    ),
)
