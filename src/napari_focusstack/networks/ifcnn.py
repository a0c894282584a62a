"""IFCNN-style fusion (Zhang et al. 2020, Inf. Fusion 54:99): features of each slice, their maximum or mean, and back.

Two convolutions find features (the first is a ResNet's, 7×7, in the paper frozen from ImageNet; here it is trained with
the rest), an elementwise rule joins those of any number of slices, two convolutions turn the joint features into the
image: what is missing from the slices' mean, so that brightness is right from the start. The joint features and that
mean are all that has to be kept: memory does not grow with the slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Rule = Literal["max", "mean"]


class IFCNN(nn.Module):
    """Slices → one image.

    Parameters
    ----------
    width : float
        1 has the paper's 64 channels.
    channels : int
        Colour samples of a slice.
    rule : "max" or "mean"
        How features are joined.
    """

    multiple_px = 1
    margin_px = 8

    def __init__(self, *, width: float = 1.0, channels: int = 1, rule: Rule = "max") -> None:
        super().__init__()
        n = max(4, round(64 * width))
        self.rule = rule
        self.bytes_per_px = 12 * n
        self.extract = nn.Sequential(
            nn.Conv2d(channels, n, 7, padding=3, padding_mode="replicate"), *_conv_norm(n, n), nn.ReLU(inplace=True)
        )
        self.rebuild = nn.Sequential(*_conv_norm(n, n), nn.ReLU(inplace=True), nn.Conv2d(n, channels, 1))
        for parameter in self.rebuild[-1].parameters():
            nn.init.normal_(parameter, std=1e-3)

    def forward(self, slices: Tensor | Sequence[Tensor]) -> Tensor:
        """(N, S, Y, X) grey slices, or a sequence of (N, C, Y, X), scaled alike to about 0 … 1 → (N, C, Y, X)."""
        images = torch.split(slices, 1, dim=1) if isinstance(slices, Tensor) else slices
        joint, total = self.extract(images[0]), images[0]
        for image in images[1:]:
            joint, total = self.join(joint, self.extract(image)), total + image
        return self.finish(joint, total, len(images))

    def join(self, joint: Tensor, features: Tensor) -> Tensor:
        """Joint features of the slices so far, and those of one more → of all of them."""
        return torch.maximum(joint, features) if self.rule == "max" else joint + features

    def finish(self, joint: Tensor, total: Tensor, n: int) -> Tensor:
        """Image from the joint features and the sum of `n` slices."""
        out: Tensor = total / n + self.rebuild(joint if self.rule == "max" else joint / n)
        return out


def _conv_norm(a: int, b: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(a, b, 3, padding=1, padding_mode="replicate", bias=False), nn.BatchNorm2d(b)
