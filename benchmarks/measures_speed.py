"""Slices a second of each focus measure on one core, beside a plain Tenengrad by scikit-image and by SciPy.

    python benchmarks/measures_speed.py [--size 1024] [--seconds 0.5]

Everything is counted from a uint16 plane to the patch map: conversion to float32 included. CPU time, one thread.
Measures that need the stack's range or noise get them, as they do when a stack is scored.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
from collections.abc import Callable

import cv2
import numpy as np
import scipy.ndimage
import skimage.filters
from numpy.typing import NDArray

from napari_focusstack.core.filters import noise_sigma
from napari_focusstack.core.measures import MEASURES, stack_range

PATCH_PX = 32
Plane = NDArray[np.uint16]


def cells(plane: Plane) -> NDArray[np.float32]:
    h, w = (n // PATCH_PX * PATCH_PX for n in plane.shape)
    return plane[:h, :w].reshape(h // PATCH_PX, PATCH_PX, w // PATCH_PX, PATCH_PX).mean(axis=(1, 3))


def tenengrad_skimage(plane: Plane) -> NDArray[np.float32]:
    image = plane.astype(np.float32)
    return cells(skimage.filters.sobel_h(image) ** 2 + skimage.filters.sobel_v(image) ** 2)


def tenengrad_scipy(plane: Plane) -> NDArray[np.float32]:
    image = plane.astype(np.float32)
    return cells(scipy.ndimage.sobel(image, 0) ** 2 + scipy.ndimage.sobel(image, 1) ** 2)


def per_second(job: Callable[[], object], seconds: float) -> float:
    """Runs a second of CPU time: the best of three stretches, after one run to warm up."""
    job()
    best = 0.0
    for _ in range(3):
        runs, start = 0, time.process_time()
        while (spent := time.process_time() - start) < seconds / 3 or runs == 0:
            job()
            runs += 1
        best = max(best, runs / spent)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=1024, help="height and width of the plane in pixels")
    parser.add_argument("--seconds", type=float, default=0.5, help="CPU time for each measure")
    options = parser.parse_args()
    cv2.setNumThreads(1)

    rng = np.random.default_rng(0)
    rough = cv2.GaussianBlur(rng.normal(size=(options.size, options.size)), (0, 0), 1.5)
    plane = (3000 + 6000 * rough + rng.normal(0, 20, rough.shape)).clip(0, 65535).astype(np.uint16)
    value_range, noise = stack_range([plane]), noise_sigma(plane)

    peers = {"skimage": tenengrad_skimage, "scipy": tenengrad_scipy}
    peer_speed = {name: per_second(lambda job=job: job(plane), options.seconds) for name, job in peers.items()}
    print(f"{options.size}×{options.size} uint16, patches of {PATCH_PX} px, one core\n")
    print(f"{'measure':26s}{'slices/s':>10s}{'× skimage':>12s}{'× scipy':>10s}")
    for name, speed in peer_speed.items():
        print(f"{'Tenengrad by ' + name:26s}{speed:10.0f}{speed / peer_speed['skimage']:12.2f}", end="")
        print(f"{speed / peer_speed['scipy']:10.2f}")
    for measure in MEASURES:
        score = measure.score
        speed = per_second(lambda score=score: score(plane, value_range=value_range, noise=noise), options.seconds)
        print(
            f"{measure.name:26s}{speed:10.0f}{speed / peer_speed['skimage']:12.2f}{speed / peer_speed['scipy']:10.2f}"
        )


if __name__ == "__main__":
    main()
