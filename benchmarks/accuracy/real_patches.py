"""Patches of real stacks, focused or not by labels made by eye; what lies between is left out."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_focusstack.core.filters import to_grey
from napari_focusstack.core.learned.base import sampling_of
from napari_focusstack.core.scorer import PlaneContext
from napari_focusstack.core.specimen import SpecimenFinder
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.read import read_stack

DATA = Path(__file__).parents[3] / "shared" / "data"
DEVELOPMENT = ("organoid_A01", "organoid_A02", "yeast", "nucleus")
HELD_OUT = ("beads_s1", "beads_s2", "board")
"""Without microtubules and pcb: their labels are called uncertain, and no slice of pcb is sharp all over."""
TILE_PX = 128
STEP_PX = 64


@dataclass(frozen=True)
class RealPatches:
    """Tiles (K, 128, 128) as the camera gave them, whether they are in focus, which stack they are of, pixel · NA/λ."""

    tiles: np.ndarray
    focused: np.ndarray
    stack: np.ndarray
    sampling: np.ndarray


def load(name: str) -> Stack:
    file = DATA / "stacks" / f"{name}.ome.tif"
    return read_stack(file if file.exists() else DATA / "stacks" / name).series().only_channel(0)


def patches(names: tuple[str, ...]) -> RealPatches:
    """Patches on the specimen of each stack, sharp slices by the labels and slices far outside.

    A patch is in focus on the slices that the label (of its object, where objects are labelled) accepts, and out of
    focus further from them than twice their number, two slices at least.
    """
    with (DATA / "labels.csv").open(encoding="utf-8") as file:
        labels = {row["stack"]: row for row in csv.DictReader(file)}
    with (DATA / "spots.csv").open(encoding="utf-8") as file:
        spots = [row for row in csv.DictReader(file) if row["kind"] == "object" and row["lo"]]
    tiles, focused, stacks, samplings = [], [], [], []
    for name in names:
        stack = load(name)
        sampling = sampling_of(PlaneContext(pixel_um=stack.x_um, optics=stack.optics))
        grey = [np.pad(to_grey(p), TILE_PX // 2, mode="symmetric") for p in stack.planes()]
        places = [(float(s["y"]), float(s["x"]), int(s["lo"]), int(s["hi"])) for s in spots if s["stack"] == name]
        if not places:
            lo, hi = int(labels[name]["lo"]), int(labels[name]["hi"])
            places = [(y, x, lo, hi) for y, x in _on_specimen(stack)]
        for y, x, lo, hi in places:
            gap = max(2, 2 * (hi - lo + 1))
            for z, plane in enumerate(grey):
                inside, outside = lo <= z <= hi, z < lo - gap or z > hi + gap
                if inside or outside:
                    tiles.append(plane[int(y) : int(y) + TILE_PX, int(x) : int(x) + TILE_PX])
                    focused.append(inside)
                    stacks.append(name)
                    samplings.append(np.nan if sampling is None else sampling)
    return RealPatches(np.stack(tiles), np.asarray(focused), np.asarray(stacks), np.asarray(samplings))


def _on_specimen(stack: Stack) -> list[tuple[float, float]]:
    """Middles of patches most of which is specimen."""
    finder = SpecimenFinder(stack.plane_shape, stack.n_slices)
    for plane in stack.planes():
        finder.add(to_grey(plane))
    outline = finder.find().outline
    h, w = stack.plane_shape
    ys, xs = (np.arange(min(42, n // 2), max(n - 41, n // 2 + 1), STEP_PX) for n in (h, w))
    found = [(float(y), float(x)) for y in ys for x in xs]
    if outline is None:
        return found
    half = 42
    share = {
        p: outline[max(0, int(p[0]) - half) : int(p[0]) + half, max(0, int(p[1]) - half) : int(p[1]) + half].mean()
        for p in found
    }
    kept = [p for p in found if share[p] > 0.3]
    return kept or [max(found, key=lambda p: share[p])]
