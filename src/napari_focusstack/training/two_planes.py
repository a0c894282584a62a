"""Pairs of slices of one scene, one part in focus in either: what networks learn from that compare two slices.

*Layers*: something near hides, with a crisp border, what lies behind; the blur of either reaches across. *Regions*: one
plane, of which either part was blurred (as in Liu et al. 2017). *Whole*: one slice is the sharper one everywhere. The
sharper part may be out of focus too, by less: in a series of more than two slices, those compared first often are.

Groups are of more slices than two. Layers and whole planes are photographed from further focal positions, between the
two and beyond them; regions become steps, as many as there are slices, each sharp in one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from napari_focusstack.training import camera
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.scene import smooth_field

Plane = NDArray[np.float32]
BORDER_PX = 24
"""Rim that is cut off after the blur."""
DETAIL_PX = 9
OFFSET = 0.02
"""What the camera gives without light, in fractions of its full scale."""


class PairSettings(BaseModel):
    """What the pairs of a training are like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side_px: int = Field(default=96, ge=16, description="Side of a pair.")
    kinds: tuple[float, float, float] = Field(default=(0.6, 0.2, 0.2), description="Shares of layers, regions, whole.")
    blur_px: tuple[float, float] = Field(default=(0.8, 8.0), description="Range of the larger blur (σ, log-uniform).")
    both_blurred: float = Field(default=0.3, ge=0, le=1, description="Share of pairs sharp nowhere.")
    disc: float = Field(default=0.6, ge=0, le=1, description="Share of blurs by a disc; the others are Gaussian.")
    jpeg: float = Field(default=0.2, ge=0, le=1, description="Share of slices that go through JPEG.")
    flicker: float = Field(default=0.03, ge=0, description="Standard deviation of the light from slice to slice.")


class GroupSettings(PairSettings):
    """What the groups of a training are like."""

    side_px: int = Field(default=64, ge=16, description="Side of a group.")
    slices: tuple[int, int] = Field(default=(2, 4), description="Fewest and most slices of a group.")
    beyond: float = Field(
        default=0.5, ge=0, le=0.5, description="How far beyond two planes slices may be focused, in their distances."
    )


@dataclass(frozen=True)
class PairBatch:
    """K pairs of P × P pixels and their truth.

    Attributes
    ----------
    pair : (K, 2, P, P) float32
        As the camera gave them, 0 … 1.
    first : (K, 1, P, P) float32
        1 where the first slice is the sharper one, 0 where the second is.
    evidence : (K, 1, P, P) float32
        1 where there is detail that stands out over the noise, 0 where nothing tells.
    fused : (K, 1, P, P) float32
        What a camera without noise and flicker would see with each part as sharp as it is in either slice.
    """

    pair: Tensor
    first: Tensor
    evidence: Tensor
    fused: Tensor

    @property
    def slices(self) -> Tensor:
        """The pair: a group of two."""
        return self.pair


@dataclass(frozen=True)
class GroupBatch:
    """K groups of S slices of P × P pixels, in any order, and their truth.

    Attributes
    ----------
    slices : (K, S, P, P) float32
        As the camera gave them, 0 … 1.
    fused : (K, 1, P, P) float32
        What a camera without noise and flicker would see with each part as sharp as it is in any slice.
    """

    slices: Tensor
    fused: Tensor


@dataclass(frozen=True)
class PairData:
    """Pairs as a recipe's data.

    Attributes
    ----------
    settings : PairSettings
        What the pairs are like.
    """

    settings: PairSettings

    def batches(self, images: Sequence[Sharp], *, batch: int, seed: int) -> Iterator[PairBatch]:
        """Endless batches of pairs made of these images; the same seed gives the same ones."""
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        while True:
            scenes = [_scene(images, self.settings, rng) for _ in range(batch)]
            taken, noise = _photographed([scene.light for scene in scenes], self.settings, rng, generator)
            detail = torch.from_numpy(np.stack([scene.detail for scene in scenes]))
            evidence = (detail > torch.clamp(noise, min=0.002)[:, None, None]).float()
            first = torch.from_numpy(np.stack([scene.first for scene in scenes]))
            yield PairBatch(taken, first[:, None], evidence[:, None], _noiseless([scene.fused for scene in scenes]))


