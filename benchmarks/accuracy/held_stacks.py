"""Through-focus stacks from sources and optics that no training has seen, of five types, with their truth.

Sources: folders kept out of training. Optics: the electromagnetic PSF of the `psf` package; for phase objects, which it
does not know, this package's brightfield with a condenser (0.35) and an aberration (0.4 waves) outside the range of any
training. Slices lie half a depth of field to one apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import heldout
import numpy as np
import torch

from napari_focusstack.core.agreement import Truth
from napari_focusstack.core.stack import Stack
from napari_focusstack.training import camera
from napari_focusstack.training.library import CRISP_PX, Sharp, edge_width
from napari_focusstack.training.scene import smooth_field
from napari_focusstack.training.series import sharpness
from napari_focusstack.training.settings import SimulationSettings
from napari_focusstack.training.simulate import simulate

SIDE_PX = 320
TYPES = ("clean", "dirt", "phase", "mixed depth", "large among small")


@dataclass(frozen=True)
class Case:
    """A stack, its type, the image it comes from, its truth, and what of its specimen counts for that: (Y, X)."""

    stack: Stack
    kind: str
    image: str
    truth: Truth
    sharp: np.ndarray


@lru_cache(maxsize=4096)
def _kernel(objective: heldout.Objective, fifths: int) -> np.ndarray:
    """PSF at a defocus in fifths of a depth of field."""
    return heldout.kernel(objective, fifths / 5 * objective.depth_of_field_um)


def cases(images: Sequence[Sharp], *, each: int, seed: int, kinds: Sequence[str] = TYPES) -> Iterator[Case]:
    """`each` stacks of every type, the images in turn."""
    rng = np.random.default_rng(seed)
    crisp = [i for i in images if edge_width(i.levels[-1].astype(np.float32)) <= CRISP_PX]
    for kind in kinds:
        made = 0
        while made < each:
            image = crisp[int(rng.integers(len(crisp)))]
            crop = _crop(image.levels[int(rng.integers(len(image.levels)))], rng)
            if crop is not None:
                yield _case(crop, kind, image, rng)
                made += 1


def _crop(level: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """A square of it with specimen in it, or None after ten tries; small images are mirrored."""
    padded = np.pad(level.astype(np.float32), [(0, max(0, SIDE_PX - s)) for s in level.shape], mode="symmetric")
    for _ in range(10):
        y, x = (int(rng.integers(s - SIDE_PX + 1)) for s in padded.shape)
        crop = padded[y : y + SIDE_PX, x : x + SIDE_PX]
        if crop.std() > 0.06:
            return np.ascontiguousarray(crop)
    return None


def _case(crop: np.ndarray, kind: str, image: Sharp, rng: np.random.Generator) -> Case:
    objective = heldout.OBJECTIVES[rng.integers(len(heldout.OBJECTIVES))]
    n = int(rng.integers(11, 18))
    step = rng.uniform(0.5, 1.0)
    z = (np.arange(n) - rng.uniform(0.25, 0.75) * (n - 1)) * step
    if kind == "phase":
        planes = _phase(crop, objective, z, rng)
        score, sharp = _sharpness(z, objective), crop
    else:
        layers, heights, share = _layers(crop, kind, rng)
        planes = _photographed(_light(layers, heights, z, objective, kind, rng), rng)
        score = sum(w * _sharpness(z - h, objective) for w, h in zip(share, heights, strict=True))
        sharp = np.sum([layer for layer, w in zip(layers, share, strict=True) if w], axis=0)
    best = int(np.argmax(score))
    name = f"{image.source}/{image.name}"
    return Case(Stack(planes, "ZYX", name=name), kind, name, Truth(best, (best, best), tuple(score)), sharp)


def _sharpness(dof: np.ndarray, objective: heldout.Objective) -> np.ndarray:
    """What is left of a layer at distances in depths of field; strictly falling."""
    reach = np.abs(dof) * objective.depth_of_field_um * np.tan(np.arcsin(objective.na / objective.index))
    return sharpness(np.hypot(reach / objective.pixel_um, 0.5 / objective.sampling)) - 1e-6 * np.abs(dof)


def _layers(crop: np.ndarray, kind: str, rng: np.random.Generator) -> tuple[list[np.ndarray], list[float], list[float]]:
    """Amounts of specimen, their heights in depths of field, and how much each counts."""
    side = rng.choice((-1, 1))
    if kind == "mixed depth":
        ranks = smooth_field(rng, crop.shape, knots=6)
        part = cv2.GaussianBlur((ranks < np.quantile(ranks, 0.7)).astype(np.float32), (0, 0), 3)
        return [crop * part, crop * (1 - part)], [0.0, float(side * rng.uniform(3, 5))], [0.7, 0.3]
    if kind == "large among small":
        small = cv2.resize(np.tile(crop, (2, 2)), crop.shape[::-1], interpolation=cv2.INTER_AREA)
        mask = np.zeros_like(crop)
        centre = tuple(int(v) for v in rng.integers(SIDE_PX // 3, 2 * SIDE_PX // 3, 2))
        axes = tuple(int(v) for v in rng.integers(45, 75, 2))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
        grain = cv2.GaussianBlur(rng.normal(0, 1, crop.shape).astype(np.float32), (0, 0), 1.0)
        large = mask * (0.5 + 0.5 * grain / grain.std() * 0.3)
        return [small * (1 - mask), large], [0.0, float(side * rng.uniform(3, 5))], [1.0, 0.0]
    return [crop], [0.0], [1.0]


def _light(
    layers: list[np.ndarray],
    heights: list[float],
    z: np.ndarray,
    objective: heldout.Objective,
    kind: str,
    rng: np.random.Generator,
) -> np.ndarray:
    """(Z, Y, X) light, 0 … 1."""
    bright = rng.random() < 0.5
    base, gain = (0.8, -rng.uniform(0.3, 0.7)) if bright else (0.05, rng.uniform(0.3, 0.9))
    ink, height = np.zeros_like(layers[0]), 0.0
    if kind == "dirt":
        ink = camera.draw_dirt(rng, ink.shape, pieces=int(rng.integers(2, 5)))
        height = float(rng.choice((-1, 1)) * rng.uniform(4, 8))

    def seen(amount: np.ndarray, dof: float) -> np.ndarray:
        kernel = _kernel(objective, round(5 * abs(dof)))
        return cv2.filter2D(amount, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)

    planes = []
    for at in z:
        light = base + gain * sum(seen(a, at - h) for a, h in zip(layers, heights, strict=True))
        planes.append(light * (1 - seen(ink, at - height)) if kind == "dirt" else light)
    return np.clip(planes, 0, 1).astype(np.float32)


def _photographed(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, noise and rounding; one camera for the stack."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    shade = camera.uneven(1, shape=light.shape[1:], strength=0.1, generator=generator)
    flicker = torch.from_numpy(np.exp(rng.normal(0, 0.01, (len(light), 1, 1)))).float()
    taken = camera.expose(
        torch.from_numpy(light) * shade * flicker,
        electrons=float(10 ** rng.uniform(3, 4.5)),
        read_noise=3.0,
        offset=0.02,
        generator=generator,
    )
    bits = int(rng.choice((8, 16)))
    return np.round(taken.numpy() * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def _phase(crop: np.ndarray, objective: heldout.Objective, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A transparent specimen that hardly absorbs, in brightfield."""
    step = float(z[1] - z[0]) * objective.depth_of_field_um
    settings = SimulationSettings(
        slices=len(z),
        z_um=step,
        blur="brightfield",
        na=objective.na,
        wavelength_um=objective.wavelength_um,
        index=objective.index,
        pixel_um=objective.pixel_um,
        spherical_waves=float(rng.choice((-0.4, 0.4))),
        coherence=0.35,
        phase_rad=float(rng.uniform(0.5, 1.0)),
        relief="flat",
        electrons=float(10 ** rng.uniform(3.5, 4.5)),
        bits=16,
        seed=int(rng.integers(2**31)),
    )
    middle = float(z.mean()) * objective.depth_of_field_um
    depth = np.full(crop.shape, -middle, np.float32)
    return np.asarray(simulate(0.9 - 0.08 * np.clip(crop, 0, 1), settings, depth_um=depth).stack.data)
