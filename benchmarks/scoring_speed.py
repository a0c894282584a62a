"""Speed of scoring on one core: slices of 1024 × 1024 pixels, 16 bit, a second, beside a plain scikit-image loop.

Run it from the repository's root::

    python benchmarks/scoring_speed.py [SCORER ...]

CPU time is measured, so other work on the machine counts little; the best of three runs is told.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from skimage.filters import sobel

from napari_focusstack.core.measures import MEASURES
from napari_focusstack.core.progress import drain
from napari_focusstack.core.scorers import DEFAULT_SCORER
from napari_focusstack.core.scoring import reweight, score_series
from napari_focusstack.core.stack import from_array

SLICES, SIDE = 24, 1024


def scene() -> np.ndarray:
    """Bright textured discs on dark that go through focus."""
    random = np.random.default_rng(0)
    y, x = np.ogrid[:SIDE, :SIDE]
    discs = np.zeros((SIDE, SIDE), np.float32)
    for cy, cx in random.integers(60, SIDE - 60, (40, 2)):
        discs[np.hypot(y - cy, x - cx) < 40] = 1
    sharp = discs * (4000 + 1000 * cv2.GaussianBlur(random.normal(size=(SIDE, SIDE)).astype(np.float32), (0, 0), 2))
    planes = [
        300 + cv2.GaussianBlur(sharp, (0, 0), 0.7 + 0.5 * abs(z - 10)) + random.normal(0, 20, sharp.shape)
        for z in range(SLICES)
    ]
    return np.clip(np.stack(planes), 0, 65535).astype(np.uint16)


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    best = float("inf")
    for _ in range(repeats):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return best


def main() -> None:
    cv2.setNumThreads(1)
    planes = scene()
    stack = from_array(planes, axes="ZYX")
    print(f"{SLICES} slices of {SIDE} × {SIDE}, 16 bit; CPU time, one core\n")
    print("| what | slices/s | ms a slice | beyond the measure |")
    print("| --- | --- | --- | --- |")
    peer = seconds(lambda: [float((sobel(plane) ** 2).mean()) for plane in planes])
    print(f"| scikit-image Sobel, mean of squares | {SLICES / peer:.0f} | {1e3 * peer / SLICES:.1f} | |")
    for name in sys.argv[1:] or [DEFAULT_SCORER]:
        bare = seconds(lambda name=name: [MEASURES[name].score(plane) for plane in planes])
        whole = seconds(lambda name=name: drain(score_series(stack, scorer=name)))
        print(
            f"| {name}, specimen, decision | {SLICES / whole:.0f} | {1e3 * whole / SLICES:.1f} "
            f"| {1e3 * (whole - bare) / SLICES:.1f} ms |"
        )
    report = drain(score_series(stack))
    print(f"\nDeciding anew for another region: {1e3 * seconds(lambda: reweight(report, specimen=False)):.1f} ms")


if __name__ == "__main__":
    main()