@dataclass(frozen=True)
class GroupData:
    """Groups of slices as a recipe's data; all groups of a batch have as many.

    Attributes
    ----------
    settings : GroupSettings
        What the groups are like.
    """

    settings: GroupSettings

    def batches(self, images: Sequence[Sharp], *, batch: int, seed: int) -> Iterator[GroupBatch]:
        """Endless batches of groups made of these images; the same seed gives the same ones."""
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        low, high = self.settings.slices
        while True:
            n = int(rng.integers(low, high + 1))
            scenes = [_views(images, self.settings, rng, focus=_foci(self.settings, n, rng)) for _ in range(batch)]
            light = [views[rng.permutation(n)] for views, _, _ in scenes]
            taken, _ = _photographed(light, self.settings, rng, generator)
            yield GroupBatch(taken, _noiseless([sharp for _, _, sharp in scenes]))


def _foci(s: GroupSettings, n: int, rng: np.random.Generator) -> list[float]:
    """Where n slices are focused: on the first plane (0), on the second (1), and anywhere about them."""
    return [0.0, 1.0, *rng.uniform(-s.beyond, 1 + s.beyond, n - 2)]


@dataclass(frozen=True)
class _Scene:
    """(2, P, P) light, and (P, P) each: share of the first slice, detail of the sharper parts, all of them in one."""

    light: Plane
    first: Plane
    detail: Plane
    fused: Plane


def _scene(images: Sequence[Sharp], s: PairSettings, rng: np.random.Generator) -> _Scene:
    """A pair."""
    views, mask, sharp = _views(images, s, rng, focus=[0.0, 1.0], border_px=0)
    if rng.random() < 0.5:
        views, mask = views[::-1], 1 - mask
    seen = np.where(mask > 0.5, views[0], views[1])
    detail = _deviation(seen)
    inner = slice(BORDER_PX, -BORDER_PX)
    return _Scene(views[:, inner, inner], *(a[inner, inner] for a in (mask, detail, sharp)))


def _views(
    images: Sequence[Sharp],
    s: PairSettings,
    rng: np.random.Generator,
    *,
    focus: Sequence[float],
    border_px: int = BORDER_PX,
) -> tuple[Plane, Plane, Plane]:
    """Photograph a random scene from these foci: (S, P, P) light, and (P, P) each: what lies near, and the truth."""
    kind = rng.choice(3, p=np.asarray(s.kinds) / sum(s.kinds))
    side = s.side_px + 2 * BORDER_PX
    image = images[int(rng.integers(len(images)))]
    lit = _Lighting(rng)
    back = lit.apply(_crop(image, side, rng))
    front = lit.apply(_crop(image, side, rng)) if kind == 0 else back
    field = smooth_field(rng, (side, side), knots=int(rng.integers(4, 9)))
    mask = np.ones_like(back) if kind == 2 else _edge(field, float(rng.uniform(0.2, 0.8)))
    worse = float(np.exp(rng.uniform(*np.log(s.blur_px))))
    better = worse * float(rng.uniform(0.1, 0.6)) if rng.random() < s.both_blurred else 0.0
    disc = rng.random() < s.disc

    @cache
    def blurred(part: str, height: float, at: float) -> Plane:
        sigma = max(better, worse * abs(height - at))
        plane = {"back": back, "front": front * mask, "mask": mask}[part]
        return _disc(plane, 2 * sigma) if disc else _gaussian(plane, sigma)

    if kind == 0:
        views = [blurred("front", 0, at) + (1 - blurred("mask", 0, at)) * blurred("back", 1, at) for at in focus]
        sharp = blurred("front", 0, 0) + (1 - blurred("mask", 0, 0)) * blurred("back", 1, 1)
    else:
        heights = [0.0, 1.0]
        parts = [mask, 1 - mask]
        if kind == 1 and len(focus) > 2:
            heights = focus = list(np.linspace(0, 1, len(focus)))
            parts = _steps(field, rng.dirichlet(np.full(len(focus), 4.0)))
        views = [
            np.sum([p * blurred("back", h, at) for p, h in zip(parts, heights, strict=True)], axis=0) for at in focus
        ]
        sharp = blurred("back", 0, 0)
    inner = slice(border_px, side - border_px)
    return np.stack(views).astype(np.float32)[:, inner, inner], mask[inner, inner], sharp[inner, inner]


