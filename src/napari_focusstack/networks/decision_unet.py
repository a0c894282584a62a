"""Which of two slices is sharper, pixel by pixel: a U-Net after Li et al. 2020 (IEEE Sensors J. 19:9755)."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.networks.layers import LocalNorm


class DecisionUNet(nn.Module):
    """A pair of slices in, a map of which one to take out; four poolings, skips at each level.

    Two 3×3 convolutions with batch norm at each level, 64 to 1024 channels at the paper's width, bilinear upsampling.
    Both slices are normalised together, by their local means and the larger deviation.

    Parameters
    ----------
    width : float
        Factor on all channels.
    """

    margin_px = 96
    """What is seen beside a tile: the window of `LocalNorm`, and most of what the deepest level sees."""
    multiple_px = 16

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        channels = [max(4, round(width * n)) for n in (64, 128, 256, 512, 1024)]
        self.normalise = LocalNorm(shared=True)
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise([2, *channels]))
        self.up = nn.ModuleList(_block(a + b, a) for a, b in pairwise(channels))
        self.answer = nn.Conv2d(channels[0], 1, 1)
        self.bytes_per_px = 4 * (4 * channels[0] + channels[1])

    def forward(self, pair: Tensor) -> Tensor:
        """Logit that the first slice is the sharper one.

        Parameters
        ----------
        pair : (N, 2, Y, X) tensor
            Two slices in any grey levels; sides multiples of `multiple_px`.

        Returns
        -------
        (N, 1, Y, X) tensor
        """
        x = self.normalise(pair)
        skips = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for block, skip in zip(reversed(self.up), reversed(skips[:-1]), strict=True):
            up = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([skip, up], dim=1))
        return cast(Tensor, self.answer(x))

    def decide(self, pair: Tensor) -> Tensor:
        """Probability at each pixel that the first slice is the sharper one: the slices are shown in either order.

        One order alone is not impartial; see `forward` for the shapes.
        """
        return torch.sigmoid((self(pair) - self(pair.flip(1))) / 2)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
