"""MMDF's focus classifier, and the paper's ablations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from napari_focusstack.core.learned.classes import PLAIN_RULE, REFERENCE_SAMPLING
from napari_focusstack.networks import mmdf
from napari_focusstack.training.fit import FitSettings
from napari_focusstack.training.losses import cross_entropy, ranked_probability_score
from napari_focusstack.training.patches import Batch, PatchData, PatchSettings
from napari_focusstack.training.recipes.base import Recipe

UNFOCUSED_DOF = 2.0
FOCUSED_DOF = 0.5
MATCHED_SAMPLING = 0.7
"""Coarsest sampling that the rule is found at: few cameras are coarser, and they would move it for all others."""
LEAST_SLOPE = 1e-3


def class_targets(batch: Batch) -> Tensor:
    """(K, 10) true distributions over MMDF's classes.

    One class by the blur that is seen; all alike where there is no evidence ("can't say" must not read as a middling
    blur); all unfocused classes alike where there is nothing but dirt.
    """
    target = torch.nn.functional.one_hot(true_class(batch), mmdf.CLASSES).float()
    target[~batch.evidence] = 1 / mmdf.CLASSES
    unfocused = (torch.arange(mmdf.CLASSES) >= mmdf.FOCUSED_CLASSES).float()
    target[~batch.evidence & batch.dirty] = unfocused / unfocused.sum()
    return target


def true_class(batch: Batch) -> Tensor:
    """(K,) classes by the blur that is seen."""
    return mmdf.class_of(mmdf.seen_blur_px(batch.blur_px, batch.sampling))


def _mmdf_loss(score: Callable[[Tensor, Tensor], Tensor]) -> Callable[[nn.Module, Batch, torch.device], Tensor]:
    def loss(network: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        return score(network(batch.image.to(device)).float(), class_targets(batch).to(device))

    return loss


def _probabilities(network: nn.Module, batches: list[Batch], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities of all patches, and which are in focus or out of it beyond doubt."""
    p = torch.cat([torch.softmax(network(b.image.to(device)), dim=1).cpu() for b in batches])
    dof, evidence, dirty = (torch.cat([getattr(b, n) for b in batches]) for n in ("dof", "evidence", "dirty"))
    return p, (dof <= FOCUSED_DOF) & evidence, (dof >= UNFOCUSED_DOF) & evidence & ~dirty


def balanced_logistic(values: Tensor, positive: Tensor) -> tuple[float, list[float]]:
    """Logistic regression, ``P = 1/(1 + exp(bias + weights · values))``, both sides counting alike.

    Newton's method on the log likelihood, scaled by the values' spread.

    Parameters
    ----------
    values : (K, F) tensor
        Of each patch.
    positive : (K,) bool tensor
        Some true, some false.

    Returns
    -------
    bias : float
    weights : list of float
        F of them.
    """
    x, y = values.double(), positive.double()
    centre, spread = x.mean(dim=0), x.std(dim=0).clamp(min=1e-6)
    design = torch.cat([torch.ones(len(x), 1, dtype=torch.float64), (x - centre) / spread], dim=1)
    weight = y / y.sum().clamp(min=1) + (1 - y) / (1 - y).sum().clamp(min=1)
    ridge = 1e-3 * torch.eye(design.shape[1], dtype=torch.float64)
    a = torch.zeros(design.shape[1], dtype=torch.float64)
    for _ in range(30):
        p = torch.sigmoid(design @ a)
        gradient = design.T @ (weight * (y - p)) - ridge @ a
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design + ridge
        a = a + torch.linalg.solve(curvature, gradient)
    weights = -a[1:] / spread
    return float(-a[0] - (weights * centre).sum()), [float(w) for w in weights]


def focus_rule(network: nn.Module, batches: list[Batch], device: torch.device) -> dict[str, float]:
    """From which expected class on a patch is called out of focus, and how fast the probability falls there.

    Focused (within half a depth of field) against unfocused patches (two or more) of validation images. Ten classes
    drawn alike make unfocused patches far more frequent than focused ones, which the classes' probabilities follow:
    their sum is no answer to the question.

    Two rules: ``level`` and ``slope`` where nothing is known but the pixels, found at the sampling of cameras that are
    matched to their objectives; ``calibrated_level`` (at pixel · NA/λ = `REFERENCE_SAMPLING`), ``per_octave`` of the
    sampling and ``calibrated_slope`` where it is known, as a depth of field is the more pixels of blur the finer the
    sampling. Without patches of both kinds (a training of seconds) it is the plain rule.
    """
    return rule_of([judged(network, batches, device)])


