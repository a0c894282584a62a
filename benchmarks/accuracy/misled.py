"""Draw how blurred regions mislead a classical measure: one large object among many small ones, at another height.

Run it from the repository's root, with the development data beside it and the extra ``bench`` installed::

    python benchmarks/accuracy/misled.py [-o docs/pictures/gmanet_misled.png] [--measure local_maximum_gradient]

Of the simulated test stacks of this type, the first one in which the measure, over the whole field, misses the clearest
slice by two or more and GMANet does not; where there is none, the first one. Tenengrad's curve stands beside theirs.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import cv2
import held_stacks
import numpy as np
import real_patches

import napari_focusstack as fs
from napari_focusstack.core.progress import drain
from napari_focusstack.core.report import FocusReport
from napari_focusstack.core.scorers import DEFAULT_SCORER
from napari_focusstack.training.library import load

KIND = "large among small"
SEED = 13
TRIED = 20


@dataclass(frozen=True)
class Misled:
    """A stack, and what the measure, GMANet and the default scorer say of it."""

    case: held_stacks.Case
    measure: FocusReport
    network: FocusReport
    default: FocusReport

    @property
    def missed_by(self) -> int:
        """Slices between the measure's highest value and the clearest slice."""
        return abs(int(self.measure.values.argmax()) - self.case.truth.best)

    @property
    def found(self) -> bool:
        """Whether GMANet finds the clearest slice or a neighbour."""
        return abs(int(self.network.values.argmax()) - self.case.truth.best) <= 1


def choose(measure: str) -> Misled:
    """The stack that is drawn."""
    images = drain(load(real_patches.DATA / "sharp", sources=["neubias", "qupath_he"], limit=12))
    first = None
    for case in held_stacks.cases(images, each=TRIED, seed=SEED, kinds=[KIND]):
        names = (measure, "gmanet", DEFAULT_SCORER)
        one = Misled(case, *(fs.score(case.stack, scorer=n, specimen=False, device="cpu") for n in names))
        first = first or one
        if one.missed_by >= 2 and one.found:
            return one
    assert first is not None
    return first


def draw(shown: Misled, target: Path, *, measure: str) -> None:
    """Two slices with the maps of both, and the curves over z."""
    import matplotlib.pyplot as plt
    from PIL import Image

    best, chosen = shown.case.truth.best, int(shown.measure.values.argmax())
    figure = plt.figure(figsize=(9.6, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, 4, width_ratios=(1, 1, 1, 1.5))
    for row, (z, title) in enumerate(((best, "clearest"), (chosen, "chosen by the measure"))):
        panels = (
            (shown.case.stack.plane(z), "gray", f"slice {z}: {title}"),
            (shown.measure.maps[z], "viridis", measure.replace("_", " ")),
            (shown.network.maps[z], "viridis", "gmanet"),
        )
        for column, (image, colours, told) in enumerate(panels):
            axis = figure.add_subplot(grid[row, column])
            maps = (shown.measure.maps, shown.network.maps)[column - 1] if column else shown.case.stack.data
            axis.imshow(image, cmap=colours, vmin=float(np.min(maps)), vmax=float(np.max(maps)))
            axis.set_title(told, fontsize=9)
            axis.set_axis_off()
    axis = figure.add_subplot(grid[:, 3])
    for report, colour in ((shown.default, "#bbbbbb"), (shown.measure, "#e6711c"), (shown.network, "#2171b5")):
        values = report.values - report.values.min()
        axis.plot(values / values.max(), "o-", ms=3, color=colour, label=report.scorer)
    axis.axvline(best, color="k", lw=0.8, ls=":", label="clearest slice")
    axis.set(xlabel="slice", ylabel="value, lowest to highest", title="over z, whole field", ylim=(-0.03, 1.3))
    axis.set_xticks(range(0, shown.case.stack.n_slices, 2))
    axis.legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(target, dpi=90)
    few = Image.open(target).convert("RGB").quantize(200, dither=Image.Dither.NONE)
    few.save(target, optimize=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("-o", "--output", type=Path, default=Path("docs/pictures/gmanet_misled.png"))
    options.add_argument("--measure", default="local_maximum_gradient")
    given = options.parse_args()
    if not real_patches.DATA.is_dir():
        sys.exit(f"'{real_patches.DATA}' is not there: the sharp images are needed.")
    cv2.setNumThreads(1)
    shown = choose(given.measure)
    draw(shown, given.output, measure=given.measure)
    said = f"{given.measure} off by {shown.missed_by}, gmanet {'right' if shown.found else 'not right either'}"
    print(f"{given.output}: {shown.case.image}, {said}")


if __name__ == "__main__":
    main()
