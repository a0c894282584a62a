"""Whole fields of view from sources, optics and noise that no training has seen, at a known distance from focus.

Sources: folders kept out of training. Optics: dry and immersion objectives under a cover glass of the wrong thickness,
by the exact phase of a high aperture (Gibson and Lanni 1991), integrated over the radius and blurred in space. Training
knows that phase, too, with layers of many indices, and a scalar pupil; `vectorial` points are electromagnetic ones,
which no training has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.special import j0, j1, jv

from napari_focusstack.networks.hhnet import BANDS_PX, DISTANCES
from napari_focusstack.training import camera
from napari_focusstack.training.library import CRISP_PX, Sharp, edge_width

GLASS = 1.515
FIELD_PX = (600, 900)
PATCH_PX = 300
SPECIMEN = 0.06
"""Standard deviation of the sharp specimen from which on a patch holds something to judge by."""
NODES, FINE = 1000, 3
HELD = 0.995
"""Share of a point's light that its kernel holds: with a cover glass of the wrong thickness much of it lies far out."""


@dataclass(frozen=True)
class Lens:
    """An objective with its camera; lengths in µm."""

    name: str
    na: float
    pixel_um: float
    wavelength_um: float
    index: float = 1.0

    @property
    def sampling(self) -> float:
        """Pixel size · NA/λ."""
        return self.pixel_um * self.na / self.wavelength_um

    @property
    def aperture(self) -> float:
        """NA/n."""
        return self.na / self.index

    @property
    def um_per_wave(self) -> float:
        """µm of defocus for a wave at the pupil's edge."""
        return self.wavelength_um / (self.index - float(np.sqrt(self.index**2 - self.na**2)))


LENSES = (  # pixel size · NA/λ from 0.42 to 0.58, as in training
    Lens("10x/0.30", 0.30, 0.65, 0.45),
    Lens("10x/0.45", 0.45, 0.65, 0.52),
    Lens("20x/0.50", 0.50, 0.55, 0.60),
    Lens("20x/0.75", 0.75, 0.345, 0.61),
    Lens("20x/0.80", 0.80, 0.36, 0.53),
    Lens("40x/0.95", 0.95, 0.29, 0.48),
    Lens("60x/1.20 water", 1.20, 0.215, 0.52, index=1.33),
)


def kernel(lens: Lens, *, blur_px: float, above: bool, spherical: float, vectorial: bool = False) -> np.ndarray:
    """What a camera pixel sees of a point; sums to 1. Reaches as far as `HELD` of the light.

    Parameters
    ----------
    lens : Lens
        The objective.
    blur_px : float
        Radius of the geometrical blur disc in pixels.
    above : bool
        Whether the plane in focus lies above the point.
    spherical : float
        Waves of primary spherical aberration that the cover glass brings along, by least squares.
    vectorial : bool
        Electric field of an aplanatic lens, light of any polarisation (Richards and Wolf 1959); scalar otherwise.
    """
    rho2 = (np.arange(NODES) + 0.5) / NODES  # even in area
    inside = np.sqrt(lens.index**2 - lens.na**2 * rho2)
    path = (lens.index - inside) / lens.wavelength_um
    glass = np.sqrt(GLASS**2 - lens.na**2 * rho2) - inside
    terms = np.stack([np.ones(NODES), rho2, 6 * (rho2**2 - rho2)], axis=1)
    piston, defocus, primary = np.linalg.lstsq(terms, glass, rcond=None)[0]
    shape = (glass - piston - defocus * rho2) / primary  # one wave of it, best focus where it was
    waves = blur_px * lens.sampling / 2 * (1 if above else -1)
    phase = np.exp(2j * np.pi * (waves * lens.um_per_wave * path + spherical * shape))
    most = 3 * blur_px + 40
    r = np.linspace(0, 1.5 * most, int(9 * most))
    v = 2 * np.pi * lens.sampling * r[:, None] * np.sqrt(rho2)[None, :]
    point = _vectorial(v, phase, lens.aperture**2 * rho2) if vectorial else np.abs(j0(v) @ phase) ** 2
    light = np.cumsum(point * r)
    half = int(min(most, np.ceil(r[np.searchsorted(light, HELD * light[-1])])))
    axis = (np.arange((2 * half + 1) * FINE) - ((2 * half + 1) * FINE - 1) / 2) / FINE
    radius = np.hypot(axis[:, None], axis[None, :])
    values = np.interp(radius, r, point)
    binned = values.reshape(2 * half + 1, FINE, 2 * half + 1, FINE).sum(axis=(1, 3))
    return (binned / binned.sum()).astype(np.float32)


