"""Through-focus series made on the fly: some slices of one stack at a time, with scores relative to that stack.

A field holds one to three layers of specimen at different heights, now and then dirt or a textured floor at another
height. Optics, light and camera are drawn once for a stack. A stack has a step and a number of slices; the clearest one
and some others of it are shown (Wang et al. 2021, section 4.1).

Scores come from the true defocus. An image shows its blur in pixels and nothing else, so that is what they are made of:
the blur disc of a layer, joined with what diffraction leaves in focus, counts 95 … 100 up to `CLEAR_PX`, and falls from
94 to 0 by its doublings beyond; a slice has the mean of its layers', by how much of the field they fill, and the
clearest slice of the stack is set to 100.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from napari_focusstack.training import camera
from napari_focusstack.training.library import Sharp, by_source, cut
from napari_focusstack.training.optics import gaussian_transfer, spread
from napari_focusstack.training.patches import (
    ABSORBING,
    COHERENCES,
    FLUORESCENCE,
    GAUSSIAN,
    PHASE,
    grained,
    transfer_tables,
)
from napari_focusstack.training.scene import smooth_field

MODES = (FLUORESCENCE, ABSORBING, PHASE, GAUSSIAN)
MOST_WAVES = 55.0
CLEAR_PX = 1.5
"""Radius of the blur up to which a slice counts as clear."""
OCTAVES = 5.0
"""Doublings of the blur from there on, after which nothing is left to see."""
RADIANS = (0.25, 1.2)
"""Range of what a phase object delays light by."""
DIFFRACTION = 0.5
"""Radius of the blur in focus, in λ/NA."""


class SeriesSettings(BaseModel):
    """What the stacks of a training are like. Fields hold ranges and shares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slices: int = Field(default=7, ge=2, description="Slices shown of each stack: the clearest and others.")
    field_px: int = Field(default=256, ge=64, description="Side of the simulated field, which is z-scored as a whole.")
    crop_px: int = Field(default=128, ge=32, description="Side of the part that the network sees of it.")
    stack_slices: tuple[int, int] = Field(default=(9, 31), description="Range of the slices that a stack has.")
    step_dof: tuple[float, float] = Field(
        default=(0.4, 3.0), description="Range of the step between slices in depths of field (log-uniform)."
    )
    sampling: tuple[float, float] = Field(default=(0.25, 1.6), description="Range of pixel size · NA/λ (log-uniform).")
    spherical_waves: tuple[float, float] = Field(
        default=(-0.3, 0.3), description="Range of spherical aberration in waves."
    )
    modes: tuple[float, float, float, float] = Field(
        default=(0.35, 0.3, 0.27, 0.08), description="Shares of fluorescence, absorption, phase and Gaussian blur."
    )
    texture: float = Field(default=0.4, ge=0, le=1, description="Share of specimens that are given a fine grain.")
    layers: tuple[float, float, float] = Field(
        default=(0.7, 0.2, 0.1), description="Shares of fields with one, two and three heights of specimen."
    )
    dirt: float = Field(default=0.2, ge=0, le=1, description="Share of fields with dirt at another height.")
    floor: float = Field(default=0.05, ge=0, le=1, description="Share of fields over a textured floor.")
    haze: float = Field(default=0.2, ge=0, le=1, description="Share of fields under light from far out of focus.")
    blocks_px: tuple[int, ...] = Field(default=(32, 32, 8), description="Sides of the block φ, each as likely.")


@dataclass(frozen=True)
class SeriesBatch:
    """Slices of S stacks, K of each; the clearest of each comes first.

    Attributes
    ----------
    image : (S·K, 1, F, F) float32
        Whole fields as the camera gave them, 0 … 1, stack after stack.
    score : (S, K) float32
        0 … 100, 100 for the clearest slice of the whole stack.
    steps : (S, K) float32
        Distance in slices from the clearest slice, which is at 0.
    corner : (S, 2) int64
        Upper left corner of the part that is to be judged.
    crop_px : int
        Its side.
    block_px : int
        Side of the block φ of the local maximum gradient.
    """

    image: Tensor
    score: Tensor
    steps: Tensor
    corner: Tensor
    crop_px: int
    block_px: int

    def crops(self, fields: Tensor) -> Tensor:
        """Cut the judged parts out of (S·K, C, F, F) fields → (S·K, C, crop, crop)."""
        side = self.crop_px
        parts = fields.unflatten(0, self.score.shape)  # type: ignore[no-untyped-call]
        return torch.cat(
            [p[..., y : y + side, x : x + side] for p, (y, x) in zip(parts, self.corner.tolist(), strict=True)]
        )


