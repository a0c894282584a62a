"""LDSE-NET (Jiang et al. 2023, Front. Neurosci. 17:1213176): defocus of a 224 px tile by a small dense network.

7×7 convolution with stride 2, 3×3 max-pooling with stride 2, dense blocks with transitions (batch norm, Tanh, 1×1
convolution, 2×2 average pooling) down to 7×7, squeeze-and-excitation that ends in Tanh, global average pooling. The paper
does not print its layer counts: blocks of 3 layers of 12 channels hold it well under its "KB level" at width 1.

Two things differ from the paper, for reasons of physics. It predicts defocus in *waves at the pupil's edge*, not µm, and is told
``pixel · NA/λ``, so one set of weights serves every objective. And it gives magnitude and side apart: the side can only be
known where the optics are asymmetric, and a single number would be pulled to zero where it can't.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from napari_focusstack.networks.layers import LocalNorm

TILE_PX = 224
SCALE_WAVES = 8.0
"""Waves of defocus in one unit of the magnitude output."""


class DenseLayer(nn.Module):
    """Batch norm, activation, 1×1, batch norm, activation, 3×3 convolution; its output is appended to its input."""

    def __init__(self, channels: int, growth: int, *, tanh: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Tanh() if tanh else nn.ReLU(),
            nn.Conv2d(channels, 2 * growth, 1, bias=False),
            nn.BatchNorm2d(2 * growth),
            nn.ReLU(),
            nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) → (N, C + growth, Y, X)."""
        return torch.cat([x, self.body(x)], dim=1)


class SqueezeExcite(nn.Module):
    """Channel weights from global means (Hu et al. 2018), with Tanh in place of the sigmoid (paper, eq. 9)."""

    def __init__(self, channels: int, *, ratio: int = 8) -> None:
        super().__init__()
        hidden = max(4, channels // ratio)
        self.weights = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) → the same shape."""
        w: Tensor = self.weights(x.mean(dim=(2, 3)))
        return x * w[:, :, None, None]


class Conditioned(nn.Module):
    """Tile and sampling → (magnitude, logit of the side): what LDSE-NET and its opponents share.

    Parameters
    ----------
    body : nn.Module
        (N, 2, Y, X) → (N, channels). Its second input channel holds the sampling as a constant.
    channels : int
        Features that it gives.
    """

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.norm = LocalNorm(92)
        self.body = body
        self.head = nn.Linear(channels, 2)

    def forward(self, tile: Tensor, sampling: Tensor) -> Tensor:
        """Judge tiles.

        Parameters
        ----------
        tile : (N, 1, 224, 224) tensor
            Raw grey values of any scale.
        sampling : (N,) tensor
            Pixel size · NA/λ.

        Returns
        -------
        (N, 2) tensor
            |defocus| in units of `SCALE_WAVES`, and the logit of "above" (positive defocus).
        """
        return self.judge(self.norm(tile), sampling)

    def judge(self, normalised: Tensor, sampling: Tensor) -> Tensor:
        """The same for tiles that `norm` has seen already."""
        constant = torch.log2(sampling / 0.5).reshape(-1, 1, 1, 1).expand_as(normalised)
        features = self.body(torch.cat([normalised, constant.to(normalised.dtype)], dim=1))
        out: Tensor = self.head(features)
        return torch.stack([nn.functional.softplus(out[:, 0]), out[:, 1]], dim=1)


class LdseBody(nn.Module):
    """Stem, dense blocks, transitions and squeeze-and-excitation of LDSE-NET.

    Parameters
    ----------
    width : float
        Scales the growth (12 at 1) and the stem (24).
    layers : sequence of int
        Dense layers in each block.
    """

    def __init__(self, *, width: float = 1.0, layers: Sequence[int] = (3, 3, 3, 3)) -> None:
        super().__init__()
        growth, channels = max(4, round(12 * width)), max(8, round(24 * width))
        stem = [nn.Conv2d(2, channels, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1)]
        parts: list[nn.Module] = [*stem]
        for i, n in enumerate(layers):
            for k in range(n):
                parts.append(DenseLayer(channels, growth, tanh=k == n - 1))
                channels += growth
            if i + 1 < len(layers):
                half = channels // 2
                parts += [nn.BatchNorm2d(channels), nn.Tanh(), nn.Conv2d(channels, half, 1, bias=False), nn.AvgPool2d(2)]
                channels = half
        parts += [nn.BatchNorm2d(channels), nn.ReLU(), SqueezeExcite(channels)]
        self.channels = channels
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2, Y, X) → (N, channels)."""
        out: Tensor = self.parts(x)
        return out.mean(dim=(2, 3))


