"""Who finds the clearest slice: GMANet, its opponents and every classical measure, on stacks that no training has seen.

Run it from the repository's root, with the development data beside it and the extra ``bench`` installed::

    python benchmarks/accuracy/clearest.py -o clearest [--each 40] [--real] [--scorer NAME ...]

The columns are those of GMANet's table 1: t0 (clearest slice hit), acc (hit, or a neighbour), ρ (Spearman's, mean over
stacks), and the processor's time a slice; the highest value wins, except in the rows "as proposed": there it is the
slice that the pipeline proposes, between two maxima of a phase object. Rows "told the sharp image" tell what the labels
allow: how much of the true specimen's detail, of a fineness, is found in a slice. There are two tables of simulated
stacks: over the whole field, each patch alike, and over what the pipeline takes for the specimen (by Tenengrad's
weights for all measures, by a network's own for it). The opponents `twostream_iqa`, `wadiqam_fr` and `wadiqam_nr` have
rows where they are trained under these names (``focusstack train twostream_iqa ... --name twostream_iqa``); rows tell
how long.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from napari_focusstack.core.scorers import DEFAULT_SCORER, SCORERS
from napari_focusstack.core.scoring import reweight
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.labels import read_labels
from napari_focusstack.io.read import read_stack
from napari_focusstack.networks.zoo import find_model, read_card
from napari_focusstack.training.library import load

NETWORKS = ("gmanet", "mmdf", "twostream_iqa", "wadiqam_fr", "wadiqam_nr")
SHOWN = ("tenengrad", "brenner", "vollath_f4", "local_maximum_gradient")
"""Measures in the table of the real stacks."""
FIELD, SPECIMEN = BY = "the whole field", "the specimen"
ALONE = "gmanet, score alone"
PROPOSED = ", as proposed"
"""After the name of a scorer whose slice is not the highest value's, but the decision's."""
TOLD = "told the sharp image"
FINENESS_PX = (1, 8)
"""Gaussian widths below which detail is compared with the truth's."""
AS_GOOD = 1
"""A scorer that hits so many stacks less than the best of a type still counts as good as it."""


def networks() -> tuple[str, ...]:
    return tuple(name for name in NETWORKS if name in SCORERS)


@dataclass(frozen=True)
class Curve:
    """(Z,) values of a scorer by each of `BY`, the seconds of processor time that a slice took, the slices proposed."""

    values: Mapping[str, np.ndarray]
    seconds: float
    proposed: Mapping[str, int | None] | None = None

    def found(self, by: str) -> int | None:
        """The slice of the highest value, or the proposed one."""
        return int(self.values[by].argmax()) if self.proposed is None else self.proposed[by]


