"""Running networks: one place for device, memory layout, folding of batch norm, batches and tiles without seams."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from napari_focusstack.networks.memory import kept_memory

TILE_BYTES = 256 << 20
"""Memory that the largest activations of one batch or tile may take."""


def best_device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def prepare(network: nn.Module, *, device: torch.device | None = None) -> nn.Module:
    """A copy for inference: evaluation mode, batch norm folded into the convolution before it, channels last.

    Parameters
    ----------
    network : nn.Module
        Left as it is.
    device : torch.device, optional
        Where to run; the best there is where not given.
    """
    ready = copy.deepcopy(network).eval().requires_grad_(False)
    _fold(ready)
    ready.to(device or best_device())
    # channels_last alone is not in the typed signature of `to`.
    return cast(nn.Module, ready.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


def _fold(module: nn.Module) -> None:
    """Fold each batch norm that directly follows a convolution or linear layer of a `Sequential`."""
    if isinstance(module, nn.Sequential):
        for i in range(len(module) - 1):
            first, second = module[i], module[i + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                module[i], module[i + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
            elif isinstance(first, nn.Linear) and isinstance(second, nn.BatchNorm1d):
                module[i], module[i + 1] = fuse_linear_bn_eval(first, second), nn.Identity()
    for child in module.children():
        _fold(child)


class _QuickConv(nn.Module):
    """A convolution, and the ReLU or LeakyReLU after it where there is one, in one pass over memory.

    It is oneDNN's; torch gives it to its compiler alone, and otherwise takes a loop of its own for a single image on a
    single thread: pointwise convolutions take three times as long by it.
    """

    def __init__(self, conv: nn.Conv2d, *, activation: nn.ReLU | nn.LeakyReLU | None) -> None:
        super().__init__()
        self.conv = conv
        self.after, self.numbers = "none", list[float]()
        if isinstance(activation, nn.LeakyReLU):
            self.after, self.numbers = "leaky_relu", [activation.negative_slope]
        elif activation is not None:
            self.after = "relu"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) → (N, K, y, x)."""
        c = self.conv
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, c.weight, c.bias, c.padding, c.stride, c.dilation, c.groups, self.after, self.numbers, ""
        )
        return out


def hasten(network: nn.Module) -> nn.Module:
    """Make the convolutions of a network that is ready for inference quicker on the CPU; in place, and given back.

    It has no gradients and can't be exported any more. Elsewhere, and where torch does not have what it takes, nothing
    happens.
    """
    if device_of(network).type == "cpu" and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        _put_quick(network)
    return network


