"""Tiles of known defocus for LDSE-NET, made on the fly: one optical grid, cameras of any pixel size.

Everything is blurred on the network's own grid (`ldsenet.SAMPLING`), by optics whose spherical aberration is never
negative, as on one instrument: rings lie on the negative side of focus, a bright core with a faint halo on the other.
The other sign of the aberration is the same image on the other side of focus, so nothing is lost. The specimens are
crops of sharp images, made finer than the grid's pixels, and drawn beads; a camera coarser than the grid sees means
over its own pixels, which are then resampled as a user's image is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from napari_focusstack.networks import ldsenet
from napari_focusstack.training import camera
from napari_focusstack.training.library import Sharp, by_source, cut
from napari_focusstack.training.optics import Microscope, as_table_waves, gaussian_transfer, spread
from napari_focusstack.training.patches import COHERENCES, grained, transfer_tables

DEPTHS = (-0.4, -0.2, 0.0, 0.2, 0.4)
"""Of a thick specimen's layers, over its thickness."""


class TileSettings(BaseModel):
    """What the tiles of a training are like. Fields hold ranges and shares; see `Tiles`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tile_px: int = Field(default=96, ge=32, description="Side of the tile, on the network's grid.")
    margin_px: int = Field(default=16, ge=0, description="What is blurred around it and cut off.")
    max_waves: float = Field(default=8.0, gt=0, description="Largest defocus in waves.")
    near: float = Field(
        default=1.6, ge=1, description="Power of an even number that defocus is drawn by: more is nearer."
    )
    spherical_waves: tuple[float, float] = Field(
        default=(0.15, 0.6), description="Range of spherical aberration in waves (log-uniform)."
    )
    aperture: tuple[float, float] = Field(
        default=(0.1, 0.9), description="Range of NA over refractive index: how far high apertures bend defocus."
    )
    symmetric: float = Field(default=0.2, ge=0, le=1, description="Share of crops under optics without aberration.")
    brightfield: float = Field(
        default=0.2, ge=0, le=1, description="Share of absorbing specimens on bright light, condenser all but open."
    )
    coarse: tuple[float, ...] = Field(
        default=(1.0, 1.0, 1.0, 1.0, 1.5, 2.6), description="Camera pixels over the grid's; drawn evenly from these."
    )
    finer: tuple[float, float] = Field(
        default=(1.0, 2.5), description="By how much crops are scaled down, to be sharper than the grid's pixels."
    )
    beads: float = Field(
        default=0.4, ge=0, le=1, description="Share of drawn beads, balls or discs, in the place of sharp images."
    )
    texture: float = Field(default=0.25, ge=0, le=1, description="Share of crops that are given a fine grain.")
    haze: float = Field(default=0.05, ge=0, le=1, description="Share of tiles under light from far out of focus.")
    thick: float = Field(default=0.15, ge=0, le=1, description="Share of specimens up to 2 waves thick.")
    electrons: tuple[float, float] = Field(default=(3.3, 4.8), description="Range of log10 of a camera's full well.")
    replays: int = Field(
        default=1, ge=0, description="How often a batch is followed by an earlier one, turned: cheaper than a new one."
    )
    views: int = Field(default=4, ge=2, description="Amounts of defocus that each crop is shown at, in pairs ±.")


WIDEST = len(COHERENCES)
"""Transfer table of the widest condenser."""
POOL = 40
"""Earlier batches that are kept to be shown again."""


@dataclass(frozen=True)
class TileBatch:
    """Tiles and their truth; K tiles.

    Attributes
    ----------
    image : (K, 1, T, T) float32
        As resampled from the camera to the network's grid.
    waves : (K,) float32
        Signed defocus in waves at the pupil's edge, relative to the aberration: negative on the rings' side.
    sampling : (K,) float32
        Pixel size · NA/λ of the camera.
    asymmetry : (K,) float32
        Spherical aberration in waves, 0 or more.
    evidence : (K,) bool
        False where nothing stands out of the noise.
    """

    image: Tensor
    waves: Tensor
    sampling: Tensor
    asymmetry: Tensor
    evidence: Tensor


@dataclass(frozen=True)
class TileData:
    """Data of a recipe: tiles defocused on the fly."""

    settings: TileSettings

    def batches(self, images: Sequence[Sharp], *, batch: int, seed: int) -> Iterator[TileBatch]:
        """Endless batches; the same seed gives the same ones."""
        return iter(Tiles(images, self.settings, batch=batch, seed=seed))


def high_na_share(
    na_over_index: np.ndarray[Any, np.dtype[np.float64]],
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Waves of spherical aberration that each wave of defocus brings along at high apertures.

    It has defocus' own sign, so it looks alike on both sides of focus, and may outweigh the lens' own aberration.
    """
    known, shares = _high_na_table()
    share: np.ndarray[Any, np.dtype[np.float64]] = np.interp(na_over_index, known, shares)
    return share