def curves(stack: Stack, wanted: Sequence[str]) -> dict[str, Curve]:
    """The curve of every scorer that is `wanted`."""
    begun = time.process_time()
    default = fs.score(stack, scorer=DEFAULT_SCORER)
    specimen, seconds = default.weights, (time.process_time() - begun) / stack.n_slices
    planes = [stack.plane(z) for z in range(stack.n_slices)]
    ends = (planes[0], planes[len(planes) // 2], planes[-1])
    known = {"value_range": stack_range(ends), "noise": min(noise_sigma(p) for p in ends)}
    found = {DEFAULT_SCORER + PROPOSED: _proposed(default, seconds)} if DEFAULT_SCORER in wanted else {}
    for name in (n for n in wanted if n in MEASURES):
        begun = time.process_time()
        maps = np.stack([MEASURES[name].score(p, **known).map for p in planes])
        seconds = (time.process_time() - begun) / len(planes)
        found[name] = Curve({FIELD: _mean(maps), SPECIMEN: _mean(maps, specimen)}, seconds)
    for name in (n for n in networks() if n in wanted):
        begun = time.process_time()
        report = fs.score(stack, scorer=name, device="cpu")
        seconds = (time.process_time() - begun) / len(planes)
        field = reweight(report, specimen=False)
        found[name] = Curve({FIELD: field.values, SPECIMEN: report.values}, seconds)
        if name == "gmanet":
            found[name + PROPOSED] = _proposed(report, seconds)
            alone = {FIELD: _mean(field.maps, field.weights), SPECIMEN: _mean(report.maps, report.weights)}
            found[ALONE] = Curve(alone, seconds)
    return found


def told(case: held_stacks.Case) -> dict[str, Curve]:
    """How much of the sharp specimen's detail each slice holds: an answer that nobody has who sees the stack alone."""
    found = {}
    for width in FINENESS_PX:
        truth = _detail(case.sharp, width)
        shares = [abs(float((_detail(plane, width) * truth).sum())) for plane in case.stack.planes()]
        found[f"{TOLD}, finer than {width} px"] = Curve(dict.fromkeys(BY, np.asarray(shares)), 0.0)
    return found


def _detail(plane: np.ndarray, width_px: float) -> np.ndarray:
    grey = plane.astype(np.float32)
    return grey - cv2.GaussianBlur(grey, (0, 0), width_px)


def _proposed(report: FocusReport, seconds: float) -> Curve:
    """The curves of a report with the slices that it proposes."""
    by = {SPECIMEN: report, FIELD: reweight(report, specimen=False)}
    return Curve({k: r.values for k, r in by.items()}, seconds, {k: r.decision.best for k, r in by.items()})


def _mean(maps: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """(Z,) weighted means of maps."""
    return np.average(maps.reshape(len(maps), -1), axis=1, weights=None if weights is None else weights.ravel())


@dataclass(frozen=True)
class Row:
    """How a scorer did on the stacks of each type, and its milliseconds a slice."""

    found: Mapping[str, list[Agreement]]
    ms: float


def compare(each: int, wanted: Sequence[str]) -> dict[str, dict[str, Row]]:
    """Rows of the simulated stacks by each of `BY` and by scorer, the most hits first."""
    images = drain(load(real_patches.DATA / "sharp", sources=["neubias", "qupath_he"]))
    results: dict[str, dict[str, dict[str, list[Agreement]]]] = {by: {} for by in BY}
    seconds: dict[str, list[float]] = {}
    for k, case in enumerate(held_stacks.cases(images, each=each, seed=11)):
        for name, curve in {**curves(case.stack, wanted), **told(case)}.items():
            seconds.setdefault(name, []).append(curve.seconds)
            for by, values in curve.values.items():
                of = results[by].setdefault(name, {})
                one = agreement(values, case.truth, found=curve.found(by))
                of.setdefault(case.kind, []).append(one)
                of.setdefault("all", []).append(one)
        if k % 10 == 9:
            print(f"{k + 1} stacks", file=sys.stderr, flush=True)
    ms = {name: 1000 * float(np.median(all_)) for name, all_ in seconds.items()}
    rows = {by: {n: Row(of, ms[n]) for n, of in found.items()} for by, found in results.items()}
    return {by: dict(sorted(of.items(), key=lambda item: _rank(item[1]))) for by, of in rows.items()}


def _rank(row: Row) -> tuple[int, int]:
    hits = _hits(row.found["all"])
    return -hits[0], -hits[1]


def simulated(rows: Mapping[str, Row]) -> str:
    """Table of the simulated stacks; who wins on each type, and what is as good and cheaper."""
    kinds = ("all", *held_stacks.TYPES)
    head = [f"{kind} ({len(next(iter(rows.values())).found[kind])})" for kind in kinds]
    lines = [f"| scorer | ms a slice | {' | '.join(head)} |", "| --- |" + " --- |" * (1 + len(kinds))]
    for name, row in rows.items():
        cells = " | ".join(_cell(row.found[kind]) for kind in kinds)
        lines.append(f"| `{name}`{_training(name)} | {row.ms:.1f} | {cells} |")
    winners = [_winners(rows, kind) for kind in kinds]
    return "\n".join(["acc % / t0 % / ρ", "", *lines, "", *winners])


def _training(name: str) -> str:
    """How long an opponent was trained: they are not bundled."""
    if name not in NETWORKS[2:]:
        return ""
    training = read_card(find_model(name)).training
    return f" (saw {training['samples']:,} slices in {training['seconds'] / 60:.0f} min)"


def _cell(found: list[Agreement]) -> str:
    s = summary(found)
    return f"{100 * s.acc:.1f} / {100 * s.t0 / s.stacks:.0f} / {s.rho:.3f}"


def _hits(found: list[Agreement]) -> tuple[int, int]:
    """Stacks with the clearest slice or a neighbour, and those with the clearest itself."""
    s = summary(found)
    return s.t0 + s.t1, s.t0


def _winners(rows: Mapping[str, Row], kind: str) -> str:
    """The most hits (acc, t0 deciding) of a type; the cheapest with as many; where the default stands."""
    rivals = [name for name in rows if not name.endswith(PROPOSED) and not name.startswith(TOLD)]
    hits = {name: _hits(rows[name].found[kind]) for name in rivals}
    best, stacks = max(hits.values()), len(next(iter(rows.values())).found[kind])
    first = ", ".join(f"`{name}`" for name, found in hits.items() if found == best)
    cheap = min((n for n in hits if hits[n][0] >= best[0] - AS_GOOD), key=lambda n: rows[n].ms)
    said = f"- {kind}: {first} with {best[0]} of {stacks}; the cheapest as good is `{cheap}` ({rows[cheap].ms:.1f} ms)"
    if DEFAULT_SCORER in rows:
        said += f", the default `{DEFAULT_SCORER}` has {hits[DEFAULT_SCORER][0]} ({rows[DEFAULT_SCORER].ms:.1f} ms)"
    return said + "."


def real(wanted: Sequence[str]) -> str:
    """A table of the real stacks, one by one: slice found, its distance from the label, ρ."""
    folder = real_patches.DATA / "stacks"
    known = read_labels(real_patches.DATA / "labels.csv")
    names = [n for n in (*SHOWN, *networks()) if n in wanted]
    names += [ALONE] if "gmanet" in names else []
    lines = [f"| stack (label) | {' | '.join(f'`{n}`' for n in names)} |", "| --- |" + " --- |" * len(names)]
    hits = dict.fromkeys(names, 0)
    for place, truth in known.items():
        stack = read_stack(folder / "pcb" if place.stack == "pcb" else folder / f"{place.stack}.ome.tif").series()
        row = []
        for name in names:
            report = fs.score(stack, scorer=name.split(",")[0], device="cpu")
            values = _mean(report.maps, report.weights) if name == ALONE else report.values
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
    options.add_argument("--scorer", nargs="+", default=[*MEASURES.names(), *networks()], help="these alone")
    given = options.parse_args()
    unknown = set(given.scorer) - {*MEASURES.names(), *networks()}
    if unknown:
        sys.exit(f"There is no scorer '{min(unknown)}': name measures, or networks that are installed.")
    if not real_patches.DATA.is_dir():
        sys.exit(f"'{real_patches.DATA}' is not there: the sharp images and stacks are needed.")
    cv2.setNumThreads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    report = ["# Who finds the clearest slice", "", "## Real stacks: found (ρ), hits bold", "", real(given.scorer), ""]
    if not given.real:
        for by, rows in compare(given.each, given.scorer).items():
            report += [f"## Simulated stacks of sources that no training has seen, over {by}", "", simulated(rows), ""]
    (given.output / "clearest.md").write_text("\n".join(report), encoding="utf-8")
    print("\n".join(report))


if __name__ == "__main__":
    main()
