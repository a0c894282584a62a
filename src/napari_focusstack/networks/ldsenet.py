"""LDSE-NET (Jiang et al. 2023, Front. Neurosci. 17:1213176): defocus of a 224 px tile by a small dense network.

7×7 convolution with stride 2 (batch norm and ReLU after it, as in DenseNet), 3×3 max-pooling with stride 2, dense
blocks with transitions (batch norm, Tanh, 1×1 convolution, 2×2 average pooling) down to 7×7, squeeze-and-excitation
that ends in Tanh, global average pooling. The paper prints neither layer counts nor which activations within the
blocks are Tanh: 2, 3, 4 and 4 layers of 12 channels hold it at the "KB level", and the last layer of the two coarse
blocks takes Tanh, where that costs little time.

Three things differ from the paper, for reasons of physics.

- Images are resampled to one grid, `SAMPLING` = pixel·NA/λ, and defocus is predicted in *waves at the pupil's edge*,
  not µm: equal defocus then looks equal under every objective, and one set of weights serves all. Cameras coarser than
  the grid have seen less than it could show; the network is told by how much (the channels after its first convolution
  are scaled and shifted by it).
- Magnitude and side are given apart: the side can only be known where the optics are asymmetric, and a single number
  would be pulled to zero where it can't. Spherical aberration makes them asymmetric: rings lie on one side of focus, a
  bright core in a faint halo on the other. *Negative here means the rings' side*; which side of focus that is in space
  is a matter of the instrument.
- The locally normalised image is compressed (asinh): a halo's few per cent are what tells the side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_focusstack.networks.infer import device_of, in_batches, plane_to_tensor
from napari_focusstack.networks.layers import LocalNorm
from napari_focusstack.networks.statistics import Statistics

TILE_PX = 224
"""Side of a tile in the camera's pixels."""
LEAST_PX, MOST_PX = 96, 144
"""The least and the most that it may be on the network's grid; all networks here learn on tiles of the least."""
SAMPLING = 0.75
"""Pixel size · NA/λ that every image is resampled to."""
MEASURED = 128
"""Nodes for the statistics of a tile."""
BEND_WAVES = 0.4
"""Defocus at which the magnitude output turns from linear to logarithmic."""


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
        last = nn.Linear(hidden, channels)
        nn.init.ones_(last.bias)  # Tanh about 0 would hide the features, and what they have to learn, at the start
        self.weights = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), last, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) → the same shape."""
        w: Tensor = self.weights(x.mean(dim=(2, 3)))
        return x * w[:, :, None, None]


class Conditioned(nn.Module):
    """Tile and sampling → (magnitude, logit of the side): what LDSE-NET and its opponents share.

    Parameters
    ----------
    stem : nn.Module
        (N, 1, Y, X) → (N, stem_channels, Y/2, X/2).
    stem_channels : int
        Channels that the sampling scales and shifts.
    body : nn.Module
        → (N, channels, y, x).
    channels : int
        Features that it gives.
    tile_px : int, optional
        The one side that its tiles may have; any where not given.
    statistics : bool
        Whether the `Statistics` of each tile join, by layers of their own; the paper knows nothing of them.
    """

    def __init__(
        self,
        stem: nn.Module,
        stem_channels: int,
        body: nn.Module,
        channels: int,
        *,
        tile_px: int | None = None,
        statistics: bool = False,
    ) -> None:
        super().__init__()
        self.tile_px = tile_px
        self.norm = LocalNorm(92, compress=3.0)
        self.stem, self.body, self.stem_channels = stem, body, stem_channels
        self.condition = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 2 * stem_channels))
        self.statistics: Statistics | None = None
        if statistics:
            self.statistics = Statistics(least_px=LEAST_PX)
            self.spread = nn.BatchNorm1d(self.statistics.count, affine=False)
            self.measured = nn.Sequential(
                nn.Linear(self.statistics.count + 1, MEASURED), nn.ReLU(), nn.Linear(MEASURED, MEASURED), nn.ReLU()
            )
        self.head = nn.Linear(channels + MEASURED * statistics, 2)

    def forward(self, tile: Tensor, sampling: Tensor) -> Tensor:
        """Judge tiles.

        Parameters
        ----------
        tile : (N, 1, Y, X) tensor
            Raw grey values of any scale, on the grid of `SAMPLING`.
        sampling : (N,) tensor
            Pixel size · NA/λ that the camera had; below `SAMPLING` all are alike.

        Returns
        -------
        (N, 2) tensor
            ``asinh(|waves| / BEND_WAVES)``, and the logit of the side without rings (positive defocus).
        """
        return self.judge(self.norm(tile), sampling, tile)

    def judge(self, normalised: Tensor, sampling: Tensor, tile: Tensor) -> Tensor:
        """The same for tiles that `norm` has seen already, (N, 1, Y, X); `tile` is as it was before.

        Dark specimens on a bright ground are turned bright: defocus treats both alike, and a network that had to learn
        the side of focus twice, with opposite signs, took several times as long to learn it at all.
        """
        normalised = normalised * torch.where((normalised**3).mean(dim=(1, 2, 3), keepdim=True) < 0, -1.0, 1.0)
        coarse = torch.log2((sampling / SAMPLING).clamp(1, 4))[:, None]
        scale, shift = self.condition(coarse)[:, :, None, None].chunk(2, dim=1)
        features = self.body(self.stem(normalised) * (1 + scale) + shift).mean(dim=(2, 3))
        if self.statistics is not None:
            if self.training:  # statistics learn to do without convolutions, which know specimens too well
                features = features * (torch.rand(len(features), 1, device=features.device) < 0.5)
            numbers = self.spread(self.statistics(tile)).clamp(-5.0, 5.0)
            features = torch.cat([features, self.measured(torch.cat([numbers, coarse], dim=1))], dim=1)
        out: Tensor = self.head(features)
        return torch.stack([nn.functional.softplus(out[:, 0]), out[:, 1]], dim=1)


def magnitude_code(waves: Tensor) -> Tensor:
    """The magnitude that a network should give for (N,) waves."""
    return torch.asinh(waves.abs() / BEND_WAVES)


def signed_waves(output: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a network's output into signed defocus in waves and how sure the side is (0 … 1).

    (N, 2) outputs → (N,), (N,): the inverse of `magnitude_code`.
    """
    side = torch.tanh(output[:, 1] / 2)
    waves = torch.sinh(output[:, 0].clamp(max=5)) * BEND_WAVES
    return waves * torch.where(side >= 0, 1.0, -1.0), side.abs()


