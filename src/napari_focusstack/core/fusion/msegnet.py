"""Parallel fusion by focus masks (m-SegNet): every slice is judged by itself, then all are put together at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from napari_focusstack.core.fusion.method import Merged, Plane32, Series
from napari_focusstack.core.fusion.noise import measure_noise
from napari_focusstack.core.fusion.pyramid import Z_LIMIT, Z_SCALE
from napari_focusstack.core.fusion.sharpness import SharpnessTrack, summarise
from napari_focusstack.core.masks.energy import LOG_GAIN, local_energy
from napari_focusstack.core.masks.learned import SegmenterMask, likelier
from napari_focusstack.core.progress import Job, Progress, relay

ENOUGH_PX = 32
"""Smaller slices are continued by mirroring before a network judges them."""
ODDS = 1.5
"""By how much more likely real specimens are in focus than a network says: focal loss keeps it from being sure, and
they are softer than what it learned from."""
REDUCED_PX = 512
"""From this shorter side on, slices are judged at half their size: a quarter of the time, and of what is in focus the
sharpest is found by its energy, at full size, anyway."""


@dataclass(frozen=True)
class MaskFusion:
    """Fusion by the masks of a network (Pei et al. 2021, sections 2.3 and 2.4), for any number of slices in one pass.

    With p the probability of focus, z the local energy of the guide over noise and c a constant, a slice has the weight
    ``(p·z + c)⁸`` at a pixel: what is out of focus counts for nothing, and where several slices are in focus the
    sharpest wins (the overlap rule). Where none is, the slice with the largest area in focus stands (the base image):
    it has the weight ``(b·c)⁸`` everywhere. Masks are smoothed before, so that borders are soft.

    The paper decides overlaps by a no-reference blur metric of whole regions. Neighbouring slices of a stack overlap
    nearly everywhere, so we decide for each pixel, by the energy of its detail.

    Attributes
    ----------
    segmenter : SegmenterMask
        What judges the slices.
    """

    segmenter: SegmenterMask

    title = "Focus masks (m-SegNet)"
    description = (
        "A network marks what is in focus in each slice; from these places the sharpest is copied, and the rest from "
        "the slice that has most of it: pixel values stay those of the slices, and empty background stays plain."
    )

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.segmenter.name

    @property
    def reference(self) -> str:
        """The network's paper."""
        return self.segmenter.reference

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Which weights, and the constants: of those of the masks only what a slice by itself is judged by."""
        judging = {"weights_sha256": self.segmenter.card.sha256, "odds": ODDS, "reduced_from_px": REDUCED_PX}
        return {**judging, "noise_constant": 12.0, "base_weight": 1.3, "soften_px": 7}

    def merge(self, series: Series) -> Job[Merged]:
        """Fuse in one pass; memory does not grow with the number of slices."""
        n = len(series)
        h, w = series.plane_shape
        constant, base_weight, soften = (self.parameters[k] for k in ("noise_constant", "base_weight", "soften_px"))
        factor = Z_SCALE / (measure_noise(series).guide * LOG_GAIN)
        total = np.zeros((h, w), np.float32)
        mixed = np.zeros(series.shape, np.float32)
        track = SharpnessTrack(((h + 1) // 2, (w + 1) // 2), power=4, positions=series.heights)
        base, largest = series.image(0), -1.0
        yield Progress(0, n, "loading the network")
        for i in range(n):
            image = series.image(i)
            plane = image.astype(np.float32)
            guide = series.grey(plane)
            p = yield from self._judge(guide, i, series)
            area = float(cv2.mean(p)[0])
            if area > largest:
                base, largest = image, area
            energy = local_energy(guide)
            cv2.multiply(energy, cv2.blur(p, (soften, soften)), energy, factor)
            cv2.add(energy, (constant * Z_SCALE, 0, 0, 0), energy)
            cv2.min(energy, Z_LIMIT * Z_SCALE, energy)
            for _ in range(2):
                cv2.multiply(energy, energy, energy)
            track.add(cv2.log(cv2.pyrDown(energy)))
            cv2.multiply(energy, energy, energy)
            cv2.add(total, energy, total)
            _accumulate(plane, energy, mixed)
            yield Progress(i + 1, n, f"slice {i + 1} of {n}")
        weight = np.full((h, w), (base_weight * constant * Z_SCALE) ** 8, np.float32)
        cv2.add(total, weight, total)
        _accumulate(base.astype(np.float32), weight, mixed)
        cv2.divide(mixed, total if mixed.ndim == 2 else cv2.merge([total] * mixed.shape[2]), mixed)
        index, peak, confidence = summarise([track], (h, w))
        return Merged(mixed, index, peak, confidence)

    def _judge(self, guide: Plane32, i: int, series: Series) -> Job[Plane32]:
        """Probability of focus of one slice; a step for each tile."""
        n = len(series)
        h, w = guide.shape
        below, right = max(0, ENOUGH_PX - h), max(0, ENOUGH_PX - w)
        if min(h, w) >= REDUCED_PX:
            guide = cv2.resize(guide, (w // 2, h // 2), interpolation=cv2.INTER_AREA)
        elif below or right:
            guide = cv2.copyMakeBorder(guide, 0, below, 0, right, cv2.BORDER_REFLECT)
        tiles = self.segmenter.plane(guide, device=series.device)
        told = f"slice {i + 1} of {n}: where it is in focus"
        p = yield from relay(tiles, done=1000 * i / n, total=1000 * (i + 1) / n, message=told)
        p = likelier(p, ODDS)
        if min(h, w) >= REDUCED_PX:
            p = np.asarray(cv2.resize(p, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
        return np.ascontiguousarray(p[:h, :w])


def _accumulate(plane: Plane32, weight: Plane32, into: Plane32) -> None:
    cv2.accumulateProduct(plane, weight if plane.ndim == 2 else cv2.merge([weight] * plane.shape[2]), into)
