"""Who finds the clearest slice: GMANet, its opponents and every classical measure, on stacks that no training has seen.

Run it from the repository's root, with the development data beside it and the extra ``bench`` installed::

    python benchmarks/accuracy/clearest.py -o clearest [--each 40] [--real]

The columns are those of GMANet's table 1: t0 (clearest slice hit), acc (hit, or a neighbour), ρ (Spearman's, mean over
stacks). Every scorer looks at the same specimen, by the same weights, and the highest value wins.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import held_stacks
import numpy as np
import real_patches

import napari_focusstack as fs
from napari_focusstack.core.agreement import Agreement, agreement, summary
from napari_focusstack.core.filters import noise_sigma
from napari_focusstack.core.measures import MEASURES, stack_range
from napari_focusstack.core.progress import drain
from napari_focusstack.core.report import FocusReport
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.labels import read_labels
from napari_focusstack.io.read import read_stack
from napari_focusstack.training.library import load

NETWORKS = ("gmanet", "mmdf", "twostream_iqa", "wadiqam_fr", "wadiqam_nr")


def networks() -> tuple[str, ...]:
    return tuple(name for name in NETWORKS if name in SCORERS)


def curves(stack: Stack) -> dict[str, np.ndarray]:
    """(Z,) values of every scorer."""
    first = fs.score(stack, scorer="tenengrad")
    planes = [stack.plane(z) for z in range(stack.n_slices)]
    ends = (planes[0], planes[len(planes) // 2], planes[-1])
    known = {"value_range": stack_range(ends), "noise": min(noise_sigma(p) for p in ends)}
    found = {}
    for measure in MEASURES:
        maps = np.stack([measure.score(p, **known).map for p in planes])
        found[measure.name] = np.average(maps.reshape(len(maps), -1), axis=1, weights=first.weights.ravel())
    for name in networks():
        report = fs.score(stack, scorer=name, device="cpu")
        found[name] = report.values
        if name == "gmanet":
            found["gmanet, score alone"] = _alone(report)
    return found


def _alone(report: FocusReport) -> np.ndarray:
    """The mean of the scores, without the energy over z."""
    return np.average(report.maps.reshape(len(report.maps), -1), axis=1, weights=report.weights.ravel())


def simulated(each: int) -> str:
    """Tables of the simulated stacks, the best measures of each type."""
    images = drain(load(real_patches.DATA / "sharp", sources=["neubias", "qupath_he"]))
    results: dict[str, dict[str, list[Agreement]]] = {}
    for k, case in enumerate(held_stacks.cases(images, each=each, seed=11)):
        for name, values in curves(case.stack).items():
            of = results.setdefault(name, {})
            one = agreement(values, case.truth, found=int(values.argmax()))
            of.setdefault(case.kind, []).append(one)
            of.setdefault("all", []).append(one)
        if k % 10 == 9:
            print(f"{k + 1} stacks", file=sys.stderr, flush=True)
    kinds = ("all", *held_stacks.TYPES)
    head = [f"{kind} ({len(results['tenengrad'][kind])})" for kind in kinds]
    lines = [f"| scorer | {' | '.join(head)} |", "| --- |" + " --- |" * len(kinds)]
    by_acc = sorted(results, key=lambda n: (-summary(results[n]["all"]).acc, -summary(results[n]["all"]).t0))
    lines += [f"| `{name}` | {' | '.join(_cell(results[name][kind]) for kind in kinds)} |" for name in by_acc]
    winners = [f"{kind}: {_winners(results, kind)}" for kind in kinds]
    return "\n".join(["acc % / t0 % / ρ", "", *lines, "", "Highest acc, t0 deciding: " + "; ".join(winners) + "."])


def _cell(found: list[Agreement]) -> str:
    s = summary(found)
    return f"{100 * s.acc:.1f} / {100 * s.t0 / s.stacks:.0f} / {s.rho:.3f}"


def _winners(results: dict[str, dict[str, list[Agreement]]], kind: str) -> str:
    of = {name: summary(found[kind]) for name, found in results.items()}
    best = max((s.acc, s.t0) for s in of.values())
    return ", ".join(f"`{name}`" for name, s in of.items() if (s.acc, s.t0) == best)


def real() -> str:
    """A table of the real stacks, one by one: slice found, its distance from the label, ρ."""
    folder = real_patches.DATA / "stacks"
    known = read_labels(real_patches.DATA / "labels.csv")
    names = ("tenengrad", "brenner", "vollath_f4", "local_maximum_gradient", *networks(), "gmanet, score alone")
    lines = [f"| stack (label) | {' | '.join(f'`{n}`' for n in names)} |", "| --- |" + " --- |" * len(names)]
    hits = dict.fromkeys(names, 0)
    for place, truth in known.items():
        stack = read_stack(folder / "pcb" if place.stack == "pcb" else folder / f"{place.stack}.ome.tif").series()
        row = []
        for name in names:
            report = fs.score(stack, scorer=name.split(",")[0], device="cpu")
            values = _alone(report) if "alone" in name else report.values
            one = agreement(values, truth, found=int(values.argmax()))
            hits[name] += one.accepted
            row.append(f"{'**' * one.accepted}{one.found}{'**' * one.accepted} ({one.rho:.2f})")
        low, high = truth.accepted
        lines.append(f"| {place.stack} ({low}-{high}) | {' | '.join(row)} |")
    lines.append(f"| hits of {len(known)} | {' | '.join(str(hits[n]) for n in names)} |")
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("-o", "--output", type=Path, default=Path("clearest"))
    options.add_argument("--each", type=int, default=40, help="simulated stacks of each type")
    options.add_argument("--real", action="store_true", help="the real stacks alone")
    given = options.parse_args()
    if not real_patches.DATA.is_dir():
        sys.exit(f"'{real_patches.DATA}' is not there: the sharp images and stacks are needed.")
    cv2.setNumThreads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    report = ["# Who finds the clearest slice", "", "## Real stacks: found (ρ), hits bold", "", real(), ""]
    if not given.real:
        report += ["## Simulated stacks of sources that no training has seen", "", simulated(given.each), ""]
    (given.output / "clearest.md").write_text("\n".join(report), encoding="utf-8")
    print("\n".join(report))


if __name__ == "__main__":
    main()
