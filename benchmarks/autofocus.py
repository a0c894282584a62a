"""Closed-loop autofocus from random starts: success, images, time, final error; the search and each network there is.

`--method climb` is what networks' searches end with, begun without a network's word, and `--alone` their own policies
without such an end: what either is worth.

    python benchmarks/autofocus.py [--starts 200] [--method NAME ...] [-o FOLDER]

Specimens: sharp images of sources that no training has seen (`accuracy/SPLITS.md`), mirrored to a field of 640 px.
Objective, modality, aberration, exposure, focus, limits and start are drawn at random, the same for every method.
Starts lie within the range of HH-Net's classes (a blur disc of up to 27 px radius), limits half of that range beyond it
at least. Images are rendered by the package's own simulator, which training uses too (other specimens): what a real
microscope adds is not in these figures. The stage is ideal; time is that of computing, rendering left out.

Focus is where the lens passes most: the height of the highest mean square of its transfer up to the camera's limit, as
a field of edges has the steepest gradients there. Under spherical aberration and a stopped-down condenser that is up
to a depth of field off the height at which the full aperture's rays meet.

Success: the stage ends within half a depth of field of focus, that is within the depth of field.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).parent / "accuracy"))

import cv2
import numpy as np
import torch
from heldout import OBJECTIVES

from napari_focusstack.core.autofocus import Focused, GuidedPolicy, Move, Reading, Step, Travel, Verdict, focusing
from napari_focusstack.core.autofocus.methods import FocusMethod, focus_methods, sharpness_of
from napari_focusstack.core.defocus import calibration_of
from napari_focusstack.core.progress import drain
from napari_focusstack.core.scorer import PlaneContext
from napari_focusstack.microscope.scene import DemoScene
from napari_focusstack.training.library import CRISP_PX, Sharp, edge_width, load
from napari_focusstack.training.optics import transfer
from napari_focusstack.training.settings import SimulationSettings
from napari_focusstack.training.simulate import microscope

DATA = Path(__file__).parents[2] / "shared" / "data" / "sharp"
TEST = ["neubias", "qupath_he"]
FIELD_PX = (640, 640)
FARTHEST_PX = 27.0
"""Radius of the blur disc at the far end of HH-Net's classes."""


@dataclass
class IdealStage:
    """A scene under a stage that is where it was sent at once."""

    scene: DemoScene
    z_um: float
    rendering_s: float = 0.0
    lowest: float = np.inf
    highest: float = -np.inf

    def snap(self):
        """Render; the time for it is kept apart."""
        begin = time.monotonic()
        image = self.scene.image(self.z_um)
        self.rendering_s += time.monotonic() - begin
        return image

    def height_um(self) -> float:
        """Where it stands."""
        return self.z_um

    def start_moving(self, target_um: float) -> None:
        """Be there."""
        self.z_um = target_um
        self.lowest, self.highest = min(self.lowest, target_um), max(self.highest, target_um)

    def moving(self) -> bool:
        """Never."""
        return False

    def stop(self) -> None:
        """It stands."""


@dataclass(frozen=True)
class Case:
    """A specimen, a microscope, a start."""

    scene: DemoScene
    travel: Travel
    source: str
    truth_um: float

    @property
    def context(self) -> PlaneContext:
        """What the sensors are told."""
        return PlaneContext(pixel_um=self.scene.settings.pixel_um, optics=self.scene.optics, device="cpu")


def cases(images: list[Sharp], n: int, *, seed: int):
    """Random cases, the same for the same seed."""
    rng = np.random.default_rng(seed)
    slides = [(i.levels[0].astype(np.float32), i.source) for i in images]
    slides = [(s, source) for s, source in slides if edge_width(s) <= CRISP_PX and min(s.shape) >= 128]
    for k in range(n):
        amount, source = slides[rng.integers(len(slides))]
        bright = source == "qupath_he" or rng.random() < 0.3
        o = OBJECTIVES[rng.integers(len(OBJECTIVES))]
        reach = FARTHEST_PX * o.sampling / 2 * calibration(o).um_per_wave
        settings = SimulationSettings(
            slices=3,
            z_um=3 * reach,
            relief="flat",
            blur="brightfield" if bright else "fluorescence",
            coherence=float(rng.choice((0.5, 0.7, 0.9))),
            na=o.na,
            wavelength_um=o.wavelength_um,
            index=o.index,
            pixel_um=o.pixel_um,
            spherical_waves=float(rng.uniform(-0.3, 0.3)),
            electrons=float(10 ** rng.uniform(2.8, 4.5)),
            bits=8 if rng.random() < 0.5 else 16,
        )
        focus = float(rng.uniform(-20, 20))
        truth = focus + sharpest(settings)
        scene = DemoScene(
            1.6 - amount if bright else amount.clip(0),
            settings=settings,
            field_px=FIELD_PX,
            focus_um=focus,
            tilt=(0.0, 0.0),
            reach_um=3 * reach,
            seed=k,
        )
        start = focus + float(rng.uniform(-reach, reach))
        low, high = focus - reach * rng.uniform(1.5, 2.5), focus + reach * rng.uniform(1.5, 2.5)
        yield Case(scene, Travel(start, low, high, scene.depth_of_field_um, -1), source, truth)


def sharpest(settings: SimulationSettings) -> float:
    """Height over the nominal focus at which most is passed, in µm."""
    lens = microscope(settings)
    z = torch.linspace(-3, 3, 121) * lens.depth_of_field_um
    passed = transfer(lens, defocus_um=z, fluorescence=settings.blur == "fluorescence", n_nu=96).real
    i = torch.arange(96) / 95
    width = i * (2 * i**2 <= 0.5 * lens.wavelength_um / (lens.na * lens.pixel_um))
    return float(z[(passed**2 * width).sum(dim=1).argmax()])


