"""Images distorted by known amounts, for networks that judge quality without a reference.

The kinds are those that BRISQUE and CNNIQA were published with, as far as a microscope knows them: blur, noise, JPEG,
and contrast squeezed or bent before rounding; some images have two. The truth is the structural similarity with the
undistorted image, so kinds are comparable; windows count by their contrast in whichever image has more of it, as empty
ground, where nothing can be lost, would hide what happens to the specimen. Both images are scaled between the
*distorted* image's quantiles, as images are when they are judged: brightness and plain contrast do not count, what
clipping and rounding take away does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from napari_focusstack.training import camera
from napari_focusstack.training.library import Sharp, by_source, cut, textured_crop
from napari_focusstack.training.losses import similarity

Plane = NDArray[np.float32]


class DistortionSettings(BaseModel):
    """What the images of a training are like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side_px: int = Field(default=128, ge=32, description="Side of an image.")
    untouched: float = Field(default=0.08, ge=0, le=1, description="Share without any distortion.")
    second: float = Field(default=0.3, ge=0, le=1, description="Share of the others with a distortion of another kind.")
    anywhere: float = Field(default=0.2, ge=0, le=1, description="Share from places that may be empty.")
    blur_px: tuple[float, float] = Field(default=(0.5, 6.0), description="Gaussian blur (σ, log-uniform).")
    noise: tuple[float, float] = Field(default=(0.004, 0.2), description="White noise (σ, log-uniform).")
    jpeg: tuple[int, int] = Field(default=(4, 80), description="Quality of JPEG.")
    levels: tuple[int, int] = Field(default=(5, 100), description="Grey levels that are left (log-uniform).")
    gamma: float = Field(default=1.6, ge=1, description="Strongest bend of the contrast, either way.")
    electrons: tuple[float, float] = Field(default=(6e3, 1e5), description="Every camera's noise, at full scale.")


@dataclass(frozen=True)
class Rated:
    """K images and what they are worth.

    Attributes
    ----------
    image : (K, 1, P, P) float32
        About 0 … 1.
    quality : (K,) float32
        0 … 100; 100: as the undistorted image.
    """

    image: Tensor
    quality: Tensor


def blur(plane: Plane, s: DistortionSettings, rng: np.random.Generator) -> Plane:
    """Gaussian blur."""
    blurred: Plane = cv2.GaussianBlur(plane, (0, 0), _log_uniform(s.blur_px, rng), borderType=cv2.BORDER_REFLECT)
    return blurred


def noise(plane: Plane, s: DistortionSettings, rng: np.random.Generator) -> Plane:
    """White noise."""
    noisy: Plane = plane + np.float32(_log_uniform(s.noise, rng)) * rng.standard_normal(plane.shape, np.float32)
    return np.clip(noisy, 0, 1)


def jpeg(plane: Plane, s: DistortionSettings, rng: np.random.Generator) -> Plane:
    """Saved as JPEG."""
    return camera.compress(torch.from_numpy(plane), quality=int(rng.integers(*s.jpeg, endpoint=True))).numpy()


def contrast(plane: Plane, s: DistortionSettings, rng: np.random.Generator) -> Plane:
    """Few grey levels, or a bent scale of brightness that is rounded to 8 bit and clipped at its ends."""
    if rng.random() < 0.5:
        steps = np.float32(round(_log_uniform(s.levels, rng)))
        few: Plane = np.rint(plane * steps) / steps
        return few
    bend = float(np.exp(rng.uniform(-1, 1) * np.log(s.gamma)))
    more = np.float32(rng.uniform(1, 1.3))
    bent: Plane = np.clip((np.power(np.clip(plane, 0, 1), bend) - np.float32(0.5)) * more + np.float32(0.5), 0, 1)
    return np.asarray(np.rint(bent * 255) / 255, np.float32)


KINDS: tuple[Callable[[Plane, DistortionSettings, np.random.Generator], Plane], ...] = (blur, noise, jpeg, contrast)


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


@dataclass(frozen=True)
class DistortionData:
    """Distorted images as a recipe's data.

    Attributes
    ----------
    settings : DistortionSettings
        What the images are like.
    """

    settings: DistortionSettings

    def batches(self, images: Sequence[Sharp], *, batch: int, seed: int) -> Iterator[Rated]:
        """Endless batches made of these images; the same seed gives the same ones."""
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        order, share = by_source(images)
        while True:
            pairs = [self._pair(images[int(rng.choice(order, p=share))], rng, generator) for _ in range(batch)]
            distorted, true = (torch.from_numpy(np.stack(planes))[:, None] for planes in zip(*pairs, strict=True))
            yield rated(distorted, true, reach=np.exp(rng.uniform(0, np.log(2), batch)), rng=rng)

    def _pair(self, image: Sharp, rng: np.random.Generator, generator: torch.Generator) -> tuple[Plane, Plane]:
        """A distorted image and the undistorted one."""
        s = self.settings
        if rng.random() < s.anywhere:
            amount = cut(image.levels[int(rng.integers(len(image.levels)))], s.side_px, rng)
        else:
            amount = textured_crop(image, s.side_px, margin=8, rng=rng)
        true = lit(amount, rng)
        electrons = _log_uniform(s.electrons, rng)
        plane = camera.expose(
            torch.from_numpy(true)[None], electrons=electrons, read_noise=2.0, generator=generator
        ).numpy()[0]
        if rng.random() >= s.untouched:
            first, second = rng.permutation(len(KINDS))[:2]
            plane = KINDS[first](plane, s, rng)
            if rng.random() < s.second:
                plane = KINDS[second](plane, s, rng)
        return np.ascontiguousarray(plane, np.float32), true


def lit(amount: Plane, rng: np.random.Generator) -> Plane:
    """Light, 0 … 1, of amounts of specimen that absorb on a bright ground or glow on a dark one."""
    dark = rng.random() < 0.5
    light = 0.05 + rng.uniform(0.4, 0.85) * amount if dark else 0.9 - rng.uniform(0.4, 0.8) * amount
    return np.clip(np.asarray(light, np.float32), 0, 1)


def rated(distorted: Tensor, true: Tensor, *, reach: NDArray[np.float64], rng: np.random.Generator) -> Rated:
    """Scale both as the distorted image will be, and compare them.

    Parameters
    ----------
    distorted, true : (K, 1, P, P) tensors
        Images.
    reach : (K,) array
        Range that is scaled to 0 … 1, in multiples of the image's own: an image may be a dull part of a larger one.
    rng : np.random.Generator
        Where in that range it lies.
    """
    low, high = torch.quantile(distorted.flatten(1), torch.tensor([0.001, 0.999]), dim=1)
    own = (high - low).clamp(min=0.02)
    span = own * torch.from_numpy(reach).float()
    start = low - (span - own) * torch.from_numpy(rng.random(len(reach))).float()
    shown, wanted = ((a - start[:, None, None, None]) / span[:, None, None, None] for a in (distorted, true))
    return Rated(shown.contiguous(), 100 * worth(shown, wanted))


def worth(image: Tensor, true: Tensor) -> Tensor:
    """(N,) structural similarity of images (N, 1, Y, X) to the true ones, 0 … 1; windows count by their contrast."""
    ssim, contrast = similarity(image, true)
    weight = contrast + 1e-3
    return ((ssim * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))).clamp(min=0)
