"""Parts that several networks use."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

CELL_PX = 4


class LocalNorm(nn.Module):
    """Subtract the local mean and divide by the local standard deviation: no shading, no contrast, no brightness.

    Means and deviations are taken over a square window. They vary slowly, so they are computed on cells of 4×4 pixels
    and interpolated bilinearly: the cost is that of a few passes over the image, whatever the window.

    Parameters
    ----------
    window_px : int
        Side of the window, an odd multiple of 4.
    shared : bool
        Divide all channels by the largest deviation of any: where they are several images of one scene, how much
        contrast each has is what tells them apart.
    compress : float, optional
        Compress the result to ``asinh(compress · x) / 1.5``, which shows faint halos beside bright points; otherwise it
        is clipped at ±8.
    """

    def __init__(self, window_px: int = 44, *, shared: bool = False, compress: float | None = None) -> None:
        super().__init__()
        self.shared = shared
        if window_px % (2 * CELL_PX) != CELL_PX:
            raise ValueError(f"a window of {window_px} px is no odd multiple of {CELL_PX}")
        self.window_px, self.compress = window_px, compress

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, Y, X) → the same shape; sides of any length from 4 pixels on."""
        h, w = x.shape[-2:]
        cells = self.window_px // CELL_PX
        pad = (0, -w % CELL_PX, 0, -h % CELL_PX)
        even = functional.pad(x, pad, mode="replicate") if any(pad) else x
        first = functional.avg_pool2d(even, CELL_PX)
        second = functional.avg_pool2d(even * even, CELL_PX)
        stats = torch.cat([first, second], dim=1)
        half = cells // 2
        stats = functional.avg_pool2d(stats, (cells, 1), 1, (half, 0), count_include_pad=False)
        stats = functional.avg_pool2d(stats, (1, cells), 1, (0, half), count_include_pad=False)
        mean, square = stats.chunk(2, dim=1)
        # Rounding leaves up to 1e-7 of the square: a flat area must not be blown up.
        # (A limit, not a sum: graphs for other programs lose so small a term.)
        variance = (torch.clamp(square - mean * mean, min=0.0) + 1e-6 * square).clamp(min=1e-12)
        if self.shared:
            variance = variance.amax(dim=1, keepdim=True).expand_as(variance)
        fields = torch.cat([mean, torch.rsqrt(variance)], dim=1)
        fields = functional.interpolate(fields, scale_factor=CELL_PX, mode="bilinear", align_corners=False)
        mean, gain = fields.chunk(2, dim=1)
        out: Tensor = ((even - mean) * gain)[..., :h, :w]
        return out.clamp(-8.0, 8.0) if self.compress is None else torch.asinh(out * self.compress) / 1.5


def normalise_plane(
    plane: NDArray[np.float32], *, window_px: int, compress: float | None = None
) -> NDArray[np.float32]:
    """What `LocalNorm` makes of one plane (scaled to 0 … 1 first), by OpenCV: a third of its time.

    Parameters
    ----------
    plane : (Y, X) float32
        In any grey levels.
    window_px : int
        As for `LocalNorm`.
    compress : float, optional
        As for `LocalNorm`.

    Returns
    -------
    (Y, X) float32
        Within ±8 where it is not compressed.
    """
    h, w = plane.shape
    low, high, _, _ = cv2.minMaxLoc(plane)
    even = cv2.copyMakeBorder(plane, 0, -h % CELL_PX, 0, -w % CELL_PX, cv2.BORDER_REPLICATE)
    cv2.subtract(even, (low, 0, 0, 0), even)
    cv2.multiply(even, (1 / max(high - low, 1e-12), 0, 0, 0), even)
    size, cells = (even.shape[1], even.shape[0]), (window_px // CELL_PX, window_px // CELL_PX)
    small = (size[0] // CELL_PX, size[1] // CELL_PX)
    count = _window_sum(np.ones(small[::-1], np.float32), cells)
    mean = _window_sum(cv2.resize(even, small, interpolation=cv2.INTER_AREA), cells) / count
    square = _window_sum(cv2.resize(cv2.multiply(even, even), small, interpolation=cv2.INTER_AREA), cells) / count
    variance = np.maximum(np.maximum(square - mean * mean, 0) + 1e-6 * square, 1e-12)
    cv2.subtract(even, cv2.resize(mean, size, interpolation=cv2.INTER_LINEAR), even)
    cv2.multiply(even, cv2.resize(1 / np.sqrt(variance), size, interpolation=cv2.INTER_LINEAR), even)
    if compress is None:
        cv2.max(even, -8.0, even)
        cv2.min(even, 8.0, even)
    else:
        even = _asinh(cv2.multiply(even, (compress, 0, 0, 0))) / np.float32(1.5)
    normalised: NDArray[np.float32] = even[:h, :w]
    return normalised


def _asinh(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """By OpenCV's logarithm: a fifth of torch's time."""
    size = np.abs(plane)
    root = cv2.sqrt(cv2.add(cv2.multiply(size, size), (1.0, 0, 0, 0)))
    return np.asarray(np.copysign(cv2.log(cv2.add(root, size)), plane), np.float32)


def _window_sum(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    total: NDArray[np.float32] = cv2.boxFilter(plane, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT)
    return total
