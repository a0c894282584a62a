"""The usual way to fuse with OpenCV: a Laplacian pyramid, the strongest coefficient of all slices at each level.

Usage: opencv_pyramid.py STACK.tif OUT.tif

Slices stream through, coefficients are float32, and the strongest is chosen by magnitude: for colours each channel by
itself, as is customary. The base level is the mean of the slices. It stands beside our methods in the benchmarks, so it
is written with care: a running maximum, nothing kept that is not needed, no Python loop over pixels.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
import tifffile

LEVELS = 6


def laplacian_pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Detail of each level, finest first, and the base."""
    levels = []
    for _ in range(LEVELS):
        smaller = cv2.pyrDown(image)
        levels.append(image - cv2.pyrUp(smaller, dstsize=(image.shape[1], image.shape[0])))
        image = smaller
    return [*levels, image]


def fuse(planes: list[np.ndarray] | tifffile.TiffFile) -> np.ndarray:
    """Fuse planes of one shape and type; they may be an iterator."""
    best: list[np.ndarray] = []
    count = 0
    for plane in planes:
        levels = laplacian_pyramid(plane.astype(np.float32))
        count += 1
        if not best:
            best = levels
            continue
        for kept, new in zip(best[:-1], levels[:-1], strict=True):
            np.copyto(kept, new, where=np.abs(new) > np.abs(kept))
        best[-1] += levels[-1]
    image = best[-1] / count
    for level in reversed(best[:-1]):
        image = cv2.pyrUp(image, dstsize=(level.shape[1], level.shape[0])) + level
    return image


def main() -> None:
    with tifffile.TiffFile(sys.argv[1]) as file:
        dtype = file.pages[0].dtype
        fused = fuse(page.asarray() for page in file.pages)
    if dtype.kind == "u":
        fused = np.clip(np.rint(fused), 0, np.iinfo(dtype).max)
    tifffile.imwrite(sys.argv[2], fused.astype(dtype))


if __name__ == "__main__":
    main()
