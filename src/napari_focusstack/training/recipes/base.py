"""What a recipe is, and how one is followed: from a folder of sharp images to weights and a model card."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress, relay
from napari_focusstack.io.atomic import make_folder
from napari_focusstack.networks.gmanet import GMANet
from napari_focusstack.networks.imagenet import load_imagenet
from napari_focusstack.networks.zoo import ModelError, load_model, save_model, user_folder
from napari_focusstack.training import library
from napari_focusstack.training.fit import EpochRecord, FitSettings, Fitted, Task, by_validation, fit


class Data(Protocol):
    """Where a recipe's batches come from."""

    @property
    def settings(self) -> BaseModel:
        """What they are like, for the model card."""
        ...

    def batches(self, images: Sequence[library.Sharp], *, batch: int, seed: int) -> Iterator[Any]:
        """Endless batches made of sharp images; the same seed gives the same ones."""
        ...


@dataclass(frozen=True)
class Recipe:
    """A network, its data and its loss.

    Attributes
    ----------
    name, title, paper : str
        The recipe's name, what it trains, and whose work it is.
    build : callable
        ``width`` → network.
    data : Data
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
    caution : str
        What everyone has to know who sees what its networks say, in sentences; goes into the card.
    width : float
        Width of the bundled network.
    arguments : mapping
        What else `build` is told, by name; goes into the card.
    before : Recipe or None
        A stage before, whose weights this one starts from (on the same images, in a folder of its own).
    rank : callable
        Epoch → number; the weights of the epoch with the lowest are kept.
    keep : callable
        Of the trained network the part that is kept; a critic, say, is not.
    begin : callable
        (network, weights of the stage before) → the network starts from them; from all of them where not given.
    decide : callable or None
        (trained network, validation batches that no epoch was chosen by, device) → the rule that turns its outputs into
        a yes or no; goes into the card.
    """

    name: str
    title: str
    paper: str
    build: Callable[..., nn.Module]
    data: Data
    loss: Callable[[nn.Module, Any, torch.device], Tensor]
    metrics: Callable[[nn.Module, list[Any], torch.device], Mapping[str, float]]
    fit: FitSettings
    architecture: str
    task: str
    normalisation: str
    outputs: str
    input_px: tuple[int, int]
    caution: str = ""
    width: float = 1.0
    arguments: Mapping[str, Any] = field(default_factory=dict)
    before: Recipe | None = None
    rank: Callable[[EpochRecord], float] = by_validation
    keep: Callable[[nn.Module], nn.Module] = lambda network: network
    begin: Callable[[nn.Module, Mapping[str, Tensor]], object] = nn.Module.load_state_dict
    decide: Callable[[nn.Module, list[Any], torch.device], Mapping[str, float]] | None = None


def varied(recipe: Recipe, changes: Mapping[str, str]) -> Recipe:
    """Return the recipe with other data: settings by name, as they are typed (numbers, words, JSON lists).

    The stages before it learn from data changed alike, as far as theirs have such settings.

    Raises
    ------
    InputError
        If the recipe's data have no such setting, or it can't be that.
    """
    known = type(recipe.data.settings).model_fields
    for name in changes:
        if name not in known:
            raise InputError(f"The data of '{recipe.name}' have no setting '{name}': choose from {', '.join(known)}.")
    return _varied(recipe, changes) if changes else recipe


def _varied(recipe: Recipe, changes: Mapping[str, str]) -> Recipe:
    """The recipe and the stages before it, each with the changes that its data's settings know."""
    settings = recipe.data.settings
    known = {k: _typed(v) for k, v in changes.items() if k in type(settings).model_fields}
    try:
        new = type(settings).model_validate(settings.model_dump() | known)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = str(wrong["loc"][0])
        raise InputError(f"'{name}' can't be {changes[name]}: {wrong['msg'][:1].lower()}{wrong['msg'][1:]}.") from error
    before = None if recipe.before is None else _varied(recipe.before, changes)
    return replace(recipe, data=replace(recipe.data, settings=new), before=before)  # type: ignore[type-var]


