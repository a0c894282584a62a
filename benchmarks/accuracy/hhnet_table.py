"""HH-Net's table: right classes of patches and, by three votes, of images; time for an image; real stacks.

Run it from the repository's root, with the development data beside it and the extra ``bench`` installed::

    python benchmarks/accuracy/hhnet_table.py -o accuracy [--model NAME] [--count 350] [--validation] [--vectorial]

With ``--validation`` it is fields of the training sources' validation images, under the same optics, in the place of
the test's, and no real stacks: to choose networks by. With ``--vectorial`` points are electromagnetic ones, an optics
model that no training shares.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import heldfields
import numpy as np
import torch
from intervals import Interval, _resampled
from real_patches import load
from run import TEST, sharp, validation

from napari_focusstack.core.handcrafted import features
from napari_focusstack.core.progress import drain
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.core.scoring import score_series
from napari_focusstack.core.votes import DISTANCES, VOTES, certainty
from napari_focusstack.networks import hhnet

REAL = {"beads_s1": 4.0, "beads_s2": 4.0, "nucleus": 19.0, "yeast": 15.0}
"""Stacks and their slices in focus, by eye."""
PAPER_IMAGE = (1536, 2048, 3)


def share(right: np.ndarray, groups: np.ndarray) -> Interval:
    """Share of right answers; intervals resample the sharp images."""
    return _resampled(lambda chosen: float(right[chosen].mean()), groups)


def judge(network: hhnet.HHNet, fields: list[heldfields.Field], *, told: bool) -> list[np.ndarray]:
    """(N, 7) distributions of each field's patches; the network may be told the objective."""
    lenses = {lens.name: lens for lens in heldfields.LENSES}
    known = [{"sampling": lenses[f.lens].sampling, "aperture": lenses[f.lens].aperture} if told else {} for f in fields]
    return [
        hhnet.classify_plane(network, f.image, features(f.image), **k).reshape(-1, 7)
        for f, k in zip(fields, known, strict=True)
    ]


def accuracy(fields: list[heldfields.Field], told: list[np.ndarray]) -> Mapping[str, Interval]:
    """Right classes of patches with specimen, and of images by each vote."""
    truth = np.array([DISTANCES.index(f.distance) for f in fields])
    groups = np.array([f"{f.source} {f.sharp}" for f in fields])
    held = [np.array(f.patches) for f in fields]
    right = [p.argmax(axis=1)[h] == t for p, h, t in zip(told, held, truth, strict=True)]
    found = {"patches": share(np.concatenate(right), np.repeat(groups, [len(r) for r in right]))}
    for name, vote in VOTES.items():
        answer = np.array([vote(p).argmax() for p in told])
        found[name] = share(answer == truth, groups)
        near = np.abs(answer - truth) <= 1
        found[f"{name}, within one class"] = share(near, groups)
    return found


