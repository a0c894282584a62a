"""FuseGAN as MMDF has it (Kornilova et al. 2020, section 3.3, figures 7 and 8): a U-Net of dense blocks and a PatchGAN.

The slices of a group enter side by side as channels, zero where there are fewer; their focus masks are concatenated to
them (section 4.3.2) or multiplied on (section 3.3). Masks come from the modified Harris corner response.

The paper's tanh "normalised to 0 … 1" is ``(tanh + 1)/2``. An image scaled to that range would be squeezed at both of
its ends, so the tanh is stretched a little: -0.1 … 1.1. What the network finds is added, before the tanh, to the
slices weighted by their masks (their mean, without masks): brightness is right from the start.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOTS = 4
"""Slices of a group in the bundled network; the paper's number is that of its longest sample."""
Masks = Literal["none", "concatenated", "multiplied"]


def harris_response(grey: Tensor) -> Tensor:
    """Modified Harris corner response ``√|det M - 0.04·(trace M)²|`` of each channel: (N, C, Y, X) → the same shape.

    M holds the products of Sobel's derivatives, averaged by a Gaussian of 1.5 px.
    """
    n, c, h, w = grey.shape
    flat = functional.pad(grey.reshape(n * c, 1, h, w), (1, 1, 1, 1), mode="reflect")
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=grey.device) / 8
    gx, gy = (functional.conv2d(flat, k[None, None]) for k in (sobel, sobel.T))
    products = torch.cat([gx * gx, gy * gy, gx * gy], dim=1)
    x = torch.arange(-6, 7, device=grey.device, dtype=grey.dtype)
    bell = torch.exp(-(x**2) / (2 * 1.5**2))
    bell = (bell / bell.sum()).expand(3, 1, -1)
    wide = functional.pad(products, (6, 6, 6, 6), mode="replicate")
    wide = functional.conv2d(wide, bell[:, :, None, :], groups=3)
    xx, yy, xy = functional.conv2d(wide, bell[:, :, :, None], groups=3).unbind(dim=1)
    response = torch.sqrt((xx * yy - xy * xy - 0.04 * (xx + yy) ** 2).abs() + 1e-20)
    return response.reshape(n, c, h, w)


def focus_shares(slices: Tensor) -> Tensor:
    """How much each slice counts in `focus_masks`, before they are made to sum to 1: the same, whatever the others.

    Parameters
    ----------
    slices : (N, S, Y, X) tensor
        Grey, scaled alike to about 0 … 1.
    """
    energy = functional.avg_pool2d(harris_response(slices), 9, 1, 4, count_include_pad=False)
    # The fourth power decides, and leaves in doubt what differs by little; where nothing is, all count alike.
    return (energy + 1e-6) ** 4


def focus_masks(slices: Tensor) -> Tensor:
    """Where each of some grey slices is the sharpest, 0 … 1, by `harris_response`; they sum to 1 at each pixel.

    Parameters
    ----------
    slices : (N, S, Y, X) tensor
        Scaled alike to about 0 … 1.
    """
    share = focus_shares(slices)
    return share / share.sum(dim=1, keepdim=True)


