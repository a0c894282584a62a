"""The training loop: plain torch, a generator of `Progress` with an `EpochRecord` at the end of each epoch.

Every epoch has its own seed, so a resumed training goes on exactly as one that was never stopped. Checkpoints, log and
loss curve go to a folder of the user's choice; nothing is written anywhere else.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Job, Progress

PLATEAU = 3
"""Epochs without a better validation loss after which "plateau" takes a tenth of the learning rate."""


class FitSettings(BaseModel):
    """How long and how fast to train."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=40, ge=1)
    steps: int = Field(default=400, ge=1, description="Batches in an epoch.")
    batch: int = Field(default=64, ge=1, description="Patches in a batch.")
    learning_rate: float = Field(default=1e-3, gt=0)
    optimiser: Literal["adam", "sgd"] = Field(default="adam", description="SGD has Nesterov's momentum, 0.9.")
    schedule: Literal["cosine", "step", "plateau"] = Field(
        default="cosine",
        description="Down to 0; a tenth at 60 % and at 85 %; or a tenth whenever the validation loss has not fallen "
        "for 3 epochs.",
    )
    weight_decay: float = Field(default=1e-4, ge=0)
    valid_steps: int = Field(default=24, ge=1, description="Batches of the validation, the same in every epoch.")
    patience: int = Field(default=15, ge=1, description="Epochs without a better one after which to stop.")
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch came to.

    Attributes
    ----------
    epoch : int
        From 1.
    train_loss, valid_loss : float
        Means over the epoch and over the validation batches.
    learning_rate : float
        At the epoch's end.
    seconds : float
        Wall time of the epoch.
    metrics : mapping
        What the recipe measures on the validation batches.
    """

    epoch: int
    train_loss: float
    valid_loss: float
    learning_rate: float
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)


def by_validation(record: EpochRecord) -> float:
    """The epoch with the lowest validation loss is kept: what most recipes do."""
    return record.valid_loss


@dataclass(frozen=True)
class Fitted:
    """A finished training.

    Attributes
    ----------
    history : tuple of EpochRecord
        All epochs.
    best_epoch : int
        The one whose weights the network holds.
    seconds : float
        Training time in all.
    samples : int
        Patches seen.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    seconds: float
    samples: int


@dataclass(frozen=True)
class Task:
    """What to train on.

    Attributes
    ----------
    batches : callable
        Seed → endless iterator of training batches.
    valid_batches : callable
        The same for validation.
    loss : callable
        (network, batch, device) → scalar tensor.
    metrics : callable
        (network, list of batches, device) → numbers to log.
    rank : callable
        Epoch → number; the weights of the epoch with the lowest are kept.
    about : str
        What the batches are like, and what the network starts from; a checkpoint of others is refused.
    """

    batches: Callable[[int], Iterator[Any]]
    valid_batches: Callable[[int], Iterator[Any]]
    loss: Callable[[nn.Module, Any, torch.device], Tensor]
    metrics: Callable[[nn.Module, list[Any], torch.device], Mapping[str, float]]
    rank: Callable[[EpochRecord], float] = by_validation
    about: str = ""


@runtime_checkable
class Grouped(Protocol):
    """A network whose parts learn at rates of their own."""

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the optimiser's groups, for a learning rate as set."""
        ...


