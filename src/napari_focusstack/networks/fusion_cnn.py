"""Which of two slices is sharper, patch by patch: the siamese network of Liu et al. 2017 (Inf. Fusion 36:191)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.networks.layers import LocalNorm

PATCH_PX = 16
CELLS = PATCH_PX // 2


class FusionCnn(nn.Module):
    """Two branches of shared weights look at a 16 × 16 patch of either slice; fully connected layers compare.

    Each branch: 3×3 convolutions with 64, 128 and 256 channels, a max-pooling after the second; then 256 nodes, and the
    answer. The paper's softmax over two outputs is one logit here. Both patches are normalised together, by their local
    means and the larger deviation, so that brightness and contrast of the specimen don't matter (the paper feeds grey
    values).

    Parameters
    ----------
    width : float
        Factor on all channels; 1 is the paper's (8.8 million weights).
    """

    margin_px = 64
    """What a pixel's decision sees beside itself: the patches that hold it, and the window of `LocalNorm`."""
    multiple_px = 16

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        a, b, c, nodes = (max(4, round(width * n)) for n in (64, 128, 256, 256))
        self.normalise = LocalNorm(shared=True)
        self.branch = nn.Sequential(
            nn.Conv2d(1, a, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(a, b, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(b, c, 3, padding=1),
            nn.ReLU(),
        )
        # Fully connected layers, as convolutions: a dense map costs what its patches share only once.
        self.first = nn.Conv2d(c, nodes, CELLS, bias=False)
        self.second = nn.Conv2d(c, nodes, CELLS)
        self.answer = nn.Sequential(nn.ReLU(), nn.Conv2d(nodes, 1, 1))
        self.bytes_per_px = 4 * (a + 2 * b + c)

    def forward(self, pair: Tensor) -> Tensor:
        """Compare normalised patches.

        Parameters
        ----------
        pair : (N, 2, y, x) tensor
            Sides even, of `PATCH_PX` or more.

        Returns
        -------
        (N, 1, y/2 - 7, x/2 - 7) tensor
            Logit that the first is the sharper one, of the patches at every second pixel.
        """
        first, second = self.branch(pair[:, :1]), self.branch(pair[:, 1:])
        return cast(Tensor, self.answer(self.first(first) + self.second(second)))

    def decide(self, pair: Tensor) -> Tensor:
        """Probability at each pixel that the first slice is the sharper one: the mean over all patches that hold it.

        Parameters
        ----------
        pair : (N, 2, Y, X) tensor
            Two slices in any grey levels; sides even, of `PATCH_PX` or more.

        Returns
        -------
        (N, 1, Y, X) tensor
        """
        score = torch.sigmoid(self(self.normalise(pair)))
        rim = [CELLS - 1] * 4
        total = functional.avg_pool2d(functional.pad(score, rim), CELLS, 1)
        held = functional.avg_pool2d(functional.pad(torch.ones_like(score[:1, :1]), rim), CELLS, 1)
        return functional.interpolate(total / held, scale_factor=2, mode="nearest")
