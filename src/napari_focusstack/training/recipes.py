"""How each bundled network is trained, from a folder of sharp images to weights and a model card."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress, relay
from napari_focusstack.core.registry import Registry
from napari_focusstack.networks import ldsenet, mmdf
from napari_focusstack.networks.zoo import save_model, user_folder
from napari_focusstack.training import library
from napari_focusstack.training.fit import FitSettings, Fitted, Task, fit
from napari_focusstack.training.losses import cross_entropy, ranked_probability_score, signed_defocus
from napari_focusstack.training.patches import Batch, Patches, PatchSettings

UNFOCUSED_DOF = 2.0
FOCUSED_DOF = 0.5
LDSE_TRAINED_PX = 128
"""LDSE-NET is convolutions and a mean, so it learns on smaller tiles, three times as many in the same time."""


@dataclass(frozen=True)
class Recipe:
    """A network, its data and its loss.

    Attributes
    ----------
    name, title, paper : str
        The recipe's name, what it trains, and whose work it is.
    build : callable
        ``width`` → network.
    patches : PatchSettings
        What it learns from.
    loss : callable
        (network, batch, device) → scalar tensor.
    metrics : callable
        (network, batches, device) → numbers for the log.
    fit : FitSettings
        The bundled weights' training.
    architecture : str
        Its name in the zoo.
    task, normalisation, outputs : str
        What the model card says of it.
    input_px : (int, int)
        Height and width of what it judges.
    width : float
        Width of the bundled network.
    """

    name: str
    title: str
    paper: str
    build: Callable[..., nn.Module]
    patches: PatchSettings
    loss: Callable[[nn.Module, Batch, torch.device], Tensor]
    metrics: Callable[[nn.Module, list[Batch], torch.device], Mapping[str, float]]
    fit: FitSettings
    architecture: str
    task: str
    normalisation: str
    outputs: str
    input_px: tuple[int, int]
    width: float = 1.0


@dataclass(frozen=True)
class Trained:
    """What a recipe gave.

    Attributes
    ----------
    network : nn.Module
        With the best epoch's weights, in evaluation mode.
    fitted : Fitted
        The training's course.
    images : mapping of str to int
        Images used of each source.
    settings : mapping
        Everything that was set, for the model card.
    """

    network: nn.Module
    fitted: Fitted
    images: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)


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


_MMDF_PATCHES = PatchSettings()
_MMDF = Recipe(
    name="mmdf",
    title="MMDF focus classifier",
    paper="Kornilova et al. 2020, MMDF: Mobile Microscopy Deep Framework, section 3.1",
    build=mmdf.FocusClassifier,
    patches=_MMDF_PATCHES,
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
_LDSE_PATCHES = PatchSettings(
    patch_px=LDSE_TRAINED_PX,
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
    patches=_LDSE_PATCHES,
    loss=_ldse_loss,
    metrics=_ldse_metrics,
    fit=FitSettings(epochs=40, steps=120, batch=48, schedule="step", weight_decay=0.0),
    architecture="ldsenet",
    task="Signed defocus of a tile",
    normalisation="grey; local mean and deviation over 92 px; pixel · NA/λ beside it",
    outputs="asinh(blur disc radius in px / 1.5), blur = 2·|waves|/(pixel·NA/λ); logit of the side above focus",
    input_px=(ldsenet.TILE_PX, ldsenet.TILE_PX),
)

RECIPES: Registry[Recipe] = Registry("recipe")
RECIPES.add(_MMDF)
RECIPES.add(replace(_MMDF, name="mmdf_cross_entropy", title="MMDF with cross-entropy", loss=_mmdf_loss(cross_entropy)))
RECIPES.add(
    replace(
        _MMDF,
        name="mmdf_without_dirt",
        title="MMDF that has never seen dirt",
        patches=_MMDF_PATCHES.model_copy(update={"dirt": 0.0}),
    )
)
RECIPES.add(_LDSE)
_WHOLE_TILES = _LDSE_PATCHES.model_copy(update={"patch_px": ldsenet.TILE_PX, "tile_px": ldsenet.TILE_PX + 32})
for _name, _title, _build in (("resnet50", "ResNet50", ldsenet.resnet50), ("botnet", "BotNet", ldsenet.botnet)):
    _opponent = replace(_LDSE, name=_name, title=f"{_title} defocus", architecture=_name, build=_build)
    RECIPES.add(replace(_opponent, patches=_WHOLE_TILES))

TINY = FitSettings(epochs=2, steps=6, batch=16, valid_steps=1)
"""A training of seconds, to see that everything works."""


def train(
    recipe: Recipe,
    images: Path,
    *,
    folder: Path,
    sources: Sequence[str] | None = None,
    settings: FitSettings | None = None,
    width: float | None = None,
    limit: int | None = None,
    device: torch.device | None = None,
) -> Job[Trained]:
    """Train a recipe's network on a folder of sharp images.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    images : Path
        Folder of sharp images; its sub-folders are the sources.
    folder : Path
        Where checkpoint, log and loss curve go; a training found there is resumed.
    sources : sequence of str, optional
        Sub-folders to train on; all where not given. Keep some out to test on.
    settings : FitSettings, optional
        In place of the recipe's own.
    width : float, optional
        In place of the recipe's own.
    limit : int, optional
        At most so many images of each source.
    device : torch.device
        Where the network computes, the CPU where not given; the simulation runs on the CPU.

    Raises
    ------
    InputError
        If there are fewer than two images.
    """
    settings, device = settings or recipe.fit, device or torch.device("cpu")
    width = recipe.width if width is None else width
    sharp = yield from relay(library.load(images, sources=sources, limit=limit), done=0, total=20)
    if len(sharp) < 2:
        raise InputError(f"'{images}' holds one image: give two at least, one of them to validate with.")
    training, validation = library.split(sharp)
    torch.manual_seed(settings.seed)
    network = recipe.build(width=width)

    def batches(of: Sequence[library.Sharp]) -> Callable[[int], Patches]:
        return lambda seed: Patches(of, recipe.patches, batch=settings.batch, seed=seed)

    task = Task(
        lambda seed: iter(batches(training)(seed)),
        lambda seed: iter(batches(validation)(seed)),
        recipe.loss,
        recipe.metrics,
    )
    fitted = yield from relay(fit(network, task, settings, folder=folder, device=device), done=20, total=1000)
    counts: dict[str, int] = {}
    for image in sharp:
        counts[image.source] = counts.get(image.source, 0) + 1
    told = {
        "recipe": recipe.name,
        "width": width,
        "patches": recipe.patches.model_dump(),
        "fit": settings.model_dump(),
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, {device.type}",
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    yield Progress(1000, 1000, "trained")
    return Trained(network.to("cpu"), fitted, counts, told)


def save_trained(
    trained: Trained,
    recipe: Recipe,
    *,
    name: str,
    root: Path | None = None,
    licences: Mapping[str, str] | None = None,
    accuracy: Mapping[str, Any] | None = None,
    half: bool = False,
) -> Path:
    """Put a trained network into the zoo; the user's own where `root` is not given.

    Parameters
    ----------
    trained : Trained
        What `train` returned.
    recipe : Recipe
        By which it was trained.
    name : str
        By which it will be chosen.
    root : Path, optional
        Folder of models.
    licences : mapping of str to str, optional
        Licence and origin of each training folder.
    accuracy : mapping, optional
        Measured on sources absent from training.
    half : bool
        Store 16 bit weights.

    Returns
    -------
    Path
        The model's folder.
    """
    best = trained.fitted.history[trained.fitted.best_epoch - 1]
    counts = {source: f"{n} images" for source, n in trained.images.items()}
    card = {
        "name": name,
        "title": recipe.title,
        "task": recipe.task,
        "paper": recipe.paper,
        "architecture": recipe.architecture,
        "arguments": {"width": trained.settings["width"]},
        "input_px": recipe.input_px,
        "normalisation": recipe.normalisation,
        "outputs": recipe.outputs,
        "training_data": {k: f"{v}; {(licences or {}).get(k, 'licence not told')}" for k, v in counts.items()},
        "training": {
            **trained.settings,
            "epochs": len(trained.fitted.history),
            "best_epoch": best.epoch,
            "samples": trained.fitted.samples,
            "seconds": round(trained.fitted.seconds),
            "validation": {"loss": best.valid_loss, **best.metrics},
        },
        "accuracy": dict(accuracy or {}),
    }
    folder = (root or user_folder()) / name
    save_model(trained.network, card, folder, half=half)
    return folder
