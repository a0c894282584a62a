"""Registration of slices that drift, turn or breathe (change their scale with focus), through their blur."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import to_grey
from napari_focusstack.core.lazy import PlaneArray, in_memory
from napari_focusstack.core.progress import Job, Progress
from napari_focusstack.core.stack import Stack

Image = NDArray[np.float32]

WORK_PX = 1024
"""Planes are reduced to this length before they are compared."""
COARSE_PX = 128
"""The search starts at about this length."""
TILES = 10
"""Most tiles along the longer side; each tells a shift, and their scatter tells how far to trust them."""
MIN_TILE_PX = 32
"""Smaller tiles of a reduced image see the same blurred detail as their neighbours."""
ITERATIONS = 3
MIN_CORRELATION = 0.3
"""Tiles that resemble each other less tell nothing."""
MIN_TILES = 5
MONOTONE = 0.1
"""Share of the variance of scale over z that may not follow a rise or fall: breathing goes one way through focus, while
blur widens an object on both sides of it."""
MIN_MOTION_PX = 0.1
"""Motion below this is left alone: resampling costs more sharpness than it gains."""
SIGNIFICANT = 4.0
"""Motion must exceed so many standard errors."""
MAX_SHIFT = 0.15
"""Shifts between neighbours above this fraction of the image are not believed."""
MAX_SCALE = 0.04
"""Neither are changes of scale, or turns (in radians), between neighbours above this."""


@dataclass(frozen=True)
class Similarity:
    """Shift, scale and turn about the image centre: ``p -> factor·p + shift``, a point being x + iy in pixels.

    Attributes
    ----------
    factor : complex
        Scale and turn.
    shift : complex
        Shift in pixels.
    factor_error, shift_error : float
        Standard errors; infinite where the tiles told nothing.
    """

    factor: complex = 1.0
    shift: complex = 0.0
    factor_error: float = 0.0
    shift_error: float = 0.0

    def after(self, first: Similarity) -> Similarity:
        """The map that applies `first`, then this one."""
        return Similarity(
            self.factor * first.factor,
            self.factor * first.shift + self.shift,
            math.hypot(self.factor_error, first.factor_error),
            math.hypot(self.shift_error, first.shift_error),
        )

    def inverse(self) -> Similarity:
        """The map that undoes this one."""
        return Similarity(1 / self.factor, -self.shift / self.factor, self.factor_error, self.shift_error)

    def matrix(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """2 × 3 matrix for pixel coordinates (x, y, 1) of an image of `shape` (Y, X)."""
        centre = complex(shape[1] - 1, shape[0] - 1) / 2
        shift = self.shift + centre - self.factor * centre
        a, b = self.factor.real, self.factor.imag
        return np.array([[a, -b, shift.real], [b, a, shift.imag]])


@dataclass(frozen=True)
class Pair:
    """From the points of a slice to the same points of the next: with scale, and without."""

    free: Similarity = Similarity()
    rigid: Similarity = Similarity()


def align_series(stack: Stack, *, drive: int = 0, slices: Sequence[int] | None = None) -> Job[Stack]:
    """Register the slices of a series to the middle one of them, as a job.

    Each slice is compared with its neighbour, whose blur is nearly its own: both are reduced, band-passed and divided
    by their local contrast, which takes out exposure and much of the defocus. Phase correlation gives a first shift;
    then every tile of a grid gives the shift that makes it match best (Lucas and Kanade 1981, coarse to fine), and a
    similarity (shift, scale, turn) is fitted to the shifts with weights that ignore outliers. Chained from the middle,
    the similarities are applied where they exceed 0.1 pixels and 4 standard errors; the scale only if it rises or falls
    all through the stack. Tiles of poor correlation are not asked, and where too few are left, or a motion is
    implausible, a slice is taken to lie as its neighbour does.

    Parameters
    ----------
    stack : Stack
        One time and position: axes ZYX, ZYXS or CZYX.
    drive : int
        Channel that is compared; all channels are moved alike.
    slices : sequence of int, optional
        The slices to register, rising; all where not given. Others are neither read nor moved.

    Yields
    ------
    Progress
        One for each slice that is registered.

    Returns
    -------
    Stack
        Of the same shape and type; planes are moved (Lanczos, the border repeated) when they are read, and never leave
        the range of values that they had. The same stack where nothing moves. ``metadata["alignment"]`` tells the
        reference slice and the registered slices, in the numbering of the stack, and the matrix from the reference's
        pixels (x, y, 1) to those of each of them.

    Raises
    ------
    InputError
        If a slice can't be used.

    References
    ----------
    Lucas and Kanade 1981, Proc. 7th IJCAI 674
    """
    chosen = tuple(range(stack.n_slices) if slices is None else slices)
    n, shape = len(chosen), stack.plane_shape
    pairs: list[Pair] = []
    before = _pyramid(to_grey(stack.plane(chosen[0], c=drive)))
    yield Progress(1, n, f"Read slice {chosen[0]}")
    for done, (last, z) in enumerate(itertools.pairwise(chosen), 2):
        now = _pyramid(to_grey(stack.plane(z, c=drive)))
        pairs.append(_compare(before, now, shape))
        before = now
        yield Progress(done, n, f"Compared slices {last} and {z}")
    reference = n // 2
    maps = _chain([pair.free for pair in pairs], reference)
    if not _breathes(maps):
        maps = _chain([pair.rigid for pair in pairs], reference)
    maps = _significant(maps, shape)
    matrices = [m.matrix(shape) for m in maps]
    told = {
        "reference": chosen[reference],
        "slices": list(chosen),
        "matrices": [np.round(m, 6).tolist() for m in matrices],
    }
    metadata = {**stack.metadata, "alignment": told}
    if all(m == Similarity() for m in maps):
        return dataclasses.replace(stack, metadata=metadata)
    moved = {z: matrix for z, m, matrix in zip(chosen, maps, matrices, strict=True) if m != Similarity()}
    return dataclasses.replace(stack, data=_warped(stack, moved), metadata=metadata)


def warp(plane: NDArray[Any], matrix: NDArray[np.float64]) -> NDArray[Any]:
    """Resample a plane at the places that `matrix` gives for its pixels.

    Parameters
    ----------
    plane : (Y, X) or (Y, X, 3) array
    matrix : (2, 3) float64
        From the result's pixels (x, y, 1) to the plane's.

    Returns
    -------
    array
        Of the same shape and type; Lanczos interpolation, cut to the plane's own range; the border is repeated.
    """
    known = plane.dtype.name in ("uint8", "uint16", "int16", "float32", "float64")
    source = plane if known else plane.astype(np.float64)
    moved = cv2.warpAffine(
        np.ascontiguousarray(source),
        matrix,
        (plane.shape[1], plane.shape[0]),
        flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if plane.dtype.kind == "b":
        mask: NDArray[np.bool_] = moved > 0.5
        return mask
    np.clip(moved, source.min(), source.max(), out=moved)
    if not known and plane.dtype.kind in "ui":
        np.rint(moved, out=moved)
    result: NDArray[Any] = moved.astype(plane.dtype, copy=False)
    return result


def _warped(stack: Stack, matrices: Mapping[int, NDArray[np.float64]]) -> PlaneArray:
    """The stack's pixels, each plane moved by its slice's matrix when it is read."""
    n_plane = 3 if stack.is_rgb else 2
    leading = tuple(stack.data.shape[:-n_plane])
    z_axis = stack.axes.index("Z")

    def read(number: int) -> NDArray[Any]:
        where = np.unravel_index(number, leading)
        plane = in_memory(stack.data[tuple(int(i) for i in where)])
        matrix = matrices.get(int(where[z_axis]))
        return plane if matrix is None else warp(plane, matrix)

    numbers = np.arange(int(np.prod(leading))).reshape(leading)
    return PlaneArray(read, numbers, plane_shape=tuple(stack.data.shape[-n_plane:]), dtype=stack.dtype)


def _chain(pairs: Sequence[Similarity], reference: int) -> list[Similarity]:
    """Maps from the reference slice to each slice, from those of each slice to the next."""
    maps = {reference: Similarity()}
    for z in range(reference, len(pairs)):
        maps[z + 1] = pairs[z].after(maps[z])
    for z in range(reference - 1, -1, -1):
        maps[z] = pairs[z].inverse().after(maps[z + 1])
    return [maps[z] for z in range(len(pairs) + 1)]


def _breathes(maps: Sequence[Similarity]) -> bool:
    """Whether the scale rises or falls all through the stack, or at least does nothing else."""
    scale = np.log([abs(m.factor) for m in maps])
    variance = float(scale.var())
    rest = min(float(np.square(scale - _isotonic(s * scale) * s).mean()) for s in (1, -1))
    return rest <= MONOTONE * variance


def _isotonic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rising sequence nearest to `values` by least squares (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values.tolist():
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (b, n_b), (a, n_a) = pools.pop(), pools.pop()
            pools.append(((a * n_a + b * n_b) / (n_a + n_b), n_a + n_b))
    return np.repeat([v for v, _ in pools], [n for _, n in pools])


def _significant(maps: Sequence[Similarity], shape: tuple[int, int]) -> list[Similarity]:
    """The maps without what can't be told from no motion at all, over the whole stack and in each slice."""
    radius = math.hypot(*shape) / 2

    def counts(motion: float, error: float) -> bool:
        return motion > max(MIN_MOTION_PX, SIGNIFICANT * error)

    scales = any(counts(abs(m.factor - 1) * radius, m.factor_error * radius) for m in maps)
    shifts = any(counts(abs(m.shift), m.shift_error) for m in maps)
    kept = []
    for m in maps:
        one = Similarity(m.factor if scales else 1.0, m.shift if shifts else 0.0)
        moves = abs(one.factor - 1) * radius + abs(one.shift) > MIN_MOTION_PX
        kept.append(one if moves else Similarity())
    return kept


