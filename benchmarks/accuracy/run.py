"""Accuracy of the installed networks beside their opponents, as Markdown and figures.

Run it from the repository's root, with the development data beside it and the extra ``bench`` installed::

    python benchmarks/accuracy/run.py -o accuracy [--quick]

Sources, splits and rules: SPLITS.md. Methods are cut on training sources, tried on others; intervals resample images or
stacks. Whatever is installed is tried, the user's models too.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import cv2
import defocus_table
import figures
import focus_table
import heldout
import real_patches
import through_focus
import whole_planes

from napari_focusstack.core.learned.base import NetworkScorer
from napari_focusstack.core.learned.classes import ClassScorer
from napari_focusstack.core.learned.defocus import DefocusScorer
from napari_focusstack.core.progress import drain
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.networks.zoo import find_model, read_card
from napari_focusstack.training.library import Sharp, load, split

TRAINING, TEST = ("dsb2018", "bccd", "cellprofiler"), ("neubias", "qupath_he")
FOCUSED_OR_NOT = (0, 0, 0, 2, 4, 8)
ANY_DEFOCUS = (0, 0.7, 1.0, 1.5, 2, 3, 4, 6, 9, 14)
TEST_SEED = 20_262


def installed(kind: type[NetworkScorer]) -> tuple[str, ...]:
    return tuple(scorer.name for scorer in SCORERS if isinstance(scorer, kind))


def sharp(sources: tuple[str, ...], limit: int | None) -> list[Sharp]:
    return list(drain(load(real_patches.DATA / "sharp", sources=list(sources), limit=limit)))


def validation() -> list[Sharp]:
    """Images of the training's sources that no training has learned from: what a network may be chosen by."""
    return split(sharp(TRAINING, None))[1]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("-o", "--output", type=Path, default=Path("accuracy"))
    options.add_argument("--quick", action="store_true", help="few patches: to see that it runs")
    given = options.parse_args()
    if not real_patches.DATA.is_dir():
        sys.exit(f"'{real_patches.DATA}' is not there: the sharp images and stacks are needed.")
    cv2.setNumThreads(1)
    given.output.mkdir(parents=True, exist_ok=True)
    few = 8 if given.quick else None
    train_images, test_images = sharp(TRAINING, few or 30), sharp(TEST, few)
    sets = {
        "train": heldout.make(train_images, per_image=4 if few else 12, seed=2, dof=FOCUSED_OR_NOT),
        "test": heldout.make(test_images, per_image=6 if few else 40, seed=TEST_SEED, dof=FOCUSED_OR_NOT),
        "dirt": heldout.make(test_images, per_image=2 if few else 6, seed=TEST_SEED + 1, dof=(2, 4, 8), dirt=1.0),
        "any": heldout.make(test_images, per_image=4 if few else 30, seed=TEST_SEED + 2, dof=ANY_DEFOCUS),
    }
    test = sets["test"]
    print(f"{len(sets['train'].dof)} patches to cut on, {len(test.dof)} to try on", file=sys.stderr, flush=True)
    stacks = {"held out": real_patches.HELD_OUT, "development": real_patches.DEVELOPMENT}
    real = {kind: real_patches.patches(names[-2:] if few else names) for kind, names in stacks.items()}
    report = ["# Accuracy on held-out sources", "", "## Focused or not (MMDF)", ""]
    classifiers = installed(ClassScorer)
    rows = focus_table.table(sets, real, classifiers)
    report += [focus_table.markdown(rows, test, real), ""]
    print(report[-2], file=sys.stderr, flush=True)
    classified = [focus_table.classified(name, sets["any"]) for name in classifiers]
    ruled = [name for name in classifiers if read_card(find_model(name)).decision]
    report += ["Whole fluorescence planes, one at a time: sharp, or far out of focus.", "", whole_planes.HEADING]
    for name in ruled:
        report.append(
            whole_planes.markdown(name, "simulated", whole_planes.simulated(test_images, name, seed=TEST_SEED))
        )
        report.append(whole_planes.markdown(name, "real", whole_planes.real(name)))
    curves = {name: [through_focus.curve(name, stack) for stack in through_focus.STACKS] for name in ruled}
    report += ["", "The level through focus on real stacks: Kendall's τ with the distance from focus on each side.", ""]
    report += [through_focus.markdown(curves), ""]
    distances = heldout.make(test_images, per_image=4 if few else 12, seed=4, dof=(0, 2, 3, 4, 6, 8))
    sided = defocus_table.make_sided(test_images, quick=given.quick)
    measured = [defocus_table.measure(name, distances, sided) for name in installed(DefocusScorer)]
    report += ["## Distance from focus (LDSE-NET)", ""]
    report += [defocus_table.markdown(measured) if measured else "No model is installed.", ""]
    try:
        drawn = [
            *figures.confusion(classified, given.output),
            *(path for name in ruled for path in through_focus.draw(name, curves[name], given.output)),
            *figures.reliability(classified, given.output),
            *figures.error_against_z(measured, given.output),
        ]
    except ModuleNotFoundError as error:
        print(f"no figures: {error}", file=sys.stderr)
        drawn = []
    report += [f"![{path.stem.replace('_', ' ')}]({path.name})" for path in drawn]
    (given.output / "accuracy.md").write_text("\n".join(report) + "\n", encoding="utf-8")
    print("\n".join(report))


if __name__ == "__main__":
    main()