@dataclass(frozen=True)
class Judged:
    """What a network says of patches; K of them, those that are in focus or out of it beyond doubt.

    Attributes
    ----------
    level : (K,) tensor
        Expected class.
    focused : (K,) bool tensor
        The truth.
    sampling : (K,) tensor
        Pixel size · NA/λ.
    """

    level: Tensor
    focused: Tensor
    sampling: Tensor


@torch.inference_mode()
def judged(network: nn.Module, batches: list[Batch], device: torch.device) -> Judged:
    """What a network says of batches."""
    p, focused, unfocused = _probabilities(network, batches, device)
    sure = focused | unfocused
    sampling = torch.cat([b.sampling for b in batches])
    return Judged(mmdf.level(p)[sure], focused[sure], sampling[sure])


def rule_of(parts: list[Judged]) -> dict[str, float]:
    """`focus_rule` of what one network or several say; each patch counts alike."""
    level, focused, sampling = (torch.cat([getattr(p, n) for p in parts]) for n in ("level", "focused", "sampling"))
    matched, octaves = sampling < MATCHED_SAMPLING, torch.log2(sampling / REFERENCE_SAMPLING)
    if focused[matched].all() or not focused[matched].any():
        return dict(PLAIN_RULE)
    bias, (slope,) = balanced_logistic(level[matched, None], focused[matched])
    calibrated_bias, (steep, per_octave) = balanced_logistic(torch.stack([level, octaves], dim=1), focused)
    slope, steep = max(slope, LEAST_SLOPE), max(steep, LEAST_SLOPE)
    rule = {"level": -bias / slope, "slope": slope, "calibrated_level": -calibrated_bias / steep}
    rule |= {"calibrated_slope": steep, "per_octave": -per_octave / steep}
    return {k: round(v, 3) for k, v in rule.items()}


def _mmdf_metrics(network: nn.Module, batches: list[Batch], device: torch.device) -> Mapping[str, float]:
    """Accuracy of focused against unfocused by the rule, mean class error, and certainty with and without evidence."""
    p, focused, unfocused = _probabilities(network, batches, device)
    evidence, dirty = (torch.cat([getattr(b, n) for b in batches]) for n in ("evidence", "dirty"))
    found = mmdf.level(p)
    sharp = found < focus_rule(network, batches, device)["level"]
    truth = torch.cat([true_class(b) for b in batches]).float()
    sure = mmdf.certainty(p)
    return {
        "accuracy": float((sharp[focused].float().mean() + (~sharp[unfocused]).float().mean()) / 2),
        "recall": float(sharp[focused].float().mean()),
        "class_error": float((found - truth)[evidence].abs().mean()),
        "certainty": float(sure[evidence].mean()),
        "certainty_blank": float(sure[~evidence].mean()),
        "dirt_rejected": float((~sharp[dirty]).float().mean()),
    }


_MMDF_PATCHES = PatchSettings(
    electrons=(2.8, 4.8), crisp_px=3.4, drawn=0.4, texture=0.3, haze=0.2, modes=(0.45, 0.38, 0.08, 0.09)
)
_MMDF = Recipe(
    name="mmdf",
    title="MMDF focus classifier",
    paper="Kornilova et al. 2020, MMDF: Mobile Microscopy Deep Framework, section 3.1",
    build=mmdf.FocusClassifier,
    data=PatchData(_MMDF_PATCHES),
    loss=_mmdf_loss(ranked_probability_score),
    metrics=_mmdf_metrics,
    fit=FitSettings(epochs=60, steps=250, batch=32, patience=60),
    architecture="mmdf",
    task="Focus class of a patch: in focus (0) to wholly blurred (9)",
    normalisation="grey; local mean and deviation over 44 px",
    outputs="logits of 10 ordered classes; lower edges of the radius of the blur seen, in px: 0, 1.2, 2.2, 3.4, 4.8, "
    "6.8, 10, 15, 23, 35",
    input_px=(mmdf.PATCH_PX, mmdf.PATCH_PX),
    width=0.25,
    decide=focus_rule,
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
    replace(
        _MMDF,
        name="mmdf_statistics",
        title="MMDF with statistics of the patch",
        # Sharp specks are in a patch's spectrum like a sharp specimen: it takes more of them to be known for dirt.
        data=PatchData(_MMDF_PATCHES.model_copy(update={"dirt": 0.2})),
        fit=_MMDF.fit.model_copy(update={"epochs": 50, "patience": 50}),
        normalisation=f"{_MMDF.normalisation}; statistics of the patch as it is",
        arguments={"statistics": True},
    ),
)
