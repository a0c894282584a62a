"""An OpenCV pyramid in the short way: all slices in memory, the strongest coefficient by `argmax` over the slices.

Usage: opencv_pyramid_all.py STACK.tif OUT.tif
"""

from __future__ import annotations

import itertools
import sys

import cv2
import numpy as np
import tifffile

LEVELS = 6


def laplacian_pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Detail of each level, finest first, and the base."""
    gaussian = [image.astype(np.float32)]
    for _ in range(LEVELS):
        gaussian.append(cv2.pyrDown(gaussian[-1]))
    pairs = itertools.pairwise(gaussian)
    return [*(a - cv2.pyrUp(b, dstsize=(a.shape[1], a.shape[0])) for a, b in pairs), gaussian[-1]]


def main() -> None:
    stack = tifffile.imread(sys.argv[1])
    pyramids = [laplacian_pyramid(plane) for plane in stack]
    fused = np.mean([p[-1] for p in pyramids], axis=0)
    for level in range(LEVELS - 1, -1, -1):
        details = np.stack([p[level] for p in pyramids])
        strongest = np.abs(details).argmax(axis=0)[None]
        detail = np.take_along_axis(details, strongest, axis=0)[0]
        fused = cv2.pyrUp(fused, dstsize=(detail.shape[1], detail.shape[0])) + detail
    fused = np.clip(np.rint(fused), 0, np.iinfo(stack.dtype).max).astype(stack.dtype)
    tifffile.imwrite(sys.argv[2], fused)


if __name__ == "__main__":
    main()
