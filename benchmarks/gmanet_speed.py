"""GMANet's time a slice and what it goes to, as its paper's table 3; one pass against the paper's crops.

Run it from the repository's root: ``python benchmarks/gmanet_speed.py [--threads 2] [--model gmanet] [--stacks 20]``.
The first part takes RGB slices of 1200×1600 pixels; the second compares both modes on simulated stacks of that size.
Wall time beside processor time (of all threads): on a machine that does other work as well, trust the latter, and
ratios. Output is Markdown.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

import napari_focusstack as fs
from napari_focusstack.core.agreement import spearman
from napari_focusstack.core.filters import noise_sigma, to_grey
from napari_focusstack.core.learned.evidence import blank_cells, detail_energy
from napari_focusstack.core.learned.gmanet import LARGE
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.networks import gmanet_infer
from napari_focusstack.networks.gmanet import limited, local_maximum_gradient, z_scored
from napari_focusstack.networks.infer import best_device, prepare
from napari_focusstack.networks.memory import kept_memory
from napari_focusstack.networks.zoo import load_model
from napari_focusstack.training.settings import SimulationSettings
from napari_focusstack.training.simulate import simulate

SHAPE = (1200, 1600)
SLICES = 7


def scene(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Cells on bright ground, RGB 8 bit."""
    rng = np.random.default_rng(seed)
    image = np.full((*shape, 3), 215, np.uint8)
    for _ in range(260):
        centre = tuple(int(v) for v in rng.integers(0, shape[::-1]))
        colour = tuple(int(v) for v in rng.integers(60, 190, 3))
        axes = tuple(int(v) for v in rng.integers(8, 42, 2))
        cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        cv2.circle(image, centre, int(rng.integers(3, 8)), (50, 40, 90), -1, cv2.LINE_AA)
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Cost:
    """Milliseconds on the clock, and of the processor."""

    wall: float
    cpu: float

    def row(self, step: str) -> str:
        """A line of the table."""
        return f"| {step} | {self.wall:.0f} | {self.cpu:.0f} |"


def cost(run: Callable[[], object], *, times: int = 5, warm: bool = False) -> Cost:
    """Least of some runs, after one to warm up."""
    if not warm:
        run()
    walls, cpus = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Cost(1000 * min(walls), 1000 * min(cpus))


def breakdown(name: str) -> None:
    """Milliseconds of each step on one slice, as in the paper's table 3, and of both modes."""
    network = gmanet_infer.quick(prepare(load_model(name)[0], device=best_device()))
    plane = scene(0)
    grey, scale = to_grey(plane), LARGE.scale(SHAPE)
    small = tuple(round(n * scale) for n in SHAPE)
    image = gmanet_infer._tensor(gmanet_infer._resized(grey, small, cv2.INTER_AREA), network)
    found = gmanet_infer.dense(network, grey, scale=scale, cells=2)
    shape = found.map.shape[0], found.map.shape[1]
    scored = z_scored(image)
    with torch.inference_mode(), kept_memory():
        ready = network.ready(image)
        features = network.features(*ready)
        steps = {
            "grey and smaller": lambda: gmanet_infer._resized(to_grey(plane), small, cv2.INTER_AREA),
            "z-score": lambda: limited(z_scored(image)),
            "local maximum gradient": lambda: limited(local_maximum_gradient(scored)),
            "network": lambda: network.heads[0](network.features(*ready)),
            "Grad-CAM++": lambda: gmanet_infer.grad_cam(network, features),
            "energy and evidence": lambda: (
                detail_energy(grey, shape, found.cell_px),
                blank_cells(grey, shape, found.cell_px, noise=noise_sigma(grey)),
            ),
        }
        print("| step, one slice | wall ms | processor ms |", "| --- | --- | --- |", sep="\n")
        for step, run in steps.items():
            print(cost(run).row(step), flush=True)
    dense = cost(lambda: gmanet_infer.dense(network, grey, scale=scale, cells=2))
    protocol = cost(lambda: gmanet_infer.protocol(network, grey), times=2)
    print(dense.row("one pass"), protocol.row("as published, 12 crops"), sep="\n")
    wall, cpu = protocol.wall / dense.wall, protocol.cpu / dense.cpu
    print(f"\nOne pass is {wall:.1f}× faster by the clock and {cpu:.1f}× by the processor.")


def stack_of_twenty(name: str) -> None:
    """Seconds for a whole stack in a warm process."""
    planes = np.stack([cv2.GaussianBlur(scene(0), (0, 0), 0.4 + 0.8 * abs(z - 9)) for z in range(20)])
    stack = fs.from_array(planes, axes="ZYXS")
    fs.score(fs.from_array(planes[:2], axes="ZYXS"), scorer=name)
    spent = cost(lambda: fs.score(stack, scorer=name), times=1, warm=True)
    print(f"20 slices of 1200×1600 RGB: {spent.wall / 1000:.1f} s by the clock, {spent.cpu / 1000:.1f} s of processor.")


def agree(name: str, stacks: int) -> None:
    """Whether both modes put the slices into the same order."""
    network = gmanet_infer.quick(prepare(load_model(name)[0], device=best_device()))
    rhos, near = [], 0
    for seed in range(stacks):
        blur = "fluorescence" if seed % 2 else "brightfield"
        settings = SimulationSettings(slices=SLICES, z_um=3.0, blur=blur, relief_um=4.0, seed=seed)
        made = simulate(scene(seed)[..., seed % 3], settings)
        planes = [made.stack.plane(z) for z in range(SLICES)]
        one = [gmanet_infer.dense(network, p, scale=LARGE.scale(SHAPE)).score for p in planes]
        crops = [gmanet_infer.protocol(network, p).score for p in planes]
        rhos.append(spearman(one, crops))
        near += abs(int(np.argmax(one)) - int(np.argmax(crops))) <= 1
    print(f"Both modes: mean ρ {np.mean(rhos):.3f}, best slice the same ±1 on {near} of {stacks} stacks.")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--model", default="gmanet")
    options.add_argument("--stacks", type=int, default=20)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    if given.model not in SCORERS and not Path(given.model).is_dir():
        raise SystemExit(f"There is no model '{given.model}': install or train it.")
    print(f"{given.threads} threads of {os.cpu_count()} cores; load before: {os.getloadavg()[0]:.1f}.\n")
    breakdown(given.model)
    stack_of_twenty(given.model)
    agree(given.model, given.stacks)


if __name__ == "__main__":
    main()
