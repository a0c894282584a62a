"""Parts that several networks use."""

from __future__ import annotations

import torch
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
        variance = torch.clamp(square - mean * mean, min=0.0) + 1e-6 * square + 1e-12
        if self.shared:
            variance = variance.amax(dim=1, keepdim=True).expand_as(variance)
        fields = torch.cat([mean, torch.rsqrt(variance)], dim=1)
        fields = functional.interpolate(fields, scale_factor=CELL_PX, mode="bilinear", align_corners=False)
        mean, gain = fields.chunk(2, dim=1)
        out: Tensor = ((even - mean) * gain)[..., :h, :w]
        return out.clamp(-8.0, 8.0) if self.compress is None else torch.asinh(out * self.compress) / 1.5
