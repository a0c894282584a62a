"""Networks that sharpen a blurred image (Kornilova et al. 2020, MMDF, section 3.2).

All take normalised images (N, C, Y, X) with the background near 0 and return images of the same shape. The paper works
on RGB; one channel at a time serves grey, fluorescence and colour alike, so ``channels=1`` is the default.

Where the paper is silent: the U-Net, SRCNN and the autoencoders learn what is *missing* from their input (input plus
output is the result), as the paper's DeblurGAN does; without it each of them has to learn the identity first, which in
the paper they never did. The autoencoders halve the image in their second and third layer.

Each says how it is to be run on large images: `multiple_px` that sides have to be multiples of, `margin_px` beyond
which nothing counts that a pixel sees, `bytes_per_px` of memory, and `sees_whole` where means over all of an image take
part (instance norm), so that tiles would come out different.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

VGG11 = (64, 128, 256, 256, 512, 512, 512, 512)
VGG11_POOLS = (0, 1, 3, 5)
"""Convolutions of VGG11 that a pooling follows; the last pooling is left out, the features stay at a sixteenth."""


def scaled(channels: int, width: float) -> int:
    """Channels of a layer at a width, 4 at least."""
    return max(4, round(channels * width))


class UNet(nn.Module):
    """U-Net whose encoder is VGG11's convolutions.

    Parameters
    ----------
    width : float
        1 has VGG11's channels.
    channels : int
        Of the images.
    """

    multiple_px = 16
    margin_px = 96
    sees_whole = False

    def __init__(self, *, width: float = 1.0, channels: int = 1) -> None:
        super().__init__()
        sizes = [scaled(c, width) for c in VGG11]
        self.bytes_per_px = 32 * sizes[0]
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True))
            for a, b in zip([channels, *sizes[:-1]], sizes, strict=True)
        )
        skips = [sizes[i] for i in VGG11_POOLS]
        self.decoder = nn.ModuleList()
        below = sizes[-1]
        for skip in reversed(skips):
            self.decoder.append(
                nn.Sequential(
                    nn.Conv2d(below + skip, skip, 3, padding=1),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(skip, skip, 3, padding=1),
                    nn.ReLU(inplace=True),
                )
            )
            below = skip
        self.head = _last(nn.Conv2d(below, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) with sides that are multiples of 16 → the same shape."""
        skips, h = [], x
        for i, layer in enumerate(self.encoder):
            h = layer(h)
            if i in VGG11_POOLS:
                skips.append(h)
                h = functional.max_pool2d(h, 2)
        for layer, skip in zip(self.decoder, reversed(skips), strict=True):
            h = functional.interpolate(h, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            h = layer(torch.cat([h, skip], dim=1))
        out: Tensor = x + self.head(h)
        return out


class SRCNN(nn.Module):
    """Three convolutions, 9×9, 1×1 and 5×5 (Dong et al. 2015, IEEE TPAMI 38:295): C-64-32-C channels."""

    multiple_px = 1
    margin_px = 6
    sees_whole = False

    def __init__(self, *, width: float = 1.0, channels: int = 1) -> None:
        super().__init__()
        a, b = scaled(64, width), scaled(32, width)
        self.bytes_per_px = 4 * (a + b)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, a, 9, padding=4),
            nn.ReLU(inplace=True),
            nn.Conv2d(a, b, 1),
            nn.ReLU(inplace=True),
            _last(nn.Conv2d(b, channels, 5, padding=2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) → the same shape."""
        out: Tensor = x + self.layers(x)
        return out


class _Residual(nn.Module):
    """Two convolutions with instance norm, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_conv_norm(channels, channels), nn.ReLU(inplace=True), *_conv_norm(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class DeblurGenerator(nn.Module):
    """DeblurGAN's generator (Kupyn et al. 2018, CVPR): two halvings, nine residual blocks, two doublings.

    Parameters
    ----------
    width : float
        1 has 64, 128 and 256 channels.
    channels : int
        Of the images.
    upsampling : "transposed" or "resize"
        The standard form's transposed convolutions, or the upgraded one's resizing followed by a convolution, which
        leaves no checkerboard.
    blocks : int
        Residual blocks.
    """

    multiple_px = 4
    margin_px = 0
    sees_whole = True

    def __init__(
        self,
        *,
        width: float = 1.0,
        channels: int = 1,
        upsampling: Literal["transposed", "resize"] = "resize",
        blocks: int = 9,
    ) -> None:
        super().__init__()
        a, b, c = (scaled(n, width) for n in (64, 128, 256))
        self.bytes_per_px = 32 * a
        self.layers = nn.Sequential(
            *_conv_norm(channels, a, side=7),
            nn.ReLU(inplace=True),
            *_conv_norm(a, b, stride=2),
            nn.ReLU(inplace=True),
            *_conv_norm(b, c, stride=2),
            nn.ReLU(inplace=True),
            *(_Residual(c) for _ in range(blocks)),
            *_doubling(c, b, upsampling),
            *_doubling(b, a, upsampling),
            _last(nn.Conv2d(a, channels, 7, padding=3, padding_mode="reflect")),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) with sides that are multiples of 4 → the same shape."""
        out: Tensor = x + self.layers(x)
        return out


class Critic(nn.Module):
    """DeblurGAN's discriminator: strided convolutions with instance norm and LeakyReLU(0.2), dense layers at the end.

    Parameters
    ----------
    width : float
        1 has 64 to 512 channels.
    channels : int
        Of the images.
    """

    def __init__(self, *, width: float = 1.0, channels: int = 1) -> None:
        super().__init__()
        sizes = [scaled(n, width) for n in (64, 128, 256, 512)]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(zip([channels, *sizes[:-1]], sizes, strict=True)):
            layers.append(nn.Conv2d(a, b, 4, stride=2, padding=1))
            if i:
                layers.append(nn.InstanceNorm2d(b, affine=True))
            layers.append(nn.LeakyReLU(0.2))
        self.features = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(sizes[-1], sizes[-1]), nn.LeakyReLU(0.2), nn.Linear(sizes[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) → (N,) scores, higher for what looks real."""
        out: Tensor = self.dense(self.features(x).mean(dim=(2, 3)))[:, 0]
        return out


class DenoisingAutoencoder(nn.Module):
    """Five convolutions with batch norm, C-32-64-128-256-256, and transposed ones back (Vincent et al. 2008)."""

    multiple_px = 4
    margin_px = 32
    sees_whole = False
    strides = (1, 2, 2, 1, 1)

    def __init__(self, *, width: float = 1.0, channels: int = 1) -> None:
        super().__init__()
        sizes = [scaled(n, width) for n in (32, 64, 128, 256, 256)]
        self.bytes_per_px = 12 * sizes[0]
        down: list[nn.Module] = []
        for a, b, stride in zip([channels, *sizes[:-1]], sizes, self.strides, strict=True):
            down += [nn.Conv2d(a, b, 3, stride=stride, padding=1), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        up: list[nn.Module] = []
        for a, b, stride in zip(sizes[:0:-1], sizes[-2::-1], self.strides[:0:-1], strict=True):
            up += [_transposed(a, b, stride), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        self.encoder = nn.Sequential(*down)
        self.decoder = nn.Sequential(*up, _last(_transposed(sizes[0], channels, self.strides[0])))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) with sides that are multiples of 4 → the same shape."""
        out: Tensor = x + self.decoder(self.encoder(x))
        return out


class StackedAutoencoder(nn.Module):
    """Three autoencoders of one convolution each, each on the code of the one before (Vincent et al. 2010)."""

    multiple_px = 1
    margin_px = 6
    sees_whole = False

    def __init__(self, *, width: float = 1.0, channels: int = 1) -> None:
        super().__init__()
        sizes = [channels, *(scaled(n, width) for n in (32, 64, 128))]
        self.bytes_per_px = 6 * sizes[-1]
        pairs = list(pairwise(sizes))
        self.encoders = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True)) for a, b in pairs
        )
        self.decoders = nn.ModuleList(nn.ConvTranspose2d(b, a, 3, padding=1) for a, b in pairs)
        _last(self.decoders[0])

    def one_layer(self, code: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Code of the next layer, and what that layer alone restores of its own input: for training layer by layer."""
        deeper = self.encoders[layer](code)
        restored = self.decoders[layer](deeper)
        return deeper, code + restored if layer == 0 else functional.relu(restored)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) → the same shape."""
        h = x
        for encoder in self.encoders:
            h = encoder(h)
        for i in reversed(range(len(self.decoders))):
            h = self.decoders[i](h)
            if i:
                h = functional.relu(h)
        return x + h


class CoupledAutoencoder(nn.Module):
    """Deep coupled autoencoder (Zeng et al. 2017, IEEE Trans. Cybern. 47:27).

    One autoencoder learns codes of blurred images, one those of sharp images; a 1×1 convolution maps the former to the
    latter, and the sharp one's decoder makes the result.
    """

    multiple_px = 4
    margin_px = 32
    sees_whole = False

    def __init__(self, *, width: float = 1.0, channels: int = 1) -> None:
        super().__init__()
        self.source = DenoisingAutoencoder(width=width, channels=channels)
        self.target = DenoisingAutoencoder(width=width, channels=channels)
        self.bytes_per_px = self.source.bytes_per_px
        deepest = scaled(256, width)
        self.mapping = nn.Conv2d(deepest, deepest, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) with sides that are multiples of 4 → the same shape."""
        out: Tensor = x + self.target.decoder(self.mapping(self.source.encoder(x)))
        return out


def deblurgan(*, width: float = 1.0, channels: int = 1) -> DeblurGenerator:
    """DeblurGAN's standard generator, with transposed convolutions."""
    return DeblurGenerator(width=width, channels=channels, upsampling="transposed")


def deblurgan_upgraded(*, width: float = 1.0, channels: int = 1) -> DeblurGenerator:
    """The paper's upgraded generator, with resizing in place of transposed convolutions."""
    return DeblurGenerator(width=width, channels=channels, upsampling="resize")


def _last(layer: nn.Module) -> nn.Module:
    """A last layer that starts near zero: an untrained network returns its input."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=1e-3)
    return layer


def _conv_norm(a: int, b: int, *, side: int = 3, stride: int = 1) -> Sequence[nn.Module]:
    convolution = nn.Conv2d(a, b, side, stride=stride, padding=side // 2, padding_mode="reflect")
    return convolution, nn.InstanceNorm2d(b, affine=True)


def _transposed(a: int, b: int, stride: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(a, b, 3, stride=stride, padding=1, output_padding=stride - 1)


def _doubling(a: int, b: int, upsampling: str) -> Sequence[nn.Module]:
    if upsampling == "transposed":
        return _transposed(a, b, 2), nn.InstanceNorm2d(b, affine=True), nn.ReLU(inplace=True)
    resize = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return resize, *_conv_norm(a, b), nn.ReLU(inplace=True)
