"""Single fluorescence planes, sharp or 30 µm out of focus: does the classifier's `in_focus` tell them apart?

Simulated ones are whole planes of held-out sources under the electromagnetic PSF; real ones are slices of stacks, the
labelled ones against the farthest. A plane counts as in focus where more than half of what counts in it is.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from heldout import OBJECTIVES, kernel
from real_patches import DATA, load

from napari_focusstack.core.progress import drain
from napari_focusstack.core.scoring import score_series
from napari_focusstack.core.stack import Stack
from napari_focusstack.training import camera
from napari_focusstack.training.library import CRISP_PX, Sharp, edge_width

OUT_UM = 30.0
MOST_PX = 241
CHOSEN = tuple(o for o in OBJECTIVES if 0.3 <= o.na <= 0.75)
NOT_FLUORESCENCE = ("transmission", "rgb")
FLUORESCENCE_STACKS = ("beads_s1", "beads_s2", "nucleus")


@dataclass(frozen=True)
class Plane:
    """What is said of a plane: truth, and the share of it that the scorer calls in focus (nan: nothing to judge)."""

    name: str
    focused: bool
    share: float


def simulated(images: Sequence[Sharp], model: str, *, seed: int) -> list[Plane]:
    """Every sharp fluorescence plane, in focus and 30 µm out."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    found = []
    for image in images:
        level = np.asarray(image.levels[-1], np.float32)[:768, :768]
        if edge_width(level) > CRISP_PX or any(word in image.name for word in NOT_FLUORESCENCE):
            continue
        objective = CHOSEN[int(rng.integers(len(CHOSEN)))]
        gain, electrons = rng.uniform(0.3, 0.9), 10 ** rng.uniform(3.0, 4.5)
        for out in (0.0, OUT_UM):
            blur = kernel(objective, out, most_px=MOST_PX)
            seen = cv2.filter2D(level, cv2.CV_32F, blur, borderType=cv2.BORDER_REFLECT_101)
            light = torch.from_numpy(np.clip(0.03 + gain * seen, 0, 1))[None]
            taken = camera.expose(light, electrons=float(electrons), read_noise=3.0, offset=0.02, generator=generator)
            pixels = np.round(taken[0].numpy() * 4095).astype(np.uint16)
            found.append(Plane(f"{image.name} {objective.name}", out == 0, share_in_focus(pixels, model)))
    return found


def real(model: str, names: tuple[str, ...] = FLUORESCENCE_STACKS) -> list[Plane]:
    """Slices that the label accepts, against the first and the last one of each stack."""
    with (DATA / "labels.csv").open(encoding="utf-8") as file:
        labels = {row["stack"]: row for row in csv.DictReader(file)}
    found = []
    for name in names:
        stack = load(name)
        lo, hi = int(labels[name]["lo"]), int(labels[name]["hi"])
        for z, plane in enumerate(stack.planes()):
            if lo <= z <= hi or z in (0, stack.n_slices - 1):
                found.append(Plane(f"{name} slice {z}", lo <= z <= hi, share_in_focus(plane, model)))
    return found


def share_in_focus(plane: np.ndarray, model: str) -> float:
    """What ``focusstack score PLANE --scorer MODEL --json`` tells as ``in_focus``."""
    report = drain(score_series(Stack(np.ascontiguousarray(plane), "YX", name="plane"), scorer=model))
    told = report.extras["in_focus"][0]
    return float("nan") if told is None else float(told)


def markdown(name: str, kind: str, planes: list[Plane]) -> str:
    """A row of the table."""
    wrong = [p for p in planes if (p.share > 0.5) != p.focused]
    shares = {f: [p.share for p in planes if p.focused == f] for f in (True, False)}
    least, most = min(shares[True], default=np.nan), max(shares[False], default=np.nan)
    named = ", ".join(f"{p.name} ({p.share:.2f})" for p in wrong) or "–"
    return f"| {name} | {kind} | {len(planes)} | {len(wrong)} | {least:.2f} | {most:.2f} | {named} |"


HEADING = (
    "| model | planes | number | wrong | least share in focus of a sharp one | most of one far out | which |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)
