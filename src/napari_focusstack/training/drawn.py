"""Specimens drawn at random, sharp to the pixel: shapes, filaments and spots of every size.

A network that has seen the edges of a few kinds of cells only takes other specimens for blurred ones. Occluding shapes
with sizes spread over all scales (dead leaves: Lee, Mumford and Huang 2001, Int. J. Comput. Vis. 41:35) have the
statistics of natural images and belong to no laboratory.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
_SHIFT = 4
_SMALLEST_PX, _LARGEST_PX = 2.5, 70.0


def draw_specimen(rng: np.random.Generator, side: int) -> Image:
    """(side, side) amount of specimen, 0 … 1."""
    image = np.zeros((side, side), np.float32)
    kinds = rng.random(3)
    if kinds[0] < 0.75:
        image = _leaves(image, rng)
    if kinds[1] < 0.35 or not image.any():
        image = _filaments(image, rng)
    if kinds[2] < 0.3:
        image = _spots(image, rng)
    shade = cv2.resize(rng.uniform(0.5, 1, (4, 4)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    edge = float(rng.uniform(0.3, 0.8))
    drawn: Image = cv2.GaussianBlur(image * shade, (0, 0), edge).astype(np.float32)
    return drawn


def _leaves(image: Image, rng: np.random.Generator) -> Image:
    """Shapes over each other, sizes evenly spread over octaves between two bounds of their own."""
    side = image.shape[0]
    low, high = np.sort(np.exp(rng.uniform(np.log(_SMALLEST_PX), np.log(_LARGEST_PX), 2)))
    covered = rng.uniform(0.1, 1.5) * side**2
    levels = rng.uniform(0.15, 1, int(rng.integers(1, 6)))
    area = 0.0
    for _ in range(200):
        radius = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        rough = rng.uniform(0, 0.15)
        reach = radius * (
            1 + sum(rough * rng.uniform(-1, 1) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (1, 2, 3, 5))
        )
        squeeze, turn = rng.uniform(0.5, 1), rng.uniform(0, np.pi)
        x, y = reach * np.cos(angle), squeeze * reach * np.sin(angle)
        points = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)
        points = points + rng.uniform(0, side, 2)
        corners = [np.round(points * 2**_SHIFT).astype(np.int32)]
        cv2.fillPoly(image, corners, float(rng.choice(levels)), cv2.LINE_8, _SHIFT)
        area += np.pi * squeeze * radius**2
        if area > covered:
            break
    return image


def _filaments(image: Image, rng: np.random.Generator) -> Image:
    side = image.shape[0]
    for _ in range(int(rng.integers(1, 25))):
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0.02, 0.25), 40))
        path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * side / 30, axis=0)
        points = np.round((path - path[20] + rng.uniform(0, side, 2)) * 2**_SHIFT).astype(np.int32)
        thick, value = int(rng.integers(1, 4)), float(rng.uniform(0.2, 1))
        cv2.polylines(image, [points], False, value, thick, cv2.LINE_8, _SHIFT)
    return image


def _spots(image: Image, rng: np.random.Generator) -> Image:
    side = image.shape[0]
    for x, y in rng.uniform(0, side, (int(rng.integers(3, 60)), 2)):
        centre, radius = (round(x * 2**_SHIFT), round(y * 2**_SHIFT)), round(float(rng.uniform(0.7, 2.5)) * 2**_SHIFT)
        cv2.circle(image, centre, radius, float(rng.uniform(0.2, 1)), -1, cv2.LINE_8, _SHIFT)
    return image
