"""GMANet's time a slice and what it goes to, as its paper's table 3; one pass against the paper's crops.

Run it from the repository's root: ``python benchmarks/gmanet_speed.py [--threads 2] [--model gmanet] [--stacks 20]``.
The first part takes RGB slices of 1200×1600 pixels; the second compares both modes on simulated stacks of that size.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
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
from napari_focusstack.networks.infer import best_device, prepare
from napari_focusstack.networks.zoo import load_model
from napari_focusstack.training.settings import SimulationSettings
from napari_focusstack.training.simulate import simulate

SHAPE = (1200, 1600)


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


def ms(run: Callable[[], object], *, times: int = 5) -> float:
    """Shortest time of some runs, after one to warm up."""
    run()
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return 1000 * min(found)


def breakdown(name: str) -> None:
    """Milliseconds of each step on one slice."""
    network = prepare(load_model(name)[0], device=best_device())
    plane = scene(0)
    grey, scale = to_grey(plane), LARGE.scale(SHAPE)
    small = tuple(round(n * scale) for n in SHAPE)
    image = gmanet_infer._tensor(gmanet_infer._resized(grey, small, cv2.INTER_AREA), network)
    found = gmanet_infer.dense(network, grey, scale=scale, cells=2)
    shape = found.map.shape[0], found.map.shape[1]
    with torch.inference_mode():
        ready = network.ready(image)
        features = network.features(*ready)
        steps = {
            "grey and smaller": lambda: gmanet_infer._resized(to_grey(plane), small, cv2.INTER_AREA),
            "z-score and gradient map": lambda: network.ready(image),
            "network": lambda: network.heads[0](network.features(*ready)),
            "Grad-CAM++": lambda: gmanet_infer.grad_cam(network, features),
            "energy and evidence": lambda: (
                detail_energy(grey, shape, found.cell_px),
                blank_cells(grey, shape, found.cell_px, noise=noise_sigma(grey)),
            ),
        }
        for step, run in steps.items():
            print(f"{step:<28} {ms(run):8.0f} ms")
    dense, protocol = (
        ms(lambda: gmanet_infer.dense(network, grey, scale=scale, cells=2)),
        ms(lambda: gmanet_infer.protocol(network, grey), times=2),
    )
    print(f"{'one pass':<28} {dense:8.0f} ms")
    print(f"{'as published, 12 crops':<28} {protocol:8.0f} ms: one pass is {protocol / dense:.1f}× faster")


def stack_of_twenty(name: str) -> None:
    """Seconds for a whole stack in a warm process."""
    planes = np.stack([cv2.GaussianBlur(scene(0), (0, 0), 0.4 + 0.8 * abs(z - 9)) for z in range(20)])
    stack = fs.from_array(planes, axes="ZYXS")
    fs.score(fs.from_array(planes[:2], axes="ZYXS"), scorer=name)
    begin = time.perf_counter()
    fs.score(stack, scorer=name)
    print(f"20 slices of 1200×1600 RGB: {time.perf_counter() - begin:.1f} s")


def agree(name: str, stacks: int) -> None:
    """Whether both modes put the slices into the same order."""
    network = prepare(load_model(name)[0], device=best_device())
    rhos, near = [], 0
    for seed in range(stacks):
        blur = "fluorescence" if seed % 2 else "brightfield"
        settings = SimulationSettings(slices=9, z_um=3.0, blur=blur, relief_um=4.0, seed=seed)
        made = simulate(scene(seed)[..., seed % 3], settings)
        planes = [made.stack.plane(z) for z in range(9)]
        one = [gmanet_infer.dense(network, p, scale=LARGE.scale(SHAPE)).score for p in planes]
        crops = [gmanet_infer.protocol(network, p).score for p in planes]
        rhos.append(spearman(one, crops))
        near += abs(int(np.argmax(one)) - int(np.argmax(crops))) <= 1
        print(f"stack {seed}: ρ {rhos[-1]:.3f}", flush=True)
    print(f"both modes: mean ρ {np.mean(rhos):.3f}, best slice the same ±1 on {near} of {stacks}")


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
    breakdown(given.model)
    stack_of_twenty(given.model)
    agree(given.model, given.stacks)


if __name__ == "__main__":
    main()
