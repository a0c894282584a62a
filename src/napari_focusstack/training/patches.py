"""Patches defocused on the fly: an endless stream of batches with the truth of each patch.

A batch is made of a few crops of sharp images, each shown at several amounts of defocus by an objective drawn at
random; then haze, dirt, uneven light and a camera drawn at random. Optics come from precomputed transfer functions
(`optics.TransferTable`), so that one thread keeps up with training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from napari_focusstack.training import camera
from napari_focusstack.training.drawn import draw_specimen
from napari_focusstack.training.library import Sharp, by_source, textured_crop
from napari_focusstack.training.optics import TransferTable, gaussian_transfer, spread

FLUORESCENCE, ABSORBING, PHASE, GAUSSIAN = range(4)
COHERENCES = (0.5, 0.7, 0.9)


class PatchSettings(BaseModel):
    """What the patches of a training are like. Fields hold ranges and shares; see `Patches`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch_px: int = Field(default=84, ge=16, description="Side of the patch that carries the label.")
    tile_px: int = Field(
        default=128, ge=16, description="Side of the tile it is cut from the middle of; the rest is margin."
    )
    blur_px: tuple[float, ...] = Field(
        default=(0.0, 1.5, 3.0, 4.5, 6.0, 9.0, 12.0, 18.0, 27.0, 42.0, 84.0),
        description="Edges of the bands of blur (radius of the geometrical disc); each band is drawn equally often.",
    )
    max_waves: float | None = Field(
        default=None,
        description="Largest defocus in waves (or the last of `blur_px`); drawn evenly then, not by bands.",
    )
    sampling: tuple[float, float] = Field(default=(0.25, 1.6), description="Range of pixel size · NA/λ (log-uniform).")
    spherical_waves: tuple[float, float] = Field(
        default=(-0.3, 0.3), description="Range of spherical aberration in waves."
    )
    modes: tuple[float, float, float, float] = Field(
        default=(0.4, 0.35, 0.1, 0.15), description="Shares of fluorescence, absorption, phase and Gaussian blur."
    )
    texture: float = Field(
        default=0.5, ge=0, le=1, description="Share of crops whose specimen is given a fine grain, of any scale."
    )
    blank: float = Field(default=0.1, ge=0, le=1, description="Share of crops without specimen.")
    dirt: float = Field(
        default=0.1, ge=0, le=1, description="Share of patches with sharp dirt over a defocused specimen."
    )
    haze: float = Field(default=0.25, ge=0, le=1, description="Share of patches under light from far out of focus.")
    inverted: float = Field(
        default=0.2, ge=0, le=1, description="Share of patches whose contrast is the other way round than usual."
    )
    electrons: tuple[float, float] = Field(
        default=(2.4, 4.8), description="Range of log10 of the electrons at the camera's full scale."
    )
    shading: float = Field(
        default=0.35, ge=0, description="Most uneven light over a tile (standard deviation of its logarithm)."
    )
    jpeg: float = Field(default=0.2, ge=0, le=1, description="Share of images that were saved as JPEG.")
    views: int = Field(default=4, ge=1, description="Amounts of defocus that each crop is shown at.")
    drawn: float = Field(
        default=0.0, ge=0, le=1, description="Share of crops whose specimen is drawn at random: shapes of every size."
    )
    crisp_px: float | None = Field(
        default=None, description="Width of edges above which a crop is avoided as not sharp itself; none for any."
    )


@dataclass(frozen=True)
class Batch:
    """Patches and their truth; K patches.

    Attributes
    ----------
    image : (K, 1, T, T) float32
        Whole tiles as the camera gave them, 0 … 1; the labelled patch is the middle.
    dof : (K,) float32
        |defocus| in depths of field (of the condenser's cone in brightfield).
    blur_px : (K,) float32
        Radius of the geometrical blur disc in pixels: ``2·|waves|/sampling``, times condenser over objective aperture
        in brightfield.
    waves : (K,) float32
        Signed defocus in waves at the pupil's edge.
    sampling : (K,) float32
        Pixel size · NA/λ.
    asymmetry : (K,) float32
        How much the optics tell the two sides of focus apart: |spherical aberration| in fifths of a wave, 1 for phase
        objects, 0 where nothing does.
    evidence : (K,) bool
        False where there is nothing to judge by: empty, or drowned in noise.
    dirty : (K,) bool
        Whether sharp dirt lies over it.
    """

    image: Tensor
    dof: Tensor
    blur_px: Tensor
    waves: Tensor
    sampling: Tensor
    asymmetry: Tensor
    evidence: Tensor
    dirty: Tensor


