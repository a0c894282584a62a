"""Image quality without a reference: BRISQUE (Mittal et al. 2012) and CNNIQA (Kang et al. 2014).

Both look at locally normalised brightness and judge blocks of 128 px; an image has the mean of its blocks. Scores here
are *qualities*: 100 is undistorted, 0 the worst. (As published, both give 100 to the worst.)
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.networks.infer import device_of, in_batches

BLOCK_PX, PATCH_PX = 128, 32
FEATURES = 36
BEST = 100.0
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_SATURATION = 1 / 255
"""Added to the local deviation: one grey level of 8 bit, as published."""


def normalised(image: Tensor) -> Tensor:
    """Mean-subtracted, contrast-normalised coefficients of images (N, 1, Y, X) of about 0 … 1.

    ``(I - μ) / (σ + 1/255)`` with mean and deviation under a Gaussian of 7×7 px, σ 7/6 px.
    """
    x = torch.arange(-3, 4, dtype=image.dtype, device=image.device)
    bell = torch.exp(-(x**2) / (2 * (7 / 6) ** 2))
    window = torch.outer(bell, bell)[None, None] / bell.sum() ** 2

    def mean(a: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(a, (3, 3, 3, 3), mode="reflect"), window)

    centre = image.mean(dim=(2, 3), keepdim=True)  # keeps squares small: no precision is lost on a bright background
    shifted = image - centre
    local = mean(shifted)
    deviation = torch.sqrt((mean(shifted * shifted) - local * local).clamp(min=0))
    return (shifted - local) / (deviation + _SATURATION)


class _Shapes(nn.Module):
    """Fits asymmetric generalised Gaussians by their moments (Lasmar et al. 2009)."""

    def __init__(self) -> None:
        super().__init__()
        shape = torch.linspace(0.2, 10, 981, dtype=torch.float64)
        g1, g2, g3 = (torch.lgamma(k / shape) for k in (1, 2, 3))
        self.shape: Tensor
        self.ratio: Tensor
        self.reach: Tensor
        self.register_buffer("shape", shape.float(), persistent=False)
        self.register_buffer("ratio", torch.exp(2 * g2 - g1 - g3).float(), persistent=False)
        self.register_buffer("reach", torch.exp(g2 - 0.5 * (g1 + g3)).float(), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, …) values → shape, mean, left and right variance, (N,) each."""
        flat = x.flatten(1)
        below, above = flat.clamp(max=0), flat.clamp(min=0)
        left, right = (
            a.square().sum(dim=1) / s.sum(dim=1).clamp(min=1) for a, s in ((below, flat < 0), (above, flat > 0))
        )
        g = torch.sqrt((left + 1e-9) / (right + 1e-9))
        spread = flat.abs().mean(dim=1).square() / (flat.square().mean(dim=1) + 1e-9)
        wanted = spread * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
        at = torch.searchsorted(self.ratio, wanted.contiguous()).clamp(max=len(self.ratio) - 1)
        mean = (torch.sqrt(right) - torch.sqrt(left)) * self.reach[at]
        return self.shape[at], mean, left, right


class Brisque(nn.Module):
    """36 statistics of natural scenes, and a support vector regression on them.

    The regression's Gaussian kernel is approximated by random cosines (Rahimi & Recht 2007), so that it can be trained
    by gradients and its size does not grow with the training set; its loss is that of support vectors.

    Parameters
    ----------
    width : float
        1 has 1024 cosines.
    """

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        n = max(16, round(1024 * width))
        self.fits = _Shapes()
        self.scale = nn.BatchNorm1d(FEATURES, affine=False)
        self.frequencies: Tensor
        self.phases: Tensor
        # exp(-|a - b|²/72) for statistics of unit variance: neighbours are those within a typical distance.
        self.register_buffer("frequencies", torch.randn(FEATURES, n) / FEATURES**0.5)
        self.register_buffer("phases", 2 * torch.pi * torch.rand(n))
        self.regression = nn.Linear(n, 1)
        nn.init.zeros_(self.regression.weight)
        nn.init.constant_(self.regression.bias, 0.5)

    def features(self, image: Tensor) -> Tensor:
        """(N, 1, Y, X) images of about 0 … 1 → (N, 36) statistics."""
        found: list[Tensor] = []
        for scale in range(2):
            if scale:
                image = functional.avg_pool2d(image, 2)
            x = normalised(image)
            shape, _, left, right = self.fits(x)
            found += [shape, (left + right) / 2]
            for dy, dx in _SHIFTS:
                product = x * torch.roll(x, (dy, dx), dims=(2, 3))
                found += self.fits(product[..., 1:-1, 1:-1])
        return torch.stack(found, dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, Y, X) → (N,) qualities."""
        with torch.no_grad():
            statistics = self.features(image)
        cosines = torch.cos(self.scale(statistics) @ self.frequencies + self.phases)
        out: Tensor = BEST * self.regression(cosines)[:, 0]
        return out


class CNNIQA(nn.Module):
    """One convolution, its largest and smallest response in a patch of 32 px, three dense layers.

    Parameters
    ----------
    width : float
        1 has the paper's 50 kernels and 800 nodes.
    """

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        kernels, nodes = max(8, round(50 * width)), max(16, round(800 * width))
        self.convolution = nn.Conv2d(1, kernels, 7)
        self.dense = nn.Sequential(
            nn.Linear(2 * kernels, nodes), nn.ReLU(), nn.Linear(nodes, nodes), nn.ReLU(), nn.Dropout(0.5)
        )
        self.last = nn.Linear(nodes, 1)
        nn.init.constant_(self.last.bias, 0.5)

    def patches(self, image: Tensor) -> Tensor:
        """(N, 1, Y, X), sides multiples of 32 → (N, P) qualities of the patches."""
        cut = normalised(image).unfold(2, PATCH_PX, PATCH_PX).unfold(3, PATCH_PX, PATCH_PX)
        flat = cut.reshape(-1, 1, PATCH_PX, PATCH_PX)
        response = self.convolution(flat)
        pooled = torch.cat([response.amax(dim=(2, 3)), response.amin(dim=(2, 3))], dim=1)
        out: Tensor = BEST * self.last(self.dense(pooled))
        return out.reshape(image.shape[0], -1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, Y, X) → (N,) qualities: the mean of the patches."""
        return self.patches(image).mean(dim=1)


def judge_image(network: nn.Module, image: NDArray[Any]) -> float:
    """Quality of a grey image, 0 … 100; it is scaled to 0 … 1 between its 0.1 % and 99.9 % quantiles first.

    Parameters
    ----------
    network : nn.Module
        `Brisque` or `CNNIQA`, ready for inference.
    image : (Y, X) array
        Any pixel type; mirrored below and on the right to whole blocks.
    """
    plane = np.asarray(image, np.float32)
    low, high = (float(v) for v in np.quantile(plane, (0.001, 0.999)))
    scaled = np.clip((plane - low) / max(high - low, 1e-6 * max(abs(high), 1e-6)), -0.5, 1.5)
    below, right = (-n % BLOCK_PX for n in plane.shape)
    whole = cv2.copyMakeBorder(scaled, 0, below, 0, right, cv2.BORDER_REFLECT)
    cut = torch.from_numpy(whole).unfold(0, BLOCK_PX, BLOCK_PX).unfold(1, BLOCK_PX, BLOCK_PX)
    blocks = cut.reshape(-1, 1, BLOCK_PX, BLOCK_PX).to(device_of(network))
    found = torch.cat([part.cpu() for part in in_batches(network, blocks, bytes_each=64 * 4 * BLOCK_PX**2)])
    return float(found.clamp(0, BEST).mean())
