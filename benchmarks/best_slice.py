"""Best slice of the labelled real stacks: Markdown tables of hits, for every scorer, with and without the specimen.

Run it from the repository's root, with the development data beside it::

    python benchmarks/best_slice.py [SCORER ...] > best_slice.md

A hit is a best slice within the range that an expert would accept. The labels were made by eye by one person; those of
the microtubules and of pcb are uncertain.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from napari_focusstack.core.progress import drain
from napari_focusstack.core.report import Decision, FocusReport
from napari_focusstack.core.scorers import DEFAULT_SCORER, SCORERS
from napari_focusstack.core.scoring import curve, reweight, score_series
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.read import read_stack

DATA = Path(__file__).parents[2] / "shared" / "data"
Row = dict[str, str]


def rows(name: str) -> list[Row]:
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load(name: str) -> Stack:
    file = DATA / "stacks" / f"{name}.ome.tif"
    return read_stack(file if file.exists() else DATA / "stacks" / name).series().only_channel(0)


def hit(decision: Decision, row: Row) -> bool:
    return decision.best is not None and int(row["lo"]) <= decision.best <= int(row["hi"])


def disc(stack: Stack, spot: Row) -> np.ndarray:
    y, x = np.ogrid[: stack.plane_shape[0], : stack.plane_shape[1]]
    return np.hypot(y - float(spot["y"]), x - float(spot["x"])) <= float(spot["radius"])


def answer(decision: Decision, row: Row) -> str:
    best = "none" if decision.best is None else str(decision.best)
    return f"{best} ({decision.confidence:.2f}){'' if hit(decision, row) else ' ✗'}"


def spot_line(stack: Stack, report: FocusReport, kind: str, spots: list[Row]) -> tuple[int, int, int, list[float]]:
    """Objects: exact hits, hits within one slice, how many; the confidences of all spots of the kind."""
    exact = near = 0
    confidence = []
    chosen = [s for s in spots if s["stack"] == stack.name and s["kind"] == kind]
    for spot in chosen:
        _, decision = curve(report, disc(stack, spot))
        confidence.append(decision.confidence)
        if decision.best is not None and spot["lo"]:
            exact += hit(decision, spot)
            near += int(spot["lo"]) - 1 <= decision.best <= int(spot["hi"]) + 1
    return exact, near, len(chosen), confidence


def main() -> None:
    cv2.setNumThreads(1)
    names = sys.argv[1:] or SCORERS.names()
    labels, spots = rows("labels.csv"), rows("spots.csv")
    stacks = {row["stack"]: load(row["stack"]) for row in labels}
    for name, stack in stacks.items():
        stacks[name] = Stack(
            np.asarray(stack.data), stack.axes, name=name, y_um=stack.y_um, x_um=stack.x_um, z_um=stack.z_um
        )
    print("## Whole stacks: best slice (confidence), ✗ = outside the labelled range\n")
    titles = [f"{r['stack']} {r['lo']}-{r['hi']}" for r in labels]
    print("| scorer | hits with specimen | without | CPU ms/Mpx | " + " | ".join(titles) + " |")
    print("| --- | --- | --- | --- |" + " --- |" * len(labels))
    regions = []
    for name in names:
        with_specimen, without, used, pixels, cells = 0, 0, 0.0, 0, []
        totals: dict[str, list[float]] = {"object": [0, 0, 0], "background": [], "dirt": [], "sure": []}
        for row in labels:
            stack = stacks[row["stack"]]
            begun = time.process_time()
            report = drain(score_series(stack, scorer=name))
            used += time.process_time() - begun
            pixels += stack.n_slices * stack.plane_shape[0] * stack.plane_shape[1]
            plain = reweight(report, specimen=False)
            with_specimen += hit(report.decision, row)
            without += hit(plain.decision, row)
            cells.append(f"{answer(report.decision, row)} / {answer(plain.decision, row)}")
            exact, near, n, sure = spot_line(stack, report, "object", spots)
            totals["object"] = [a + b for a, b in zip(totals["object"], (exact, near, n), strict=True)]
            totals["sure"] += sure
            for kind in ("background", "dirt"):
                totals[kind] += spot_line(stack, report, kind, spots)[3]
        cells = [f"{with_specimen}/{len(labels)}", f"{without}/{len(labels)}", f"{1e9 * used / pixels:.1f}", *cells]
        print(f"| {name}{' (default)' if name == DEFAULT_SCORER else ''} | " + " | ".join(cells) + " |", flush=True)
        exact, near, n = totals["object"]
        none = sum(c == 0 for c in totals["background"])
        regions.append(
            f"| {name} | {exact:.0f}/{n:.0f} | {near:.0f}/{n:.0f} | {np.median(totals['sure']):.2f} "
            f"| {none}/{len(totals['background'])} | {np.median(totals['background']):.2f} "
            f"| {np.median(totals['dirt']):.2f} |"
        )
    print("\n## Regions: each object by its own curve; empty background; dirt on the cover slip\n")
    print(
        "| scorer | objects hit | within ±1 | median confidence | background: no slice in focus "
        "| median confidence | dirt: median confidence |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(regions))


if __name__ == "__main__":
    main()
