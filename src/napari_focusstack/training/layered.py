"""Scenes whose parts lie at different heights, with the truth of each pixel: for networks that label pixels.

Three kinds. *Regions* (Pei et al. 2021, section 2.1.1): a sharp plane of which parts are blurred, or lie a little above
or below it. *Relief*: a tilted or hilly specimen. *Layers*: objects at heights of their own, which hide or outshine
those below. Each scene is shown with the focus at several heights. Haze, dirt, uneven light and the camera come after
the blur, as for patches (`Patches`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from napari_focusstack.training import camera
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.optics import gaussian_transfer, spread
from napari_focusstack.training.patches import (
    COHERENCES,
    FLUORESCENCE,
    GAUSSIAN,
    PHASE,
    Patches,
    PatchSettings,
    grained,
    transfer_tables,
)
from napari_focusstack.training.scene import depth_map
from napari_focusstack.training.settings import Relief

CLEAR_DOF, FUZZY_DOF = 0.5, 1.5
"""Depths of field up to which a pixel is in focus, and from which on it is not."""
DETAIL_PX = 9
"""Window of the local contrast that tells where there is something to see."""
BODY = 0.15
"""Amount of specimen from which on a place without detail is the inside of something, not background."""
LADDER = (0.0, 1.0, 2.0, 3.0, 4.5, 6.5, 9.5, 14.0, 20.0, 30.0, 42.0, 64.0)
"""Blur in pixels between which a relief is interpolated."""
REGION_SIGMAS = (2.0, 4.0, 8.0, 16.0, 32.0)
"""Gaussian blurs of the paper's regions."""
REGIONS = 0
"""The kind of scene that the paper trains on, in `SceneSettings.kinds`."""
GAUSSIAN_SAMPLING = 1.0
"""What stands for the sampling of a Gaussian blur, which has no depth of field: in focus up to a standard deviation of
0.5 px, out of focus from 1.5 px on, so that the least blur of the paper's regions is taught as blur."""
REGIONS_GAUSSIAN = 0.5
"""Share of the regions whose blur is the paper's, whatever the other scenes are imaged by."""


class SceneSettings(PatchSettings):
    """What the scenes of a training are like."""

    patch_px: int = Field(default=160, ge=16, description="Side of the scene.")
    tile_px: int = Field(default=192, ge=16, description="Side of what is simulated; the rest is margin.")
    sampling: tuple[float, float] = Field(default=(0.3, 1.6), description="Range of pixel size · NA/λ (log-uniform).")
    dirt: float = Field(default=0.15, ge=0, le=1, description="Share of views with sharp dirt.")
    electrons: tuple[float, float] = Field(
        default=(3.0, 4.8), description="As for patches: scenes that drown in noise teach nothing of borders."
    )
    kinds: tuple[float, float, float] = Field(
        default=(0.35, 0.25, 0.4), description="Shares of regions, relief and layers."
    )
    focused: float = Field(default=0.75, ge=0, le=1, description="Share of views with a part of the scene in focus.")


@dataclass(frozen=True)
class SceneBatch:
    """Views of scenes and their truth; K views of P × P pixels.

    Attributes
    ----------
    image : (K, 1, P, P) float32
        As the camera gave them, 0 … 1.
    clear : (K, 1, P, P) float32
        1 where something in focus is seen, 0 elsewhere: blur, empty background, dirt.
    weight : (K, 1, P, P) float32
        0 where the truth can't be told: between focus and blur, within two pixels of a border between the two, detail
        near the noise, plain insides of things in focus, dirt on what is in focus.
    textured : (K, 1, P, P) float32
        1 where there is detail that stands out, be it in focus or not.
    """

    image: Tensor
    clear: Tensor
    weight: Tensor
    textured: Tensor


@dataclass(frozen=True)
class SceneData:
    """`Scenes` as a recipe's data.

    Attributes
    ----------
    settings : SceneSettings
        What the scenes are like.
    """

    settings: SceneSettings

    def batches(self, images: Sequence[Sharp], *, batch: int, seed: int) -> Iterator[SceneBatch]:
        """Endless batches of scenes made of these images."""
        return iter(Scenes(images, self.settings, batch=batch, seed=seed))


@dataclass(frozen=True)
class _Optics:
    """An objective: see `Patches`. `unit` turns pixels of blur into depths of field."""

    mode: int
    sampling: float
    spherical: float
    condenser: int
    opening: float
    absorbed: float
    phase: float

    @property
    def unit(self) -> float:
        return self.sampling / (1 + self.sampling)