def _vectorial(v: np.ndarray, phase: np.ndarray, sin2: np.ndarray) -> np.ndarray:
    """(R,) intensities at radii from (R, N) arguments of the Bessel functions and (N,) nodes of the pupil."""
    cos = np.sqrt(1 - sin2)
    even = phase / np.sqrt(cos)  # an aplanatic lens's amplitude, sqrt(cos), over the pupil's projected area
    i0, i1, i2 = j0(v) @ (even * (1 + cos)), j1(v) @ (even * np.sqrt(sin2)), jv(2, v) @ (even * (1 - cos))
    intensity: np.ndarray = np.abs(i0) ** 2 + 2 * np.abs(i1) ** 2 + np.abs(i2) ** 2
    return intensity


@dataclass(frozen=True)
class Field:
    """An image and its truth.

    Attributes
    ----------
    image : (Y, X) float32
        As the camera gave it, 0 … 1.
    distance : int
        Its class, -3 … 3.
    lens, source : str
        Objective, and folder of the sharp image.
    sharp : int
        Which sharp image it was made of.
    patches : tuple of bool
        Whether each patch of 300 px holds specimen, row by row.
    """

    image: np.ndarray
    distance: int
    lens: str
    source: str
    sharp: int
    patches: tuple[bool, ...]


def make(
    images: Sequence[Sharp],
    *,
    count: int,
    seed: int,
    spherical: tuple[float, float] = (0.2, 0.4),
    vectorial: bool = False,
) -> list[Field]:
    """Fields in equal numbers of every class, blur drawn evenly within the class's band; gaps between bands stay empty.

    Only images that are sharp to the pixel are taken, and parts of them with specimen in most patches.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    crisp = [i for i in images if edge_width(np.asarray(i.levels[-1], np.float32)) <= CRISP_PX]
    fields = []
    while len(fields) < count:
        k = len(fields) // len(DISTANCES) % len(crisp)  # each image in all classes
        sharp = _part(np.asarray(crisp[k].levels[-1], np.float32), rng)
        held = tuple(bool(sharp[ys, xs].std() > SPECIMEN) for ys, xs in _tiles())
        distance = DISTANCES[len(fields) % len(DISTANCES)]
        lens = LENSES[rng.integers(len(LENSES))]
        blur = rng.uniform(*BANDS_PX[abs(distance)])
        above = distance > 0 if distance else bool(rng.random() < 0.5)
        waves = rng.uniform(*spherical)
        point = kernel(lens, blur_px=blur, above=above, spherical=waves, vectorial=vectorial)
        seen = cv2.filter2D(sharp, cv2.CV_32F, point, borderType=cv2.BORDER_REFLECT_101)
        taken = _taken(seen, rng, generator)
        fields.append(Field(taken, distance, lens.name, crisp[k].source, k, held))
    return fields


def _tiles() -> list[tuple[slice, slice]]:
    starts = [range(0, n, PATCH_PX) for n in FIELD_PX]
    return [(slice(y, y + PATCH_PX), slice(x, x + PATCH_PX)) for y in starts[0] for x in starts[1]]


def _part(level: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part of a sharp image, mirrored where the image is smaller; of ten, the one with most specimen."""
    fill = [(0, max(0, n - s)) for n, s in zip(FIELD_PX, level.shape, strict=True)]
    best, most = level, -1.0
    whole = np.pad(level, fill, mode="symmetric")
    for _ in range(10):
        y, x = (int(rng.integers(s - n + 1)) for s, n in zip(whole.shape, FIELD_PX, strict=True))
        part = whole[y : y + FIELD_PX[0], x : x + FIELD_PX[1]]
        least = min(part[ys, xs].std() for ys, xs in _tiles())
        if least > most:
            best, most = part, least
    return np.ascontiguousarray(best)


def _taken(seen: np.ndarray, rng: np.random.Generator, generator: torch.Generator) -> np.ndarray:
    """Fluorescence, through a camera drawn at random."""
    light = torch.from_numpy(np.clip(0.05 + rng.uniform(0.2, 0.9) * seen, 0, 1))[None]
    light = light * camera.uneven(1, shape=FIELD_PX, strength=0.1, generator=generator)
    taken = camera.expose(
        light.clamp(0, 1),
        electrons=float(10 ** rng.uniform(3.2, 4.6)),
        read_noise=3.0,
        offset=0.02,
        generator=generator,
    )
    taken = camera.digitise(taken, bits=int(rng.choice((8, 12, 16))))[0]
    if rng.random() < 0.05:
        taken = camera.compress(taken, quality=int(rng.integers(75, 96)))
    return np.asarray(taken.numpy(), np.float32)