@lru_cache(maxsize=1)
def _high_na_table() -> tuple[list[float], list[float]]:
    known = [0.05 * i for i in range(1, 20)]
    split = [as_table_waves(torch.ones(1), Microscope(na, 1.0, 1.0)) for na in known]
    return known, [float(fourth / second) for second, fourth in split]


class Tiles:
    """Endless batches; the same seed gives the same tiles.

    Parameters
    ----------
    images : sequence of Sharp
        What to defocus.
    settings : TileSettings
        What the tiles are like.
    batch : int
        Tiles in a batch, a multiple of ``settings.views``.
    seed : int
        Chance.
    """

    def __init__(self, images: Sequence[Sharp], settings: TileSettings, *, batch: int, seed: int) -> None:
        self.images, self.settings = images, settings
        self.groups = max(1, batch // settings.views)
        self.side = settings.tile_px + 2 * settings.margin_px
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
        self._order, self._share = by_source(images)

    def __iter__(self) -> Iterator[TileBatch]:
        earlier: list[TileBatch] = []
        while True:
            batch = self.draw()
            yield batch
            earlier = [*earlier[-POOL:], batch]
            for _ in range(self.settings.replays):
                yield self._turned(earlier[int(self.rng.integers(len(earlier)))])

    def _turned(self, batch: TileBatch) -> TileBatch:
        """The same tiles, mirrored or turned by right angles."""
        image = torch.rot90(batch.image, int(self.rng.integers(4)), dims=(2, 3))
        return replace(batch, image=image.flip(3) if self.rng.random() < 0.5 else image)

    def draw(self) -> TileBatch:
        """Make the next batch."""
        s, g, v = self.settings, self.groups, self.settings.views
        aperture = self.rng.uniform(*s.aperture, g)
        layers, heights = self._specimens(aperture)
        low, high = np.log(s.spherical_waves)
        aberration = np.exp(self.rng.uniform(low, high, g)) * (self.rng.random(g) >= s.symmetric)
        spherical = torch.from_numpy(aberration).float().repeat_interleave(v)
        bright = torch.from_numpy(self.rng.random(g) < s.brightfield).repeat_interleave(v)
        # A condenser that is closed further blurs less than defocus does: nobody can tell the two apart.
        cone = np.where(self.rng.random(g) < 0.5, WIDEST, 0)
        condenser = torch.where(bright, torch.from_numpy(cone).repeat_interleave(v), 0)
        waves = self.rng.uniform(0, 1, (g, v // 2)) ** s.near * s.max_waves
        signed = torch.from_numpy(np.stack([waves, -waves], axis=2).reshape(-1)).float()
        bend = torch.from_numpy(high_na_share(aperture)).float().repeat_interleave(v)
        signal = self._blurred(layers, heights, signed, spherical, bend, condenser)
        light, specimen_light = self._lit(signal, bright)
        coarse = self.rng.choice(s.coarse, g).repeat(v)
        image, noise = self._photograph(light, coarse)
        m, t = s.margin_px, s.tile_px
        deviation = specimen_light[:, m : m + t, m : m + t].flatten(1).std(dim=1)
        return TileBatch(
            image=image[:, None, m : m + t, m : m + t].contiguous(),
            waves=signed,
            sampling=torch.from_numpy(coarse * ldsenet.SAMPLING).float(),
            asymmetry=spherical,
            evidence=(deviation > 0.35 * noise) & (deviation > 0.002),
        )

    def _crop(self) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """(T, T) amount of specimen, somewhere with texture, scaled down."""
        t, m = self.side, self.settings.margin_px
        image = self.images[int(self.rng.choice(self._order, p=self._share))]
        plane = image.levels[int(self.rng.integers(len(image.levels)))]
        best, most = np.zeros((t, t), np.float32), -1.0
        for _ in range(5):
            larger = cut(plane, round(t * self.rng.uniform(*self.settings.finer)), self.rng)
            crop = cv2.resize(larger, (t, t), interpolation=cv2.INTER_AREA)
            contrast = float(crop[m : t - m, m : t - m].std())
            if contrast > most:
                best, most = crop, contrast
            if contrast > 0.1:
                break
        turned = np.rot90(best, int(self.rng.integers(4)))
        return np.ascontiguousarray(turned[:, ::-1] if self.rng.random() < 0.5 else turned)

    def _specimens(self, aperture: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[Tensor, Tensor]:
        """Specimens in layers, (g, L, T, T), and how many waves each layer lies above the middle, (g, L)."""
        s, g, t = self.settings, self.groups, self.side
        layers, heights = np.zeros((g, len(DEPTHS), t, t), np.float32), np.zeros((g, len(DEPTHS)), np.float32)
        drawn = self.rng.random(g) < s.beads
        for i in np.flatnonzero(drawn):
            layers[i], radius = self._beads()
            steepness = (1 - math.sqrt(1 - aperture[i] ** 2)) / aperture[i]
            heights[i] = 2 * np.asarray(DEPTHS) * radius * ldsenet.SAMPLING * steepness
        flat = np.flatnonzero(~drawn)
        if len(flat):
            crops = torch.from_numpy(np.stack([self._crop() for _ in flat]))
            crops = grained(crops, share=s.texture, rng=self.rng, generator=self.generator)
            for i, crop in zip(flat, crops.numpy(), strict=True):
                if self.rng.random() < s.thick:
                    layers[i] = crop / len(DEPTHS)
                    heights[i] = np.asarray(DEPTHS) * self.rng.uniform(0.3, 2)
                else:
                    layers[i, len(DEPTHS) // 2] = crop
        return torch.from_numpy(layers), torch.from_numpy(heights)

    def _beads(self) -> tuple[np.ndarray[Any, np.dtype[np.float32]], float]:
        """(L, T, T) layers and the radius of beads: one size, from points to 30 px across, scattered or in a clump.

        Half of the fields are balls, each layer a section of them; the others flat discs in the middle layer.
        """
        rng, t = self.rng, self.side
        radius, ball, clumped = (
            math.exp(rng.uniform(math.log(0.6), math.log(16))),
            rng.random() < 0.5,
            rng.random() < 0.4,
        )
        clump = rng.uniform(0, t, 2)
        y, x = np.mgrid[:t, :t].astype(np.float32)
        out = np.zeros((len(DEPTHS), t, t), np.float32)
        sections = {k: math.sqrt(1 - 4 * d * d) for k, d in enumerate(DEPTHS)} if ball else {len(DEPTHS) // 2: 1.0}
        for _ in range(int(rng.integers(1, 30))):
            cy, cx = rng.normal(clump, 3 * radius + 6) if clumped else rng.uniform(0, t, 2)
            r, light = radius * rng.uniform(0.85, 1.15), rng.uniform(0.6, 1) / len(sections)
            distance = np.hypot(y - np.float32(cy), x - np.float32(cx))
            for k, width in sections.items():
                out[k] += np.float32(light) * np.clip(r * width + 0.5 - distance, 0, 1)
        return out / max(1.0, float(out.sum(axis=0).max()) / 1.5), radius

    def _blurred(
        self, layers: Tensor, heights: Tensor, waves: Tensor, spherical: Tensor, bend: Tensor, condenser: Tensor
    ) -> Tensor:
        """Specimens through the optics: (g, L, T, T) → (K, T, T); `bend` waves of aberration for each of defocus."""
        v, shape = self.settings.views, (self.side, self.side)
        signal = torch.zeros((len(waves), *shape))
        for k in range(layers.shape[1]):
            filled = torch.nonzero(layers[:, k].flatten(1).any(dim=1).repeat_interleave(v)).flatten()
            if not len(filled):
                continue
            at = (waves + heights[:, k].repeat_interleave(v))[filled]
            profile = torch.zeros((len(filled), transfer_tables()[0].n_nu))
            for c, table in enumerate(transfer_tables()):
                here = torch.nonzero(condenser[filled] == c).flatten()
                if len(here):
                    aberration = spherical[filled][here] + bend[filled][here] * at[here]
                    profile[here] = table(at[here], aberration).real
            transfer = spread(profile, sampling=torch.full((len(filled),), ldsenet.SAMPLING), shape=shape)
            spectrum = torch.fft.rfft2(layers[:, k]).repeat_interleave(v, dim=0)[filled]
            signal[filled] += torch.fft.irfft2(spectrum * transfer, s=shape)
        return signal

    def _lit(self, signal: Tensor, bright: Tensor) -> tuple[Tensor, Tensor]:
        """Light on the camera, 0 … 1, under uneven light and haze; and the part of it that is specimen."""
        s, k = self.settings, len(signal)
        random = torch.from_numpy(self.rng.uniform(0, 1, (4, k))).float()
        base = torch.where(bright, 0.45 + 0.5 * random[0], 0.01 + 0.2 * random[0] ** 2)
        strength = torch.where(bright, base * (0.1 + 0.85 * random[1]), (0.95 - base) * (0.1 + 0.9 * random[1]))
        gain = torch.where(bright, -strength, strength)[:, None, None]
        hazy = torch.from_numpy((self.rng.random(k) < s.haze) * self.rng.uniform(0.1, 0.5, k)).float()
        far = gaussian_transfer(torch.full((1,), self.side / 10), shape=(self.side, self.side))
        veil = torch.fft.irfft2(torch.fft.rfft2(signal.roll(s.views, dims=0)) * far, s=(self.side, self.side))
        light = (base[:, None, None] + gain * (signal + hazy[:, None, None] * veil)).clamp(0, 1)
        uneven = camera.uneven(
            k, shape=(self.side, self.side), strength=0.15 * random[2] ** 2, generator=self.generator
        )
        return light * uneven, gain * signal

    def _photograph(self, light: Tensor, coarse: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[Tensor, Tensor]:
        """Through cameras with pixels `coarse` times the grid's, and back on the grid; and the noise in each."""
        images, noise = torch.empty_like(light), torch.empty(len(light))
        for factor in np.unique(coarse):
            here = torch.from_numpy(coarse == factor)
            side = round(self.side / factor)
            seen = torch.nn.functional.interpolate(light[here][:, None], size=(side, side), mode="area")[:, 0]
            taken, noise[here] = self._expose(seen)
            back = [ldsenet.resampled(one, (self.side, self.side)) for one in taken.numpy()]
            images[here] = torch.from_numpy(np.stack(back))
        return images, noise

    def _expose(self, light: Tensor) -> tuple[Tensor, Tensor]:
        """A camera drawn at random for each: images and the standard deviation of their noise."""
        k, random = len(light), self.rng.random((4, len(light)))
        low, high = self.settings.electrons
        electrons = torch.from_numpy(10 ** (low + (high - low) * random[0])).float()
        read = torch.from_numpy(1 + 4 * random[1]).float()
        correlated = torch.from_numpy(np.where(random[2] < 0.1, 0.5 + 2 * random[2], 0.0)).float()
        image = camera.expose(
            light.clamp(0, 1),
            electrons=electrons,
            read_noise=read,
            offset=0.02,
            correlation_px=correlated,
            generator=self.generator,
        )
        image = camera.digitise(image, bits=torch.from_numpy(np.where(random[3] < 0.3, 8, 14)))
        for i in np.flatnonzero(self.rng.random(k) < 0.05):
            image[i] = camera.compress(image[i], quality=int(self.rng.integers(60, 98)))
        return image, torch.sqrt(light.mean(dim=(1, 2)) / electrons + (read / electrons) ** 2)
