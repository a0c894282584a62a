"""Pairs of a blurred and a sharp image for networks that deblur: defocus and the motion of a scan, by physics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from napari_focusstack.training import camera
from napari_focusstack.training.library import Sharp, by_source, textured_crop
from napari_focusstack.training.optics import TransferTable, kernel_transfer, spread

Kernel = NDArray[np.float32]
_FINE = 8
"""Points a pixel along a path of motion."""


class PairSettings(BaseModel):
    """What the pairs of a training are like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch_px: int = Field(default=96, ge=32, multiple_of=16, description="Side of a pair, a multiple of 16.")
    margin_px: int = Field(default=32, ge=8, description="Cut off all around after blurring.")
    blur: Literal["recorded", "synthetic", "mixed"] = Field(
        default="mixed",
        description="Defocus and a scan's motion; random paths as DeblurGAN draws them; or half of each.",
    )
    still: float = Field(default=0.15, ge=0, le=1, description="Share of pairs without any blur: only noise.")
    disc_px: float = Field(default=7.0, ge=0, description="Largest radius of the blur disc of defocus.")
    scan_px: float = Field(default=14.0, ge=0, description="Longest way of the specimen during the exposure.")
    path_px: tuple[int, ...] = Field(default=(4, 15), description="Sides of the kernels of random paths.")
    sampling: tuple[float, float] = Field(default=(0.25, 1.0), description="Range of pixel size · NA/λ (log-uniform).")
    spherical_waves: float = Field(default=0.2, ge=0, description="Largest spherical aberration, of either sign.")
    electrons: tuple[float, float] = Field(default=(800.0, 60000.0), description="At full scale (log-uniform).")


@dataclass(frozen=True)
class Pair:
    """K pairs, scaled alike.

    Attributes
    ----------
    blurred, sharp : (K, 1, P, P) float32
        As the camera took it, and what it would have seen in focus, at rest and without noise. About 0 … 1 over the
        blurred image's range.
    """

    blurred: Tensor
    sharp: Tensor