def fit(network: nn.Module, task: Task, settings: FitSettings, *, folder: Path, device: torch.device) -> Job[Fitted]:
    """Train a network; it ends with its best epoch's weights. Goes on from ``folder/checkpoint.pt`` if there is one.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    task : Task
        Batches, loss, metrics.
    settings : FitSettings
        How long and how fast.
    folder : Path
        For checkpoint, log.csv and loss.png; made where it does not exist.
    device : torch.device
        Where to compute. Mixed precision is used on CUDA only: on CPUs it is slower.

    Yields
    ------
    Progress
        For each batch; ``partial`` holds the `EpochRecord` where an epoch has ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = _optimiser(network, settings)
    total = settings.epochs * settings.steps
    history: list[EpochRecord] = []
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: _rate(settings.schedule, step / total, [task.rank(r) for r in history])
    )
    state = _Run(network, optimiser, schedule, settings, task, history)
    state.restore(folder / "checkpoint.pt", device)
    stream = task.valid_batches(settings.seed + 1_000_003)
    valid = [next(stream) for _ in range(settings.valid_steps)]
    while len(state.history) < settings.epochs and not state.is_stale():
        epoch, started, losses = len(state.history) + 1, time.perf_counter(), []
        torch.manual_seed(settings.seed * 100_003 + epoch)
        stream = task.batches(settings.seed * 100_003 + epoch)
        network.train()
        for step in range(settings.steps):
            losses.append(_step(network, task, next(stream), optimiser, device))
            schedule.step()
            if step + 1 < settings.steps:
                yield Progress((epoch - 1) * settings.steps + step + 1, total, f"epoch {epoch}: loss {losses[-1]:.4f}")
        network.eval()
        with torch.inference_mode():
            valid_loss = float(np.mean([float(task.loss(network, b, device)) for b in valid]))
            metrics = dict(task.metrics(network, valid, device))
        rate, seconds = float(schedule.get_last_lr()[0]), time.perf_counter() - started
        record = EpochRecord(epoch, float(np.mean(losses)), valid_loss, rate, seconds, metrics)
        state.finish_epoch(record, folder)
        message = f"epoch {epoch} of {settings.epochs}: loss {record.train_loss:.4f}, validation {valid_loss:.4f}"
        yield Progress(epoch * settings.steps, total, message, record)
    network.load_state_dict(state.best)
    network.eval()
    best = min(history, key=task.rank).epoch
    samples = len(history) * settings.steps * settings.batch
    return Fitted(tuple(history), best, sum(r.seconds for r in history), samples)


def _optimiser(network: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    groups = network.parameter_groups(rate) if isinstance(network, Grouped) else network.parameters()
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, weight_decay=decay)
    return torch.optim.Adam(groups, lr=rate, weight_decay=decay)


def _rate(schedule: str, share: float, ranks: Sequence[float]) -> float:
    """Learning rate relative to its start after a share of the training, with a short warm-up."""
    warm = min(1.0, share / 0.02 + 0.05)
    if schedule == "plateau":
        return float(warm * 0.1 ** _stalls(ranks))
    if schedule == "step":
        return warm * (1.0 if share < 0.6 else 0.1 if share < 0.85 else 0.01)
    return warm * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _stalls(ranks: Sequence[float]) -> int:
    """How often the ranks of the epochs did not fall for `PLATEAU` epochs; the count starts anew after each time."""
    best, waited, stalls = math.inf, 0, 0
    for rank in ranks:
        waited = 0 if rank < best else waited + 1
        best = min(best, rank)
        if waited == PLATEAU:
            stalls, waited = stalls + 1, 0
    return stalls


def _step(network: nn.Module, task: Task, batch: Any, optimiser: torch.optim.Optimizer, device: torch.device) -> float:
    """One step down the gradient; its loss."""
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        loss = task.loss(network, batch, device)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError("the loss is no longer finite: lower the learning rate")
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return value


class _Run:
    """A training's state between epochs: what a checkpoint holds."""

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
        settings: FitSettings,
        task: Task,
        history: list[EpochRecord],
    ) -> None:
        self.rank, self.about = task.rank, task.about
        self.network, self.optimiser, self.schedule, self.settings = network, optimiser, schedule, settings
        self.history = history
        self.best: dict[str, Tensor] = _copy(network)

    def is_stale(self) -> bool:
        """Whether no epoch has been the best so far for `patience` epochs."""
        if not self.history:
            return False
        best = min(range(len(self.history)), key=lambda i: self.rank(self.history[i]))
        return len(self.history) - 1 - best >= self.settings.patience

    def finish_epoch(self, record: EpochRecord, folder: Path) -> None:
        """Keep the weights if they are the best so far; write checkpoint, log and curve."""
        if not self.history or self.rank(record) < min(map(self.rank, self.history)):
            self.best = _copy(self.network)
        self.history.append(record)
        content = {
            "network": self.network.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": [asdict(r) for r in self.history],
            "settings": self.settings.model_dump(),
            "about": self.about,
        }
        beside = folder / "checkpoint.pt.part"
        torch.save(content, beside)
        beside.replace(folder / "checkpoint.pt")
        write_log(self.history, folder / "log.csv")
        draw_curve(self.history, folder / "loss.png")

    def restore(self, path: Path, device: torch.device) -> None:
        """Go on from a checkpoint if there is one.

        Raises
        ------
        InputError
            If it belongs to other settings, another start or another network.
        """
        if not path.exists():
            return
        content = torch.load(path, map_location=device, weights_only=True)
        # A checkpoint may be older than some settings: their defaults are what it was made with.
        known = FitSettings(**content["settings"])
        if known.schedule == "plateau":  # its rate does not hang on the number of epochs: more or fewer may follow
            known = known.model_copy(update={"epochs": self.settings.epochs})
        same = known == self.settings and content.get("about", self.about) == self.about
        names = {k: v.shape for k, v in content["network"].items()}
        if not same or names != {k: v.shape for k, v in self.network.state_dict().items()}:
            raise InputError(
                f"'{path}' belongs to another training (other settings, another start or another network): "
                "give another folder, or delete it."
            )
        self.network.load_state_dict(content["network"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.schedule.load_state_dict(content["schedule"])
        self.history.extend(EpochRecord(**r) for r in content["history"])
        self.best = content["best"]


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in network.state_dict().items()}


def write_log(history: list[EpochRecord], path: Path) -> None:
    """Write one line an epoch as CSV."""
    names = sorted({name for r in history for name in r.metrics})
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["epoch", "train_loss", "valid_loss", "learning_rate", "seconds", *names])
        for r in history:
            values = (
                r.train_loss,
                r.valid_loss,
                r.learning_rate,
                r.seconds,
                *(r.metrics.get(n, math.nan) for n in names),
            )
            table.writerow([r.epoch, *(f"{v:.6g}" for v in values)])


