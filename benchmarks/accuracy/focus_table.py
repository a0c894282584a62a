"""MMDF's table: focused against unfocused patches, by measures, by a support vector machine and by the networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from classical import Threshold, features, support_vectors
from heldout import TestSet
from intervals import Interval, balanced_accuracy, by_stack
from real_patches import RealPatches

from napari_focusstack.core.measures import MEASURES
from napari_focusstack.networks import mmdf
from napari_focusstack.networks.zoo import load_model


@dataclass(frozen=True)
class Row:
    """A method and its figures."""

    method: str
    simulated: Interval
    held_out: Interval
    development: Interval


@dataclass(frozen=True)
class Classified:
    """What a classifier says of the simulated test patches, for the figures."""

    name: str
    probabilities: np.ndarray
    true_class: np.ndarray
    focused: np.ndarray
    judged: np.ndarray


def classify(name: str, tiles: np.ndarray) -> np.ndarray:
    """(K, 10) probabilities of tiles by an installed model."""
    network, _ = load_model(name)
    with torch.inference_mode():
        parts = torch.from_numpy(np.ascontiguousarray(tiles, dtype=np.float32))[:, None].split(64)
        return torch.cat([torch.softmax(network(part), dim=1) for part in parts]).numpy()


def table(
    train: TestSet, test: TestSet, real: Mapping[str, RealPatches], models: tuple[str, ...]
) -> tuple[list[Row], list[Classified]]:
    """Every method cut on the training sources, tried on the others.

    What lies between half a depth of field and two is in no set.
    """
    known, truth = train.dof <= 0.5, test.dof <= 0.5
    groups = np.array([f"{s} {i}" for s, i in zip(test.source, test.image, strict=True)])
    rows, classified = [], []
    sets = {"train": features(train.tiles), "test": features(test.tiles)}
    sets |= {name: features(patches.tiles) for name, patches in real.items()}

    def row(method: str, said: Mapping[str, np.ndarray]) -> Row:
        seen = {k: by_stack(said[k], patches.focused, patches.stack) for k, patches in real.items()}
        return Row(method, balanced_accuracy(said["test"], truth, groups), seen["held out"], seen["development"])

    for i, measure in enumerate(MEASURES):
        cuts = {column: Threshold.fit(sets["train"][:, column], known) for column in (i, i + len(MEASURES))}
        column = max(cuts, key=lambda k: cuts[k].accuracy)
        title = f"{measure.title}{'' if column == i else ', smoothed'}"
        rows.append(row(title, {k: cuts[column](v[:, column]) for k, v in sets.items()}))
    rows.sort(key=lambda r: -r.simulated.value)
    machine = support_vectors(sets["train"], known)
    if machine is not None:
        rows.append(row("support vector machine on all measures", {k: machine.predict(v) for k, v in sets.items()}))
    tiles = {"train": train.tiles, "test": test.tiles} | {k: patches.tiles for k, patches in real.items()}
    for name in models:
        p = {k: classify(name, v) for k, v in tiles.items()}
        level = {k: v @ np.arange(v.shape[1]) for k, v in p.items()}
        cut = Threshold.fit(level["train"], known)
        rows.append(row(f"**{name}**", {k: cut(v) for k, v in level.items()}))
        blur = 2 * np.abs(test.waves) / test.sampling
        true_class = np.searchsorted(mmdf.CLASS_EDGES_PX, blur, side="right") - 1
        classified.append(Classified(name, p["test"], true_class, truth, (test.dof <= 0.5) | (test.dof >= 2)))
    return rows, classified


def markdown(rows: list[Row], test: TestSet, real: Mapping[str, RealPatches]) -> str:
    """The table."""
    lines = [
        "| method | simulated, % (95 % by image) | real, held out, % (95 % by stack) | real, development, % |",
        "| --- | --- | --- | --- |",
        *(
            f"| {r.method} | {r.simulated.percent()} | {r.held_out.percent()} | {r.development.percent()} |"
            for r in rows
        ),
        "",
        "Balanced accuracy; measures and the networks' levels are cut by a threshold, found on training sources. "
        f"Simulated: {len(test.dof)} patches of {len(np.unique(test.image))} images from "
        f"{', '.join(np.unique(test.source))}, blurred by the electromagnetic PSF of the `psf` package.",
    ]
    for name, patches in real.items():
        lines[-1] += (
            f" Real, {name}: {len(patches.focused)} patches ({int(patches.focused.sum())} in focus) of "
            f"{', '.join(np.unique(patches.stack))}, by labels made by eye; every stack counts alike."
        )
    return "\n".join(lines)
