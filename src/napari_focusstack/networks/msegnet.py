"""m-SegNet (Pei et al. 2021, IEEE Photonics J. 13(3)): which pixels of a slice are in focus; and its two baselines.

Encoder: the first four stages of MobileNet (Howard et al. 2017), each of depthwise 3×3 and pointwise 1×1 convolutions
with batch norm and ReLU. Between the stages max-pooling, whose indices the decoder of SegNet (Badrinarayanan et al.
2017) unpools with. Two channels come out for each pixel: clear, fuzzy. In training every level of the decoder is
supervised (the paper's 2.1.4 says "encoder", its introduction "decoder").

What the paper leaves open: MobileNet's first convolution has stride 2; the two channels come back to full resolution
by a sub-pixel step (Shi et al. 2016), so that the mask has the image's size. The image enters grey, with local mean and
contrast taken away: focus lies in the detail, and neither stain nor shading changes the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.networks.infer import device_of, in_tiles
from napari_focusstack.networks.layers import LocalNorm, normalise_plane

Plane32 = NDArray[np.float32]
NORM_PX = 60
"""Window of the local mean and contrast."""
STAGES = ((64,), (128, 128), (256, 256), (512, 512))
"""Channels of MobileNet's first four stages; its stem has 32."""
Unit = Callable[[int, int], nn.Sequential]
VGG = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def separable(channels: int, out: int) -> nn.Sequential:
    """MobileNet's unit: depthwise 3×3, batch norm, ReLU, pointwise 1×1, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, out, 1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )


def plain(channels: int, out: int) -> nn.Sequential:
    """VGG's unit: convolution 3×3, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class FocusSegmenter(nn.Module):
    """What the three networks share: local normalisation, sides of any length, logits at full resolution.

    Attributes
    ----------
    multiple : int
        Sides of what `decode` is given are multiples of this.
    margin_px : int
        Pixels that an answer looks beyond its place: tiles that overlap by this give exactly the whole's result.
    bytes_per_px : int
        Memory that a pixel takes at the network's widest.
    """

    multiple: int
    margin_px: int
    bytes_per_px: int

    def __init__(self) -> None:
        super().__init__()
        self.norm = LocalNorm(NORM_PX)

    def decode(self, normalised: Tensor) -> list[Tensor]:
        """(N, 1, Y, X) normalised → logits (N, 2, y, x) of every level of the decoder, the coarsest first.

        The finest, of half the image's sides, may have (N, 8, Y/2, X/2): four of clear, four of fuzzy, for the four
        pixels of each.
        """
        raise NotImplementedError

    def levels(self, image: Tensor) -> list[Tensor]:
        """(N, 1, Y, X) of any scale, sides multiples of `multiple` → logits of every level, the finest last."""
        *coarse, finest = self.decode(self.norm(image))
        return [*coarse, functional.pixel_shuffle(finest, 2) if finest.shape[1] == 8 else finest]

    def segment(self, normalised: Tensor) -> Tensor:
        """(N, 1, Y, X) normalised → (N, 1, Y, X) probability that the pixel is clear; sides of any length."""
        h, w = normalised.shape[-2:]
        pad = (0, -w % self.multiple, 0, -h % self.multiple)
        even = functional.pad(normalised, pad, mode="replicate") if any(pad) else normalised
        clear, fuzzy = self.decode(even)[-1].chunk(2, dim=1)
        p = torch.sigmoid(clear - fuzzy)
        if p.shape[1] == 1:
            return p[..., :h, :w]
        whole = p.new_empty((len(p), 1, *even.shape[-2:]))
        for k in range(4):  # four times as fast as pixel_shuffle
            whole[:, 0, k // 2 :: 2, k % 2 :: 2] = p[:, k]
        return whole[..., :h, :w]

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1, Y, X) of any scale → (N, 1, Y, X) probability that the pixel is clear."""
        return self.segment(self.norm(image))


class SegNet(FocusSegmenter):
    """Encoder with max-pooling, decoder that unpools with the indices, a pair of logits at every level.

    Parameters
    ----------
    stages : sequence of sequence of int
        Channels after each unit of each stage; pooling stands between the stages, and after the last where there is no
        stem.
    separate : bool
        Of depthwise and pointwise convolutions (`separable`), or of whole ones (`plain`).
    stem : int
        Channels of a first convolution of stride 2; 0 for none.
    """

    def __init__(self, stages: Sequence[Sequence[int]], *, separate: bool, stem: int = 0) -> None:
        super().__init__()
        unit = separable if separate else plain
        self.stem = nn.Sequential()
        channels = 1
        if stem:
            self.stem = nn.Sequential(nn.Conv2d(1, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
            channels = stem
        self.encoder, self.decoder, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        entered = []
        for widths in stages:
            entered.append(channels)
            self.encoder.append(_chain(channels, widths, unit))
            channels = widths[-1]
        self.pools = len(stages) - 1 if stem else len(stages)
        for i, widths in reversed(list(enumerate(stages))):
            # The mirror image of the encoder's stage: it ends with the channels that the stage below unpools into.
            last = entered[i] if i or stem else widths[0]
            self.decoder.append(_chain(channels, (*widths[:-1], last), unit))
            channels = last
            self.heads.append(nn.Sequential(nn.Conv2d(channels, 8 if stem and i == 0 else 2, 1)))
        self.multiple = (2 if stem else 1) * 2**self.pools
        self.bytes_per_px = 12 * stages[0][0] // (4 if stem else 1) + 24
        self.margin_px = _reach(stages, stem=bool(stem))

    def decode(self, normalised: Tensor) -> list[Tensor]:
        """Logits of every level, the coarsest first."""
        x = self.stem(normalised)
        indices = []
        for i, stage in enumerate(self.encoder):
            x = stage(x)
            if i < self.pools:
                x, where = functional.max_pool2d(x, 2, return_indices=True)
                indices.append(where)
        outputs = []
        for i, (stage, head) in enumerate(zip(self.decoder, self.heads, strict=True)):
            if i or self.pools == len(self.encoder):
                x = _unpool(x, indices.pop())
            x = stage(x)
            if self.training or i + 1 == len(self.decoder):
                outputs.append(head(x))
        return outputs


class UNet(FocusSegmenter):
    """U-Net (Ronneberger, Fischer & Brox 2015) with padded convolutions and batch norm: skips instead of indices."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        before = (1, *channels[:-1])
        self.down = nn.ModuleList(_chain(a, (b, b), plain) for a, b in zip(before, channels, strict=True))
        pairs = list(zip(channels[1:], channels[:-1], strict=True))[::-1]
        self.widen = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs)
        self.up = nn.ModuleList(_chain(2 * b, (b, b), plain) for _, b in pairs)
        self.heads = nn.ModuleList(nn.Sequential(nn.Conv2d(b, 2, 1)) for _, b in pairs)
        self.multiple = 2 ** (len(channels) - 1)
        self.bytes_per_px = 16 * channels[0]
        self.margin_px = 2 * sum(4 * 2**i for i in range(len(channels)))

    def decode(self, normalised: Tensor) -> list[Tensor]:
        """Logits of every level, the coarsest first."""
        x, kept = normalised, []
        for i, stage in enumerate(self.down):
            x = stage(functional.max_pool2d(x, 2) if i else x)
            kept.append(x)
        kept.pop()
        outputs = []
        for i, (widen, stage, head) in enumerate(zip(self.widen, self.up, self.heads, strict=True)):
            x = stage(torch.cat([kept.pop(), widen(x)], dim=1))
            if self.training or i + 1 == len(self.up):
                outputs.append(head(x))
        return outputs