def resampled(plane: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """A plane on another grid: means over areas where that is coarser, cubic interpolation where it is finer."""
    if plane.shape == shape:
        return plane
    shrinks = shape[0] * shape[1] < plane.shape[0] * plane.shape[1]
    size = shape[1], shape[0]
    out = cv2.resize(plane, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(out, np.float32)


def ldsenet(*, width: float = 1.0, layers: Sequence[int] = (2, 3, 4, 4), statistics: bool = False) -> Conditioned:
    """LDSE-NET; 0.3 MB of weights at width 1, 0.4 MB with statistics.

    Parameters
    ----------
    width : float
        Scales the growth (12 at 1) and the first convolution (24 channels at 1).
    layers : sequence of int
        Dense layers in each of the four blocks.
    statistics : bool
        See `Conditioned`.
    """
    growth, channels = max(4, round(12 * width)), max(8, round(24 * width))
    stem_channels = channels
    stem = nn.Sequential(nn.Conv2d(1, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels))
    parts: list[nn.Module] = [nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for i, n in enumerate(layers):
        for k in range(n):
            parts.append(DenseLayer(channels, growth, tanh=i >= 2 and k == n - 1))
            channels += growth
        if i + 1 < len(layers):
            half = channels // 2
            parts += [nn.BatchNorm2d(channels), nn.Tanh(), nn.Conv2d(channels, half, 1, bias=False), nn.AvgPool2d(2)]
            channels = half
    parts += [nn.BatchNorm2d(channels), nn.ReLU(), SqueezeExcite(channels)]
    return Conditioned(stem, stem_channels, nn.Sequential(*parts), channels, statistics=statistics)


class Bottleneck(nn.Module):
    """Block 1×1, 3×3 (or self-attention), 1×1 of ResNet50 (He et al. 2016) and BotNet (Srinivas et al. 2021)."""

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


def _residual(*, attention: bool, width: float) -> Conditioned:
    """ResNet50, or BotNet, whose last stage attends instead of convolving, which takes tiles of one size."""
    base = max(8, round(64 * width / 8) * 8)
    stem = nn.Sequential(nn.Conv2d(1, base, 7, 2, 3, bias=False), nn.BatchNorm2d(base))
    parts: list[nn.Module] = [nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = base
    for stage, blocks in enumerate((3, 4, 6, 3)):
        middle = base * 2**stage
        for i in range(blocks):
            stride = 2 if i == 0 and stage > 0 else 1
            side = LEAST_PX // (16 if i == 0 else 32) if attention and stage == 3 else None
            parts.append(Bottleneck(channels, middle, stride=stride, attention_side=side))
            channels = 4 * middle
    return Conditioned(stem, base, nn.Sequential(*parts), channels, tile_px=LEAST_PX if attention else None)


def resnet50(*, width: float = 1.0) -> Conditioned:
    """The paper's first opponent; width 1 is the published size."""
    return _residual(attention=False, width=width)


def botnet(*, width: float = 1.0) -> Conditioned:
    """The paper's second opponent; width 1 is the published size."""
    return _residual(attention=True, width=width)


@dataclass(frozen=True)
class DefocusMap:
    """Defocus of the tiles of a plane.

    Attributes
    ----------
    waves : (gy, gx) float32
        Signed, at the pupil's edge.
    side : (gy, gx) float32
        How sure the sign is, 0 … 1.
    blank : (gy, gx) bool
        Tiles with nothing to judge by: leave them out.
    """

    waves: NDArray[np.float32]
    side: NDArray[np.float32]
    blank: NDArray[np.bool_]


def measure_plane(network: Conditioned, plane: NDArray[Any], *, sampling: float) -> DefocusMap:
    """Defocus of a plane's tiles (paper, eq. 6 and section 4.3).

    The plane is resampled to `SAMPLING` and covered evenly with overlapping tiles: of the paper's 224 camera pixels
    where that makes `LEAST_PX` to `MOST_PX` on the grid, of the nearest of these sizes elsewhere. A smaller plane is
    one smaller tile, or mirrored at its borders for a network of tiles of one size.

    Parameters
    ----------
    network : Conditioned
        Ready for inference.
    plane : (Y, X) or (Y, X, 3) array
        Any pixel type.
    sampling : float
        Pixel size · NA/λ.
    """
    grey = _grey(plane)
    factor = sampling / SAMPLING
    shape = max(1, round(grey.shape[0] * factor)), max(1, round(grey.shape[1] * factor))
    on_grid = resampled(grey, shape)
    side = network.tile_px or int(np.clip(math.ceil(TILE_PX * factor), LEAST_PX, MOST_PX))
    if network.tile_px and min(shape) < side:
        on_grid = np.pad(on_grid, [(0, max(0, side - s)) for s in shape], mode="symmetric")
        shape = on_grid.shape
    places = [(y, x) for y in _spread_tiles(shape[0], side) for x in _spread_tiles(shape[1], side)]
    high, wide = min(side, shape[0]), min(side, shape[1])
    image = plane_to_tensor(on_grid, device=device_of(network))
    normalised = network.norm(image)
    tiles, raw = (torch.cat([i[:, :, y : y + high, x : x + wide] for y, x in places]) for i in (normalised, image))
    given = torch.full((len(tiles),), sampling, device=tiles.device)
    widest = 4 * network.stem_channels * tiles[0].numel()
    output = torch.cat([part.cpu() for part in in_batches(network.judge, tiles, given, raw, bytes_each=widest)])
    waves, certain = signed_waves(output)
    # Noise is white on the camera's pixels, and on coarser ones.
    seen, scale = (on_grid, 1.0) if factor < 1 else (grey, 1 / factor)
    blank = np.array([_is_blank(_part(seen, y * scale, x * scale, high * scale, wide * scale)) for y, x in places])
    grid = len({y for y, _ in places}), len({x for _, x in places})
    return DefocusMap(waves.numpy().reshape(grid), certain.numpy().reshape(grid), blank.reshape(grid))


def _part(image: NDArray[np.float32], y: float, x: float, high: float, wide: float) -> NDArray[np.float32]:
    return image[round(y) : round(y + high), round(x) : round(x + wide)]


def _grey(plane: NDArray[Any]) -> NDArray[np.float32]:
    grey = np.asarray(plane, np.float32)
    return np.ascontiguousarray(grey if grey.ndim == 2 else grey.mean(axis=-1))


def _spread_tiles(size: int, side: int) -> list[int]:
    """First pixels of the tiles along an axis."""
    n = -(-size // side)
    return [0] if n == 1 else [round(i * (size - side) / (n - 1)) for i in range(n)]


def _is_blank(tile: NDArray[np.float32]) -> bool:
    """Whether a tile varies no more than its noise does (eq. 6's sigma).

    Means over 8×8 px vary by an eighth of white noise; three times that is specimen.
    """
    if min(tile.shape) < 16:
        return False
    h, w = (n // 8 * 8 for n in tile.shape)
    means = tile[:h, :w].reshape(h // 8, 8, w // 8, 8).mean(axis=(1, 3))
    rows = tile[::2]  # half of the rows tell the noise as well
    second = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    noise = float(np.median(np.abs(second))) / 0.6745 / math.sqrt(6)
    largest = float(np.abs(means).max())
    return float(means.std()) < max(3 * noise / 8, 1e-4 * largest)
