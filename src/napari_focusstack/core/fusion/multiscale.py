"""Fusion in a transform domain: dual-tree wavelets, curvelets, contourlets, by the rule of the literature.

The low-pass of the result is the mean over the slices. Every other coefficient comes from the slice where its magnitude
is largest, after a consistency check (Li, Manjunath & Mitra 1995): where most of the 3 × 3 neighbours chose otherwise,
a coefficient follows them. With more than two slices this is done slice after slice, each against the best so far, as
the literature fuses: so memory does not grow with their number. Colours are chosen together, by the coefficients of the
guide, which are the same mix of the colours' coefficients as the guide is of the colours.

Transforms with many bands are made tile by tile, so that memory does not grow with the image either; tiles overlap, and
go over into each other linearly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import cv2
import numpy as np

from napari_focusstack.core.fusion.method import ClassicalMethod, Merged, Plane32, Series
from napari_focusstack.core.fusion.noise import measure_noise
from napari_focusstack.core.fusion.sharpness import NOISE_CONSTANT, SharpnessTrack, summarise
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.transforms import Contourlet, Curvelet, DualTreeWavelet, Transform
from napari_focusstack.core.transforms.base import Band

OVERLAP_PX = 64
TRACKED_LEVELS = 2
"""Levels whose energy says which slice is sharpest at a pixel."""


def fuse_dtcwt(series: Series, *, levels: int, tile_px: int) -> Job[Merged]:
    """Fuse by the dual-tree complex wavelet transform; see the module.

    Parameters
    ----------
    series : Series
    levels : int
        Number of levels of detail, fewer where the image is small.
    tile_px : int
        Largest side of a tile in pixels.
    """
    return _fuse(series, lambda shape: DualTreeWavelet(shape, levels=levels), tile_px)


def fuse_curvelet(series: Series, *, levels: int, tile_px: int) -> Job[Merged]:
    """Fuse by the curvelet transform; parameters as `fuse_dtcwt`."""
    return _fuse(series, lambda shape: Curvelet(shape, levels=levels), tile_px)


def fuse_nsct(series: Series, *, directions: tuple[int, ...], tile_px: int) -> Job[Merged]:
    """Fuse by the nonsubsampled contourlet transform; see the module.

    Parameters
    ----------
    series : Series
    directions : tuple of int
        Directions of each level from the finest on: 4, 8 or 16.
    tile_px : int
        Largest side of a tile in pixels.
    """
    return _fuse(series, lambda shape: Contourlet(shape, directions=directions), tile_px)


def _fuse(series: Series, make: Callable[[tuple[int, int]], Transform], tile_px: int) -> Job[Merged]:
    h, w = series.plane_shape
    rows, cols = _spans(h, tile_px), _spans(w, tile_px)
    total = len(rows) * len(cols) * len(series)
    image = np.zeros(series.shape, np.float32)
    track = SharpnessTrack(((h + 1) // 2, (w + 1) // 2), power=1, positions=series.heights)
    track.n = len(series)
    transform = make((rows[0].size, cols[0].size))
    floor = NOISE_CONSTANT * measure_noise(series).guide * _noise_energy(transform)
    for number, (row, col) in enumerate(product(rows, cols)):
        tile = _Tile(series, transform, floor)
        for i in range(len(series)):
            tile.add(series.image(i)[row.start : row.start + row.size, col.start : col.start + col.size])
            yield Progress(number * len(series) + i + 1, total, f"slice {i + 1} of {len(series)}")
        weight = np.outer(row.weight, col.weight)
        part = image[row.start : row.start + row.size, col.start : col.start + col.size]
        part += tile.collapse() * (weight if part.ndim == 2 else weight[..., None])
        _paste(track, tile.track, row, col)
    index, peak, confidence = summarise([track], (h, w))
    return Merged(image, index, peak, confidence)


class _Tile:
    """The best coefficients so far of one tile."""

    def __init__(self, series: Series, transform: Transform, floor: float) -> None:
        self.transform = transform
        self.mix = [np.float32(m) for m in series.mix]
        self.floor = floor
        self.grey = len(series.shape) == 2
        self.best: list[list[Band]] = []
        self.low: list[Band] = []
        h, w = transform.shape
        self.track = SharpnessTrack(((h + 1) // 2, (w + 1) // 2), power=1, positions=series.heights)

    def add(self, plane: Plane32) -> None:
        """Take the next slice, (Y, X) or (Y, X, K) of any type."""
        samples = [plane] if self.grey else [plane[..., k] for k in range(plane.shape[2])]
        bands = [self.transform.forward(np.ascontiguousarray(s, np.float32)) for s in samples]
        ph, pw = self.transform.padded
        energy = np.zeros(((ph + 1) // 2, (pw + 1) // 2), np.float32)
        first = not self.low
        for number, level in enumerate(self.transform.levels):
            parts = [next(b) for b in bands]
            activity = np.abs(self._mixed(parts))
            if first:
                self.best.append([part.copy() for part in parts])
            else:
                wins = activity > np.abs(self._mixed(self.best[number]))
                # The median of a mask is what most of the 3 × 3 say: the consistency check.
                chosen = cv2.medianBlur(wins.view(np.uint8), 3).view(np.bool_)
                for best, part in zip(self.best[number], parts, strict=True):
                    np.copyto(best, part, where=chosen)
            if level < TRACKED_LEVELS:
                energy += _energy(activity, energy.shape)
        lows = [next(b) for b in bands]
        if first:
            self.low = lows
        else:
            for total, part in zip(self.low, lows, strict=True):
                total += part
        h, w = self.track.best.shape
        smooth = cv2.blur(np.ascontiguousarray(energy[:h, :w]), (5, 5))
        self.track.add(np.log(smooth + np.float32(self.floor)))

    def collapse(self) -> Plane32:
        """The fused tile, (Y, X) or (Y, X, K)."""
        planes = [
            self.transform.inverse([*(best[k] for best in self.best), low / np.float32(self.track.n)])
            for k, low in enumerate(self.low)
        ]
        return planes[0] if self.grey else np.stack(planes, axis=-1)

    def _mixed(self, parts: list[Band]) -> Band:
        """Coefficients of the guide."""
        if self.grey:
            return parts[0]
        mixed = parts[0] * self.mix[0]
        for part, weight in zip(parts[1:], self.mix[1:], strict=True):
            mixed += part * weight
        return mixed


@dataclass(frozen=True)
class _Span:
    """Where a tile lies along an axis: all tiles have one size, and their weights add up to 1 at each pixel.

    ``own`` are the pixels, of even beginning, that no other tile's index is taken for.
    """

    start: int
    size: int
    own: tuple[int, int]
    weight: Plane32


def _spans(n: int, tile_px: int) -> list[_Span]:
    count = 1 if n <= tile_px else -(-(n - OVERLAP_PX) // (tile_px - OVERLAP_PX))
    size = -(-(n + (count - 1) * OVERLAP_PX) // count)
    size += (n - size) % 2
    starts = [2 * round((n - size) * i / max(1, count - 1) / 2) for i in range(count)]
    cuts = [0, *(2 * round((a + size + b) / 4) for a, b in pairwise(starts)), n]
    weights = []
    for start in starts:
        x = np.arange(size)
        up = np.ones(size) if start == 0 else np.minimum(1, (x + 1) / OVERLAP_PX)
        down = np.ones(size) if start + size == n else np.minimum(1, (size - x) / OVERLAP_PX)
        weights.append(up * down)
    total = np.zeros(n)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + size] += weight
    return [
        _Span(start, size, (cuts[i], cuts[i + 1]), (weights[i] / total[start : start + size]).astype(np.float32))
        for i, start in enumerate(starts)
    ]


def _energy(coefficients: Band, shape: tuple[int, ...]) -> Plane32:
    """Squared coefficients of a band at the resolution of the track."""
    energy: Plane32 = cv2.resize(np.square(np.abs(coefficients)), shape[::-1], interpolation=cv2.INTER_AREA)
    return energy


def _noise_energy(transform: Transform) -> float:
    """Mean energy, over the levels that are tracked, of white noise of variance 1."""
    noise = np.random.default_rng(0).standard_normal(transform.shape).astype(np.float32)
    bands = transform.forward(noise)
    levels = [(level, next(bands)) for level in transform.levels]
    return sum(float(np.mean(np.square(np.abs(band)))) for level, band in levels if level < TRACKED_LEVELS)


def _paste(whole: SharpnessTrack, part: SharpnessTrack, row: _Span, col: _Span) -> None:
    """Put a tile's own pixels into the sharpness of the whole image (at half its size)."""
    (a, b), (c, d) = ((s.own[0] // 2, (s.own[1] + 1) // 2) for s in (row, col))
    y, x = row.start // 2, col.start // 2
    for name in ("best", "before", "after", "total", "index"):
        getattr(whole, name)[a:b, c:d] = getattr(part, name)[a - y : b - y, c - x : d - x]


DTCWT = ClassicalMethod(
    "dtcwt",
    "Dual-tree wavelets",
    "Takes the strongest of complex wavelets in six directions, which hardly notice shifts: fewer artefacts than "
    "plain wavelets.",
    "Lewis et al. 2007, Inf. Fusion 8:119; Kingsbury 2001, Appl. Comput. Harmon. Anal. 10:234",
    fuse_dtcwt,
    {"levels": 5, "tile_px": 4096},
)
CURVELET = ClassicalMethod(
    "curvelet",
    "Curvelets",
    "Takes the strongest of needle-shaped waves of many directions: for images of lines and fibres.",
    "Nencini et al. 2007, Inf. Fusion 8:143; Candès et al. 2006, Multiscale Model. Simul. 5:861",
    fuse_curvelet,
    {"levels": 5, "tile_px": 2560},
)
NSCT = ClassicalMethod(
    "nsct",
    "Contourlets (NSCT)",
    "Takes the strongest of undecimated waves of many directions: the slowest of the classical transforms, and one of "
    "the best.",
    "Zhang & Guo 2009, Signal Process. 89:1334; da Cunha, Zhou & Do 2006, IEEE Trans. Image Process. 15:3089",
    fuse_nsct,
    {"directions": (16, 8, 8, 4, 4), "tile_px": 800},
)
