"""Which slice each focus measure takes for the sharpest, beside the labels of real stacks.

    python benchmarks/measures_accuracy.py ../shared/data [--measures tenengrad brenner] [--curves]

The folder holds ``labels.csv`` (stack, lo, best, hi) and ``stacks/``. The number of a slice is the plain mean of its
map: the whole image, no specimen. A hit lies within lo … hi; ±1 counts those within one slice of it.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import noise_sigma
from napari_focusstack.core.measures import MEASURES, stack_range
from napari_focusstack.core.stack import Stack
from napari_focusstack.io.read import read_stack


def curves(stack: Stack, names: list[str], patch_px: int) -> dict[str, NDArray[np.float64]]:
    """Values of every slice by each measure; every slice is read once."""
    sample = [stack.plane(z) for z in sorted({0, stack.n_slices // 2, stack.n_slices - 1})]
    told = {
        "pixel_um": stack.x_um,
        "optics": stack.optics,
        "value_range": stack_range(sample),
        "noise": min(noise_sigma(plane) for plane in sample),
    }
    values = {name: np.zeros(stack.n_slices) for name in names}
    for z, plane in enumerate(stack.planes()):
        for name in names:
            values[name][z] = MEASURES[name].score(plane, patch_px=patch_px, **told).map.mean()
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with labels.csv and stacks/")
    parser.add_argument("--measures", nargs="+", default=list(MEASURES.names()), help="names; all by default")
    parser.add_argument("--patch-px", type=int, default=32)
    parser.add_argument("--curves", action="store_true", help="print the values too, the largest as 100")
    options = parser.parse_args()
    cv2.setNumThreads(1)

    with (options.data / "labels.csv").open() as file:
        labels = {row["stack"]: (int(row["lo"]), int(row["hi"])) for row in csv.DictReader(file)}
    found: dict[str, dict[str, int]] = {name: {} for name in options.measures}
    for name in labels:
        folder = options.data / "stacks" / name
        stack = read_stack(folder if folder.is_dir() else folder.with_name(name + ".ome.tif")).series()
        for measure, values in curves(stack, options.measures, options.patch_px).items():
            found[measure][name] = int(values.argmax())
            if options.curves:
                print(f"{name:14s}{measure:26s}", *(f"{v:4.0f}" for v in 100 * values / values.max()))

    print("| measure |", " | ".join(f"{name} {lo}–{hi}" for name, (lo, hi) in labels.items()), "| hits | ±1 |")
    print("| --- |" + " ---: |" * (len(labels) + 2))
    for measure, best in found.items():
        off = {name: max(labels[name][0] - z, z - labels[name][1], 0) for name, z in best.items()}
        cells = [f"**{z}**" if off[name] == 0 else str(z) for name, z in best.items()]
        hits, near = (sum(o <= allowed for o in off.values()) for allowed in (0, 1))
        print(f"| `{measure}` |", " | ".join(cells), f"| {hits} | {near} |")
    print(f"\n{len(labels)} stacks")


if __name__ == "__main__":
    main()