@dataclass(frozen=True)
class _Views:
    """(V, T, T) each: the blurred specimen, contrast of what is in focus, nearly so, and in all; insides in focus."""

    signal: Tensor
    clear: Tensor
    unsure: Tensor
    all: Tensor
    body: Tensor


class Scenes(Patches):
    """Endless batches of scenes; the same seed gives the same ones. See `Patches` for the parameters."""

    settings: SceneSettings

    def __iter__(self) -> Iterator[SceneBatch]:  # type: ignore[override]
        while True:
            yield self.draw()

    def draw(self) -> SceneBatch:  # type: ignore[override]
        """Make the next batch."""
        s = self.settings
        views, lights, gains = [], [], []
        for _ in range(self.groups):
            kind = int(self.rng.choice(3, p=np.asarray(s.kinds) / sum(s.kinds)))
            optics = self._objective(gaussian=REGIONS_GAUSSIAN if kind == REGIONS else 0.0)
            found = (self._regions, self._relief, self._layers)[kind](optics)
            light, gain = self._lit(found.signal, optics)
            views.append(found)
            lights.append(light)
            gains.append(gain)
        light = torch.cat(lights)
        light, ink = self._dirtied(light)
        image, noise = self._photograph(light)
        clear, unsure, every = (
            torch.cat([getattr(v, name) * abs(g) for v, g in zip(views, gains, strict=True)])
            for name in ("clear", "unsure", "all")
        )
        body = torch.cat([v.body for v in views])
        least = torch.maximum(noise, torch.tensor(0.01))[:, None, None]
        is_clear = clear > least
        known = ((clear <= 0.3 * least) | is_clear) & ((unsure <= 0.3 * least) | is_clear)
        known &= is_clear | ~body
        # Dirt is nothing in focus; where the specimen is, nobody can tell.
        known = torch.where(ink, clear <= 0.3 * least, known)
        is_clear &= ~ink
        m = (s.tile_px - s.patch_px) // 2
        inner = (slice(None), None, slice(m, m + s.patch_px), slice(m, m + s.patch_px))
        clear_map = is_clear.float()[:, None]
        border = functional.max_pool2d(clear_map, 5, 1, 2) + functional.max_pool2d(-clear_map, 5, 1, 2) > 0
        weight = (known & ~border[:, 0]).float()
        return SceneBatch(
            image=image[inner].contiguous(),
            clear=is_clear.float()[inner].contiguous(),
            weight=weight[inner].contiguous(),
            textured=((every > least) & ~ink).float()[inner].contiguous(),
        )

    def _objective(self, *, gaussian: float) -> _Optics:
        """Draw the optics; a Gaussian blur with at least the share `gaussian`."""
        s = self.settings
        mode = int(self.rng.choice(4, p=np.asarray(s.modes) / sum(s.modes)))
        if self.rng.random() < gaussian:
            mode = GAUSSIAN
        cone = int(self.rng.integers(1, len(COHERENCES) + 1))
        phase = mode == PHASE
        low, high = (math.log(v) for v in s.sampling)
        return _Optics(
            mode,
            GAUSSIAN_SAMPLING if mode == GAUSSIAN else math.exp(self.rng.uniform(low, high)),
            0.0 if mode == GAUSSIAN else self.rng.uniform(*s.spherical_waves),
            0 if mode == FLUORESCENCE else cone,
            1.0 if mode in (FLUORESCENCE, GAUSSIAN) else COHERENCES[cone - 1],
            0.3 * self.rng.random() ** 2 if phase else 1.0,
            0.5 + self.rng.random() if phase else 0.0,
        )

    def _transfers(self, blur_px: Tensor, optics: _Optics, *, cover: bool = False) -> Tensor:
        """(N,) signed radii of the blur disc → (N, T, T/2 + 1); of opacity instead of light where `cover`."""
        shape = (self.settings.tile_px, self.settings.tile_px)
        if optics.mode == GAUSSIAN:
            return gaussian_transfer(torch.hypot(blur_px / 2, torch.tensor(0.4)), shape=shape)
        waves = blur_px * optics.sampling / (2 * optics.opening)
        profile = transfer_tables()[optics.condenser](waves, torch.full_like(waves, optics.spherical))
        radial = profile.real if cover else optics.absorbed * profile.real + optics.phase * profile.imag
        return spread(radial, sampling=torch.full_like(waves, optics.sampling), shape=shape)

    def _blurred(self, planes: Tensor, transfers: Tensor) -> Tensor:
        t = self.settings.tile_px
        blurred: Tensor = torch.fft.irfft2(torch.fft.rfft2(planes) * transfers, s=(t, t))
        return blurred

    def _specimens(self, n: int) -> Tensor:
        blank = self.rng.random() < self.settings.blank
        crops = torch.from_numpy(np.stack([self._crop(blank) for _ in range(n)]))
        return grained(crops, share=self.settings.texture, rng=self.rng, generator=self.generator)

    def _focus(self, heights: Sequence[float], optics: _Optics) -> list[float]:
        """Height of the focus in each view, in pixels of blur: at something in most, anywhere in the others."""
        found = []
        for _ in range(self.settings.views):
            height = heights[int(self.rng.integers(len(heights)))]
            if self.rng.random() < self.settings.focused:
                height += self.rng.uniform(-1, 1) * CLEAR_DOF / optics.unit
            else:
                height += self._step(optics)
            found.append(height)
        return found

    def _step(self, optics: _Optics) -> float:
        """A signed distance out of focus, in pixels of blur: any of the bands beyond the focus alike."""
        edges = [e for e in self.settings.blur_px[:-1] if e >= FUZZY_DOF / optics.unit]
        i = int(self.rng.integers(len(edges) - 1))
        return float(self.rng.choice((-1.0, 1.0)) * self.rng.uniform(edges[i], edges[i + 1]))

    def _regions(self, optics: _Optics) -> _Views:
        """A plane of which parts are blurred as they are, the borders sharp."""
        specimen = self._specimens(1)
        t = self.settings.tile_px
        n = int(self.rng.integers(2, 4))
        field = depth_map("smooth", (t, t), relief_um=1.0, rng=self.rng) + 0.5
        edges = np.sort(self.rng.uniform(0.25, 0.75, n - 1))
        ranks = torch.from_numpy(np.searchsorted(edges, field))
        heights = [0.0]
        while len(heights) < n:
            paper = 2 * float(self.rng.choice(REGION_SIGMAS)) * float(self.rng.choice((-1.0, 1.0)))
            heights.append(paper if self.rng.random() < 0.5 else self._step(optics))
        self.rng.shuffle(heights)
        focus = torch.tensor(self._focus(heights, optics))
        blur = torch.tensor(heights) - focus[:, None]
        images = self._blurred(specimen, self._transfers(blur.flatten(), optics)).reshape(len(focus), n, t, t)
        where = functional.one_hot(ranks, n).permute(2, 0, 1).float()
        soft = functional.avg_pool2d(where[None], 3, 1, 1, count_include_pad=False)[0]
        signal = (images * soft).sum(dim=1)
        return self._judged(signal, specimen, blur[:, ranks], optics)

    def _relief(self, optics: _Optics) -> _Views:
        """A tilted or hilly specimen."""
        specimen = self._specimens(1)
        t = self.settings.tile_px
        height = math.exp(self.rng.uniform(math.log(4), math.log(80)))
        kind: Relief = "tilt" if self.rng.random() < 0.5 else "smooth"
        depth = torch.from_numpy(depth_map(kind, (t, t), relief_um=height, rng=self.rng))
        sample = depth.flatten()[torch.from_numpy(self.rng.integers(t * t, size=16))].tolist()
        focus = torch.tensor(self._focus(sample, optics))
        blur = depth[None] - focus[:, None, None]
        rungs = torch.tensor([-r for r in reversed(LADDER[1:])] + list(LADDER))
        position = torch.from_numpy(np.interp(blur.numpy(), rungs.numpy(), np.arange(len(rungs)))).float()
        low, high = int(position.min().floor()), int(position.max().ceil())
        images = self._blurred(specimen, self._transfers(rungs[low : high + 1], optics))
        signal = torch.zeros_like(blur)
        for k, image in enumerate(images):
            signal += (1 - (position - (low + k)).abs()).clamp(min=0) * image
        return self._judged(signal, specimen, blur, optics)

    def _judged(self, signal: Tensor, specimen: Tensor, blur: Tensor, optics: _Optics) -> _Views:
        """The truth where one surface is seen everywhere, at (V, T, T) pixels of blur."""
        dof = blur.abs() * optics.unit
        sharp = self._blurred(specimen, self._transfers(torch.zeros(1), optics))
        detail = _contrast(sharp)
        clear = detail * (dof <= CLEAR_DOF)
        body = (specimen.abs() > BODY) & (dof < FUZZY_DOF)
        unsure = detail * ((dof > CLEAR_DOF) & (dof < FUZZY_DOF))
        return _Views(signal, clear, unsure, detail.expand_as(signal), body)

    def _layers(self, optics: _Optics) -> _Views:
        """Objects at heights of their own, far to near; half of the scenes opaque, but for phase objects."""
        n = int(self.rng.integers(2, 5))
        specimens = self._specimens(n)
        opaque = optics.mode != PHASE and self.rng.random() < 0.5
        heights = [0.0]
        while len(heights) < n:
            heights.append(heights[-1] + abs(self._step(optics)) * float(self.rng.uniform(0.5, 1)))
        focus = torch.tensor(self._focus(heights, optics))
        blur = torch.tensor(heights) - focus[:, None]
        t, v = self.settings.tile_px, len(focus)
        layers = self._blurred(specimens, self._transfers(blur.flatten(), optics).reshape(v, n, t, -1))
        covers = torch.zeros_like(layers)
        if opaque:
            alpha = (3 * specimens).clamp(0, 1)
            covers = self._blurred(alpha, self._transfers(blur.flatten(), optics, cover=True).reshape(v, n, t, -1))
        sharp = self._blurred(specimens, self._transfers(torch.zeros(1), optics))
        detail = _contrast(sharp)
        dof = blur.abs() * optics.unit
        signal, clear, unsure, every = (torch.zeros((v, t, t)) for _ in range(4))
        body = torch.zeros((v, t, t), dtype=torch.bool)
        for m in range(n):
            through = 1 - covers[:, m].clamp(0, 1)
            signal = signal * through + layers[:, m]
            clear, unsure, every = clear * through, unsure * through, every * through
            near = dof[:, m, None, None]
            clear = torch.maximum(clear, detail[m] * (near <= CLEAR_DOF))
            unsure = torch.maximum(unsure, detail[m] * ((near > CLEAR_DOF) & (near < FUZZY_DOF)))
            every = torch.maximum(every, detail[m].expand_as(every))
            body |= (specimens[m].abs() > BODY) & (near < FUZZY_DOF)
        return _Views(signal, clear, unsure, every, body)

    def _lit(self, signal: Tensor, optics: _Optics) -> tuple[Tensor, float]:
        """Light on the camera of (V, T, T) specimen, and what an amount of 1 is of it."""
        r = self.rng.random(4)
        bright = (optics.mode != FLUORESCENCE) != (self.rng.random() < 0.2)
        base = 0.45 + 0.5 * r[0] if bright else 0.01 + 0.25 * r[0] ** 2
        gain = -base * (0.08 + 0.85 * r[1]) if bright else (0.95 - base) * (0.1 + 0.9 * r[1])
        if r[2] < self.settings.haze:
            t = self.settings.tile_px
            far = gaussian_transfer(torch.full((1,), t / 10), shape=(t, t))
            signal = signal + (0.1 + 0.4 * r[3]) * self._blurred(signal.roll(1, dims=0), far)
        return (base + gain * signal).clamp(0, 1), gain

    def _dirtied(self, light: Tensor) -> tuple[Tensor, Tensor]:
        """Lay sharp dirt over some views; where it lies, and three pixels around."""
        ink = torch.zeros(light.shape, dtype=torch.bool)
        for k in np.flatnonzero(self.rng.random(len(light)) < self.settings.dirt):
            drawn = camera.draw_dirt(self.rng, (light.shape[1], light.shape[2]), pieces=int(self.rng.integers(1, 6)))
            soft = cv2.GaussianBlur(drawn, (0, 0), float(self.rng.uniform(0.4, 1.2)))
            light[k] *= torch.from_numpy(1 - soft)
            ink[k] = torch.from_numpy(cv2.dilate((np.abs(soft) > 0.02).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0)
        return light.clamp(0, 1), ink


def _contrast(planes: Tensor) -> Tensor:
    """Local standard deviation over `DETAIL_PX`², (N, T, T)."""
    x = planes[:, None]
    half = DETAIL_PX // 2
    mean = functional.avg_pool2d(x, DETAIL_PX, 1, half, count_include_pad=False)
    square = functional.avg_pool2d(x * x, DETAIL_PX, 1, half, count_include_pad=False)
    return (square - mean * mean).clamp(min=0).sqrt()[:, 0]
