"""Running networks: one place for device, memory layout, folding of batch norm, batches and tiles without seams."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

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


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are."""
    return next(network.parameters()).device


def plane_to_tensor(plane: NDArray[Any], *, device: torch.device) -> Tensor:
    """(1, 1, Y, X) float32 of a plane (Y, X) or (Y, X, 3), scaled to 0 … 1 over its own range.

    The scale only keeps float32 well conditioned; networks here normalise locally and do not depend on it.
    """
    a = np.asarray(plane, np.float32)
    if a.ndim == 3:
        a = a.mean(axis=-1)
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
        with torch.inference_mode():
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
        with torch.inference_mode():
            yield run(part)