@dataclass(frozen=True)
class _Optics:
    """One stack's microscope."""

    mode: int
    condenser: int
    sampling: float
    spherical: float

    @property
    def opening(self) -> float:
        """Aperture of the light cone that blurs, relative to the objective's."""
        return 1.0 if self.mode in (FLUORESCENCE, GAUSSIAN) else (1.0, *COHERENCES)[self.condenser]

    @property
    def waves_per_dof(self) -> float:
        """Waves at the pupil's edge for a depth of field."""
        return (1 + self.sampling) / 2 / self.opening

    def blur_px(self, dof: NDArray[np.float64]) -> NDArray[np.float64]:
        """Radius of the blur at some distances in depths of field: the geometrical disc, and diffraction."""
        disc = 2 * np.abs(dof) * self.waves_per_dof * self.opening / self.sampling
        return np.hypot(disc, DIFFRACTION / self.sampling)


def sharpness(blur_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 … 100 of the blur's radius: 95 and more up to `CLEAR_PX`, then down from 94 by its doublings."""
    share = blur_px / CLEAR_PX
    beyond = np.log2(np.maximum(share, 1)) / OCTAVES
    return np.where(share <= 1, 100 - 5 * share**2, 94 * np.clip(1 - beyond, 0, 1))


class Series:
    """Endless batches; the same seed gives the same ones.

    Parameters
    ----------
    images : sequence of Sharp
        What to defocus.
    settings : SeriesSettings
        What the stacks are like.
    batch : int
        Slices in a batch, a multiple of ``settings.slices``.
    seed : int
        Chance.
    """

    def __init__(self, images: Sequence[Sharp], settings: SeriesSettings, *, batch: int, seed: int) -> None:
        self.images, self.settings = images, settings
        self.stacks = max(1, batch // settings.slices)
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
        self._order, self._share = by_source(images)

    def __iter__(self) -> Iterator[SeriesBatch]:
        while True:
            yield self.draw()

    def draw(self) -> SeriesBatch:
        """Make the next batch."""
        drawn = [self._stack() for _ in range(self.stacks)]
        image, score, steps, corner = (torch.cat(column) for column in zip(*drawn, strict=True))
        block = int(self.rng.choice(self.settings.blocks_px))
        return SeriesBatch(image[:, None], score, steps, corner, self.settings.crop_px, block)

    def _stack(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(K, F, F) slices of one stack, and (1, K) scores, (1, K) steps and the (1, 2) corner."""
        s, rng = self.settings, self.rng
        optics = self._optics()
        specimens = self._specimens()
        corner = self._corner(specimens.sum(axis=0))
        y, x = corner
        inside = np.abs(specimens[:, y : y + s.crop_px, x : x + s.crop_px]) + 1e-6
        filled = inside.sum(axis=(1, 2)) / inside.sum()
        heights = np.concatenate(
            [[0.0], rng.uniform(1, 8, len(specimens) - 1) * rng.choice((-1, 1), len(specimens) - 1)]
        )
        most = MOST_WAVES / optics.waves_per_dof - np.abs(heights).max()
        z = self._heights(most)
        score = filled @ sharpness(optics.blur_px(z[None] - heights[:, None]))
        score *= 100 / score.max()
        best = int(score.argmax())
        others = rng.permutation(np.delete(np.arange(len(z)), best))[: s.slices - 1]
        shown = np.concatenate([[best], others])
        light = self._light(optics, specimens, heights, z[shown])
        image = self._photograph(light, crop=light[0, y : y + s.crop_px, x : x + s.crop_px])
        told = torch.from_numpy(score[shown])[None].float(), torch.from_numpy(shown - best)[None].float()
        return image, *told, torch.tensor([corner])

    def _optics(self) -> _Optics:
        s, rng = self.settings, self.rng
        mode = int(rng.choice(MODES, p=np.asarray(s.modes) / sum(s.modes)))
        sampling = math.exp(rng.uniform(math.log(s.sampling[0]), math.log(s.sampling[1])))
        condenser = 0 if mode == FLUORESCENCE else int(rng.integers(1, len(COHERENCES) + 1))
        return _Optics(mode, condenser, sampling, float(rng.uniform(*s.spherical_waves)))

    def _heights(self, most_dof: float) -> NDArray[np.float64]:
        """Heights of a stack's slices in depths of field; the specimen lies somewhere between its ends."""
        s, rng = self.settings, self.rng
        n = int(rng.integers(s.stack_slices[0], s.stack_slices[1] + 1))
        step = math.exp(rng.uniform(math.log(s.step_dof[0]), math.log(s.step_dof[1])))
        first = -rng.uniform(0.15, 0.85) * (n - 1) * step
        z = first + np.arange(n, dtype=np.float64) * step
        within = z[np.abs(z) <= most_dof]
        return within if len(within) >= s.slices else np.linspace(-most_dof, most_dof, s.slices) + rng.uniform(0, step)

    def _specimens(self) -> NDArray[np.float32]:
        """(L, F, F) amounts of specimen, a layer each."""
        s, rng = self.settings, self.rng
        side = s.field_px
        n = int(rng.choice(3, p=np.asarray(s.layers) / sum(s.layers))) + 1
        image = self.images[int(rng.choice(self._order, p=self._share))]
        plane = image.levels[int(rng.integers(len(image.levels)))]
        cuts = [max((cut(plane, side, rng) for _ in range(3)), key=lambda c: float(c.std())) for _ in range(n)]
        turned = np.stack([np.rot90(c, int(rng.integers(4))) for c in cuts])
        crops = torch.from_numpy(np.ascontiguousarray(turned[:, :, ::-1] if rng.random() < 0.5 else turned))
        grainy = grained(crops, share=s.texture, rng=rng, generator=self.generator).numpy()
        if n > 1 and rng.random() < 0.6:
            # Side by side, each layer in its part of the field, and not one above the other.
            ranks = smooth_field(rng, (side, side), knots=6)
            edges = np.quantile(ranks, np.linspace(0, 1, n + 1)[1:-1])
            where = np.searchsorted(edges, ranks)
            parts = [cv2.GaussianBlur((where == k).astype(np.float32), (0, 0), 3) for k in range(n)]
            share = np.stack(parts)
        else:
            share = rng.uniform(0.4, 1.0, (n, 1, 1)).astype(np.float32)
        done: NDArray[np.float32] = (grainy * share).astype(np.float32)
        return done

    def _corner(self, amount: NDArray[np.float32]) -> tuple[int, int]:
        """Where the judged part begins: of three places the one with most to see."""
        s = self.settings
        places = self.rng.integers(0, s.field_px - s.crop_px + 1, (3, 2)).tolist()
        y, x = max(places, key=lambda p: float(amount[p[0] : p[0] + s.crop_px, p[1] : p[1] + s.crop_px].std()))
        return int(y), int(x)

    def _transfer(self, optics: _Optics, dof: NDArray[np.float64], *, absorbed: float, phase: float) -> Tensor:
        """(K, F, F/2 + 1) transfer of a layer at each distance in depths of field."""
        shape = (self.settings.field_px,) * 2
        waves = torch.from_numpy(dof * optics.waves_per_dof).float()
        if optics.mode == GAUSSIAN:
            return gaussian_transfer(torch.hypot(waves.abs() / optics.sampling, torch.tensor(0.4)), shape=shape)
        profile = transfer_tables()[optics.condenser](waves, torch.full_like(waves, optics.spherical))
        radial = absorbed * profile.real + phase * profile.imag
        return spread(radial, sampling=torch.full_like(waves, optics.sampling), shape=shape)

    def _light(
        self, optics: _Optics, specimens: NDArray[np.float32], heights: NDArray[np.float64], z: NDArray[np.float64]
    ) -> Tensor:
        """(K, F, F) light on the camera, 0 … 1."""
        s, rng, side = self.settings, self.rng, self.settings.field_px
        u = rng.uniform(0, 1, 4)
        absorbed, phase = (float(rng.uniform(0.02, 0.3)), 1.0) if optics.mode == PHASE else (1.0, 0.0)
        layers = [torch.from_numpy(v) for v in specimens]
        at = list(heights)
        if rng.random() < s.floor:
            layers.append(0.4 * u[3] * self._grain(side))
            at.append(float(rng.choice((-1, 1)) * rng.uniform(4, 20)))
        total = torch.zeros((len(z), side, side // 2 + 1), dtype=torch.complex64)
        for layer, height in zip(layers, at, strict=True):
            transfer = self._transfer(optics, z - height, absorbed=absorbed, phase=phase)
            total += torch.fft.rfft2(layer)[None] * transfer
        if rng.random() < s.haze:
            far = gaussian_transfer(torch.full((1,), side / 10), shape=(side, side))
            total += float(rng.uniform(0.1, 0.5)) * torch.fft.rfft2(layers[0].flip(0))[None] * far
        signal = torch.fft.irfft2(total, s=(side, side))
        # Fluorescence lies on a dark ground, brightfield takes away from bright light; one in five the other way round.
        bright = (optics.mode != FLUORESCENCE) ^ (rng.random() < 0.2)
        base = 0.45 + 0.5 * u[2] if bright else 0.01 + 0.25 * u[2] ** 2
        gain = -base * (0.08 + 0.85 * u[0]) if bright else (0.95 - base) * (0.1 + 0.9 * u[0])
        if optics.mode == PHASE:
            gain = -2 * base * float(rng.uniform(*RADIANS)) * float(rng.choice((-1, 1), p=(0.2, 0.8)))
        return self._dirty(optics, (base + gain * signal).clamp(0, 1), z)

    def _grain(self, side: int) -> Tensor:
        """(F, F) fine texture of standard deviation 1."""
        frequency = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]).clamp(min=1 / 32)
        white = torch.fft.rfft2(torch.randn((side, side), generator=self.generator))
        grain = torch.fft.irfft2(white * frequency ** -float(self.rng.uniform(0.5, 1.5)), s=(side, side))
        even: Tensor = grain / grain.std()
        return even

    def _dirty(self, optics: _Optics, light: Tensor, z: NDArray[np.float64]) -> Tensor:
        """Dirt and drops at another height than the specimen, or on the camera: sharp on all slices."""
        rng, side = self.rng, self.settings.field_px
        if rng.random() >= self.settings.dirt:
            return light
        ink = torch.from_numpy(camera.draw_dirt(rng, (side, side), pieces=int(rng.integers(1, 5))))
        if rng.random() < 0.2:
            smooth = cv2.GaussianBlur(ink.numpy(), (0, 0), float(rng.uniform(0.4, 1.2)))
            return (light * (1 - torch.from_numpy(smooth))).clamp(0, 1)
        height = float(rng.choice((-1, 1)) * rng.uniform(4, 25))
        most = MOST_WAVES / optics.waves_per_dof
        transfer = self._transfer(optics, np.clip(z - height, -most, most), absorbed=1.0, phase=0.0)
        blurred = torch.fft.irfft2(torch.fft.rfft2(ink)[None] * transfer, s=(side, side))
        dirty: Tensor = (light * (1 - blurred)).clamp(0, 1)
        return dirty

    def _photograph(self, light: Tensor, *, crop: Tensor) -> Tensor:
        """Uneven light and a little flicker, then one camera for all slices.

        The specimen of the clearest slice's `crop` is never drowned in noise, rounding or shade: what can't be seen has
        no score.
        """
        rng, shape = self.rng, (light.shape[1], light.shape[2])
        u = rng.uniform(0, 1, 5)
        contrast = float(crop.std() / crop.mean().clamp(min=1e-3))
        shade = camera.uneven(1, shape=shape, strength=min(0.3 * u[0] ** 2, 3 * contrast), generator=self.generator)
        flicker = torch.from_numpy(np.exp(rng.normal(0, 0.03, len(light)))).float()[:, None, None]
        image = camera.expose(
            light * shade * flicker,
            electrons=max(10 ** (2.6 + 2.2 * u[1]), 2 * float(crop.mean() / crop.var().clamp(min=1e-6))),
            read_noise=float(1 + 4 * u[2]),
            offset=0.02,
            correlation_px=float(0.5 + 2 * u[3]) if u[3] < 0.25 else 0.0,
            generator=self.generator,
        )
        rounded = u[4] < 0.6 and float(crop.std()) > 2 / 255
        image = camera.digitise(image, bits=8 if rounded else 14)
        if rounded and u[4] < 0.2:
            quality = int(rng.integers(50, 98))
            image = torch.stack([camera.compress(v, quality=quality) for v in image])
        return image


@dataclass(frozen=True)
class SeriesData:
    """`Series` as a recipe's data.

    Attributes
    ----------
    settings : SeriesSettings
        What the stacks are like.
    """

    settings: SeriesSettings

    def batches(self, images: Sequence[Sharp], *, batch: int, seed: int) -> Iterator[SeriesBatch]:
        """Endless batches; the same seed gives the same ones."""
        return iter(Series(images, self.settings, batch=batch, seed=seed))
