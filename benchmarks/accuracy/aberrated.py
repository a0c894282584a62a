"""Test tiles with a side: 20×/0.75 through a cover glass of the wrong thickness, on sources never trained on.

Optics that the training does not share: the exact wavefront of a thickness error in glass (Gibson & Lanni 1991, J. Opt.
Soc. Am. A 8:1601; every order of spherical aberration, where training knows the first), exact defocus at high aperture,
a point spread function by a fast Fourier transform of the pupil, blurred in space. The sign of the thickness error is
fixed, as on one instrument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch

from napari_focusstack.core.defocus import Calibration
from napari_focusstack.training import camera
from napari_focusstack.training.library import CRISP_PX, Sharp, edge_width

OBJECTIVE = Calibration(na=0.75, wavelength_um=0.52, pixel_um=0.325, index=1.0)
GLASS = 1.52
TOO_THICK_UM = (15.0, 30.0, 60.0)
"""Errors of the cover glass, or as much too deep in it: 0.13, 0.25 and 0.50 waves of primary aberration."""
TILE_PX, MARGIN_PX = 224, 40
MOST_UM = 10.0


def wavefront(rho2: np.ndarray, *, too_thick_um: float, defocus_um: float) -> np.ndarray:
    """Waves over the pupil; the part of the glass that refocusing takes away is taken off it."""
    o = OBJECTIVE
    even = (np.arange(512) + 0.5) / 512

    def glass(r: np.ndarray) -> np.ndarray:
        return np.sqrt(GLASS**2 - o.na**2 * r) - np.sqrt(o.index**2 - o.na**2 * r)

    def refocus(r: np.ndarray) -> np.ndarray:
        return o.index - np.sqrt(o.index**2 - o.na**2 * r)

    terms = np.stack([np.ones_like(even), refocus(even)], axis=1)
    piston, focus = np.linalg.lstsq(terms, glass(even), rcond=None)[0]
    left = glass(rho2) - piston - focus * refocus(rho2)
    return (defocus_um * refocus(rho2) + too_thick_um * left) / o.wavelength_um


@cache
def kernel(too_thick_um: float, defocus_um: float) -> np.ndarray:
    """What a camera pixel sees of a point, sum 1; 3×3 points a pixel."""
    o, fine = OBJECTIVE, 3
    half = int(np.ceil(1.4 * abs(defocus_um) * o.na / np.sqrt(1 - o.na**2) / o.pixel_um)) + 12
    n = (2 * half + 1) * fine
    f = np.fft.fftfreq(n, d=o.pixel_um * o.na / o.wavelength_um / fine)
    rho2 = f[:, None] ** 2 + f[None, :] ** 2
    edge = np.clip((1 - np.sqrt(rho2)) / (f[1] - f[0]) + 0.5, 0, 1)
    phase = 2 * np.pi * wavefront(np.minimum(rho2, 1), too_thick_um=too_thick_um, defocus_um=defocus_um)
    field = np.fft.fftshift(np.fft.ifft2(edge * np.exp(1j * phase)))
    seen = (np.abs(field) ** 2).reshape(2 * half + 1, fine, 2 * half + 1, fine).sum(axis=(1, 3))
    return (seen / seen.sum()).astype(np.float32)


@dataclass(frozen=True)
class Tiles:
    """(K, 224, 224) tiles 0 … 1, signed defocus in µm and the image of each."""

    tiles: np.ndarray
    defocus_um: np.ndarray
    image: np.ndarray


def make(images: Sequence[Sharp], *, per_image: int, seed: int) -> Tiles:
    """Fluorescent and absorbing tiles of every image that is sharp to the pixel somewhere, at even distances."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    made, truth, group = [], [], []
    for k, image in enumerate(images):
        level = image.levels[-1].astype(np.float32)
        if edge_width(level) > CRISP_PX:
            continue
        for _ in range(per_image):
            crop = _specimen(level, rng)
            if crop is None:
                break
            z = round(float(rng.uniform(-MOST_UM, MOST_UM)), 1)
            seen = cv2.filter2D(
                crop, cv2.CV_32F, kernel(float(rng.choice(TOO_THICK_UM)), z), borderType=cv2.BORDER_REFLECT
            )
            seen = seen[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
            bright = image.source == "qupath_he"
            base, gain = (0.85, -rng.uniform(0.4, 0.75)) if bright else (0.04, rng.uniform(0.3, 0.9))
            light = torch.from_numpy(np.clip(base + gain * seen, 0, 1))[None]
            taken = camera.expose(
                light, electrons=float(10 ** rng.uniform(3.3, 4.5)), read_noise=2.0, offset=0.02, generator=generator
            )
            made.append(camera.digitise(taken, bits=12)[0].numpy())
            truth.append(z)
            group.append(k)
    return Tiles(np.stack(made), np.asarray(truth), np.asarray(group))


def _specimen(level: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """A tile with its margin and with specimen in its middle; None after 20 tries."""
    side = TILE_PX + 2 * MARGIN_PX
    padded = np.pad(level, [(0, max(0, side - s)) for s in level.shape], mode="symmetric")
    for _ in range(20):
        y, x = (int(rng.integers(s - side + 1)) for s in padded.shape)
        crop = padded[y : y + side, x : x + side]
        if crop[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].std() > 0.06:
            return np.ascontiguousarray(crop)
    return None