def by_lens(fields: list[heldfields.Field], judged: Mapping[str, list[np.ndarray]]) -> list[str]:
    """A line for each objective: images right by the certainty vote, and of classes ±3 those on the other side."""
    lines = []
    for lens in heldfields.LENSES:
        mine = np.array([f.lens == lens.name for f in fields])
        truth = np.array([f.distance for f in fields])[mine]
        far, cells = np.abs(truth) == 3, [lens.name, str(mine.sum())]
        for told in judged.values():
            found = np.array([DISTANCES[VOTES["certainty"](p).argmax()] for p in told])[mine]
            cells.append(f"{100 * (truth == found).mean():.0f}")
            cells.append(f"{int((truth * found < 0)[far].sum())} of {int(far.sum())}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def seconds(network: hhnet.HHNet) -> float:
    """Median time for an RGB image of the paper's size: features, network, vote."""
    image = np.random.default_rng(0).integers(0, 255, PAPER_IMAGE).astype(np.uint8)
    took = []
    for _ in range(7):
        begun = time.perf_counter()
        p = hhnet.classify_plane(network, image, features(image)).reshape(-1, 7)
        VOTES["certainty"](p)
        took.append(time.perf_counter() - begun)
    return float(np.median(took))


def stacks(model: str) -> list[str]:
    """A line for each real stack."""
    lines = []
    for name, focus in REAL.items():
        report = drain(score_series(load(name), scorer=model))
        crossing, direction = (report.extras.get(k) for k in ("crossing", "direction"))
        at = "none" if crossing is None else f"{crossing:.1f}"
        side = {None: "–", 1: "as taught", -1: "reversed"}[direction]
        told = " ".join("·" if i is None else f"{i:+.1f}" for i in report.extras["distance_index"])
        lines.append(f"| {name} | {focus:g} | {at} | {side} | {report.decision.best} | {told} |")
    return lines


PAPERS = {"hard": "97.23", "linear": "97.67", "certainty": "99.99"}


def markdown(
    fields: list[heldfields.Field],
    judged: Mapping[str, list[np.ndarray]],
    took: float,
    threads: int,
    real: list[str],
) -> str:
    """The tables."""
    images = len({(f.source, f.sharp) for f in fields})
    sources = ", ".join(sorted({f.source for f in fields}))
    lines = [
        f"{len(fields)} fields of {'×'.join(map(str, heldfields.FIELD_PX))} px of {images} sharp images from "
        f"{sources}; {sum(sum(f.patches) for f in fields)} patches with specimen. Chance is 14 %.",
        "",
        "| | right, % (95 % by sharp image) | within one class, % | paper, % |",
        "| --- | --- | --- | --- |",
    ]
    for kind, told in judged.items():
        found = accuracy(fields, told)
        lines.append(f"| patch, {kind} | {found['patches'].percent()} | | 92.4 |")
        for name, paper in PAPERS.items():
            near = found[f"{name}, within one class"].percent()
            lines.append(f"| image, {name} vote, {kind} | {found[name].percent()} | {near} | {paper} |")
    each = " | ".join(f"right, %, {kind} | classes ±3 put on the other side" for kind in judged)
    lines += ["", f"| objective | images | {each} |", "| --- " * (2 + 2 * len(judged)) + "|", *by_lens(fields, judged)]
    lines += ["", f"Time for an RGB image of 2048×1536 px with {threads} thread{'s' * (threads > 1)}: {took:.2f} s."]
    if not real:
        return "\n".join(lines)
    lines += ["", "| real stack | focus | crossing | sides | best slice | index of the slices |"]
    return "\n".join([*lines, "| --- | --- | --- | --- | --- | --- |", *real])


def figure(fields: list[heldfields.Field], told: list[np.ndarray], path: Path) -> None:
    """Class found by true class for images, and how often patches are right by their certainty."""
    import matplotlib.pyplot as plt

    truth = np.array([DISTANCES.index(f.distance) for f in fields])
    counts = np.zeros((7, 7))
    np.add.at(counts, (truth, [VOTES["certainty"](p).argmax() for p in told]), 1)
    drawn, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes[0].imshow(shares, cmap="viridis", vmin=0, vmax=1)
    for (y, x), n in np.ndenumerate(counts):
        if n:
            axes[0].text(x, y, int(n), ha="center", va="center", color="w" if shares[y, x] < 0.6 else "k")
    axes[0].set(xlabel="distance found (certainty vote)", ylabel="true distance")
    axes[0].set_xticks(range(7), DISTANCES)
    axes[0].set_yticks(range(7), DISTANCES)
    p, patches = np.concatenate(told), np.repeat(truth, [len(p) for p in told])
    sure, right = certainty(p), p.argmax(axis=1) == patches
    bins = [(sure[i].mean(), right[i].mean(), i.sum()) for k in range(10) if (i := (sure * 10).astype(int) == k).any()]
    x, y, n = (np.asarray(v) for v in zip(*bins, strict=True))
    axes[1].plot(x, y, "-", color="#1f9e89")
    axes[1].scatter(x, y, s=10 + 200 * n / n.max(), color="#1f9e89")
    axes[1].set(xlabel="certainty of a patch", ylabel="share of right classes", xlim=(0, 1), ylim=(0, 1))
    drawn.savefig(path, dpi=110)
    plt.close(drawn)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("-o", "--output", type=Path, default=Path("accuracy"))
    options.add_argument("--model", default="hhnet", help="an installed model")
    options.add_argument("--count", type=int, default=350, help="fields to judge")
    options.add_argument("--validation", action="store_true", help="images to choose networks by, and no real stacks")
    options.add_argument("--vectorial", action="store_true", help="electromagnetic points, and no real stacks")
    given = options.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    network = SCORERS[given.model].network("cpu")
    images = validation() if given.validation else sharp(TEST, None)
    fields = heldfields.make(images, count=given.count, seed=7, vectorial=given.vectorial)
    judged = {}
    if network.objective:
        judged["told the objective"] = judge(network, fields, told=True)
    judged["by the pixels"] = judge(network, fields, told=False)
    took = seconds(network)
    real = [] if given.validation or given.vectorial else stacks(given.model)
    text = markdown(fields, judged, took, torch.get_num_threads(), real)
    path = given.output / f"{given.model}_distance.png"
    try:
        figure(fields, next(iter(judged.values())), path)
        text += f"\n\n![{given.model}: distances]({path.name})"
    except ModuleNotFoundError as error:
        print(f"no figure: {error}")
    (given.output / f"{given.model}.md").write_text(f"# Distance classes (HH-Net)\n\n{text}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
