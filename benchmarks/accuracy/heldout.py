"""Test patches from sources and optics that no training has seen.

Sources: folders kept out of training. Optics: the electromagnetic PSF of the `psf` package (Richards and Wolf),
tabulated for real objectives, where training uses a scalar pupil; blurred in space, not by a table of transfer
functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import psf
import torch

from napari_focusstack.training import camera
from napari_focusstack.training.library import CRISP_PX, Sharp, edge_width

TILE_PX, PATCH_PX = 128, 84


@dataclass(frozen=True)
class Objective:
    """An objective with its camera; lengths in µm."""

    name: str
    na: float
    pixel_um: float
    wavelength_um: float = 0.52
    index: float = 1.0

    @property
    def depth_of_field_um(self) -> float:
        """Total depth of field, diffraction's part and the pixel's."""
        return self.index * (self.wavelength_um / self.na**2 + self.pixel_um / self.na)

    @property
    def sampling(self) -> float:
        """Pixel size · NA/λ."""
        return self.pixel_um * self.na / self.wavelength_um


OBJECTIVES = (
    Objective("4x/0.13", 0.13, 1.625),
    Objective("10x/0.30", 0.30, 0.65),
    Objective("10x/0.45, binned", 0.45, 1.3),
    Objective("20x/0.50", 0.50, 0.325),
    Objective("20x/0.75", 0.75, 0.325),
    Objective("20x/0.75, binned", 0.75, 0.65),
    Objective("40x/0.95", 0.95, 0.1625),
    Objective("60x/1.20 water", 1.20, 0.1083, index=1.33),
)


def kernel(objective: Objective, defocus_um: float, *, most_px: int = 101) -> np.ndarray:
    """What a camera pixel sees of a point: the radial PSF, integrated over pixels (3×3 points each), sum 1."""
    o, fine = objective, 3
    reach_um = abs(defocus_um) * np.tan(np.arcsin(o.na / o.index))
    half = int(min(most_px // 2, np.ceil(1.3 * reach_um / o.pixel_um) + max(4, 3 / o.sampling)))
    extent = (half + 1) * o.pixel_um * 1.5
    n_r = int(np.clip(extent / (o.pixel_um / fine), 64, 900))
    table = psf.PSF(
        psf.ISOTROPIC | psf.EMISSION,
        shape=(2, n_r),
        dims=(max(2 * abs(defocus_um), 1e-6), extent),
        ex_wavelen=o.wavelength_um * 940,
        em_wavelen=o.wavelength_um * 1000,
        num_aperture=o.na,
        refr_index=o.index,
        magnification=1.0,
        pinhole_radius=None,
    )
    row = np.asarray(table.data)[0 if defocus_um == 0 else 1]
    r = np.linspace(0, extent, n_r, endpoint=False)
    axis = (np.arange((2 * half + 1) * fine) - ((2 * half + 1) * fine - 1) / 2) * o.pixel_um / fine
    radius = np.hypot(axis[:, None], axis[None, :])
    values = np.interp(radius, r, row, right=0.0)
    binned = values.reshape(2 * half + 1, fine, 2 * half + 1, fine).sum(axis=(1, 3))
    return (binned / binned.sum()).astype(np.float32)


@dataclass(frozen=True)
class TestSet:
    """Patches with their truth: tiles (K, T, T) 0 … 1, |defocus| in depths of field, image and source of each, dirt."""

    tiles: np.ndarray
    dof: np.ndarray
    waves: np.ndarray
    sampling: np.ndarray
    image: np.ndarray
    source: np.ndarray
    dirty: np.ndarray


def make(images: Sequence[Sharp], *, per_image: int, seed: int, dof: Sequence[float], dirt: float = 0.0) -> TestSet:
    """Patches of every image at the given amounts of defocus, each drawn ± 20 %; 0 is 0 … 0.5, drawn evenly."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for k, image in enumerate(images):
        level = image.levels[-1]
        if edge_width(level.astype(np.float32)) > CRISP_PX:
            continue  # no sharp image to begin with
        for _ in range(per_image):
            objective = OBJECTIVES[rng.integers(len(OBJECTIVES))]
            crop = _specimen(level, rng)
            if crop is None:
                continue
            wanted = float(rng.choice(dof))
            d = rng.uniform(0, 0.5) if wanted == 0 else wanted * rng.uniform(0.8, 1.2)
            if wanted >= 2:
                d = max(d, 2.0)
            z = d * objective.depth_of_field_um * rng.choice((-1, 1))
            seen = cv2.filter2D(crop, cv2.CV_32F, kernel(objective, abs(z)), borderType=cv2.BORDER_REFLECT_101)
            bright = rng.random() < 0.5
            base, gain = (0.8, -rng.uniform(0.3, 0.75)) if bright else (0.05, rng.uniform(0.2, 0.9))
            light = torch.from_numpy(np.clip(base + gain * seen, 0, 1))[None]
            dirty = d >= 2 and rng.random() < dirt
            if dirty:
                ink = camera.draw_dirt(rng, (TILE_PX, TILE_PX), pieces=3)
                light = light * torch.from_numpy(1 - ink)
            light = light * camera.uneven(1, shape=(TILE_PX, TILE_PX), strength=0.1, generator=generator)
            taken = camera.expose(
                light.clamp(0, 1),
                electrons=float(10 ** rng.uniform(2.8, 4.5)),
                read_noise=3.0,
                offset=0.02,
                generator=generator,
            )
            taken = camera.digitise(taken, bits=int(rng.choice((8, 12, 16))))[0]
            if rng.random() < 0.1:
                taken = camera.compress(taken, quality=int(rng.integers(70, 96)))
            waves = z / objective.wavelength_um * (objective.index - np.sqrt(objective.index**2 - objective.na**2))
            rows.append((taken.numpy(), d, waves, objective.sampling, k, image.source, dirty))
    columns = list(zip(*rows, strict=True))
    return TestSet(np.stack(columns[0]), *(np.asarray(c) for c in columns[1:]))


def _specimen(level: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """A tile with specimen in its middle, or None after 20 tries: MMDF's mask keeps crops off empty background."""
    h, w = level.shape
    padded = np.pad(level.astype(np.float32), [(0, max(0, TILE_PX - s)) for s in (h, w)], mode="symmetric")
    m = (TILE_PX - PATCH_PX) // 2
    for _ in range(20):
        y, x = (int(rng.integers(s - TILE_PX + 1)) for s in padded.shape)
        crop = padded[y : y + TILE_PX, x : x + TILE_PX]
        if crop[m:-m, m:-m].std() > 0.08:
            return np.ascontiguousarray(crop)
    return None
