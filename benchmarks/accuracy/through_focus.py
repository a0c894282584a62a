"""The class through focus on real stacks: does it fall on both sides, and does sharp dirt win?"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from real_patches import DATA, load
from scipy.stats import kendalltau

from napari_focusstack.core.progress import drain
from napari_focusstack.core.report import FocusReport
from napari_focusstack.core.scoring import score_series

STACKS = ("beads_s1", "beads_s2", "nucleus")
DUSTY = "organoid_A01"
SHOWN = (1, 5, 9)


@dataclass(frozen=True)
class Curve:
    """Mean level of each slice over the patches that count, and what an expert calls sharp."""

    stack: str
    level: np.ndarray
    lo: int
    hi: int

    def side(self, *, above: bool) -> tuple[float, float]:
        """Kendall's τ of the level with the distance from focus on one side, and the one-sided p of a fall."""
        z = np.arange(len(self.level))
        chosen = z >= self.lo if above else z <= self.hi
        away = np.abs(z - (self.lo if above else self.hi))[chosen]
        if len(away) < 3:
            return np.nan, np.nan
        found = kendalltau(away, self.level[chosen], alternative="less")
        return float(found.statistic), float(found.pvalue)


def scored(model: str, name: str) -> FocusReport:
    return drain(score_series(load(name), scorer=model))


def curve(model: str, name: str) -> Curve:
    """The mean level through a stack."""
    with (DATA / "labels.csv").open(encoding="utf-8") as file:
        label = next(row for row in csv.DictReader(file) if row["stack"] == name)
    report = scored(model, name)
    level = np.average(report.maps.reshape(len(report.maps), -1), axis=1, weights=report.weights.ravel())
    return Curve(name, level, int(label["lo"]), int(label["hi"]))


def markdown(curves: Mapping[str, Sequence[Curve]]) -> str:
    """The table: curves of each model."""
    lines = [
        "| model | stack | τ below focus (p) | τ above focus (p) | sharpest slice by level (label) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for model, of_stacks in curves.items():
        for c in of_stacks:
            below, above = (f"{t:.2f} ({p:.1g})" for t, p in (c.side(above=False), c.side(above=True)))
            lines.append(f"| {model} | {c.stack} | {below} | {above} | {c.level.argmax()} ({c.lo}–{c.hi}) |")
    return "\n".join(lines)


def draw(model: str, curves: Sequence[Curve], folder: Path) -> list[Path]:
    """Level against slice, and the class map of the dusty stack on three slices."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(3.4 * len(curves), 3), layout="constrained")
    for axis, c in zip(np.atleast_1d(axes), curves, strict=True):
        axis.axvspan(c.lo - 0.5, c.hi + 0.5, color="#fde725", alpha=0.4, lw=0)
        axis.plot(c.level, "o-", ms=3, color="#1f9e89")
        axis.set(title=c.stack, xlabel="slice (band: sharp by eye)", ylabel="focus level")
    paths = [folder / f"{model}_through_focus.png", folder / f"{model}_{DUSTY}.png"]
    figure.savefig(paths[0], dpi=110)
    plt.close(figure)
    stack, report = load(DUSTY), scored(model, DUSTY)
    figure, axes = plt.subplots(2, len(SHOWN), figsize=(4 * len(SHOWN), 6.6), layout="constrained")
    for column, z in enumerate(SHOWN):
        axes[0, column].imshow(stack.plane(z), cmap="gray")
        axes[0, column].set(title=f"{DUSTY}, slice {z}", xticks=[], yticks=[])
        judged = np.where(report.layers["certainty"][z] > 0, report.layers["in_focus"][z], np.nan)
        shown = axes[1, column].imshow(judged, cmap="viridis", vmin=0, vmax=1)
        axes[1, column].set(xticks=[], yticks=[], xlabel="probability of focus")
    figure.colorbar(shown, ax=axes[1], shrink=0.8)
    figure.savefig(paths[1], dpi=80)
    plt.close(figure)
    return paths