def _pyramid(grey: Image) -> list[Image]:
    """Local-contrast images of a plane, coarse to fine, each half the next; the finest at most `WORK_PX` long."""
    factor = max(1.0, max(grey.shape) / WORK_PX)
    size = max(1, round(grey.shape[1] / factor)), max(1, round(grey.shape[0] / factor))
    level = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if factor > 1 else grey
    levels = [_contrast(level)]
    while max(level.shape) >= 2 * COARSE_PX:
        level = cv2.pyrDown(level)
        levels.append(_contrast(level))
    return levels[::-1]


def _contrast(grey: Image) -> Image:
    """Band-passed and divided by the local contrast: about -1…1, near 0 where there is nothing but noise."""
    band = cv2.GaussianBlur(grey, (0, 0), 1.2) - cv2.GaussianBlur(grey, (0, 0), 4.0)
    energy = cv2.boxFilter(band * band, -1, (25, 25))
    floor = 0.1 * float(energy.mean()) + np.finfo(np.float32).tiny
    result: Image = band / np.sqrt(energy + floor)
    return result


def _compare(before: list[Image], now: list[Image], shape: tuple[int, int]) -> Pair:
    """The map from points of the one slice to the same points of the next, in full-size pixels."""
    found = Similarity(1.0, _phase_shift(before[0], now[0]))
    tiles = None
    for i, (fixed, moving) in enumerate(zip(before, now, strict=True)):
        if i:
            found = Similarity(found.factor, 2 * found.shift)
        for _ in range(ITERATIONS):
            tiles = _tile_shifts(fixed, moving, found)
            if tiles is None:
                return Pair()
            step = _fit(tiles)
            found = found.after(Similarity(step.factor, step.shift))
    assert tiles is not None
    # What each tile moved in all is what the last step but one moved it, and what it still wanted to.
    before_step = found.after(Similarity(step.factor, step.shift).inverse())
    points = tiles.points
    moved = before_step.factor * (points + tiles.shifts) + before_step.shift - points
    total = Tiles(points, moved, tiles.trust)
    scale = max(shape) / max(before[-1].shape)
    free, rigid = (
        Similarity(m.factor, m.shift * scale, m.factor_error, m.shift_error * scale)
        for m in (_fit(total), _fit(total, rigid=True))
    )
    believed = abs(free.shift) <= MAX_SHIFT * max(shape) and abs(free.factor - 1) <= MAX_SCALE
    return Pair(free, rigid) if believed else Pair()