def calibration(objective):
    from napari_focusstack.core.stack import Optics

    o = objective
    return calibration_of(Optics(na=o.na, wavelength_um=o.wavelength_um, immersion_index=o.index), o.pixel_um)


class Mute:
    """A guide that says nothing."""

    name = "climb"

    def moves(self, travel: Travel):
        """No way from the start."""
        yield Move(travel.start_um, "look")
        return Verdict(False, travel.start_um, "")


class Climb(FocusMethod):
    """To the highest sharpness from the start, step by step."""

    def policy(self) -> GuidedPolicy:
        """Without a guide."""
        return GuidedPolicy(Mute(), most_guided=1)

    def sensor(self, context: PlaneContext):
        """Sharpness alone."""
        read = FocusMethod("", "", "spectra").sensor(context)
        return lambda image: sharpness_of(read(image), Reading())


@dataclass(frozen=True)
class Outcome:
    """How a case ended."""

    method: str
    source: str
    start_dof: float
    error_dof: float
    error_um: float
    images: int
    seconds: float
    found: bool
    beyond: bool
    reason: str


def run(case: Case, method: FocusMethod, *, alone: bool = False) -> tuple[Outcome, Focused]:
    """Focus once."""
    policy = method.policy()
    if alone and isinstance(policy, GuidedPolicy):
        policy = policy.guide
    stage = IdealStage(case.scene, case.travel.start_um)
    focused = drain(focusing(stage, method.sensor(case.context), policy, case.travel))
    travel, truth = case.travel, case.truth_um
    error = abs(stage.z_um - truth)
    outcome = Outcome(
        method.name,
        case.source,
        (travel.start_um - truth) / travel.dof_um,
        error / travel.dof_um,
        error,
        len(focused.steps),
        focused.seconds - stage.rendering_s,
        focused.found,
        stage.lowest < travel.low_um or stage.highest > travel.high_um,
        focused.reason,
    )
    return outcome, focused


def table(outcomes: list[Outcome]) -> str:
    """A line for each method, as Markdown."""
    lines = [
        "| method | starts | ends within the depth of field, % | within twice | images: median (90 %) | "
        "final error: median, 95 % (depths of field) | median µm | seconds: median | "
        "said found, but was not | beyond limits |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(o.method for o in outcomes):
        mine = [o for o in outcomes if o.method == name]
        error = np.array([o.error_dof for o in mine])
        good = np.array([o.found and o.error_dof <= 0.5 for o in mine])
        fair = np.array([o.found and o.error_dof <= 1 for o in mine])
        images = np.array([o.images for o in mine])
        wrong = sum(o.found and o.error_dof > 1 for o in mine)
        lines.append(
            f"| `{name}` | {len(mine)} | {100 * good.mean():.1f} | {100 * fair.mean():.1f} | {np.median(images):.0f} "
            f"({np.quantile(images, 0.9):.0f}) | {np.median(error):.2f}, {np.quantile(error, 0.95):.2f} | "
            f"{np.median([o.error_um for o in mine]):.2f} | {np.median([o.seconds for o in mine]):.2f} | {wrong} | "
            f"{sum(o.beyond for o in mine)} |"
        )
    return "\n".join(lines)


def draw_response(path: Path, tracks: dict[str, list[tuple[float, tuple[Step, ...]]]]) -> None:
    """Distance from focus over the images taken, as in fig. 6 of HH-Net's paper (there over time)."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(tracks), figsize=(4.5 * len(tracks), 3.2), sharey=True, squeeze=False)
    for ax, (name, runs) in zip(axes[0], tracks.items(), strict=True):
        for z, steps in runs:
            ax.plot([(s.z_um - z) for s in steps], lw=0.8, marker=".", ms=3, alpha=0.7)
        ax.axhline(0, color="k", lw=0.8)
        ax.set(title=name, xlabel="image")
    axes[0, 0].set_ylabel("distance from focus (depths of field)")
    fig.tight_layout()
    fig.savefig(path, dpi=110)


def scaled(case: Case, focused: Focused) -> tuple[float, tuple[Step, ...]]:
    """The run in depths of field."""
    from dataclasses import replace

    dof = case.travel.dof_um
    return case.truth_um / dof, tuple(replace(s, z_um=s.z_um / dof) for s in focused.steps)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--starts", type=int, default=200)
    options.add_argument("--method", action="append", help="all that are installed where not given")
    options.add_argument("--alone", action="store_true", help="networks by their own policies, to their own end")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("-o", "--output", type=Path, help="folder for every run (CSV) and the response curves (PNG)")
    given = options.parse_args()
    if not DATA.is_dir():
        sys.exit(f"'{DATA}' is not there: the sharp test images are needed.")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    images = drain(load(DATA, sources=TEST))
    known = focus_methods()
    known.add(Climb("climb", "To the highest sharpness, step by step", "spectra"))
    methods = [known[name] for name in given.method or known.names()]
    outcomes: list[Outcome] = []
    tracks: dict[str, list[tuple[float, tuple[Step, ...]]]] = {m.name: [] for m in methods}
    for k, case in enumerate(cases(images, given.starts, seed=given.seed)):
        for method in methods:
            outcome, focused = run(case, method, alone=given.alone)
            outcomes.append(outcome)
            if k < 20:
                tracks[method.name].append(scaled(case, focused))
    print(table(outcomes))
    if given.output is not None:
        given.output.mkdir(parents=True, exist_ok=True)
        with (given.output / "autofocus.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(vars(outcomes[0])))
            writer.writeheader()
            writer.writerows(vars(o) for o in outcomes)
        draw_response(given.output / "response.png", tracks)


if __name__ == "__main__":
    main()
