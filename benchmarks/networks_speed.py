"""Time of the installed networks on a plane of the size that they are meant for: a warm process, two threads.

Run it from the repository's root::

    OMP_NUM_THREADS=2 python benchmarks/networks_speed.py [--json]

LDSE-NET: the defocus map of a 2592×1944 camera image of 20×/0.75 (0.325 µm pixels); its opponents on the same image
where they are installed. MMDF's classifier: the heatmap of a 1024×1024 slice. The median of several runs, and the same
in units of this machine's speed: over the time of a 3×3 convolution of 32 channels on 512×512 pixels, so that machines
can be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "2")

import cv2
import numpy as np
import torch

from napari_focusstack.core.learned.base import NetworkScorer
from napari_focusstack.core.scorer import PlaneContext
from napari_focusstack.core.scorers import SCORERS
from napari_focusstack.core.stack import Optics

RUNS = 7
SIZES = {"ldsenet": (1944, 2592), "resnet50": (1944, 2592), "botnet": (1944, 2592), "mmdf": (1024, 1024)}
OPTICS = Optics(na=0.75, wavelength_um=0.52)
PIXEL_UM = 0.325


def plane(shape: tuple[int, int]) -> np.ndarray:
    """Blobs of many sizes under noise, 16 bit."""
    random = np.random.default_rng(0)
    image = sum(cv2.GaussianBlur(random.random(shape, np.float32), (0, 0), s) * s * 900 for s in (1, 3, 9))
    return (np.clip(image, 0, 40000) + random.normal(300, 20, shape)).clip(0, 65535).astype(np.uint16)


def median_s(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


def yardstick_s() -> float:
    """Time of a convolution of 4.8 GFLOP."""
    layer = torch.nn.Conv2d(32, 32, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    x = torch.rand(1, 32, 512, 512).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return median_s(lambda: layer(x))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--json", action="store_true")
    given = options.parse_args()
    threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    unit = yardstick_s()
    told = {"threads": threads, "yardstick_s": round(unit, 4), "networks": {}}
    for scorer in SCORERS:
        if not isinstance(scorer, NetworkScorer):
            continue
        shape = SIZES.get(scorer.card.architecture)
        if shape is None:
            continue
        context = PlaneContext(pixel_um=PIXEL_UM, optics=OPTICS, device="cpu", noise=20.0)
        image = plane(shape)
        seconds = median_s(lambda s=scorer, i=image, c=context: s.score_plane(i, context=c))
        told["networks"][scorer.name] = {
            "image": f"{shape[1]}×{shape[0]}",
            "seconds": round(seconds, 3),
            "yardsticks": round(seconds / unit, 1),
        }
    if given.json:
        print(json.dumps(told))
        return
    print(f"{threads} threads; yardstick {1000 * unit:.1f} ms")
    for name, found in told["networks"].items():
        print(f"{name:<12} {found['image']:<10} {found['seconds']:.3f} s  {found['yardsticks']:.1f} yardsticks")


if __name__ == "__main__":
    main()
