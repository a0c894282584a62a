"""MMDF's focus classes as a scorer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import area_mean, noise_sigma, to_grey
from napari_focusstack.core.learned.base import NetworkScorer, large_enough, stacked
from napari_focusstack.core.report import Grid, Map, PlaneScore
from napari_focusstack.core.scorer import Joined, PlaneContext
from napari_focusstack.core.slice_extras import SHARPEST

CLASS_NAMES = ("in focus",) * 2 + ("slightly blurred",) * 2 + ("blurred",) * 3 + ("strongly blurred",) * 3
"""What to call the classifier's ten classes."""
STEP_PX = 4
"""Grids of the classifier are multiples of this."""
EVIDENCE_PX = 84
"""What the classifier sees of a patch and its surroundings."""
MEANS_PX = 8
STANDS_OUT = 3.0
"""Means over `MEANS_PX` pixels have to vary by this many times what white noise makes them vary."""
ROUNDING = 0.29
"""Standard deviation of rounding to whole grey levels."""
ENERGY_FLOOR = 2.0**-12


@dataclass(frozen=True)
class ClassScorer(NetworkScorer):
    """Classes of focus, 0 (in focus) to 9 (wholly blurred), of 84 px patches (MMDF).

    The map is the expected focus level, ``9 - Σ k·p(k)``; 9 is in focus. A slice's number is the mean of
    ``level + log2(energy / maximum of the energy over z)`` over the patches, with Tenengrad's energy: the level tells
    how far a patch is from focus and is blunt near it, the energy is the other way round, but has no level of its own.
    Both count doublings of blur. A single plane has no maximum over z: its number is the mean level.

    Patches in which nothing stands out of the noise on any slice have no evidence, and do not count.
    """

    @property
    def units(self) -> str:
        """Units of the map."""
        return "focus level, 9 is in focus"

    @property
    def description(self) -> str:
        """What it is good for."""
        return (
            "Puts each patch into one of ten classes from in focus to wholly blurred, and says how certain it is; "
            "knows what sharp looks like, so it can judge a single image."
        )

    @property
    def needs(self) -> Collection[str]:
        """The stack's noise tells empty patches."""
        return ("noise",)

    def check(self, context: PlaneContext) -> None:
        """Nothing is needed beyond the pixels."""

    def score_plane(self, plane: NDArray[Any], *, context: PlaneContext) -> PlaneScore:
        """Classify the patches of one plane."""
        from napari_focusstack.networks import mmdf

        grey = to_grey(large_enough(plane))
        step = max(STEP_PX, STEP_PX * round(context.patch_px / STEP_PX))
        p = mmdf.classify_plane(self._network(context), plane, step_px=step).astype(np.float32)
        h, w = p.shape[:2]
        # Patches without evidence were taught to be all classes alike.
        entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=-1)
        certainty = (1 - entropy / np.log(p.shape[-1])).astype(np.float32)
        noise = noise_sigma(plane) if context.noise is None else context.noise
        rounding = ROUNDING if plane.dtype.kind in "ui" else 0.0
        certainty[_blank(grey, (h, w), step, max(noise, rounding))] = 0
        level = SHARPEST - p @ np.arange(p.shape[-1], dtype=np.float32)
        layers = {"class": p.argmax(axis=-1).astype(np.uint8), "certainty": certainty.clip(0, 1)}
        grid = Grid((h, w), (float(step), float(step)))
        return PlaneScore(level.astype(np.float32), grid, layers=layers, energy=_energy(grey, (h, w), step))

    def join(
        self, scores: Sequence[PlaneScore], *, exposure: NDArray[np.float32], heights_um: NDArray[np.float64] | None
    ) -> Joined:
        """Join the level with the energy of detail over z."""
        maps = np.stack([s.map for s in scores])
        energy = np.stack([s.energy / e**2 for s, e in zip(scores, exposure, strict=True) if s.energy is not None])
        share = energy / np.maximum(energy.max(axis=0), 1e-30)
        octaves = np.where(energy.max(axis=0) > 0, np.log2(np.maximum(share, ENERGY_FLOOR)), 0)
        layers = stacked(scores)
        # All or nothing: weighing patches by certainty lets those decide that happen to look sharp somewhere.
        judged = np.asarray((layers["certainty"] > 0).any(axis=0), np.float32)
        return Joined(maps, layers, (maps + octaves).astype(np.float32), judged)


def _energy(grey: NDArray[np.float32], shape: tuple[int, int], step: int) -> Map:
    """Tenengrad's energy, the mean square of Sobel's gradient, in each cell."""
    gx, gy = (cv2.Sobel(grey, cv2.CV_32F, *along, scale=1 / 8) for along in ((1, 0), (0, 1)))
    return area_mean(_to_cells(gx * gx + gy * gy, shape, step), shape)


def _blank(grey: NDArray[np.float32], shape: tuple[int, int], step: int, noise: float) -> NDArray[np.bool_]:
    """Patches of `EVIDENCE_PX` around each cell that vary no more than noise does.

    Means over 8×8 pixels vary by an eighth of white noise; slow shading is taken off them first.
    """
    h, w = grey.shape
    small = max(1, h // MEANS_PX), max(1, w // MEANS_PX)
    means = area_mean(grey, small)
    side = 2 * round(EVIDENCE_PX / MEANS_PX / 2) + 1
    detail = means - cv2.blur(means, (side, side), borderType=cv2.BORDER_REFLECT)
    variance = cv2.blur(detail * detail, (side, side), borderType=cv2.BORDER_REFLECT)
    full = cv2.resize(variance, (w, h), interpolation=cv2.INTER_LINEAR)
    deviation = np.sqrt(area_mean(_to_cells(full, shape, step), shape))
    blank: NDArray[np.bool_] = deviation <= max(STANDS_OUT * noise / MEANS_PX, 1e-6 * float(np.abs(grey).max()))
    return blank


def _to_cells(image: NDArray[np.float32], shape: tuple[int, int], step: int) -> NDArray[np.float32]:
    """An image mirrored (or cut) to whole cells."""
    below, right = shape[0] * step - image.shape[0], shape[1] * step - image.shape[1]
    image = image[: shape[0] * step, : shape[1] * step]
    if max(below, right) <= 0:
        return image
    filled: NDArray[np.float32] = cv2.copyMakeBorder(image, 0, max(below, 0), 0, max(right, 0), cv2.BORDER_REFLECT)
    return filled
