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

from napari_focusstack.core.learned.classes import REFERENCE_SAMPLING, in_focus
from napari_focusstack.core.measures import MEASURES
from napari_focusstack.networks import mmdf
from napari_focusstack.networks.zoo import find_model, load_model, read_card

SETS = ("train", "test", "dirt")


@dataclass(frozen=True)
class Row:
    """A method and its figures; `dirt` is the share of dirty, unfocused patches that are not called in focus."""

    method: str
    simulated: Interval
    by_source: Mapping[str, Interval]
    dirt: float
    held_out: Interval
    development: Interval


@dataclass(frozen=True)
class Classified:
    """What a classifier says of simulated patches of any defocus, for the figures."""

    name: str
    predicted: np.ndarray
    true_class: np.ndarray
    probability: np.ndarray
    focused: np.ndarray
    judged: np.ndarray


def classify(name: str, tiles: np.ndarray) -> np.ndarray:
    """(K, 10) probabilities of tiles by an installed model."""
    network, _ = load_model(name)
    with torch.inference_mode():
        parts = torch.from_numpy(np.ascontiguousarray(tiles, dtype=np.float32))[:, None].split(64)
        return torch.cat([torch.softmax(network(part), dim=1) for part in parts]).numpy()


def expected_class(probabilities: np.ndarray) -> np.ndarray:
    return probabilities @ np.arange(probabilities.shape[1])


def table(sets: Mapping[str, TestSet], real: Mapping[str, RealPatches], models: tuple[str, ...]) -> list[Row]:
    """Every method cut on the training sources (`sets["train"]`), tried on the others.

    What lies between half a depth of field and two is in no set. A network is judged by the rule in its card, and cut
    like the measures beside it.
    """
    test, known = sets["test"], sets["train"].dof <= 0.5
    truth = test.dof <= 0.5
    groups = np.array([f"{s} {i}" for s, i in zip(test.source, test.image, strict=True)])
    tiles = {k: sets[k].tiles for k in SETS} | {k: patches.tiles for k, patches in real.items()}
    values = {k: features(v) for k, v in tiles.items()}
    dirty = sets["dirt"].dirty

    def row(method: str, said: Mapping[str, np.ndarray]) -> Row:
        seen = {k: by_stack(said[k], patches.focused, patches.stack) for k, patches in real.items()}
        by_source = {
            str(s): balanced_accuracy(said["test"][test.source == s], truth[test.source == s], groups[test.source == s])
            for s in np.unique(test.source)
        }
        whole = balanced_accuracy(said["test"], truth, groups)
        rejected = float((~said["dirt"].astype(bool))[dirty].mean())
        return Row(method, whole, by_source, rejected, seen["held out"], seen["development"])

    rows = []
    for i, measure in enumerate(MEASURES):
        cuts = {column: Threshold.fit(values["train"][:, column], known) for column in (i, i + len(MEASURES))}
        column = max(cuts, key=lambda k: cuts[k].accuracy)
        title = f"{measure.title}{'' if column == i else ', smoothed'}"
        rows.append(row(title, {k: cuts[column](v[:, column]) for k, v in values.items()}))
    rows.sort(key=lambda r: -r.simulated.value)
    sampling = {k: sets[k].sampling for k in SETS} | {k: patches.sampling for k, patches in real.items()}
    told = {k: np.column_stack([v, np.log2(in_place(sampling[k]))]) for k, v in values.items()}
    for title, given in (("", values), (", told the sampling", told)):
        machine = support_vectors(given["train"], known)
        if machine is not None:
            said = {k: machine.predict(v) for k, v in given.items()}
            rows.append(row(f"support vector machine on all measures{title}", said))
    for name in models:
        level = {k: expected_class(classify(name, v)) for k, v in tiles.items()}
        rule = read_card(find_model(name)).decision
        if rule:
            blind = {k: in_focus(v, rule, sampling=None) > 0.5 for k, v in level.items()}
            rows.append(row(f"**{name}**, by its card's rule", blind))
            said = {k: _calibrated(v, rule, sampling[k]) for k, v in level.items()}
            rows.append(row(f"**{name}**, by its card's rule, told the sampling", said))
        cut = Threshold.fit(level["train"], known)
        rows.append(row(f"**{name}**, cut like the measures", {k: cut(v) for k, v in level.items()}))
    return rows


def in_place(sampling: np.ndarray) -> np.ndarray:
    """What is not known is taken to be usual."""
    return np.where(np.isnan(sampling), REFERENCE_SAMPLING, sampling)


def _calibrated(level: np.ndarray, rule: Mapping[str, float], sampling: np.ndarray) -> np.ndarray:
    """What the scorer says of each patch, by its own sampling where that is known."""
    known = [None if np.isnan(s) else float(s) for s in sampling]
    return np.array([in_focus(np.float32(v), rule, sampling=s) > 0.5 for v, s in zip(level, known, strict=True)])


def classified(name: str, patches: TestSet) -> Classified:
    """What a model says of patches of any defocus."""
    p = classify(name, patches.tiles)
    rule = read_card(find_model(name)).decision
    disc = 2 * np.abs(patches.waves) / patches.sampling
    seen = mmdf.seen_blur_px(torch.from_numpy(disc), torch.from_numpy(patches.sampling))
    level = expected_class(p)
    probability = in_focus(level, rule, sampling=None) if rule else p[:, : mmdf.FOCUSED_CLASSES].sum(axis=1)
    return Classified(
        name,
        np.clip(np.round(level), 0, mmdf.CLASSES - 1).astype(int),
        mmdf.class_of(seen).numpy(),
        probability,
        patches.dof <= 0.5,
        (patches.dof <= 0.5) | (patches.dof >= 2),
    )


def markdown(rows: list[Row], test: TestSet, real: Mapping[str, RealPatches]) -> str:
    """The table."""
    sources = [str(s) for s in np.unique(test.source)]
    lines = [
        f"| method | simulated, % (95 % by image) | {' | '.join(f'{s}, %' for s in sources)} "
        "| sharp dirt rejected, % | real, held out, % (95 % by stack) | real, development, % |",
        f"| --- |{' --- |' * (len(sources) + 4)}",
        *(
            f"| {r.method} | {r.simulated.percent()} | {' | '.join(r.by_source[s].percent() for s in sources)} "
            f"| {100 * r.dirt:.0f} | {r.held_out.percent()} | {r.development.percent()} |"
            for r in rows
        ),
        "",
        "Balanced accuracy; measures are cut by a threshold found on training sources under the test's own optics, a "
        "network by the rule in its card (validation images under the training's optics) and, in a row of its own, "
        "like the measures. Sampling: pixel · NA/λ, where the file tells it. "
        f"Simulated: {len(test.dof)} patches of {len(np.unique(test.image))} images from "
        f"{', '.join(sources)}, blurred by the electromagnetic PSF of the `psf` package.",
    ]
    for name, patches in real.items():
        lines[-1] += (
            f" Real, {name}: {len(patches.focused)} patches ({int(patches.focused.sum())} in focus) of "
            f"{', '.join(np.unique(patches.stack))}, by labels made by eye; every stack counts alike."
        )
    return "\n".join(lines)