def _phase_shift(fixed: Image, moving: Image) -> complex:
    """Shift of the whole image by phase correlation; 0 where it makes the images less alike."""
    if min(fixed.shape) < 16:
        return 0.0
    window = cv2.createHanningWindow(fixed.shape[::-1], cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(fixed, moving, window)
    shift = complex(x, y)
    if abs(shift) > MAX_SHIFT * max(fixed.shape):
        return 0.0
    there = _moved(moving, Similarity(1.0, shift))
    return shift if (fixed * there).mean() > (fixed * moving).mean() else 0.0


def _moved(moving: Image, by: Similarity) -> Image:
    height, width = moving.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    result: Image = cv2.warpAffine(
        moving, by.matrix((height, width)), (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return result


@dataclass(frozen=True)
class Tiles:
    """Shifts that tiles tell.

    Attributes
    ----------
    points, shifts : (n,) complex128
        Centre of each tile from the image's, and how far it moved, in pixels.
    trust : (n,) float64
        Weight of each.
    """

    points: NDArray[np.complex128]
    shifts: NDArray[np.complex128]
    trust: NDArray[np.float64]


def _tile_shifts(fixed: Image, moving: Image, at: Similarity) -> Tiles | None:
    """How far each tile is from matching, with `at` applied; None where too few can tell."""
    there = _moved(moving, at)
    mean = (fixed + there) / 2
    gx, gy = cv2.Scharr(mean, cv2.CV_32F, 1, 0, scale=1 / 32), cv2.Scharr(mean, cv2.CV_32F, 0, 1, scale=1 / 32)
    error = fixed - there
    height, width = fixed.shape
    size = max(float(MIN_TILE_PX), max(height, width) / TILES)
    rows, columns = max(1, round(height / size)), max(1, round(width / size))

    def over_tiles(product: Image) -> NDArray[np.float64]:
        return np.asarray(cv2.resize(product, (columns, rows), interpolation=cv2.INTER_AREA), np.float64).ravel()

    xx, yy, xy = over_tiles(gx * gx), over_tiles(gy * gy), over_tiles(gx * gy)
    x_error, y_error = over_tiles(gx * error), over_tiles(gy * error)
    power = np.sqrt(over_tiles(fixed * fixed) * over_tiles(there * there))
    alike = over_tiles(fixed * there) / np.maximum(power, 1e-12)
    weakest = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    usable = (alike > MIN_CORRELATION) & (weakest > 0.02 * (xx + yy)) & (power > 0.05 * power.max())
    if usable.sum() < MIN_TILES:
        return None
    determinant = xx * yy - xy * xy
    shifts = (yy * x_error - xy * y_error)[usable] + 1j * (xx * y_error - xy * x_error)[usable]
    row, column = np.mgrid[:rows, :columns]
    x = (column.ravel() + 0.5) * width / columns - width / 2
    y = (row.ravel() + 0.5) * height / rows - height / 2
    trust = weakest[usable] / np.maximum(over_tiles(error * error)[usable], 1e-12)
    trust = np.minimum(trust, 4 * np.median(trust))  # no tile alone decides
    return Tiles(x[usable] + 1j * y[usable], shifts / determinant[usable], trust)


def _fit(tiles: Tiles, *, rigid: bool = False) -> Similarity:
    """Similarity (or shift and turn) through the shifts: least squares, reweighted by Tukey's biweight."""
    points, shifts, weights = tiles.points, tiles.shifts, tiles.trust
    for _ in range(6):
        total = weights.sum()
        centre, middle = (weights * points).sum() / total, (weights * shifts).sum() / total
        arm = points - centre
        spread = max(float((weights * np.abs(arm) ** 2).sum()), 1e-12)
        factor = 1 + (weights * arm.conj() * (shifts - middle)).sum() / spread
        factor = factor / abs(factor) if rigid else factor
        rest = np.abs(shifts - middle - (factor - 1) * arm)
        limit = 4.7 * max(1.2 * float(np.median(rest)), 1e-3)
        weights = tiles.trust * np.maximum(0.0, 1 - (rest / limit) ** 2) ** 2
    degrees = float(max(1, int(np.count_nonzero(weights)) - 2))
    variance = float((weights * rest**2).sum()) / degrees / 2
    factor_error = math.sqrt(variance / spread)
    shift_error = math.sqrt(variance / total + (factor_error * abs(centre)) ** 2)
    return Similarity(complex(factor), complex(middle - (factor - 1) * centre), factor_error, shift_error)
