"""Where the specimen lies: found from the whole stack in one pass, or drawn by hand.

Every slice is reduced to 256 pixels on arrival; only those small slices are kept. From them, in this order:

1. *Background.* A quadratic surface is fitted to the mean slice, again and again to those pixels that lie near it, so
   that uneven illumination is followed and objects are not.
2. *Deviation.* How far a place departs from the background: in brightness (fluorescence, absorbing objects), or, where
   brightness doesn't tell, in local contrast (transparent objects).
3. *Does anything stand out?* The background's own scatter of that deviation is the yardstick. Where the split into two
   classes is worth fewer than `STANDS_OUT` of these, the specimen fills the field, or there is none: all patches count
   alike. So they do where most of the detail that goes through focus lies outside: what stands out of the mean slice is
   but the largest part of the specimen then, the rest is small and hidden by its own blur on most slices.
4. *Weight.* Within the outline, what deviates as much as the main part of the specimen, and does so in most slices,
   counts fully. A fibre on the cover slip is dark while it is sharp and thins out when it is not; a cell stays.
5. *Textured floor.* Where the background has detail of its own nearly everywhere, only the inside of the specimen
   counts: at its rim the floor shines through as soon as the rim is blurred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, maximum
from skimage.filters import threshold_otsu
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.outline import main_pieces
from napari_focusstack.core.report import Grid, Map

Small = NDArray[np.float32]
Curve = NDArray[np.float64]

SMALL_PX = 256
"""Longest side of the reduced slices in pixels; half of it for stacks of more than `MANY_SLICES`."""
MANY_SLICES = 256
SAMPLED_SLICES = 48
"""Statistics that need all slices at once look at this many, evenly spread."""
FEW_SLICES = 5
STANDS_OUT = 7.0
"""Distance of the classes, in robust standard deviations of the background, from which on the specimen stands out."""
RIM = 0.2
"""The outline of an object runs where its contrast falls to this share of its highest."""
DISTINCT = 1.5
"""A maximum of contrast is an object of its own if it rises by this factor above the saddle to a higher one."""
CLOSING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
TEXTURED = 0.3
"""A floor counts as textured if its detail changes over z by this share of what the specimen's does,"""
RISES = 0.5
"""and by this share of its own lowest value: what noise alone leaves there changes by less."""
NEARLY_ALL = 0.25
"""This quantile of a field stands for nearly all of it: a floor has detail there, ground between objects has none."""
APART = 0.05
"""Share of the weights that the floor's likeness has to leave, for it to be told apart."""
FEW = 0.05
"""Less than this share of a field is but part of the specimen if most of the detail lies elsewhere; so is more than
that, unless what lies elsewhere is a textured floor."""
END = 0.2
"""What is sharpest within this share of the slices from either end may be a passing guest."""
GUEST = 0.75
"""Persistence below which a place counts so little (a third) that the outline leaves it out."""
OPENING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
BLOCKS = 16
DETAIL_BLOCKS = 64


@dataclass(frozen=True)
class Specimen:
    """What was found.

    Attributes
    ----------
    outline : (Y, X) bool or None
        The specimen; None where nothing stands out from the field.
    drawn : (Y, X) bool or None
        The same for display, without pieces that hardly count; None as `outline`.
    strength : (vy, vx) float32 or None
        How much each place of the reduced slice counts, 0…1; None as `outline`.
    floor : bool
        Whether the specimen lies on a floor that has detail of its own.
    views : (Z, vy, vx) float16
        The reduced slices, shifted and scaled alike.
    exposure : (Z,) float64
        Brightness of each slice relative to the mean slice, where the whole field flickers alike; 1 elsewhere.
    """

    outline: NDArray[np.bool_] | None
    drawn: NDArray[np.bool_] | None
    strength: Small | None
    floor: bool
    views: NDArray[np.float16]
    exposure: NDArray[np.float64]

    def weights(self, maps: Map, grid: Grid, plane_shape: tuple[int, int]) -> Map | None:
        """How much each patch counts.

        Parameters
        ----------
        maps : (Z, gy, gx) float32
            Focus values: on a textured floor, a patch counts the less, the more its values go through z as those of the
            floor do (by the square of one minus their correlation).
        grid : Grid
            Where the patches lie.
        plane_shape : (int, int)
            (Y, X) of a slice in pixels.

        Returns
        -------
        (gy, gx) float32 or None
            0…1; None where nothing stands out.
        """
        if self.strength is None:
            return None
        full = cv2.resize(self.strength, plane_shape[::-1], interpolation=cv2.INTER_LINEAR).reshape(plane_shape)
        weights = patch_means(full, grid)
        if self.floor:
            apart = weights * _unlike(maps, weights == weights.min())
            # A specimen that goes through z as its floor does lies at the same height: nothing to tell apart then.
            weights = apart if apart.sum() > APART * weights.sum() else weights
        return weights / weights.max() if weights.max() > 0 else None


