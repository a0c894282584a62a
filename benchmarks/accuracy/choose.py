"""Which of several trainings of a network to keep: by the real development stacks, never by simulated error.

    FOCUSSTACK_MODELS=FOLDER python benchmarks/accuracy/choose.py mmdf_0 mmdf_1 mmdf_2

The models' own names, as `focusstack models` lists them. The most stacks hit (the slice accepted by eye) come first,
then the mean of Spearman's ρ; the first row is the one to keep. Held-out stacks and test images are not opened.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import real_patches

import napari_focusstack as fs
from napari_focusstack.core.agreement import agreement
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.io.labels import read_labels

DEVELOPMENT = ("organoid_A01", "organoid_A02", "yeast", "nucleus")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("model", nargs="+", help="installed models that score")
    given = options.parse_args()
    unknown = [name for name in given.model if name not in SCORERS]
    if unknown:
        sys.exit(f"There is no model '{unknown[0]}' that scores: 'focusstack models' lists them.")
    truths = {k.stack: v for k, v in read_labels(real_patches.DATA / "labels.csv").items() if k.stack in DEVELOPMENT}
    rows = []
    for name in given.model:
        found = []
        for stack, truth in truths.items():
            values = fs.score(real_patches.load(stack), scorer=name, device="cpu").values
            found.append(agreement(values, truth, found=int(values.argmax())))
        rows.append((sum(f.accepted for f in found), float(np.mean([f.rho for f in found])), name, found))
    rows.sort(key=lambda row: row[:2], reverse=True)
    print(f"| model | hits of {len(truths)} | mean ρ | {' | '.join(truths)} |\n" + "| --- " * (3 + len(truths)) + "|")
    for hits, rho, name, found in rows:
        cells = " | ".join(f"{'**' * f.accepted}{f.found}{'**' * f.accepted} ({f.rho:.2f})" for f in found)
        print(f"| {name} | {hits} | {rho:.3f} | {cells} |")


if __name__ == "__main__":
    main()
