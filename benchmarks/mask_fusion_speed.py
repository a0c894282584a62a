"""What fusion by masks costs in a warm process, beside OpenCV pyramids in the same run: five RGB slices of 1936 × 1216.

    python benchmarks/mask_fusion_speed.py [--method msegnet] [--slices 5] [--repeats 7] [--threads 1]

CPU seconds, the least of the repeats, taken by turns: the method, a pyramid that streams (peers/opencv_pyramid.py), and
the same with all slices in memory, as it is often written (peers/opencv_pyramid_all.py). The first turn, in which the
weights are loaded and memory is fetched, does not count. Memory: peak of the process above that after the imports.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import opencv_pyramid
import opencv_pyramid_all

from napari_focusstack.core.fusion import METHODS, fuse_series
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import Stack, from_array

SHAPE = (1216, 1936, 3)


def make_stack(n: int) -> np.ndarray:
    """A noisy texture that goes through focus."""
    rng = np.random.default_rng(0)
    sharp = cv2.GaussianBlur(rng.normal(128, 60, SHAPE).astype(np.float32), (0, 0), 1.2)
    planes = np.empty((n, *SHAPE), np.uint8)
    for i in range(n):
        blurred = cv2.GaussianBlur(sharp, (0, 0), 0.3 + abs(i - n / 2) / 3)
        planes[i] = np.clip(blurred + rng.normal(0, 3, SHAPE).astype(np.float32), 0, 255)
    return planes


def in_memory(planes: np.ndarray) -> np.ndarray:
    """What opencv_pyramid_all.py does between reading and writing."""
    pyramids = [opencv_pyramid_all.laplacian_pyramid(plane) for plane in planes]
    fused = np.mean([p[-1] for p in pyramids], axis=0)
    for level in range(opencv_pyramid_all.LEVELS - 1, -1, -1):
        details = np.stack([p[level] for p in pyramids])
        strongest = np.abs(details).argmax(axis=0)[None]
        detail = np.take_along_axis(details, strongest, axis=0)[0]
        fused = cv2.pyrUp(fused, dstsize=(detail.shape[1], detail.shape[0])) + detail
    return fused


def peak_mib() -> float:
    """Most memory that the process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(run: Callable[[], object]) -> float:
    """CPU time."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="msegnet", choices=METHODS.names())
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    cv2.setNumThreads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    planes = make_stack(arguments.slices)
    stack: Stack = from_array(planes, axes="ZYXS")
    before = peak_mib()
    ours: Callable[[], object] = lambda: drain(fuse_series(stack, method=arguments.method))  # noqa: E731
    seconds(ours)
    above = peak_mib() - before
    runs = {
        arguments.method: ours,
        "OpenCV, streaming": lambda: opencv_pyramid.fuse(list(planes)),
        "OpenCV, in memory": lambda: in_memory(planes),
    }
    took: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(arguments.repeats + 1):
        for name, run in runs.items():
            spent = seconds(run)
            if turn:
                took[name].append(spent)
    least = {name: min(times) for name, times in took.items()}
    print(f"| program ({arguments.slices} slices, {arguments.threads} threads) | CPU s | of streaming | of in memory |")
    print("| --- | --- | --- | --- |")
    for name, value in least.items():
        ratios = f"{value / least['OpenCV, streaming']:.2f} | {value / least['OpenCV, in memory']:.2f}"
        print(f"| {name} | {value:.2f} | {ratios} |")
    print(f"\npeak memory of {arguments.method} above the imports and the stack: {above:.0f} MiB")


if __name__ == "__main__":
    main()