def _steps(field: Plane, shares: NDArray[np.float64]) -> list[Plane]:
    """Parts of the plane from a field's lowest to its highest; they sum to 1 everywhere."""
    over = [np.ones_like(field), *(_edge(field, 1 - share) for share in np.cumsum(shares)[:-1]), np.zeros_like(field)]
    return [a - b for a, b in pairwise(over)]


class _Lighting:
    """How specimen turns to light: absorbing or glowing, strong or faint; the same for all parts of a scene."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.absorbing = rng.random() < 0.5
        self.strength = float(np.exp(rng.uniform(np.log(0.15), np.log(1.0))))
        self.background = float(rng.uniform(0.4, 0.9) if self.absorbing else rng.uniform(0.01, 0.3))

    def apply(self, amount: Plane) -> Plane:
        """Light, 0 … 1, of amounts of specimen."""
        if self.absorbing:
            light = self.background * np.exp(-1.5 * self.strength * amount)
        else:
            light = self.background + 0.6 * self.strength * amount
        return np.clip(np.asarray(light, np.float32), 0, 1)


def _crop(image: Sharp, side: int, rng: np.random.Generator) -> Plane:
    """A random part, turned and mirrored at random."""
    level = image.levels[rng.integers(len(image.levels))]
    y, x = (int(rng.integers(max(1, n - side + 1))) for n in level.shape)
    part = level[y : y + side, x : x + side].astype(np.float32)
    part = np.pad(part, [(0, side - n) for n in part.shape], mode="symmetric")
    part = np.rot90(part, int(rng.integers(4)))
    crop: Plane = np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)
    return crop


def _edge(field: Plane, share: float) -> Plane:
    """1 where a field is high, over a share of the area; the border is one pixel wide."""
    over = field - np.quantile(field, 1 - share)
    slope = np.hypot(*np.gradient(field)) + 1e-6
    edge: Plane = np.clip(over / slope + 0.5, 0, 1).astype(np.float32)
    return edge


def _gaussian(plane: Plane, sigma: float) -> Plane:
    if sigma < 0.05:
        return plane
    blurred: Plane = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return blurred


def _disc(plane: Plane, radius: float) -> Plane:
    if radius < 0.1:
        return plane
    half = int(np.ceil(radius))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    disc = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1).astype(np.float32)
    blurred: Plane = cv2.filter2D(plane, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)
    return blurred


def _deviation(plane: Plane) -> Plane:
    """Local standard deviation over `DETAIL_PX`²."""
    mean = cv2.blur(plane, (DETAIL_PX, DETAIL_PX))
    deviation: Plane = np.sqrt(np.maximum(cv2.blur(plane * plane, (DETAIL_PX, DETAIL_PX)) - mean * mean, 0))
    return deviation


def _photographed(
    scenes: Sequence[Plane], s: PairSettings, rng: np.random.Generator, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Flicker, noise, rounding and compression, drawn for each scene: (K, S, P, P), and the noise of each (K,)."""
    light = torch.from_numpy(np.stack(scenes))
    k, n = light.shape[:2]
    light = light * torch.from_numpy(np.exp(rng.normal(0, s.flicker, (k, n, 1, 1)))).float()
    electrons = torch.from_numpy(10 ** rng.uniform(2.7, 4.8, k)).float().repeat_interleave(n)
    read = torch.from_numpy(rng.uniform(1, 5, k)).float().repeat_interleave(n)
    taken = camera.expose(light.flatten(0, 1), electrons=electrons, read_noise=read, offset=OFFSET, generator=generator)
    taken = camera.digitise(taken, bits=torch.from_numpy(np.where(rng.random(k) < 0.6, 8, 14).repeat(n)))
    for i in np.flatnonzero(rng.random(k) < s.jpeg):
        for j in range(n * i, n * i + n):
            taken[j] = camera.compress(taken[j], quality=int(rng.integers(60, 98)))
    noise = torch.sqrt(light.mean(dim=(1, 2, 3)) / electrons[::n] + (read[::n] / electrons[::n]) ** 2)
    return taken.reshape(light.shape), noise


def _noiseless(fused: Sequence[Plane]) -> Tensor:
    return (torch.from_numpy(np.stack(fused)) + OFFSET).clamp(0, 1)[:, None]
