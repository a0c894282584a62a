"""Stitching by score: the clearest patches by GMANet's score map, joined into one image (Wang et al. 2021, 5.3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.fusion.method import Merged, Plane32, Series
from napari_focusstack.core.fusion.noise import measure_noise
from napari_focusstack.core.fusion.sharpness import NOISE_CONSTANT, SharpnessTrack, summarise
from napari_focusstack.core.learned.base import InstalledModel
from napari_focusstack.core.learned.evidence import ENERGY_FLOOR, detail_energy
from napari_focusstack.core.learned.gmanet import LARGE, PLACE_PX, POINTS_AN_OCTAVE
from napari_focusstack.core.progress import Job, Progress

SOBEL_GAIN = 2 * 12 / 64
"""Mean squared Sobel gradient of white noise of variance 1."""


def fuse_by_scores(series: Series, network: Any, *, patch_px: int) -> Job[Merged]:
    """Fuse by taking each patch from the slice in which it scores best, in two passes.

    First pass: each patch's score, and the energy of its detail. The slice with the highest ``score + 18.8·log2(energy
    / maximum of the energy over z)`` wins it: a doubling of blur counts as much in both. A single patch among others is
    not believed. Second pass: patches are copied and joined linearly across their borders.

    Parameters
    ----------
    series : Series
    network : module
        GMANet, ready for inference.
    patch_px : int
        Side of a patch.
    """
    from napari_focusstack.networks.gmanet_infer import dense

    n, shape = len(series), series.plane_shape
    scale = LARGE.scale(shape)
    floor = np.float32(NOISE_CONSTANT * SOBEL_GAIN * measure_noise(series).guide)
    track = SharpnessTrack(((shape[0] + 1) // 2, (shape[1] + 1) // 2), power=1, positions=series.heights)
    cells = max(1, round(patch_px * scale / PLACE_PX))
    maps, energies, cell = [], [], (1.0, 1.0)
    for i in range(n):
        guide = series.guide(i)
        found = dense(network, guide, scale=scale, block_px=LARGE.block_px, cells=cells)
        cell = found.cell_px
        maps.append(found.map)
        energies.append(detail_energy(guide, (found.map.shape[0], found.map.shape[1]), cell) + floor)
        track.add(_log_energy(guide, floor))
        yield Progress(i + 1, 2 * n, f"slice {i + 1} of {n}: scores")
    energy = np.stack(energies)
    octaves = np.log2(np.maximum(energy / energy.max(axis=0), ENERGY_FLOOR))
    winner = cv2.medianBlur((np.stack(maps) + POINTS_AN_OCTAVE * octaves).argmax(axis=0).astype(np.uint16), 3)
    image = np.zeros(series.shape, np.float32)
    most, index = np.zeros(shape, np.float32), np.zeros(shape, np.uint16)
    for i in range(n):
        if (winner == i).any():
            weight = _spread((winner == i).astype(np.float32), shape, cell)
            plane = series.image(i).astype(np.float32)
            image += plane * (weight if plane.ndim == 2 else weight[..., None])
            index[weight > most] = i
            np.maximum(most, weight, out=most)
        yield Progress(n + i + 1, 2 * n, f"slice {i + 1} of {n}: joining")
    _, peak, confidence = summarise([track], shape)
    return Merged(image, index, np.clip(peak, index - np.float32(0.5), index + np.float32(0.5)), confidence)


def _log_energy(guide: Plane32, floor: np.float32) -> Plane32:
    """Log of the local energy of the gradient, at half size."""
    gx, gy = (cv2.Sobel(guide, cv2.CV_32F, *along, scale=1 / 8) for along in ((1, 0), (0, 1)))
    local = cv2.blur(cv2.pyrDown(gx * gx + gy * gy), (9, 9))
    out: Plane32 = np.log(local + floor)
    return out


def _spread(mask: Plane32, shape: tuple[int, int], cell_px: tuple[float, float]) -> NDArray[np.float32]:
    """A mask of patches at every pixel, interpolated linearly between the patches' middles: masks still sum to 1."""
    y, x = (
        (np.arange(size, dtype=np.float32) + 0.5) / np.float32(cell) - 0.5
        for size, cell in zip(shape, cell_px, strict=True)
    )
    columns, rows = np.meshgrid(x.clip(0, mask.shape[1] - 1), y.clip(0, mask.shape[0] - 1))
    weight: NDArray[np.float32] = cv2.remap(mask, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return weight


@dataclass(frozen=True)
class ScoreMethod(InstalledModel):
    """GMANet's model as a fusion method.

    Attributes
    ----------
    patch_px : int
        Side of the patches.
    """

    patch_px: int = 32

    @property
    def title(self) -> str:
        """What it is called in a list."""
        return f"{self.card.title} patches"

    @property
    def description(self) -> str:
        """What it does."""
        return "Takes each patch from the slice in which the network scores it clearest: for phase objects; coarse."

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The weights, by their checksum, and the patches' side."""
        return {**super().parameters, "patch_px": self.patch_px}

    def network(self, device: str) -> Any:
        """The network, ready for inference; loaded once."""
        network = super().network(device)
        from napari_focusstack.networks.gmanet_infer import quick

        return quick(network)

    def merge(self, series: Series) -> Job[Merged]:
        """Fuse as a job; the weights are loaded when it starts."""
        return (yield from fuse_by_scores(series, self.network(series.device), patch_px=self.patch_px))