def _unpool(x: Tensor, where: Tensor) -> Tensor:
    """Undo max-pooling by 2 × 2: (N, C, Y, X) → (N, C, 2Y, 2X), zero where no maximum was."""
    if not torch.compiler.is_exporting():
        return functional.max_unpool2d(x, where, [2, 2])
    n, c, h, w = x.shape  # ONNX knows no unpooling
    flat = x.new_zeros(n, c, 4 * h * w).scatter(2, where.flatten(2), x.flatten(2))
    return flat.reshape(n, c, 2 * h, 2 * w)


def _chain(channels: int, widths: Sequence[int], unit: Unit) -> nn.Sequential:
    """Units one after another."""
    inputs = (channels, *widths[:-1])
    return nn.Sequential(*(unit(a, b) for a, b in zip(inputs, widths, strict=True)))


def _reach(stages: Sequence[Sequence[int]], *, stem: bool) -> int:
    """Pixels that an answer of a `SegNet` looks to each side.

    A pixel of its level for each 3×3 convolution, on the way down and on the way up, and for each pooling.
    """
    scales = [(2 if stem else 1) << i for i in range(len(stages))]
    return 1 + sum(2 * len(widths) * scale + scale for widths, scale in zip(stages, scales, strict=True))


def _scaled(stages: Sequence[Sequence[int]], width: float) -> tuple[tuple[int, ...], ...]:
    """Channels times `width`, whole multiples of 8 (what vector units like)."""
    return tuple(tuple(max(8, 8 * round(n * width / 8)) for n in widths) for widths in stages)


def msegnet(*, width: float = 1.0) -> SegNet:
    """m-SegNet; 0.9 million weights at width 1."""
    return SegNet(_scaled(STAGES, width), separate=True, stem=max(8, 8 * round(4 * width)))


def segnet(*, width: float = 1.0) -> SegNet:
    """SegNet as published: VGG16's thirteen convolutions and their mirror image; 29 million weights at width 1."""
    return SegNet(_scaled(VGG, width), separate=False)


def unet_mask(*, width: float = 1.0) -> UNet:
    """U-Net; 31 million weights at width 1."""
    return UNet(_scaled(((64, 128, 256, 512, 1024),), width)[0])


def mask_plane(network: FocusSegmenter, grey: NDArray[np.float32]) -> Generator[tuple[int, int], None, Plane32]:
    """Say of each pixel of a plane how likely it is in focus; no seams between tiles.

    Parameters
    ----------
    network : FocusSegmenter
        Ready for inference.
    grey : (Y, X) float32
        In any grey levels.

    Yields
    ------
    tuple of int
        Tiles done, tiles in all.

    Returns
    -------
    (Y, X) float32
        0 … 1.
    """
    normalised = torch.from_numpy(normalise_plane(grey, window_px=NORM_PX))[None, None]
    p = yield from in_tiles(
        network.segment,
        normalised,
        margin_px=network.margin_px,
        bytes_per_px=network.bytes_per_px,
        multiple_px=network.multiple,
        device=device_of(network),
    )
    found: Plane32 = p[0, 0].numpy()
    return found