def _typed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


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
    decision : mapping
        What the recipe's `decide` found.
    """

    network: nn.Module
    fitted: Fitted
    images: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    decision: Mapping[str, float] = field(default_factory=dict)


DECISION_STEPS = 4
"""Batches that a rule is found on, for each one of the validation."""
LEARNED_RATE = 0.5
"""Share of the recipe's learning rate by which a network that has learned goes on."""
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
    imagenet: Path | None = None,
    model: str | None = None,
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
    imagenet : Path, optional
        torchvision's file of VGG16's weights, to start GMANet's backbone from.
    model : str, optional
        Name or folder of a network of this architecture to go on from, at its width and half the recipe's learning rate
        (one that `settings` give is taken as it is); the stages before a recipe are left out. What a recipe trains but
        does not keep, such as a critic, begins anew.

    Raises
    ------
    InputError
        If the folder can't be made, if there are fewer than two images, if the file of weights or the model does not
        fit the network, or if both are given.
    """
    settings, device = settings or recipe.fit, device or torch.device("cpu")
    start: Mapping[str, Tensor] = {}
    earlier: dict[str, Any] = {}
    if model is not None:
        if imagenet is not None:
            given = "Weights of ImageNet and a model to go on from were given"
            raise InputError(f"{given}: a network starts from one, leave the other out.")
        start, width, earlier = _learned(model, recipe, width)
        settings = _slower(settings, recipe)
    width = recipe.width if width is None else width
    make_folder(folder)
    sharp = yield from relay(library.load(images, sources=sources, limit=limit), done=0, total=20)
    if len(sharp) < 2:
        raise InputError(f"'{images}' holds one image: give two at least, one of them to validate with.")
    training, validation = library.split(sharp)
    stages = [recipe] if model is not None else _stages(recipe)
    changed = {k: v for k, v in settings if v != getattr(recipe.fit, k)}
    for i, stage in enumerate(stages):
        torch.manual_seed(settings.seed)
        network = stage.build(width=width, **stage.arguments)
        if model is not None:
            recipe.keep(network).load_state_dict(start)
        elif start:
            stage.begin(network, start)
        elif imagenet is not None:
            _fill(network, imagenet)
        how = stage.fit.model_copy(update=changed)
        task = _task(stage, training, validation, batch=how.batch, start=earlier["sha256"] if model is not None else "")
        where = folder if stage is recipe else folder / stage.name
        part = [20 + 980 * k // len(stages) for k in (i, i + 1)]
        fitted = yield from relay(fit(network, task, how, folder=where, device=device), done=part[0], total=part[1])
        if stage is not recipe:
            start = network.state_dict()
            before = {"before": earlier} if earlier else {}
            earlier = {"recipe": stage.name, "fit": how.model_dump(), **_course(fitted), **before}
    told = _told(recipe, settings, width=width, device=device) | ({"before": earlier} if earlier else {})
    decision = _rule(recipe, network, task, settings, device)
    yield Progress(1000, 1000, "trained")
    return Trained(recipe.keep(network.to("cpu")), fitted, Counter(image.source for image in sharp), told, decision)


def _rule(
    recipe: Recipe, network: nn.Module, task: Task, settings: FitSettings, device: torch.device
) -> Mapping[str, float]:
    """What the recipe's `decide` finds on validation batches; nothing where it has none."""
    if recipe.decide is None:
        return {}
    stream = task.valid_batches(settings.seed + 2_000_003)
    return recipe.decide(network, [next(stream) for _ in range(DECISION_STEPS * settings.valid_steps)], device)


def _slower(settings: FitSettings, recipe: Recipe) -> FitSettings:
    """The settings for a network that has learned: `LEARNED_RATE` of the recipe's rate, or another that was given."""
    usual = recipe.fit.learning_rate
    if "learning_rate" in settings.model_fields_set and settings.learning_rate != usual:
        return settings
    return settings.model_copy(update={"learning_rate": LEARNED_RATE * usual})


def _stages(recipe: Recipe) -> list[Recipe]:
    """The recipe and those before it, the first one first."""
    return [recipe] if recipe.before is None else [*_stages(recipe.before), recipe]


