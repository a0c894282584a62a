"""Dense SIFT fusion: gradients around each pixel say where a slice is sharp, descriptors settle the seams."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion.method import ClassicalMethod, Merged, Plane32, Series
from napari_focusstack.core.fusion.noise import measure_noise
from napari_focusstack.core.fusion.sharpness import NOISE_CONSTANT, SharpnessTrack, summarise
from napari_focusstack.core.progress import Job, Progress

ORIENTATIONS = 8
CELLS = 4
Mask = NDArray[np.bool_]
GRADIENT_GAIN = 0.5 * np.pi / 2
"""Squared mean magnitude of the central differences of white noise of variance 1."""


def fuse_dsift(series: Series, *, patch_px: int, window_px: int, smallest_share: float, search_px: int) -> Job[Merged]:
    """Fuse by dense SIFT, in two passes, for any number of slices.

    The activity of a pixel is the sum of its unnormalised SIFT descriptor: the gradients' magnitude in the patch around
    it, weighted as SIFT's cells overlap. First pass: each window of `window_px`² is won by the slice whose activities
    in it have the largest sum. A pixel is certain where all the windows that hold it were won by one slice; certain
    regions that are too small are not believed. Second pass: certain pixels are copied from their slice. At the others,
    each slice in turn challenges the best so far: the pixel's descriptor is looked for in the best so far, within
    `search_px` (slices may be shifted or magnified a little), and the activities there compared; and the other way
    round. Where the two disagree, the activities at the pixel itself decide.

    For two slices this is Liu, Liu and Wang's rule; they fuse more of them one after the other, which is done here for
    uncertain pixels only.

    Parameters
    ----------
    series : Series
    patch_px : int
        Side of a descriptor's patch (4 × 4 cells), a multiple of 4.
    window_px : int
        Side of the windows that vote, in pixels.
    smallest_share : float
        Certain regions of a smaller share of the image than this are not believed.
    search_px : int
        How far a descriptor is looked for, in pixels.
    """
    n = len(series)
    h, w = series.plane_shape
    floor = np.float32(NOISE_CONSTANT * GRADIENT_GAIN * measure_noise(series).guide)
    track = SharpnessTrack(((h + 1) // 2, (w + 1) // 2), power=1, positions=series.heights)
    total = _patch_sum(np.ones((1, 1), np.float32), patch_px).item()
    best = np.full((h, w), -1, np.float32)
    winner = np.zeros((h, w), np.uint16)
    for i in range(n):
        activity = _patch_sum(_gradient(series.guide(i))[2], patch_px)
        track.add(np.log(np.square(cv2.pyrDown(activity) / np.float32(total)) + floor))
        votes = cv2.blur(activity, (window_px, window_px), borderType=cv2.BORDER_REFLECT)
        winner[votes > best] = i
        cv2.max(best, votes, best)
        yield Progress(i + 1, 2 * n, f"slice {i + 1} of {n}: where it is sharp")
    certain = _certain(winner, n, window_px, smallest_share * h * w)
    rest = _Rest(series, ~certain, patch_px=patch_px, search_px=search_px)
    image = np.zeros(series.shape, np.float32)
    for i in range(n):
        plane = series.image(i)
        chosen = (winner == i) & certain | rest.challenge(series.guide(i))
        image[chosen] = plane[chosen]
        winner[chosen] = i
        yield Progress(n + i + 1, 2 * n, f"slice {i + 1} of {n}: copying")
    _, peak, confidence = summarise([track], (h, w))
    return Merged(image, winner, np.clip(peak, winner - np.float32(0.5), winner + np.float32(0.5)), confidence)


def _certain(winner: NDArray[np.uint16], n: int, window_px: int, smallest_px: float) -> Mask:
    """Pixels all of whose windows were won by one slice, in regions that are not too small."""
    window = np.ones((window_px, window_px), np.uint8)
    certain: Mask = cv2.dilate(winner, window) == cv2.erode(winner, window)
    for i in range(n):
        mine = (certain & (winner == i)).view(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mine, connectivity=4)
        small = stats[:, cv2.CC_STAT_AREA] < smallest_px
        small[0] = False
        certain &= ~small[labels]
    return certain


class _Rest:
    """The contest of the slices for the uncertain pixels.

    Parameters
    ----------
    series : Series
    uncertain : (Y, X) bool
    patch_px, search_px : int
        See `fuse_dsift`.
    """

    def __init__(self, series: Series, uncertain: Mask, *, patch_px: int, search_px: int) -> None:
        self.uncertain = uncertain
        self.patch_px = patch_px
        reach = range(-search_px, search_px + 1)
        self.shifts = [(y, x) for y in reach for x in reach]
        self.cells: Plane32 = np.zeros((0, *series.plane_shape), np.float32)
        self.activity: Plane32 = np.zeros(series.plane_shape, np.float32)

    def challenge(self, guide: Plane32) -> Mask:
        """Pixels that the next slice wins; it takes the place of the best so far there."""
        gx, gy, magnitude = _gradient(guide)
        activity = _patch_sum(magnitude, max(4, self.patch_px // 2))
        if not self.uncertain.any():
            return self.uncertain
        cells = _cells(gx, gy, magnitude, self.patch_px // CELLS)
        if not len(self.cells):
            self.cells, self.activity = cells, activity
            return self.uncertain.copy()
        wins = self._wins(cells, activity) & self.uncertain
        np.copyto(self.activity, activity, where=wins)
        np.copyto(self.cells, cells, where=wins)
        return wins

    def _wins(self, cells: Plane32, activity: Plane32) -> Mask:
        norm = np.sqrt(_over_cells(_products(cells, cells), self.patch_px // CELLS)) + np.float32(1e-12)
        norm_best = np.sqrt(_over_cells(_products(self.cells, self.cells), self.patch_px // CELLS)) + np.float32(1e-12)
        closest = np.full(activity.shape, -1, np.float32)
        closest_back = closest.copy()
        theirs, ours = self.activity.copy(), activity.copy()
        for shift in self.shifts:
            there = np.stack([_moved(c, shift) for c in self.cells])
            likeness = _over_cells(_products(cells, there), self.patch_px // CELLS)
            likeness /= norm
            likeness /= _moved(norm_best, shift)
            _keep(closest, likeness, theirs, _moved(self.activity, shift))
            # The same pairs of pixels seen from the best so far: shifted back by as much.
            back = (-shift[0], -shift[1])
            _keep(closest_back, _moved(likeness, back), ours, _moved(activity, back))
        forward, backward = activity > theirs, ours > self.activity
        return np.where(forward == backward, forward, activity > self.activity)


def _keep(closest: Plane32, likeness: Plane32, values: Plane32, offered: Plane32) -> None:
    """Take the values offered where the likeness is the largest so far."""
    better = likeness > closest
    np.copyto(closest, likeness, where=better)
    np.copyto(values, offered, where=better)


def _gradient(guide: Plane32) -> tuple[Plane32, Plane32, Plane32]:
    """Central differences along x and y, and their magnitude."""
    mask, one = np.array([-0.5, 0, 0.5]), np.ones(1)
    gx = cv2.sepFilter2D(guide, cv2.CV_32F, mask, one, borderType=cv2.BORDER_REFLECT)
    gy = cv2.sepFilter2D(guide, cv2.CV_32F, one, mask, borderType=cv2.BORDER_REFLECT)
    return gx, gy, cv2.magnitude(gx, gy)


def _tent(cell_px: int) -> NDArray[np.float64]:
    """How much a pixel counts in a cell, by its distance: linear interpolation between neighbouring cells."""
    distance = np.abs(np.arange(-cell_px + 1, cell_px))
    tent: NDArray[np.float64] = 1.0 - distance / cell_px
    return tent


def _patch_sum(magnitude: Plane32, patch_px: int) -> Plane32:
    """Sum of an unnormalised descriptor: the orientations' shares add up to the magnitude, the cells' tents overlap."""
    cell_px = max(1, patch_px // CELLS)
    offsets = cell_px * np.arange(CELLS)
    row = np.zeros(offsets[-1] + 2 * cell_px - 1)
    for offset in offsets:
        row[offset : offset + 2 * cell_px - 1] += _tent(cell_px)
    total: Plane32 = cv2.sepFilter2D(magnitude, cv2.CV_32F, row, row, borderType=cv2.BORDER_REFLECT)
    return total


def _cells(gx: Plane32, gy: Plane32, magnitude: Plane32, cell_px: int) -> Plane32:
    """(8, Y, X) sum of the gradients in the cell around each pixel by orientation, shared linearly between two."""
    turn = cv2.phase(gx, gy) * np.float32(ORIENTATIONS / (2 * np.pi))
    tent = _tent(cell_px)
    cells = np.empty((ORIENTATIONS, *gx.shape), np.float32)
    for k in range(ORIENTATIONS):
        apart = np.abs(turn - np.float32(k))
        np.minimum(apart, ORIENTATIONS - apart, out=apart)
        share = np.maximum(1 - apart, 0) * magnitude
        cv2.sepFilter2D(share, cv2.CV_32F, tent, tent, dst=cells[k], borderType=cv2.BORDER_REFLECT)
    return cells


def _products(a: Plane32, b: Plane32) -> Plane32:
    """Sum over the orientations of the product of two cells."""
    total: Plane32 = a[0] * b[0]
    for one, other in zip(a[1:], b[1:], strict=True):
        total += one * other
    return total


def _over_cells(plane: Plane32, cell_px: int) -> Plane32:
    """Sum over the 4 × 4 cells of the patch around each pixel."""
    row = np.zeros(cell_px * (CELLS - 1) + 1)
    row[::cell_px] = 1
    total: Plane32 = cv2.sepFilter2D(plane, cv2.CV_32F, row, row, borderType=cv2.BORDER_REFLECT)
    return total


def _moved(plane: Plane32, shift: tuple[int, int]) -> Plane32:
    """The plane whose pixel (y, x) is that at (y, x) + shift; border pixels are repeated."""
    h, w = plane.shape
    (y, x), border = shift, max(map(abs, shift))
    if border == 0:
        return plane
    framed = cv2.copyMakeBorder(plane, border, border, border, border, cv2.BORDER_REPLICATE)
    moved: Plane32 = framed[border + y : border + y + h, border + x : border + x + w]
    return moved


DSIFT = ClassicalMethod(
    "dsift",
    "Dense SIFT",
    "Copies each pixel from the slice with the most gradients around it, and settles the seams by comparing local "
    "features, which forgives slices that are shifted a little.",
    "Liu, Liu & Wang 2015, Inf. Fusion 23:139",
    fuse_dsift,
    {"patch_px": 16, "window_px": 16, "smallest_share": 0.001, "search_px": 2},
)