def ldsenet(*, width: float = 1.0) -> Conditioned:
    """LDSE-NET; 0.4 MB of weights at width 1."""
    body = LdseBody(width=width)
    return Conditioned(body, body.channels)


class Bottleneck(nn.Module):
    """Residual block 1×1, 3×3 (or self-attention), 1×1 of ResNet50 (He et al. 2016) and BotNet (Srinivas et al. 2021)."""

    def __init__(self, channels: int, middle: int, *, stride: int = 1, attention_side: int | None = None) -> None:
        super().__init__()
        out = 4 * middle
        mixing: list[nn.Module] = (
            [nn.Conv2d(middle, middle, 3, stride, 1, bias=False)]
            if attention_side is None
            else [SelfAttention(middle, attention_side), *([nn.AvgPool2d(2)] if stride == 2 else [])]
        )
        self.body = nn.Sequential(
            nn.Conv2d(channels, middle, 1, bias=False),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            *mixing,
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.shortcut = (
            nn.Identity()
            if channels == out and stride == 1
            else nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, Y, X) → (N, 4·middle, Y/stride, X/stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class SelfAttention(nn.Module):
    """Four-headed attention over all places with relative positions along y and x (BotNet, fig. 4)."""

    def __init__(self, channels: int, side: int, *, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.project = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        depth = channels // heads
        self.along_y = nn.Parameter(torch.randn(2 * side - 1, depth) * depth**-0.5)
        self.along_x = nn.Parameter(torch.randn(2 * side - 1, depth) * depth**-0.5)
        places = torch.arange(side)
        self.register_buffer("offset", places[None, :] - places[:, None] + side - 1, persistent=False)
        self.offset: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, side, side) → the same shape."""
        n, c, h, w = x.shape
        q, k, v = self.project(x).reshape(n, 3, self.heads, c // self.heads, h * w).transpose(3, 4).unbind(1)
        grid = q.reshape(n, self.heads, h, w, -1)
        over_y = torch.einsum("nhyxd,yjd->nhyxj", grid, self.along_y[self.offset])
        over_x = torch.einsum("nhyxd,xjd->nhyxj", grid, self.along_x[self.offset])
        position = (over_y[..., :, None] + over_x[..., None, :]).reshape(n, self.heads, h * w, h * w)
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(c // self.heads) + position, dim=-1)
        out: Tensor = (weights @ v).transpose(2, 3).reshape(n, c, h, w)
        return out


class ResidualBody(nn.Module):
    """ResNet50, or BotNet where the last stage attends instead of convolving; for tiles of 224 px.

    Parameters
    ----------
    attention : bool
        BotNet.
    width : float
        1 is the papers' size (64 channels in the stem).
    """

    def __init__(self, *, attention: bool, width: float = 1.0) -> None:
        super().__init__()
        base = max(8, round(64 * width / 8) * 8)
        parts: list[nn.Module] = [
            nn.Conv2d(2, base, 7, 2, 3, bias=False),
            nn.BatchNorm2d(base),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ]
        channels = base
        for stage, blocks in enumerate((3, 4, 6, 3)):
            middle = base * 2**stage
            for i in range(blocks):
                stride = 2 if i == 0 and stage > 0 else 1
                side = (14 if i == 0 else 7) if attention and stage == 3 else None
                parts.append(Bottleneck(channels, middle, stride=stride, attention_side=side))
                channels = 4 * middle
        self.channels = channels
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2, 224, 224) → (N, channels)."""
        out: Tensor = self.parts(x)
        return out.mean(dim=(2, 3))


def resnet50(*, width: float = 1.0) -> Conditioned:
    """The paper's first opponent."""
    body = ResidualBody(attention=False, width=width)
    return Conditioned(body, body.channels)


def botnet(*, width: float = 1.0) -> Conditioned:
    """The paper's second opponent."""
    body = ResidualBody(attention=True, width=width)
    return Conditioned(body, body.channels)