def draw_curve(history: list[EpochRecord], path: Path) -> None:
    """Draw training (grey) and validation loss (blue) over epochs, logarithmically, as PNG."""
    width, height, border = 640, 400, 50
    canvas = np.full((height, width, 3), 255, np.uint8)
    curves = [([r.train_loss for r in history], (160, 160, 160)), ([r.valid_loss for r in history], (200, 90, 20))]
    values = np.log10(np.maximum(np.array([c for c, _ in curves]), 1e-9))
    low, high = float(values.min()) - 0.05, float(values.max()) + 0.05
    x = border + np.arange(len(history)) / max(1, len(history) - 1) * (width - 2 * border)
    for row, (_, colour) in zip(values, curves, strict=True):
        y = height - border - (row - low) / (high - low) * (height - 2 * border)
        points = np.round(np.stack([x, y], axis=1) * 16).astype(np.int32)
        cv2.polylines(canvas, [points], False, colour, 2, cv2.LINE_AA, 4)
    corner = (border, border), (width - border, height - border)
    cv2.rectangle(canvas, *corner, (0, 0, 0), 1)
    for value, at in ((10**high, border + 12), (10**low, height - border)):
        cv2.putText(canvas, f"{value:.2g}", (4, at), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    label = f"loss over {len(history)} epochs: training grey, validation blue"
    cv2.putText(canvas, label, (border, height - 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    done, coded = cv2.imencode(".png", canvas)
    if done:
        path.write_bytes(coded.tobytes())