@lru_cache(maxsize=1)
def transfer_tables() -> tuple[TransferTable, ...]:
    """Transfer functions: fluorescence first, then brightfield at each of `COHERENCES`."""
    return tuple(TransferTable(coherence=c) for c in (1.0, *COHERENCES))


class Patches:
    """Endless batches; the same seed gives the same patches.

    Parameters
    ----------
    images : sequence of Sharp
        What to defocus.
    settings : PatchSettings
        What the patches are like.
    batch : int
        Patches in a batch, a multiple of ``settings.views``.
    seed : int
        Chance.
    """

    def __init__(self, images: Sequence[Sharp], settings: PatchSettings, *, batch: int, seed: int) -> None:
        self.images, self.settings = images, settings
        self.groups = max(1, batch // settings.views)
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
        self._order, self._share = by_source(images)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.draw()

    def draw(self) -> Batch:
        """Make the next batch."""
        s, g, v = self.settings, self.groups, self.settings.views
        blank = self.rng.random(g) < s.blank
        crops = torch.from_numpy(np.stack([self._crop(bool(b)) for b in blank]))
        crops = grained(crops, share=s.texture, rng=self.rng, generator=self.generator)
        mode = torch.from_numpy(self.rng.choice(4, g, p=np.asarray(s.modes) / sum(s.modes)))
        sampling = torch.from_numpy(
            np.exp(self.rng.uniform(math.log(s.sampling[0]), math.log(s.sampling[1]), g))
        ).float()
        spherical = torch.from_numpy(self.rng.uniform(*s.spherical_waves, g)).float()
        mode, sampling, spherical = (t.repeat_interleave(v) for t in (mode, sampling, spherical))
        cone = self.rng.integers(1, len(COHERENCES) + 1, g)
        condenser = torch.where(mode == FLUORESCENCE, 0, torch.from_numpy(cone).repeat_interleave(v))
        # A narrow condenser blurs less: the light cone through the specimen is that of the condenser.
        opening = torch.tensor((1.0, *COHERENCES))[condenser]
        opening = torch.where(mode == GAUSSIAN, 1.0, opening)
        blur, waves = self._defocus(sampling, opening)
        dof = waves.abs() * opening / ((1 + sampling) / 2)
        spherical = torch.where(mode == GAUSSIAN, 0.0, spherical)
        light, signal = self._image(crops, mode, condenser, sampling, spherical, waves)
        light, dirty = self._dirt(light, dof)
        image, noise = self._photograph(light)
        asymmetry = torch.where(mode == PHASE, 1.0, spherical.abs() / 0.2)
        return Batch(
            image=image[:, None],
            dof=dof,
            blur_px=blur,
            waves=waves,
            sampling=sampling,
            asymmetry=torch.where(mode == GAUSSIAN, 0.0, asymmetry),
            evidence=self._evidence(signal, noise) & torch.from_numpy(~blank).repeat_interleave(v),
            dirty=dirty,
        )

    def _crop(self, blank: bool) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """(T, T) amount of specimen: somewhere with texture, or nothing."""
        s, t = self.settings, self.settings.tile_px
        if blank:
            return np.zeros((t, t), np.float32)
        if s.drawn and self.rng.random() < s.drawn:
            return draw_specimen(self.rng, t)
        image = self.images[int(self.rng.choice(self._order, p=self._share))]
        return textured_crop(image, t, margin=(t - s.patch_px) // 2, rng=self.rng, crisp_px=s.crisp_px)

    def _defocus(self, sampling: Tensor, opening: Tensor) -> tuple[Tensor, Tensor]:
        """Radius of the blur disc in pixels, ``2·|waves|·opening/sampling``, and signed waves."""
        s, k = self.settings, len(sampling)
        sign = torch.from_numpy(np.where(self.rng.random(k) < 0.5, -1.0, 1.0)).float()
        if s.max_waves is not None:
            most = (s.blur_px[-1] * sampling / (2 * opening)).clamp(max=s.max_waves)
            waves = torch.from_numpy(self.rng.uniform(0, 1, k)).float() * most
            return 2 * waves * opening / sampling, waves * sign
        edges = np.asarray(s.blur_px)
        band = self.rng.integers(len(edges) - 1, size=k)
        blur = torch.from_numpy(edges[band] + self.rng.random(k) * (edges[band + 1] - edges[band])).float()
        return blur, blur * sampling / (2 * opening) * sign

    def _image(
        self, crops: Tensor, mode: Tensor, condenser: Tensor, sampling: Tensor, spherical: Tensor, waves: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Light on the camera, 0 … 1, and the part of it that is specimen."""
        s, t = self.settings, self.settings.tile_px
        k, v = len(mode), s.views
        spectrum = torch.fft.rfft2(crops).repeat_interleave(v, dim=0)
        profile = self._profiles(condenser, spherical, waves)
        uniform = torch.from_numpy(self.rng.uniform(0, 1, (3, len(crops)))).float().repeat_interleave(v, dim=1)
        # A phase object absorbs a little, too; its background light is what brightens and darkens.
        absorbed = torch.where(mode == PHASE, 0.3 * uniform[0] ** 2, torch.ones(k))
        phase = torch.where(mode == PHASE, 0.5 + uniform[1], torch.zeros(k))
        radial = absorbed[:, None] * profile.real + phase[:, None] * profile.imag
        transfer = spread(radial, sampling=sampling, shape=(t, t))
        flat = mode == GAUSSIAN
        if bool(flat.any()):
            # The Gaussian with the variance of the geometrical blur disc, whose radius is 2·waves/sampling pixels.
            sigma = torch.hypot(waves[flat].abs() / sampling[flat], torch.tensor(0.4))
            transfer[flat] = gaussian_transfer(sigma, shape=(t, t))
        signal = torch.fft.irfft2(spectrum * transfer, s=(t, t))
        hazy = torch.from_numpy((self.rng.random(k) < s.haze) * self.rng.uniform(0.1, 0.5, k)).float()
        far = gaussian_transfer(torch.full((1,), t / 10), shape=(t, t))
        veil = torch.fft.irfft2(spectrum.roll(v, dims=0) * far, s=(t, t))
        # Fluorescence lies on a dark ground, brightfield takes away from bright light; one in five the other way round.
        bright = (mode != FLUORESCENCE) ^ torch.from_numpy(self.rng.random(k) < s.inverted)
        base = torch.where(bright, 0.45 + 0.5 * uniform[2], 0.01 + 0.25 * uniform[2] ** 2)
        strength = torch.where(bright, base * (0.08 + 0.85 * uniform[0]), (0.95 - base) * (0.1 + 0.9 * uniform[0]))
        gain = torch.where(bright, -strength, strength)[:, None, None]
        return (base[:, None, None] + gain * (signal + hazy[:, None, None] * veil)).clamp(0, 1), gain * signal

    def _profiles(self, condenser: Tensor, spherical: Tensor, waves: Tensor) -> Tensor:
        """(K, n_nu) complex transfer functions."""
        tables = transfer_tables()
        profile = torch.zeros((len(waves), tables[0].n_nu), dtype=torch.complex64)
        for c, table in enumerate(tables):
            here = condenser == c
            if bool(here.any()):
                profile[here] = table(waves[here], spherical[here])
        return profile

    def _dirt(self, light: Tensor, dof: Tensor) -> tuple[Tensor, Tensor]:
        """Lay sharp dirt over specimens that are out of focus themselves (2 depths of field or more)."""
        dirty = torch.from_numpy(self.rng.random(len(light)) < self.settings.dirt) & (dof > 2)
        for k in torch.nonzero(dirty).flatten().tolist():
            ink = camera.draw_dirt(self.rng, (light.shape[1], light.shape[2]), pieces=int(self.rng.integers(1, 5)))
            ink = cv2.GaussianBlur(ink, (0, 0), float(self.rng.uniform(0.4, 1.2)))
            light[k] *= torch.from_numpy(1 - ink)
        return light.clamp(0, 1), dirty

    def _photograph(self, light: Tensor) -> tuple[Tensor, Tensor]:
        """Uneven light, then a camera: images and the noise (standard deviation) in each."""
        k, shape = len(light), (light.shape[1], light.shape[2])
        random = self.rng.random((6, k))
        light = light * camera.uneven(
            k,
            shape=shape,
            strength=torch.from_numpy(self.settings.shading * random[0] ** 2).float(),
            generator=self.generator,
        )
        low, high = self.settings.electrons
        electrons = torch.from_numpy(10 ** (low + (high - low) * random[1])).float()
        read = torch.from_numpy(1 + 4 * random[2]).float()
        correlated = torch.from_numpy(np.where(random[3] < 0.25, 0.5 + 2 * random[3], 0.0)).float()
        image = camera.expose(
            light,
            electrons=electrons,
            read_noise=read,
            offset=0.02,
            correlation_px=correlated,
            generator=self.generator,
        )
        image = camera.digitise(image, bits=torch.from_numpy(np.where(random[4] < 0.6, 8, 14)))
        for i in np.flatnonzero(random[5] < self.settings.jpeg):
            image[i] = camera.compress(image[i], quality=int(self.rng.integers(50, 98)))
        noise = torch.sqrt(light.mean(dim=(1, 2)) / electrons + (read / electrons) ** 2)
        return image, noise

    def _evidence(self, signal: Tensor, noise: Tensor) -> Tensor:
        """Whether the specimen's variation over the patch stands out of the noise (a third of it or more)."""
        s = self.settings
        m = (s.tile_px - s.patch_px) // 2
        inner = signal[:, m : m + s.patch_px, m : m + s.patch_px]
        deviation = inner.flatten(1).std(dim=1)
        return (deviation > 0.35 * noise) & (deviation > 0.002)


@dataclass(frozen=True)
class PatchData:
    """`Patches` as a recipe's data.

    Attributes
    ----------
    settings : PatchSettings
        What the patches are like.
    """

    settings: PatchSettings

    def batches(self, images: Sequence[Sharp], *, batch: int, seed: int) -> Iterator[Batch]:
        """Endless batches of patches of these images."""
        return iter(Patches(images, self.settings, batch=batch, seed=seed))


def grained(crops: Tensor, *, share: float, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Give some specimens a fine grain, and half of those a soft outline.

    Cells on a slide are outlines and little else. Thick specimens have no sharp outline even in focus, but structure at
    every scale down to the pixel: multiplied on as noise with an amplitude spectrum of 1/f to 1/f².

    Parameters
    ----------
    crops : (G, T, T) tensor
        Amounts of specimen; changed in place.
    share : float
        Of crops that get it.
    rng, generator
        Sources of chance.
    """
    g, (h, w) = len(crops), crops.shape[1:]
    chosen = torch.from_numpy(rng.random(g) < share)
    k = int(chosen.sum())
    if k == 0:
        return crops
    slope, depth, soft = (torch.from_numpy(v).float() for v in rng.uniform(0, 1, (3, k)))
    outline = gaussian_transfer(torch.where(soft > 0.5, 8 * (soft - 0.5), 0.0), shape=(h, w))
    smooth = torch.fft.irfft2(torch.fft.rfft2(crops[chosen]) * outline, s=(h, w))
    frequency = torch.hypot(torch.fft.fftfreq(h)[:, None], torch.fft.rfftfreq(w)[None]).clamp(min=1 / 32)
    white = torch.fft.rfft2(torch.randn((k, h, w), generator=generator))
    grain = torch.fft.irfft2(white * frequency ** -(1 + slope[:, None, None]), s=(h, w))
    grain = grain / grain.flatten(1).std(dim=1)[:, None, None].clamp(min=1e-9)
    crops[chosen] = smooth * (1 + (0.15 + 0.4 * depth[:, None, None]) * grain).clamp(0, 2)
    return crops
