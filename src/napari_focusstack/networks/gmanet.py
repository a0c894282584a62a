"""GMANet (Wang et al. 2021, Appl. Sci. 11:10293): one score for the sharpness of a whole image.

VGG16's 13 convolutions with batch norm and LeakyReLU in five layers, 2×2 max-pooling between them. The local maximum
gradient of the image multiplies the features of the first layer (`GmaBlock`, eq. 7), so that sharp regions count more.
Every place of Layer5 (a step of 16 px) is scored by two convolutions; the image's score is the mean of the scores that
are not zero. Two finer feature maps, Deconv4 and Deconv3, are scored as well in training alone.

What the paper leaves open is settled so: the score map ends in a ReLU and is in units of 100 inside, which is the label
of the clearest slice; LeakyReLU falls by 0.1; a transposed convolution (2×2) brings Layer5 to Layer4's size, a 1×1
convolution joins the two to Deconv4, and the same again with Layer3 to Deconv3; a head is a 3×3 convolution to half
the channels and one to a single number. Values and gradients beyond 3 standard deviations grow logarithmically
(`limited`): a few bright beads on black would otherwise leave everything the network has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.networks.ldsenet import Bottleneck

SLOPE = 0.1
STRIDE_PX = 16
"""Step between the places of the score map."""
TOP = 100.0
"""Label of the clearest slice."""
LIMIT = 3.0
VGG16_LAYERS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
RESNET50_BLOCKS = (3, 4, 6, 3)


def z_scored(image: Tensor) -> Tensor:
    """(N, C, Y, X) of any grey scale → mean 0 and standard deviation 1 of each image; 0 where it is constant."""
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    deviation = image.std(dim=(1, 2, 3), keepdim=True, correction=0)
    return (image - mean) / torch.where(deviation > 0, deviation, 1.0)


def limited(values: Tensor) -> Tensor:
    """Linear to about `LIMIT`, logarithmic beyond: ``3·asinh(x/3)``, by vectorised functions (`asinh` is none)."""
    size = (values / LIMIT).abs()
    square = size * size
    return LIMIT * torch.sign(values) * torch.log1p(size + square / (1 + torch.sqrt(1 + square)))


def mean_of_three(values: Tensor, dim: int) -> Tensor:
    """Mean of each element and its two neighbours along `dim`; of two at the border."""
    n = values.shape[dim]
    filled = functional.pad(values, [0, 0] * (values.ndim - 1 - dim % values.ndim) + [1, 1])
    total = filled.narrow(dim, 0, n) + filled.narrow(dim, 1, n) + filled.narrow(dim, 2, n)
    share = values.new_full([n] + [1] * (values.ndim - 1 - dim % values.ndim), 1 / 3)
    for end in (0, -1):
        share[end] = 1 / (1 / share[end] - 1)
    return total * share


def running_maximum(values: Tensor, size: int, *, before: int, dim: int) -> Tensor:
    """Maximum over ``size`` neighbours along `dim`, from ``before`` elements before each; 0 is taken beyond the border.

    Windows of 1, 2, 4, … are doubled until two of them cover the wanted one: log2(size) passes, whatever the size.
    """
    if size <= 1:
        return values
    pad = [0, 0] * (values.ndim - 1 - dim % values.ndim) + [before, size - 1 - before]
    running, span = functional.pad(values, pad), 1
    length = values.shape[dim]
    while 2 * span <= size:
        n = running.shape[dim] - span
        running, span = torch.maximum(running.narrow(dim, 0, n), running.narrow(dim, span, n)), 2 * span
    return torch.maximum(running.narrow(dim, 0, length), running.narrow(dim, size - span, length))


def local_maximum_gradient(grey: Tensor, *, block_px: int = 32) -> Tensor:
    """The attention map: local maximum gradient around every pixel (eq. 1-6), stride 1, same size as the image.

    ``g(ξ)`` is the mean of the four absolute differences of neighbours in 2×2 pixels, ``g(φ)`` the largest of all ξ
    within the block of ``block_px`` pixels, which spans ``-(block - 1)//2 … block//2`` around the pixel and is cut at
    the border.

    Parameters
    ----------
    grey : (N, 1, Y, X) tensor
        z-scored.
    block_px : int
        Side of φ, 2 or more; the paper takes 32 or 8.

    Returns
    -------
    (N, 1, Y, X) tensor
        In standard deviations of the image per pixel.
    """
    rows = (grey[..., 1:, :] - grey[..., :-1, :]).abs()
    columns = (grey[..., 1:] - grey[..., :-1]).abs()
    quad = (rows[..., 1:] + rows[..., :-1] + columns[..., 1:, :] + columns[..., :-1, :]) / 4
    # Each 2×2 belongs to its upper left pixel; the last row and column start none, and 0 never wins a maximum.
    quad = functional.pad(quad, (0, 1, 0, 1))
    before = (block_px - 1) // 2
    for dim in (-1, -2):
        quad = running_maximum(quad, block_px - 1, before=before, dim=dim)
    return quad


class GmaBlock(nn.Module):
    """``lrelu((1 + M')·BN(conv(I)))`` (eq. 7): no weights more than without attention."""

    def __init__(self, channels: int, out: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.window = kernel, stride, kernel // 2
        convolution = nn.Conv2d(channels, out, *self.window, bias=False)
        self.conv = nn.Sequential(convolution, nn.BatchNorm2d(out), nn.LeakyReLU(SLOPE, inplace=True))

    @property
    def convolution(self) -> nn.Conv2d:
        """Its convolution."""
        return cast(nn.Conv2d, self.conv[0])

    @property
    def norm(self) -> nn.BatchNorm2d:
        """Its batch norm."""
        return cast(nn.BatchNorm2d, self.conv[1])

    def forward(self, x: Tensor, attention: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features and the (N, 1, Y, X) map, or None → the next ones; the map's mean is over pixels, not padding."""
        out: Tensor = self.conv(x)
        if attention is not None:
            attention = self._pooled(attention)
            # 1 + M' is above 0, so it may as well come after the LeakyReLU.
            out = torch.addcmul(out, out, attention) if out.requires_grad else out.addcmul_(out, attention)
        return out, attention

    def _pooled(self, attention: Tensor) -> Tensor:
        """The map's mean over the convolution's window."""
        if self.window == (3, 1, 1):
            return mean_of_three(mean_of_three(attention, -1), -2)
        return functional.avg_pool2d(attention, *self.window, count_include_pad=False)


class Vgg16(nn.Module):
    """VGG16's convolutions (Simonyan & Zisserman 2015) as GMA blocks."""

    def __init__(self, channels: int, *, width: float, attended: int) -> None:
        super().__init__()
        self.attended = attended
        self.widths = tuple(_scaled(layer[-1], width) for layer in VGG16_LAYERS[2:])
        layers = []
        for layer in VGG16_LAYERS:
            blocks: list[GmaBlock] = []
            for wide in layer:
                blocks.append(GmaBlock(channels, _scaled(wide, width)))
                channels = _scaled(wide, width)
            layers.append(nn.ModuleList(blocks))
        self.layers = nn.ModuleList(layers)

    def blocks(self) -> list[GmaBlock]:
        """All 13 convolutions."""
        return [m for m in self.modules() if isinstance(m, GmaBlock)]

    def forward(self, x: Tensor, attention: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Layer3, Layer4 and Layer5: steps of 4, 8 and 16 px."""
        features = []
        for i, layer in enumerate(self.layers):
            if i == self.attended:
                attention = None
            if i:
                x = functional.max_pool2d(x, 2)
                attention = None if attention is None else functional.max_pool2d(attention, 2)
            assert isinstance(layer, nn.ModuleList)
            for block in layer:
                x, attention = block(x, attention)
            features.append(x)
        return features[2], features[3], features[4]


class Resnet50(nn.Module):
    """ResNet50 (He et al. 2016), its first convolution a GMA block, its last stage without stride.

    So the score map has the same step of 16 px. There is one attended layer only.
    """

    def __init__(self, channels: int, *, width: float, attended: int) -> None:
        super().__init__()
        if attended > 1:
            raise ValueError("with ResNet50 the first layer alone can be attended to")
        self.attended = attended
        out = _scaled(64, width)
        self.stem = GmaBlock(channels, out, kernel=7, stride=2)
        channels, stages = out, []
        for i, (n, stride) in enumerate(zip(RESNET50_BLOCKS, (1, 2, 2, 1), strict=True)):
            middle = _scaled(64 * 2**i, width)
            blocks = [
                Bottleneck(channels if k == 0 else 4 * middle, middle, stride=stride if k == 0 else 1) for k in range(n)
            ]
            stages.append(nn.Sequential(*blocks))
            channels = 4 * middle
        self.stages = nn.ModuleList(stages)
        self.widths = tuple(4 * _scaled(64 * k, width) for k in (1, 2, 8))

    def blocks(self) -> list[GmaBlock]:
        """None that ImageNet's VGG16 could fill."""
        return []

    def forward(self, x: Tensor, attention: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Features in steps of 4, 8 and 16 px."""
        x, _ = self.stem(x, attention if self.attended else None)
        x = functional.max_pool2d(x, 3, 2, 1)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[0], features[1], features[3]


BACKBONES: Mapping[str, type[Vgg16] | type[Resnet50]] = {"vgg16": Vgg16, "resnet50": Resnet50}


class Aggregate(nn.Module):
    """A coarse feature map, brought to twice its size, joined with the finer one of an earlier layer (fig. 3d)."""

    def __init__(self, coarse: int, fine: int, out: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(coarse, out, 2, 2)
        self.join = nn.Sequential(nn.Conv2d(out + fine, out, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(SLOPE))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(N, coarse, y, x) and (N, fine, about 2y, about 2x) → (N, out, …) of the finer one's size."""
        up = self.up(coarse)
        # An odd size lost a row or a column in pooling.
        below, right = fine.shape[-2] - up.shape[-2], fine.shape[-1] - up.shape[-1]
        if below or right:
            up = functional.pad(up, (0, right, 0, below), mode="replicate")
        joined: Tensor = self.join(torch.cat([up, fine], dim=1))
        return joined


class ScoreHead(nn.Module):
    """Features → map of raw scores, which become scores by a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        middle = max(8, channels // 2)
        self.body = nn.Sequential(
            nn.Conv2d(channels, middle, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(middle, 1, 1)
        )
        last = self.body[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        # Starts in the middle of the scale, whatever it sees.
        nn.init.constant_(last.bias, 0.5)
        nn.init.constant_(last.weight, 0)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, y, x) → (N, 1, y, x)."""
        raw: Tensor = TOP * self.body(features)
        return raw


def mean_of_scored(raw: Tensor) -> Tensor:
    """(N, 1, y, x) raw scores → (N,): the mean of those above 0.

    Where none is, the mean of the raw ones (below 0): an image that lost all its scores can learn its way back.
    """
    positive = raw > 0
    count = positive.sum(dim=(1, 2, 3))
    return torch.where(count > 0, torch.relu(raw).sum(dim=(1, 2, 3)) / count.clamp(min=1), raw.mean(dim=(1, 2, 3)))


@dataclass(frozen=True)
class Outputs:
    """Scores of a batch, (N,) each: of the image, and of the finer maps that help training."""

    score: Tensor
    auxiliary: tuple[Tensor, Tensor]


class GMANet(nn.Module):
    """A score for the sharpness of an image.

    Parameters
    ----------
    width : float
        Scales all channels; 1 is the paper's size.
    backbone : str
        "vgg16" or "resnet50".
    attended : int
        Layers whose features the local maximum gradient multiplies: 0 (the paper's L0), 1 (L1), 2 (L2). Weights of one
        fit the others.
    channels : int
        3: RGB, as in the paper; 1: grey.
    block_px : int
        Side of the block φ that it was trained with.
    """

    def __init__(
        self, *, width: float = 1.0, backbone: str = "vgg16", attended: int = 1, channels: int = 3, block_px: int = 32
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"there is no backbone '{backbone}': choose one of {', '.join(BACKBONES)}")
        self.channels, self.block_px = channels, block_px
        self.backbone = BACKBONES[backbone](channels, width=width, attended=attended)
        third, fourth, fifth = self.backbone.widths
        common = _scaled(512, width)
        self.deconv4 = Aggregate(fifth, fourth, common)
        self.deconv3 = Aggregate(common, third, common)
        self.heads = nn.ModuleList(ScoreHead(n) for n in (fifth, common, common))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.out_channels > 1:
                nn.init.xavier_uniform_(module.weight)

    @property
    def attended(self) -> int:
        """Layers with attention; may be changed, the weights stay."""
        return self.backbone.attended

    @attended.setter
    def attended(self, layers: int) -> None:
        self.backbone.attended = layers

    def ready(self, image: Tensor, *, block_px: int | None = None) -> tuple[Tensor, Tensor | None]:
        """What the network sees of whole images: z-scored pixels, and the attention map of the z-scored grey image.

        Parameters
        ----------
        image : (N, 1 or 3, Y, X) tensor
            Grey or RGB of any grey scale; becomes what the network was built for.
        block_px : int, optional
            In place of the network's own.

        Returns
        -------
        (N, channels, Y, X) tensor, and (N, 1, Y, X) tensor or None
            None where no layer is attended to.
        """
        grey = z_scored(image if image.shape[1] == 1 else _luma(image))
        colour = image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image
        pixels = limited(grey if self.channels == 1 else z_scored(colour))
        if not self.attended:
            return pixels, None
        return pixels, limited(local_maximum_gradient(grey, block_px=block_px or self.block_px))

    def features(self, pixels: Tensor, attention: Tensor | None) -> Tensor:
        """(N, C, y, x) features of Layer5, of what `ready` gave."""
        fifth: Tensor = self.backbone(pixels, attention)[2]
        return fifth

    def outputs(self, pixels: Tensor, attention: Tensor | None) -> Outputs:
        """All three scores, for training."""
        third, fourth, fifth = self.backbone(pixels, attention)
        finer = self.deconv4(fifth, fourth)
        finest = self.deconv3(finer, third)
        first, second, last = (mean_of_scored(h(f)) for h, f in zip(self.heads, (fifth, finer, finest), strict=True))
        return Outputs(first, (second, last))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 1 or 3, Y, X) whole images → (N,) scores; 100 is as clear as the clearest slice of a stack."""
        return torch.relu(mean_of_scored(self.heads[0](self.features(*self.ready(image)))))


def _scaled(channels: int, width: float) -> int:
    return max(4, round(channels * width))


def _luma(image: Tensor) -> Tensor:
    weights: Sequence[float] = (0.299, 0.587, 0.114)
    return (image * image.new_tensor(weights)[None, :, None, None]).sum(dim=1, keepdim=True)