def _told(recipe: Recipe, settings: FitSettings, *, width: float, device: torch.device) -> dict[str, Any]:
    """What a card tells of a training's settings and machine."""
    return {
        "recipe": recipe.name,
        "width": width,
        "data": recipe.data.settings.model_dump(),
        "fit": settings.model_dump(),
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, {device.type}",
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _course(fitted: Fitted) -> dict[str, Any]:
    """What a card tells of a training's course."""
    best = fitted.history[fitted.best_epoch - 1]
    return {
        "epochs": len(fitted.history),
        "best_epoch": best.epoch,
        "samples": fitted.samples,
        "seconds": round(fitted.seconds),
        "validation": {"loss": best.valid_loss, **best.metrics},
    }


def _task(
    recipe: Recipe, training: Sequence[library.Sharp], validation: Sequence[library.Sharp], *, batch: int, start: str
) -> Task:
    """The recipe's task; `start` is the checksum of the weights that it begins with, nothing where they are chance."""

    def batches(of: Sequence[library.Sharp]) -> Callable[[int], Iterator[Any]]:
        return lambda seed: recipe.data.batches(of, batch=batch, seed=seed)

    about = recipe.data.settings.model_dump_json() + (f" from {start}" if start else "")
    return Task(batches(training), batches(validation), recipe.loss, recipe.metrics, recipe.rank, about)


def _learned(
    model: str, recipe: Recipe, width: float | None
) -> tuple[Mapping[str, Tensor], float | None, dict[str, Any]]:
    """Weights of a network to go on from, its width, and what the card tells of it."""
    try:
        network, card = load_model(model)
    except ModelError as error:
        raise InputError(str(error)) from error
    if card.architecture != recipe.architecture:
        raise InputError(
            f"The model '{card.name}' is of the architecture '{card.architecture}', but '{recipe.name}' trains "
            f"'{recipe.architecture}': go on from a model of that, or from none."
        )
    state, its_width = network.state_dict(), card.arguments.get("width", width)
    if width not in (None, its_width):
        raise InputError(
            f"The model '{card.name}' has the width {its_width}, but {width} was given: leave the width out, or train "
            "without a model to go on from."
        )
    fresh = recipe.keep(recipe.build(width=recipe.width if its_width is None else its_width, **recipe.arguments))
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in fresh.state_dict().items()}:
        own = {k: v for k, v in card.arguments.items() if k != "width"}
        raise InputError(
            f"The model '{card.name}' is built with {_listed(own)}, but '{recipe.name}' needs "
            f"{_listed(recipe.arguments)}: go on from a model that is built so, or from none."
        )
    told = {"model": card.name, "sha256": card.sha256, "training_data": dict(card.training_data)}
    return state, its_width, told | dict(card.training)


def _listed(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in arguments.items()) or "no arguments but its width"


def _fill(network: nn.Module, imagenet: Path) -> None:
    if not isinstance(network, GMANet):
        raise InputError("Weights of ImageNet were given to a network without VGG16: leave them out.")
    try:
        load_imagenet(network, imagenet)
    except (ValueError, OSError, RuntimeError, UnpicklingError) as error:
        raise InputError(f"The weights of ImageNet can't be used: {error}.") from error


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
    counts = {source: f"{n} images" for source, n in trained.images.items()}
    card = {
        "name": name,
        "title": recipe.title,
        "task": recipe.task,
        "paper": recipe.paper,
        "architecture": recipe.architecture,
        "arguments": {"width": trained.settings["width"], **recipe.arguments},
        "input_px": recipe.input_px,
        "normalisation": recipe.normalisation,
        "outputs": recipe.outputs,
        "decision": dict(trained.decision),
        "training_data": {k: f"{v}; {(licences or {}).get(k, 'licence not told')}" for k, v in counts.items()},
        "training": {**trained.settings, **_course(trained.fitted)},
        "accuracy": dict(accuracy or {}),
        "caution": recipe.caution,
    }
    folder = (root or user_folder()) / name
    save_model(trained.network, card, folder, half=half)
    return folder
