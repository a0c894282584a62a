"""Figures: error against z, confusion of classes, reliability. Need matplotlib (extra ``bench``)."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from defocus_table import Measured
from focus_table import Classified

from napari_focusstack.networks import mmdf

SHOWN_UM = 10.0


def error_against_z(measured: list[Measured], folder: Path) -> list[Path]:
    """Found against true signed distance, and the median error over it."""
    import matplotlib.pyplot as plt

    written = []
    for m in measured:
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
        d = m.aberrated
        axes[0].plot(d.truth, d.found, ".", ms=3, alpha=0.5, color="#4292c6", label="simulated, 20×/0.75")
        if m.beads is not None:
            for label, beads, mark in (
                ("beads, each alone", m.beads.alone, "x"),
                ("beads, as a stack", m.beads.ordered, "o"),
            ):
                axes[0].plot(beads.truth, beads.found, mark, mfc="none", color="#e6711c", label=label)
        axes[0].plot([-SHOWN_UM, SHOWN_UM], [-SHOWN_UM, SHOWN_UM], "k-", lw=0.7)
        axes[0].set(xlim=(-SHOWN_UM, SHOWN_UM), ylim=(-1.3 * SHOWN_UM, 1.3 * SHOWN_UM))
        axes[0].set(xlabel="true z (µm)", ylabel="found z (µm)", title=m.name)
        axes[0].legend(frameon=False, fontsize=8)
        edges = np.linspace(-SHOWN_UM, SHOWN_UM, 21)
        for label, error, colour in (
            ("signed", np.abs(d.found - d.truth), "#4292c6"),
            ("absolute value", np.abs(np.abs(d.found) - np.abs(d.truth)), "#1f9e89"),
        ):
            middle = [
                ((a + b) / 2, np.median(error[i]))
                for a, b in pairwise(edges)
                if (i := (d.truth >= a) & (d.truth < b)).any()
            ]
            axes[1].plot(*zip(*middle, strict=True), "o-", ms=4, color=colour, label=label)
        axes[1].axhline(0.25, color="k", lw=0.7, ls=":")
        axes[1].set(xlim=(-SHOWN_UM, SHOWN_UM), ylim=(0, None), xlabel="true z (µm)", ylabel="median error (µm)")
        axes[1].legend(frameon=False, fontsize=8)
        written.append(_save(figure, folder / f"{m.name}_error.png"))
    return written


def confusion(classified: list[Classified], folder: Path) -> list[Path]:
    """Expected class, rounded, by true class; rows sum to 1."""
    import matplotlib.pyplot as plt

    written = []
    for c in classified:
        counts = np.zeros((mmdf.CLASSES, mmdf.CLASSES))
        np.add.at(counts, (c.true_class, c.predicted), 1)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        figure, axis = plt.subplots(figsize=(4.4, 4), layout="constrained")
        shown = axis.imshow(shares, cmap="viridis", vmin=0, vmax=1)
        axis.set(xlabel="class found", ylabel="true class (by the blur seen in pixels)", title=c.name)
        axis.set_xticks(range(mmdf.CLASSES))
        axis.set_yticks(range(mmdf.CLASSES), [f"{k} ({int(n)})" for k, n in enumerate(counts.sum(axis=1))])
        figure.colorbar(shown, shrink=0.8)
        written.append(_save(figure, folder / f"{c.name}_confusion.png"))
    return written


def reliability(classified: list[Classified], folder: Path) -> list[Path]:
    """How often what is called in focus with some probability is."""
    import matplotlib.pyplot as plt

    written = []
    for c in classified:
        p, truth = c.probability[c.judged], c.focused[c.judged]
        index = np.minimum((p * 10).astype(int), 9)
        bins = [(p[i].mean(), truth[i].mean(), i.sum()) for k in range(10) if (i := index == k).any()]
        x, y, n = (np.asarray(v) for v in zip(*bins, strict=True))
        off = float((n * np.abs(x - y)).sum() / n.sum())
        figure, axis = plt.subplots(figsize=(4, 3.8), layout="constrained")
        axis.plot([0, 1], [0, 1], "k-", lw=0.7)
        axis.plot(x, y, "-", color="#1f9e89")
        axis.scatter(x, y, s=10 + 200 * n / n.max(), color="#1f9e89")
        axis.set(
            xlabel="probability of focus",
            ylabel="share in focus",
            title=f"{c.name}: off by {off:.3f} on average",
            xlim=(0, 1),
            ylim=(0, 1),
        )
        written.append(_save(figure, folder / f"{c.name}_reliability.png"))
    return written


def _save(figure, path: Path) -> Path:  # type: ignore[no-untyped-def]
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
