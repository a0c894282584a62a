"""What happens to the image after the optics: uneven light, dirt, camera noise, rounding, compression.

Light is in fractions of the camera's full scale. Every function takes a batch (K, Y, X); parameters are (K,) tensors
or plain numbers. The order on the light's way is blur, dirt, shading, `expose`, `compress`: noise is never blurred.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Mask = NDArray[np.float32]


def _per_image(value: Tensor | float) -> Tensor:
    """Shape a (K,) parameter so that it broadcasts with (K, Y, X)."""
    return torch.as_tensor(value, dtype=torch.float32).reshape(-1, 1, 1)


def expose(
    light: Tensor,
    *,
    electrons: Tensor | float,
    read_noise: Tensor | float,
    offset: Tensor | float = 0.0,
    correlation_px: Tensor | float = 0.0,
    generator: torch.Generator,
) -> Tensor:
    """Take the picture: shot noise, read noise, offset, saturation.

    Parameters
    ----------
    light : (K, Y, X) tensor
        Mean signal, 0 … 1 (full well).
    electrons : (K,) tensor or float
        Electrons at full scale: shot noise has variance ``light/electrons``.
    read_noise : (K,) tensor or float
        In electrons (standard deviation).
    offset : (K,) tensor or float
        Signal without light, in fractions of full scale.
    correlation_px : (K,) tensor or float
        Gaussian width by which the noise is correlated between pixels (demosaicing, resizing, denoising); its
        variance stays.
    generator : torch.Generator
        Source of chance.

    Returns
    -------
    (K, Y, X) tensor
        Clipped to 0 … 1.
    """
    e = _per_image(electrons)
    noise = torch.randn(light.shape, generator=generator)
    widths = torch.as_tensor(correlation_px, dtype=torch.float32).reshape(-1).expand(light.shape[0])
    for k in torch.nonzero(widths > 0).flatten().tolist():
        smooth = cv2.GaussianBlur(noise[k].numpy(), (0, 0), float(widths[k]), borderType=cv2.BORDER_REFLECT)
        noise[k] = torch.from_numpy(smooth / max(float(smooth.std()), 1e-9))
    deviation = torch.sqrt(light.clamp(min=0) / e + (_per_image(read_noise) / e) ** 2)
    return (light + _per_image(offset) + deviation * noise).clamp(0, 1)


def digitise(image: Tensor, *, bits: Tensor | int) -> Tensor:
    """Round 0 … 1 to whole grey values of a converter of `bits` bits; stays in 0 … 1."""
    top = 2.0 ** _per_image(torch.as_tensor(bits)) - 1
    return torch.round(image.clamp(0, 1) * top) / top


def compress(image: Tensor, *, quality: int) -> Tensor:
    """Save as JPEG of a quality 1 … 100 and read again: (Y, X), 0 … 1, 8 bit."""
    byte = np.round(image.clamp(0, 1).numpy() * 255).astype(np.uint8)
    done, coded = cv2.imencode(".jpg", byte, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV could not write a JPEG")
    decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.float32) / 255
    return torch.from_numpy(decoded)


def uneven(n: int, *, shape: tuple[int, int], strength: Tensor | float, generator: torch.Generator) -> Tensor:
    """(n, Y, X) smooth fields of mean about 1: uneven light, vignetting, or slow background.

    A random 4×4 grid, interpolated cubically; `strength` ((n,) or float) is its standard deviation in log units.
    """
    knots = torch.randn((n, 1, 4, 4), generator=generator)
    field = functional.interpolate(knots, size=shape, mode="bicubic", align_corners=True)[:, 0]
    return torch.exp(_per_image(strength) * field)


def draw_dirt(rng: np.random.Generator, shape: tuple[int, int], *, pieces: int) -> Mask:
    """Opacity of sharp dirt, (Y, X), 0 … 1: specks, fibres, and drops with a dark rim and a bright middle (negative).

    Multiply light with ``1 - opacity``.
    """
    h, w = shape
    ink = np.zeros(shape, np.float32)
    size = min(h, w)
    for _ in range(pieces):
        kind = rng.integers(3)
        layer = np.zeros(shape, np.uint8)
        y, x = int(rng.integers(h)), int(rng.integers(w))
        depth = float(rng.uniform(0.25, 0.95))
        if kind == 0:
            corners = int(rng.integers(3, 9))
            radius = rng.uniform(0.01, 0.08) * size + 1
            angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
            reach = radius * rng.uniform(0.5, 1.3, corners)
            points = np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], axis=1)
            cv2.fillPoly(layer, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        elif kind == 1:
            heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.12, 24))
            step = rng.uniform(0.02, 0.08) * size
            path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * step, axis=0) + np.array([x, y])
            thick = int(rng.integers(1, max(2, size // 40) + 1))
            cv2.polylines(layer, [np.round(path * 16).astype(np.int32)], False, 255, thick, cv2.LINE_AA, 4)
        else:
            radius = rng.uniform(0.03, 0.2) * size + 2
            centre, r16 = (x * 16, y * 16), int(radius * 16)
            cv2.circle(layer, centre, r16, 255, -1, cv2.LINE_AA, 4)
            middle = np.zeros(shape, np.uint8)
            cv2.circle(middle, centre, int(r16 * rng.uniform(0.55, 0.9)), 255, -1, cv2.LINE_AA, 4)
            drop = layer.astype(np.float32) / 255 * depth
            lens = middle.astype(np.float32) / 255
            drop += lens * (rng.uniform(-0.15, 0.1) - drop)
            ink += drop * (1 - np.abs(ink))
            continue
        ink += layer.astype(np.float32) / 255 * depth * (1 - np.abs(ink))
    return ink