class SpecimenFinder:
    """Collects a reduced image of each slice, then says where the specimen lies.

    Parameters
    ----------
    plane_shape : (int, int)
        (Y, X) of a slice in pixels.
    n_slices : int
        How many slices will come.
    """

    def __init__(self, plane_shape: tuple[int, int], n_slices: int) -> None:
        self._shape = plane_shape
        side = SMALL_PX if n_slices <= MANY_SLICES else SMALL_PX // 2
        scale = min(1.0, side / max(plane_shape))
        self._small = max(1, round(plane_shape[0] * scale)), max(1, round(plane_shape[1] * scale))
        self._sum = np.zeros(self._small)
        self._views = np.zeros((n_slices, *self._small), np.float16)
        self._blocks: list[Small] = []
        self._details: list[Small] = []
        self._level = self._unit = 0.0

    def add(self, plane: NDArray[np.float32]) -> None:
        """Take in the next slice, (Y, X) float32."""
        small = _resized(plane, self._small)
        z = len(self._blocks)
        if z == 0:
            self._level, self._unit = float(np.median(small)), float(small.std()) or 1.0
        self._sum += small
        self._views[z] = np.clip((small - self._level) / self._unit, -6e4, 6e4)
        self._blocks.append(_resized(small, tuple(min(BLOCKS, n) for n in self._small)))
        # Detail at full resolution, on a few rows only: the reduced slice has lost the grain of a fine floor.
        rows = plane[:: max(1, self._shape[0] // (4 * DETAIL_BLOCKS))]
        step = cv2.subtract(rows[:, 2:], rows[:, :-2]) if plane.shape[1] > 2 else rows
        self._details.append(_resized(cv2.multiply(step, step), tuple(min(DETAIL_BLOCKS, n) for n in self._small)))

    def find(self) -> Specimen:
        """Say where the specimen lies, after the last slice."""
        exposure = _exposure(np.stack(self._blocks))
        mean = ((self._sum / len(self._blocks) - self._level) / self._unit).astype(np.float32)
        background = _background(mean)
        offset = self._level / self._unit
        chosen = np.unique(np.linspace(0, len(self._views) - 1, SAMPLED_SLICES).round().astype(int))
        slices = np.stack([(self._views[z] + offset) / exposure[z] - offset - background for z in chosen])
        contrast = _local_contrast(slices.astype(np.float32))
        typical, highest = np.median(contrast, axis=0), contrast.max(axis=0)
        scale = max(self._small) / SMALL_PX
        brightness = np.abs(cv2.GaussianBlur(mean - background, (0, 0), 2.5 * scale))
        where = contrast.argmax(axis=0) / max(1, len(contrast) - 1)
        for deviation in (brightness, typical - np.median(typical)):
            inside = _standing_out(deviation, highest, scale)
            if inside is None or self._is_background(inside):
                continue
            guest = _guest(inside, typical, highest, where)
            if not self._is_part(inside, guest):
                break
        else:
            return Specimen(None, None, None, False, self._views, exposure)
        strength = self._strength(inside, highest, guest)
        mass = (inside * typical).astype(np.float32)
        mean_guest = _smooth(mass * guest.astype(np.float32)) / (_smooth(mass) + 1e-9)
        counts = cv2.morphologyEx((inside & (mean_guest > GUEST)).astype(np.uint8), cv2.MORPH_OPEN, OPENING)
        shown = counts.astype(bool) if counts.any() else inside
        outline, drawn = (self._at_full_size(mask) for mask in (shown, main_pieces(shown, strength)))
        return Specimen(outline, drawn, strength, self._is_floor_textured(inside), self._views, exposure)

    def _at_full_size(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        whole = cv2.resize(mask.astype(np.float32), self._shape[::-1], interpolation=cv2.INTER_LINEAR)
        full: NDArray[np.bool_] = whole.reshape(self._shape) > 0.5
        return full

    def _strength(self, inside: NDArray[np.bool_], highest: Small, guest: NDArray[np.float64]) -> Small:
        """How much each place inside counts, 0…1, from its contrast and its persistence."""
        amount = np.minimum(1, highest / np.quantile(highest[inside], 0.75))
        strength = np.where(inside, amount * guest**4, 0).astype(np.float32)
        if self._is_floor_textured(inside):
            depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
            reach = cv2.dilate(depth, np.ones((3, 3), np.uint8), iterations=int(depth.max()))
            rim = np.minimum(0.35 * reach, 12.0 * max(self._small) / SMALL_PX)
            strength[depth <= rim] = 0
        return strength

    def _is_floor_textured(self, inside: NDArray[np.bool_]) -> bool:
        """Whether detail outside goes through focus too, nearly everywhere: it rises by much more than noise does."""
        within, without = self._detail_curves(inside)
        if len(without) < FEW_SLICES:
            return False
        change = float(np.ptp(without))
        return change > RISES * float(without.min()) and change > TEXTURED * float(np.ptp(within))

    def _is_background(self, inside: NDArray[np.bool_]) -> bool:
        """Whether what stands out is the empty rest about a specimen that fills the field: plain, and at the border."""
        border = np.ones(inside.shape, bool)
        border[1:-1, 1:-1] = False
        within, without = self._detail_curves(inside)
        plain = float(np.ptp(within)) < TEXTURED * float(np.ptp(without))
        return plain and bool(inside[border].mean() > 2 * inside.mean())

    def _is_part(self, inside: NDArray[np.bool_], guest: NDArray[np.float64]) -> bool:
        """Whether what stands out is but a part of the specimen: most detail that goes through focus lies elsewhere.

        Dark nuclei in a tissue, or one large object among many small ones, which blur hides on most slices.
        """
        change = np.ptp(np.stack(self._details), axis=0)
        change = np.maximum(change - 2 * np.quantile(change, 0.1), 0)
        change *= _resized((guest**4).astype(np.float32), change.shape)
        share = _resized(inside.astype(np.float32), change.shape)
        elsewhere = float((share * change).sum()) < 0.5 * float(change.sum())
        return elsewhere and (float(inside.mean()) < FEW or not self._is_floor_textured(inside))

    def _detail_curves(self, inside: NDArray[np.bool_]) -> tuple[Curve, Curve]:
        """Typical detail inside and outside, (Z,) each."""
        details = np.stack(self._details).astype(np.float64)
        share = _resized(inside.astype(np.float32), details.shape[1:])
        within, without = share >= min(0.5, float(share.max())), share <= float(share.min())
        return np.median(details[:, within], axis=1), np.quantile(details[:, without], NEARLY_ALL, axis=1)


def _guest(
    inside: NDArray[np.bool_], typical: Small, highest: Small, where: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Persistence of each place: 1 for the specimen, towards 0 for what is sharp at one end of the stack only.

    Half the specimen's mass has at least the usual persistence; what has less, and has its highest contrast (`where` in
    the stack, 0…1) near an end, is a passing guest.
    """
    lasting = typical / np.maximum(highest, 1e-12)
    usual = _weighted_median(lasting[inside], typical[inside])
    share: NDArray[np.float64] = np.where((where < END) | (where > 1 - END), np.minimum(1, lasting / usual), 1.0)
    return share


def _smooth(image: NDArray[np.float32]) -> Small:
    """Mean around each place, over about the size of a small object in the reduced slice."""
    blurred: Small = cv2.GaussianBlur(image, (0, 0), 2.5)
    return blurred


def _resized(image: NDArray[np.float32], shape: tuple[int, ...]) -> Small:
    """Area means of an image on another raster."""
    means: Small = cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_AREA).reshape(shape)
    return means


def _exposure(blocks: Small) -> NDArray[np.float64]:
    """(Z,) brightness of each slice over the mean slice, as far as the whole field shares it.

    Focus moves light from place to place, a flickering lamp scales all places alike: the ratio to the mean slice is
    trusted as far as it exceeds its own spread over the field (``g² / (g² + s²)`` of it, g the median of the logarithm
    and s its spread between quartiles).
    """
    mean = blocks.mean(axis=0)
    if mean.min() <= 0 or blocks.min() <= 0:
        return np.ones(len(blocks))
    ratio = np.log(blocks / mean).reshape(len(blocks), -1).astype(np.float64)
    low, gain, high = np.quantile(ratio, (0.25, 0.5, 0.75), axis=1)
    trust = gain**2 / np.maximum(gain**2 + (high - low) ** 2, 1e-12)
    exposure: NDArray[np.float64] = np.exp(gain * trust)
    return exposure


def _background(image: Small) -> Small:
    """Smooth background: a quadratic surface, refitted to what lies near it (Geman-McClure weights)."""
    h, w = image.shape
    y, x = np.mgrid[-1 : 1 : complex(0, h), -1 : 1 : complex(0, w)]
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1).T
    values = image.ravel().astype(np.float64)
    surface = np.full_like(values, np.median(values))
    for _ in range(15):
        off = values - surface
        spread = 2 * 1.4826 * np.quantile(np.abs(off), 0.4) + 1e-9
        weighted = basis * (1 / (1 + (off / spread) ** 2) ** 2)[:, None]
        surface = basis @ np.linalg.lstsq(weighted.T @ basis, weighted.T @ values, rcond=None)[0]
    fitted: Small = surface.reshape(h, w).astype(np.float32)
    return fitted


def _local_contrast(slices: Small) -> Small:
    """(Z, vy, vx) root mean square of each slice about a place."""
    sigma = 1.5 * max(slices.shape[1:]) / SMALL_PX
    return np.stack([np.sqrt(np.maximum(cv2.GaussianBlur(s * s, (0, 0), sigma), 0)) for s in slices])


def _standing_out(deviation: Small, highest: Small, scale: float) -> NDArray[np.bool_] | None:
    """Where the deviation stands out from the background; None where it does nowhere.

    Parameters
    ----------
    deviation, highest : (vy, vx)
        Deviation from the background over all slices, and in the slice where it is highest, which is the sharper one.
    scale : float
        Longest side of the reduced slice over `SMALL_PX`.
    """
    if not deviation.max() > 0:
        return None
    upper = deviation > threshold_otsu(deviation)
    rest = deviation[~upper]
    scatter = 1.4826 * float(np.median(np.abs(rest))) + 1e-6 * float(deviation.max())
    if not upper.any() or deviation[upper].mean() - rest.mean() < STANDS_OUT * scatter:
        return None
    inside = deviation > STANDS_OUT * scatter
    # Each object is cut at a share of its own height: bright ones don't hide faint ones, nor does haze pass for one.
    height = np.log(cv2.GaussianBlur(highest, (0, 0), max(1.0, 2 * scale)) + 1e-6 * float(highest.max()))
    tops, _ = label(h_maxima(np.where(inside, height, height.min()), np.log(DISTINCT)))
    objects = watershed(-height, tops, mask=inside)
    level = maximum(highest, objects, np.arange(objects.max() + 1))
    closed = cv2.morphologyEx((inside & (highest > RIM * level[objects])).astype(np.uint8), cv2.MORPH_CLOSE, CLOSING)
    outline: NDArray[np.bool_] = closed.astype(bool)
    return outline


def _unlike(maps: Map, floor: NDArray[np.bool_]) -> Map:
    """(gy, gx) 0…1: how little the values of each patch go through z as the floor's do."""
    ground = maps[:, floor].mean(axis=1, dtype=np.float64)
    ground -= ground.mean()
    centred = maps - maps.mean(axis=0, dtype=np.float64)
    norm = np.sqrt((centred**2).sum(axis=0) * (ground**2).sum())
    like = np.tensordot(ground, centred, axes=1) / np.maximum(norm, 1e-300)
    return np.asarray(np.clip(1 - like, 0, 1) ** 2, np.float32)


def _weighted_median(values: NDArray[np.floating[Any]], weights: NDArray[np.floating[Any]]) -> float:
    order = np.argsort(values)
    mass = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(mass, mass[-1] / 2)])


def patch_means(image: NDArray[np.float32], grid: Grid) -> Map:
    """Mean of an image (Y, X) over each patch of a grid, (gy, gx) float32; 0 for patches off the image."""
    total = cv2.integral(image, sdepth=cv2.CV_64F)
    edges = []
    for axis in (0, 1):
        edge = grid.origin_px[axis] + grid.cell_px[axis] * np.arange(grid.shape[axis] + 1)
        edges.append(np.clip(np.rint(edge).astype(int), 0, image.shape[axis]))
    corner = total[np.ix_(edges[0], edges[1])]
    inside = corner[1:, 1:] - corner[:-1, 1:] - corner[1:, :-1] + corner[:-1, :-1]
    pixels = np.diff(edges[0])[:, None] * np.diff(edges[1])[None, :]
    means: Map = np.maximum(inside / np.maximum(pixels, 1), 0).astype(np.float32)
    return means


def region_weights(region: NDArray[np.bool_], grid: Grid) -> Map:
    """Share of each patch that lies in a region.

    Parameters
    ----------
    region : (Y, X) bool
        The region.
    grid : Grid
        Where the patches lie.

    Returns
    -------
    (gy, gx) float32
        0…1.
    """
    return patch_means(region.astype(np.float32), grid)


def check_region(region: NDArray[np.bool_], plane_shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A drawn region as (Y, X) bool; `InputError` if it has another shape or holds no pixel."""
    region = np.asarray(region).astype(bool)
    if region.shape != tuple(plane_shape):
        given, needed = ("×".join(map(str, s)) for s in (region.shape, plane_shape))
        raise InputError(f"The region has {given} pixels, the slices have {needed}: give a mask of the slices' shape.")
    if not region.any():
        raise InputError("The region holds no pixel of the image: draw it on the image.")
    return region