def scan_kernel(length_px: float, *, angle: float, bend: float = 0.0, ramp: float = 0.0) -> Kernel:
    """Blur of a specimen that moves while the shutter is open.

    Parameters
    ----------
    length_px : float
        Speed times exposure, in pixels.
    angle : float
        Direction in radians.
    bend : float
        How far the way turns, in radians over its length.
    ramp : float
        Change of speed over the exposure, -1 … 1, relative to the mean.

    Returns
    -------
    (K, K) float32 array
        Odd sides, sum 1; the middle of the exposure lies in the centre.
    """
    n = max(2, math.ceil(length_px * _FINE))
    t = (np.arange(n) + 0.5) / n - 0.5
    heading = angle + bend * t
    speed = 1 + ramp * t
    y, x = np.cumsum(np.sin(heading) * speed), np.cumsum(np.cos(heading) * speed)
    way = np.stack([y - y[n // 2], x - x[n // 2]], axis=1) * (length_px / n)
    return _drawn(way)


def path_kernel(side: int, rng: np.random.Generator) -> Kernel:
    """Blur of a random path with inertia, as hand-held cameras make it (Boracchi and Foi 2012; used by DeblurGAN)."""
    n = 96
    velocity = np.empty(n, np.complex128)
    v = np.exp(1j * rng.uniform(0, 2 * np.pi))
    for i in range(n):
        v = 0.96 * v + 0.35 * (rng.normal() + 1j * rng.normal()) * (1 if rng.random() > 0.02 else 4)
        v /= max(abs(v), 1e-9)
        velocity[i] = v
    way = np.cumsum(velocity)
    way -= way.mean()
    reach = max(float(np.abs(way.real).max()), float(np.abs(way.imag).max()), 1e-9)
    way *= max((side - 2) / 2, 0.5) / reach
    return _drawn(np.stack([way.imag, way.real], axis=1))


def _drawn(way: NDArray[np.float64]) -> Kernel:
    """A path of (y, x) points as a kernel, each point shared among four pixels."""
    half = int(np.ceil(np.abs(way).max())) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    low = np.floor(way).astype(int)
    f = way - low
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - f[:, 0]) * np.abs(1 - dx - f[:, 1])
            np.add.at(kernel, (low[:, 0] + dy + half, low[:, 1] + dx + half), weight)
    drawn: Kernel = (kernel / kernel.sum()).astype(np.float32)
    return drawn


@lru_cache(maxsize=1)
def _table() -> TransferTable:
    return TransferTable(coherence=1.0)


class Pairs:
    """Endless pairs; the same seed gives the same ones.

    Parameters
    ----------
    images : sequence of Sharp
        What to blur.
    settings : PairSettings
        How.
    batch : int
        Pairs at once.
    seed : int
        Chance.
    """

    def __init__(self, images: Sequence[Sharp], settings: PairSettings, *, batch: int, seed: int) -> None:
        self.images, self.settings, self.batch = images, settings, batch
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
        self._order, self._share = by_source(images)

    def __iter__(self) -> Iterator[Pair]:
        while True:
            yield self.draw()

    def draw(self) -> Pair:
        """Make the next batch."""
        s, k = self.settings, self.batch
        side = s.patch_px + 2 * s.margin_px
        crops = torch.from_numpy(np.stack([self._crop(side) for _ in range(k)]))
        spectrum = torch.fft.rfft2(crops)
        sampling = self._log_uniform(s.sampling)
        focused, blurring = self._transfers(sampling, (side, side))
        bright = torch.from_numpy(self.rng.random(k) < 0.5)
        u = torch.from_numpy(self.rng.random((2, k))).float()
        base = torch.where(bright, 0.5 + 0.45 * u[0], 0.01 + 0.2 * u[0] ** 2)
        gain = torch.where(bright, -base * (0.15 + 0.75 * u[1]), (0.95 - base) * (0.1 + 0.9 * u[1]))

        def light(transfer: Tensor) -> Tensor:
            seen: Tensor = torch.fft.irfft2(spectrum * transfer, s=(side, side))
            return (base[:, None, None] + gain[:, None, None] * seen).clamp(0, 1)

        m = s.margin_px
        cut = (slice(None), slice(m, m + s.patch_px), slice(m, m + s.patch_px))
        blurred = self._photograph(light(blurring)[cut])
        return self._scaled(blurred, light(focused)[cut])

    def _log_uniform(self, limits: tuple[float, float]) -> Tensor:
        low, high = (math.log(v) for v in limits)
        return torch.from_numpy(np.exp(self.rng.uniform(low, high, self.batch))).float()

    def _crop(self, side: int) -> Kernel:
        image = self.images[int(self.rng.choice(self._order, p=self._share))]
        return textured_crop(image, side, margin=self.settings.margin_px, rng=self.rng)

    def _transfers(self, sampling: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Transfer of the objective in focus, and of all that blurs."""
        s, k = self.settings, self.batch
        moving = self.rng.random(k) >= s.still
        walk = {"recorded": 0.0, "synthetic": 1.0, "mixed": 0.5}[s.blur]
        walks = moving & (self.rng.random(k) < walk)
        disc = np.where(moving & ~walks, s.disc_px * self.rng.random(k), 0.0)
        sign = np.where(self.rng.random(k) < 0.5, -1.0, 1.0)
        waves = torch.from_numpy(disc * sign).float() * sampling / 2
        spherical = torch.from_numpy(self.rng.uniform(-1, 1, k) * s.spherical_waves).float()
        table = _table()
        focused = spread(table(torch.zeros(k), spherical).real, sampling=sampling, shape=shape)
        out = spread(table(waves, spherical).real, sampling=sampling, shape=shape).to(torch.complex64)
        for i in np.flatnonzero(moving):
            if walks[i]:
                kernel = path_kernel(int(self.rng.choice(s.path_px)), self.rng)
            elif self.rng.random() < 0.5:
                angle, bend, ramp = self.rng.uniform(0, 2 * np.pi), self.rng.normal(0, 0.2), self.rng.uniform(-0.5, 0.5)
                kernel = scan_kernel(s.scan_px * self.rng.random(), angle=angle, bend=bend, ramp=ramp)
            else:
                continue
            out[i] *= kernel_transfer(kernel, shape=shape)
        return focused, out

    def _photograph(self, light: Tensor) -> Tensor:
        s, k = self.settings, self.batch
        electrons = self._log_uniform(s.electrons)
        taken = camera.expose(light, electrons=electrons, read_noise=2.0, generator=self.generator)
        taken = camera.digitise(taken, bits=torch.from_numpy(np.where(self.rng.random(k) < 0.5, 8, 14)))
        for i in np.flatnonzero(self.rng.random(k) < 0.1):
            taken[i] = camera.compress(taken[i], quality=int(self.rng.integers(75, 98)))
        return taken

    def _scaled(self, blurred: Tensor, sharp: Tensor) -> Pair:
        """Both over the blurred image's range, or up to three times that: a patch may be a dull part of an image."""
        flat = blurred.flatten(1)
        low, high = torch.quantile(flat, torch.tensor([0.001, 0.999]), dim=1)
        reach = torch.from_numpy(np.exp(self.rng.uniform(0, math.log(3), self.batch))).float()
        reach = reach * (high - low).clamp(min=0.02)
        rest = (reach - (high - low)).clamp(min=0) * torch.from_numpy(self.rng.random(self.batch)).float()
        start = (low - rest)[:, None, None]
        blurred, sharp = ((a - start) / reach[:, None, None] for a in (blurred, sharp))
        return Pair(blurred[:, None].contiguous(), sharp[:, None].contiguous())


@dataclass(frozen=True)
class PairData:
    """`Pairs` as a recipe's data.

    Attributes
    ----------
    settings : PairSettings
        What the pairs are like.
    """

    settings: PairSettings

    def batches(self, images: Sequence[Sharp], *, batch: int, seed: int) -> Iterator[Pair]:
        """Endless batches of pairs of these images."""
        return iter(Pairs(images, self.settings, batch=batch, seed=seed))
