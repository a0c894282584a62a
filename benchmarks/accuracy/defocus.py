"""LDSE-NET's table alone: error of the distance from focus, beads, size and time, as Markdown and figures.

Run it from the repository's root, with the development data beside it and the extra ``bench`` installed::

    python benchmarks/accuracy/defocus.py -o accuracy [--quick] [--validation]

Sources, splits and rules: SPLITS.md. Whatever is installed is tried, the user's models too. With ``--validation`` it is
the training sources' validation images, under the same optics, in the place of the test's: to choose by.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import cv2
import defocus_table
import figures
import heldout
from run import TEST, installed, sharp, validation

from napari_focusstack.core.learned.defocus import DefocusScorer


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("-o", "--output", type=Path, default=Path("accuracy"))
    options.add_argument("--quick", action="store_true", help="few tiles: to see that it runs")
    options.add_argument("--validation", action="store_true", help="images to choose networks by, and no beads")
    given = options.parse_args()
    cv2.setNumThreads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    images = validation() if given.validation else sharp(TEST, 8 if given.quick else None)
    symmetric = heldout.make(images, per_image=2 if given.quick else 12, seed=4, dof=(0, 2, 3, 4, 6, 8))
    sided = defocus_table.make_sided(images, quick=given.quick)
    beads = not given.validation
    measured = [defocus_table.measure(name, symmetric, sided, beads=beads) for name in installed(DefocusScorer)]
    table = defocus_table.markdown(measured)
    (given.output / "defocus.md").write_text(f"# Distance from focus\n\n{table}\n", encoding="utf-8")
    figures.error_against_z(measured, given.output)
    print(table)


if __name__ == "__main__":
    main()
