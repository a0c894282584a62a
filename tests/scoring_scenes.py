"""Through-focus scenes with a known truth: layers at their depths, blurred by their distance from focus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A thin layer: grey levels and opacity, (Y, X) each, in focus on slice `z`."""

    grey: Image
    alpha: Image
    z: float


def texture(
    shape: tuple[int, int], *, seed: int, scale: float = 1.5, contrast: float = 40.0, mean: float = 120.0
) -> Image:
    """Random texture with grains of about `scale` pixels."""
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    grains = cv2.GaussianBlur(noise, (0, 0), scale)
    return mean + contrast * grains / grains.std()


def discs(shape: tuple[int, int], centres: Sequence[tuple[float, float]], radius: float) -> Image:
    """Opacity 1 within discs, else 0, edges a pixel wide."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    alpha = np.zeros(shape, np.float32)
    for cy, cx in centres:
        alpha = np.maximum(alpha, np.clip(radius - np.hypot(y - cy, x - cx) + 0.5, 0, 1).astype(np.float32))
    return alpha


def blurred(image: Image, sigma: float) -> Image:
    """Gaussian defocus."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) if sigma > 0.1 else image


def through_focus(
    layers: Sequence[Layer],
    *,
    slices: int,
    blur_px: float = 1.2,
    least_px: float = 0.7,
    noise: float = 2.0,
    flicker: float = 0.0,
    drift_px: float = 0.0,
    shading: float = 0.0,
    seed: int = 0,
) -> Image:
    """(Z, Y, X) float32 stack of layers, the farthest first; blur grows by `blur_px` a slice."""
    random = np.random.default_rng(seed)
    h, w = layers[0].grey.shape
    ramp = 1 - shading * (np.linspace(-1, 1, w)[None, :] + np.linspace(-1, 1, h)[:, None] ** 2).astype(np.float32) / 2
    planes = []
    for z in range(slices):
        plane = np.zeros((h, w), np.float32)
        for layer in layers:
            sigma = float(np.hypot(least_px, blur_px * abs(z - layer.z)))
            alpha = blurred(layer.alpha, sigma)
            plane = plane * (1 - alpha) + blurred(layer.grey * layer.alpha, sigma)
        plane = plane * ramp * (1 + flicker * random.uniform(-1, 1))
        if drift_px:
            shift = np.float32([[1, 0, drift_px * z], [0, 1, drift_px * z / 2]])
            plane = cv2.warpAffine(plane, shift, (w, h), borderMode=cv2.BORDER_REFLECT)
        planes.append(plane + random.normal(0, noise, (h, w)).astype(np.float32))
    return np.stack(planes)


def eight_bit(stack: Image) -> NDArray[np.uint8]:
    """Rounded and clipped as a camera does."""
    return np.clip(np.rint(stack), 0, 255).astype(np.uint8)


SHAPE = (256, 320)
CENTRES = ((70, 80), (170, 200), (90, 260), (200, 70))


def flat(level: float, shape: tuple[int, int] = SHAPE) -> Image:
    """A plain layer's grey levels."""
    return np.full(shape, level, np.float32)


def everywhere(grey: Image, z: float = 0.0) -> Layer:
    """A layer that fills the field."""
    return Layer(grey, np.ones(grey.shape, np.float32), z)


def brightfield(*, z: float = 6.0, slices: int = 13, contrast: float = 12.0, **options: Any) -> Image:
    """Absorbing textured discs on a bright, empty background."""
    objects = Layer(texture(SHAPE, seed=1, contrast=contrast), discs(SHAPE, CENTRES, 30), z)
    return through_focus([everywhere(flat(180)), objects], slices=slices, **options)


def fluorescence(*, z: float = 5.0, slices: int = 12, **options: Any) -> Image:
    """Bright textured discs on dark."""
    objects = Layer(texture(SHAPE, seed=1, contrast=40, mean=150), discs(SHAPE, CENTRES, 16), z)
    return through_focus([everywhere(flat(20)), objects], slices=slices, **options)


def phase_object(*, z: float = 7.0, slices: int = 15) -> Image:
    """Transparent discs whose contrast inverts through focus (weak phase object, defocus transfer function)."""
    inside = discs(SHAPE, CENTRES, 24)
    phase = blurred(inside, 1.5) + 0.15 * blurred(texture(SHAPE, seed=4, contrast=1, mean=0), 1) * inside
    fy, fx = np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1])[None, :]
    squared, spectrum = fy * fy + fx * fx, np.fft.fft2(phase)
    random = np.random.default_rng(0)
    planes = []
    for k in range(slices):
        contrast = np.fft.ifft2(spectrum * np.sin(12 * np.pi * (k - z) * squared) * np.exp(-20 * squared)).real
        planes.append(150 + 60 * contrast + random.normal(0, 1.5, SHAPE))
    return np.stack(planes).astype(np.float32)


def noise(slices: int = 15, *, seed: int = 0) -> Image:
    """Nothing but noise."""
    return np.random.default_rng(seed).normal(100, 5, (slices, *SHAPE)).astype(np.float32)


def dust() -> Image:
    """Opacity of fibres and specks."""
    alpha = np.zeros(SHAPE, np.float32)
    for points in ([[20, 240], [60, 210], [90, 235], [130, 250]], [[280, 20], [305, 60], [315, 40]]):
        cv2.polylines(alpha, [np.array(points).reshape(-1, 1, 2)], False, 1.0, 2)
    for x, y in np.random.default_rng(5).integers(5, 250, (15, 2)):
        cv2.circle(alpha, (int(x), int(y)), 1, 1.0, -1)
    return alpha