class _DenseBlock(nn.Module):
    """Three convolutions with PReLU, each of which sees what all before it found; a fourth, 1×1, sums up."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        growth = max(4, b // 2)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a + i * growth, growth, 3, padding=1, padding_mode="replicate"), nn.PReLU(growth))
            for i in range(3)
        )
        self.sum = nn.Conv2d(a + 3 * growth, b, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        out: Tensor = self.sum(x)
        return out


class FuseGenerator(nn.Module):
    """A group of slices → one image.

    Parameters
    ----------
    width : float
        1 has 64 to 512 channels.
    slots : int
        Slices of a group.
    channels : int
        Colour samples of a slice; the paper has 3.
    masks : "none", "concatenated" or "multiplied"
        What is done with the slices' focus masks.
    """

    multiple_px = 8
    margin_px = 48

    def __init__(
        self, *, width: float = 1.0, slots: int = SLOTS, channels: int = 1, masks: Masks = "concatenated"
    ) -> None:
        super().__init__()
        sizes = [max(8, round(n * width)) for n in (64, 128, 256, 512)]
        self.slots, self.channels, self.masks = slots, channels, masks
        self.bytes_per_px = 40 * sizes[0]
        entering = slots * channels + (slots if masks == "concatenated" else 0)
        self.first = nn.Sequential(
            nn.Conv2d(entering, sizes[0], 3, padding=1, padding_mode="replicate"), nn.PReLU(sizes[0])
        )
        self.down = nn.ModuleList(_DenseBlock(a, b) for a, b in zip([sizes[0], *sizes[:2]], sizes[:3], strict=True))
        bottom: list[nn.Module] = []
        for i in range(3):
            bottom += [nn.Conv2d(sizes[2] if i == 0 else sizes[3], sizes[3], 3, padding=1), nn.PReLU(sizes[3])]
        self.bottom = nn.Sequential(*bottom)
        below = [sizes[3], sizes[2], sizes[1]]
        self.up = nn.ModuleList(_DenseBlock(b + s, s) for b, s in zip(below, sizes[2::-1], strict=True))
        self.head = nn.Conv2d(sizes[0], channels, 3, padding=1, padding_mode="replicate")
        nn.init.normal_(self.head.weight, std=1e-3)

    def forward(self, slices: Tensor, masks: Tensor | None = None) -> Tensor:
        """Fuse a group.

        Parameters
        ----------
        slices : (N, S·C, Y, X) tensor
            Up to `slots` slices side by side, scaled alike to about 0 … 1; sides that are multiples of 8.
        masks : (N, S, Y, X) tensor, optional
            Where each slice is in focus, 0 … 1; not needed where the network takes none.
        """
        x = self._entering(slices, masks)
        grown = slices.reshape(slices.shape[0], -1, self.channels, *slices.shape[-2:])
        begun = grown.mean(dim=1) if masks is None else (grown * masks[:, :, None]).sum(dim=1)
        h = self.first(x)
        skips = []
        for block in self.down:
            h = block(h)
            skips.append(h)
            h = functional.avg_pool2d(h, 2)
        h = self.bottom(h)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            h = functional.interpolate(h, scale_factor=2, mode="bilinear", align_corners=False)
            h = block(torch.cat([h, skip], dim=1))
        start = torch.atanh(((begun - 0.5) / 0.6).clamp(-0.95, 0.95))
        out: Tensor = 0.5 + 0.6 * torch.tanh(start + self.head(h))
        return out

    def _entering(self, slices: Tensor, masks: Tensor | None) -> Tensor:
        if self.masks != "none" and masks is None:
            raise ValueError("this network needs the slices' focus masks")
        if self.masks == "multiplied" and masks is not None:
            slices = slices * masks.repeat_interleave(self.channels, dim=1)
        missing = self.slots - slices.shape[1] // self.channels
        padded = functional.pad(slices, (0, 0, 0, 0, 0, missing * self.channels))
        if self.masks != "concatenated" or masks is None:
            return padded
        return torch.cat([padded, functional.pad(masks, (0, 0, 0, 0, 0, missing))], dim=1)


class PatchCritic(nn.Module):
    """PatchGAN discriminator: eight convolutions with LeakyReLU, one 4×4 max-pooling, sigmoid left to the loss.

    Each output sees about 64×64 pixels.
    """

    def __init__(self, *, width: float = 1.0, channels: int = 1) -> None:
        super().__init__()
        sizes = [max(8, round(n * width)) for n in (64, 64, 128, 128, 256, 256, 512)]
        blocks: list[nn.Module] = []
        before = channels
        for i, n in enumerate(sizes):
            stride = 2 if i in (1, 3) else 1
            blocks.append(nn.Sequential(nn.Conv2d(before, n, 3, stride=stride, padding=1), nn.LeakyReLU(0.2)))
            before = n
        blocks.insert(5, nn.MaxPool2d(4))
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Conv2d(before, 1, 3, padding=1)

    def features(self, x: Tensor) -> list[Tensor]:
        """(N, C, Y, X) → what comes out of each block: what a perceptual distance is taken in."""
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) → (N, 1, Y/16, X/16) logits, higher for what looks real."""
        out: Tensor = self.head(self.features(x)[-1])
        return out