def _put_quick(module: nn.Module) -> None:
    """Put `_QuickConv` in the place of convolutions in a `Sequential`, and of the activation that follows one."""
    if isinstance(module, nn.Sequential):
        parts = [i for i, part in enumerate(module) if not isinstance(part, nn.Identity)]
        for i, following in itertools.zip_longest(parts, parts[1:]):
            part = module[i]
            if isinstance(part, nn.Conv2d) and part.padding_mode == "zeros" and not isinstance(part.padding, str):
                after = None if following is None else module[following]
                activation = after if isinstance(after, nn.ReLU | nn.LeakyReLU) else None
                module[i] = _QuickConv(part, activation=activation)
                if following is not None and activation is not None:
                    module[following] = nn.Identity()
    for child in module.children():
        _put_quick(child)


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are."""
    return next(network.parameters()).device


def grey(plane: NDArray[Any]) -> NDArray[np.float32]:
    """(Y, X) float32 of a plane (Y, X) or (Y, X, 3): the mean of its colours."""
    a = np.ascontiguousarray(plane, np.float32)
    return a if a.ndim == 2 else np.asarray(cv2.transform(a, np.full((1, 3), 1 / 3, np.float32)))


def plane_to_tensor(plane: NDArray[Any], *, device: torch.device) -> Tensor:
    """(1, 1, Y, X) float32 of a plane (Y, X) or (Y, X, 3), scaled to 0 … 1 over its own range.

    The scale only keeps float32 well conditioned; networks here normalise locally and do not depend on it.
    """
    a = grey(plane)
    low, high = float(a.min()), float(a.max())
    x = torch.from_numpy(np.ascontiguousarray((a - low) / max(high - low, 1e-12)))
    return x[None, None].to(device)


def in_batches(run: Callable[..., Tensor], *inputs: Tensor, bytes_each: int) -> Iterator[Tensor]:
    """Run on parts of a batch, as many at a time as `TILE_BYTES` allows; yields each part's result.

    Parameters
    ----------
    run : callable
        Tensors → tensor, all with the batch as first axis.
    inputs : tensors
        Of the same first length.
    bytes_each : int
        Memory that one item takes at its widest.
    """
    n = max(1, TILE_BYTES // max(1, bytes_each))
    for i in range(0, inputs[0].shape[0], n):
        with torch.inference_mode(), kept_memory():
            yield run(*(x[i : i + n] for x in inputs))


def in_strips(
    run: Callable[[Tensor], Tensor], image: Tensor, *, field_px: int, stride_px: int, bytes_per_px: int
) -> Iterator[Tensor]:
    """Evaluate an unpadded ("valid") dense network on strips of rows: joined along y, exactly the whole's result.

    Parameters
    ----------
    run : callable
        (1, C, y, X) → (1, K, rows, cols), one row for each `stride_px` pixels that a field fits in.
    image : (1, C, Y, X) tensor
        The whole image.
    field_px, stride_px : int
        Height of what one output sees, and the step between outputs.
    bytes_per_px : int
        Memory that a pixel takes at the network's widest.

    Yields
    ------
    Tensor
        Rows of the result, from the top.
    """
    height, width = image.shape[-2:]
    rows = (height - field_px) // stride_px + 1
    at_once = max(1, (TILE_BYTES // max(1, bytes_per_px * width) - field_px) // stride_px + 1)
    for first in range(0, rows, at_once):
        last = min(first + at_once, rows) - 1
        part = image[..., first * stride_px : last * stride_px + field_px, :]
        with torch.inference_mode(), kept_memory():
            yield run(part)


def in_tiles(
    run: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    margin_px: int,
    bytes_per_px: int,
    multiple_px: int = 32,
    feather_px: int = 0,
    device: torch.device | None = None,
) -> Generator[tuple[int, int], None, Tensor]:
    """Evaluate a dense network whose output has its input's size (encoder-decoders, say) on tiles without seams.

    The image is continued below and on the right by mirroring, to whole multiples of `multiple_px`. Each tile sees
    `margin_px` more than is taken from it, but at the image's own border, so with a margin of at least the radius of
    what one output pixel sees, the result is the whole image's. Where a network sees further than a tile can be large,
    take what counts most as margin and let neighbours fade into each other over `feather_px`.

    Parameters
    ----------
    run : callable
        (1, C, y, x) → (1, K, y, x), sides any multiples of `multiple_px`. Nothing in it may depend on a tile's
        mean (instance norm, squeeze-and-excitation): that would show.
    image : (1, C, Y, X) tensor
        Of any size, on any device.
    margin_px : int
        Rim of a tile that is not taken; rounded up to a multiple of `multiple_px`, so that pooling falls as in the
        whole.
    bytes_per_px : int
        Memory that a pixel takes at the network's widest; tiles are as large as `TILE_BYTES` allows.
    multiple_px : int
        Of what a side must be a multiple (2 to the number of poolings).
    feather_px : int
        Width over which neighbouring tiles are blended linearly.
    device : torch.device, optional
        Where tiles are computed; the image's where not given. The result stays on the image's.

    Yields
    ------
    tuple of int
        Tiles done, tiles in all.

    Returns
    -------
    (1, K, Y, X) tensor
    """
    height, width = image.shape[-2:]
    whole = mirrored(image, after=(-height % multiple_px, -width % multiple_px))
    margin = _whole(margin_px, multiple_px)
    at_once = max(multiple_px, math.isqrt(TILE_BYTES // max(1, bytes_per_px)))
    axes = [
        _tiles(size, at_once=at_once, margin=margin, feather=_whole(feather_px, 2 * multiple_px) // 2, step=multiple_px)
        for size in whole.shape[-2:]
    ]
    places = [(y, x) for y in axes[0] for x in axes[1]]
    result = image.new_empty(0)
    for i, (y, x) in enumerate(places):
        with torch.inference_mode(), kept_memory():
            tile = whole[..., y.seen, x.seen].to(device or image.device)
            found = run(tile)[..., y.taken, x.taken].to(image.device)
            if i == 0:
                result = found.new_zeros((1, found.shape[1], *whole.shape[-2:]))
            result[..., y.put, x.put] += found * (y.weights(found)[:, None] * x.weights(found))
        yield i + 1, len(places)
    return result[..., :height, :width].clone()


def in_one(run: Callable[[Tensor], Tensor], image: Tensor, *, multiple_px: int, device: torch.device) -> Tensor:
    """Evaluate a network whose output has its input's size on a whole image: for those in which means take part.

    Parameters
    ----------
    run : callable
        (1, C, y, x) → (1, K, y, x), sides any multiples of `multiple_px`.
    image : (1, C, Y, X) tensor
        Of any size; continued by mirroring.
    multiple_px : int
        Of what a side must be a multiple.
    device : torch.device
        Where it is computed; the result comes back to the image's.
    """
    height, width = image.shape[-2:]
    whole = mirrored(image, after=(-height % multiple_px, -width % multiple_px))
    with torch.inference_mode(), kept_memory():
        return run(whole.to(device))[..., :height, :width].to(image.device).clone()


@dataclass(frozen=True)
class _Tile:
    """A tile along one axis: what it sees, what is taken of that, and where it is put."""

    seen: slice
    taken: slice
    put: slice
    fade_in: int
    fade_out: int

    def weights(self, like: Tensor) -> Tensor:
        """Of each pixel that is put: with the neighbour's they sum to 1."""
        w = torch.ones(self.put.stop - self.put.start, dtype=like.dtype, device=like.device)
        for fade, part in ((self.fade_in, slice(None, self.fade_in)), (self.fade_out, slice(-self.fade_out, None))):
            if fade:
                ramp = (torch.arange(fade, dtype=like.dtype, device=like.device) + 0.5) / fade
                w[part] *= ramp if part.start is None else 1 - ramp
        return w


def _tiles(size: int, *, at_once: int, margin: int, feather: int, step: int) -> Sequence[_Tile]:
    """Cut an axis of whole steps into cores of equal length but for a step; each puts `feather` more on either side."""
    if size <= at_once:
        return [_Tile(slice(0, size), slice(0, size), slice(0, size), 0, 0)]
    # A core shorter than its rim would compute most pixels many times over: rather take more memory. And no more than
    # two tiles may fade into each other.
    core = max(step, 4 * feather, (margin + feather) // 2, at_once - 2 * (margin + feather)) // step
    steps = size // step
    n = -(-steps // core)
    edges = [i * steps // n * step for i in range(n + 1)]
    tiles = []
    for first, last in itertools.pairwise(edges):
        put = slice(max(0, first - feather), min(size, last + feather))
        seen = slice(max(0, put.start - margin), min(size, put.stop + margin))
        taken = slice(put.start - seen.start, put.stop - seen.start)
        fades = (2 * feather if first > 0 else 0), (2 * feather if last < size else 0)
        tiles.append(_Tile(seen, taken, put, *fades))
    return tiles


def _whole(value: int, step: int) -> int:
    return -(-value // step) * step


def mirrored(image: Tensor, *, before: tuple[int, int] = (0, 0), after: tuple[int, int]) -> Tensor:
    """Extend (or crop, where negative) an image (…, Y, X) by mirroring, however small it is; sizes along y and x."""

    def index(size: int, first: int, more: int) -> Tensor:
        i = torch.arange(-first, size + more) % (2 * size)
        return torch.where(i < size, i, 2 * size - 1 - i).to(image.device)

    if not any(before + after):
        return image
    ys, xs = (index(n, *ends) for n, ends in zip(image.shape[-2:], zip(before, after, strict=True), strict=True))
    return image[..., ys[:, None], xs[None, :]]
