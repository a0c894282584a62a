"""`statistics` of many patches of one image, at a small part of their time: the image is cut into bands once.

Nothing but its spectrum is transformed for each patch. Products of bands are averaged over cells of 4 px, and a patch's
moments are means over its cells. Bands know what lies around a patch, so nothing fades out at its border.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_focusstack.networks.infer import mirrored
from napari_focusstack.networks.statistics import LEAST, NEIGHBOURS, SIGMAS_PX, numbers_of, ring_edges, ring_of

CELL_PX = 4
HALVED = (1.5, 4.7)
"""Smoothing from which on bands have half, then a quarter of the pixels: they hold little that is finer."""
REACH = 2.5
"""Radius of a Gaussian's kernel in standard deviations."""
FAINT = 1e-6
"""Least spread of a band and, squared, least power, of images of 0 … 1: less is rounding."""
CACHED_PATCHES = 32
"""Whose spectra are found at once: more leave the processor's cache."""
_COARSE = SIGMAS_PX.index(2.2) + 1
"""First of the bands by which bright specimens are told from dark ones."""


class DenseStatistics(nn.Module):
    """(N, 1, Y, X) images of 0 … 1 → `count` numbers of each patch: log power in rings, moments of and between bands.

    Parameters
    ----------
    patch_px : int
        Side of a patch, a multiple of 4.
    rings : int
        Rings of the spectrum.
    """

    def __init__(self, *, patch_px: int, rings: int = 39) -> None:
        super().__init__()
        self.patch_px = patch_px
        self.edges = ring_edges(patch_px, rings)
        self.count = numbers_of(rings, len(SIGMAS_PX))

    def forward(self, image: Tensor, *, step_px: int, margin_px: int = 0) -> Tensor:
        """See the class.

        Parameters
        ----------
        image : (N, 1, Y, X) tensor
            Sides of the margin on both sides and a patch at least.
        step_px : int
            From patch to patch, a multiple of 4.
        margin_px : int
            Border of the image that no patch holds but bands know; from `REACH_PX` on, more makes no difference.

        Returns
        -------
        (N, count, y, x) tensor
            Of every patch that fits.
        """
        with torch.autocast(image.device.type, enabled=False):
            image = image.float()
            inner = image[:, 0, margin_px : image.shape[-2] - margin_px, margin_px : image.shape[-1] - margin_px]
            patches = inner.unfold(1, self.patch_px, step_px).unfold(2, self.patch_px, step_px)
            cells = _cells(image, margin_px)[..., : inner.shape[-2] // CELL_PX, : inner.shape[-1] // CELL_PX]
            return torch.cat([self._rings(patches), self._moments(cells, step_px)], dim=1)

    def _rings(self, patches: Tensor) -> Tensor:
        """(N, y, x, P, P) → (N, rings, y, x): log of the mean power in each ring, less the mean over rings."""
        exporting = torch.compiler.is_exporting()
        window, mean = (_plan.__wrapped__ if exporting else _plan)(self.patch_px, self.edges, patches.device)
        rows = []
        for row in patches.unbind(1):
            few = row.shape[1] if exporting else max(1, CACHED_PATCHES // len(row))
            for part in torch.split(row, few, dim=1):
                spectrum = torch.fft.rfft2(part * window, norm="ortho")
                rows.append((spectrum.real.square() + spectrum.imag.square()).flatten(2) @ mean)
        logs = torch.log(torch.cat(rows, dim=1).clamp(min=FAINT**2))
        logs = logs - logs.mean(dim=2, keepdim=True)
        return torch.unflatten(logs, 1, patches.shape[1:3]).permute(0, 3, 1, 2)

    def _moments(self, cells: Tensor, step_px: int) -> Tensor:
        """What `_cells` found → of each band skewness, log kurtosis, mean size, log of bright over dark; then between.

        Dark specimens on a bright ground count as bright ones on a dark ground.
        """
        side, step, bands = self.patch_px // CELL_PX, step_px // CELL_PX, len(SIGMAS_PX)
        down, across = (_patch_means(n, side, step, cells.device) for n in cells.shape[-2:])
        means = down @ cells @ across.T
        size, square, cube, heavy, fourth = (means[:, k : 5 * bands : 5] for k in range(5))
        spread = square.sqrt().clamp(min=FAINT)
        sign = torch.where((cube / spread**3)[:, _COARSE:].mean(dim=1, keepdim=True) < 0, -1.0, 1.0)
        skew, heavy = sign * cube / spread**3, heavy / spread**3
        bright, dark = (torch.log(((heavy + side * skew) / 2).clamp(min=0) + LEAST) for side in (1, -1))
        pairs = _pairs(bands)
        first, second = (spread[:, [pair[k] for pair in pairs]] for k in (0, 1))
        between = sign * means[:, 5 * bands :]
        own = [skew, torch.log(fourth / spread**4 + LEAST), size / spread, bright - dark]
        return torch.cat([*own, between[:, ::2] / (first**2 * second), between[:, 1::2] / (first * second**2)], dim=1)


def _pairs(bands: int) -> list[tuple[int, int]]:
    """Each band with its finer neighbours, the finer one first."""
    return [(i, j) for j in range(bands) for i in range(max(0, j - NEIGHBOURS), j)]


def _cells(image: Tensor, margin_px: int) -> Tensor:
    """(N, 1, Y, X) → (N, products, y, x): means of products of bands over cells, the first where the border ends."""
    off = margin_px % CELL_PX
    image = image[..., off:, off:]
    after = -image.shape[-2] % CELL_PX, -image.shape[-1] % CELL_PX
    image = mirrored(image, after=after)
    rows, bands, found = image.shape[-2] // CELL_PX, _bands(image), []
    energies = [b.square() for b in bands]
    for band, energy in zip(bands, energies, strict=True):
        size = band.abs()
        found += [_shrunk(of, rows) for of in (size, energy)]
        found += [_shrunk(energy * of, rows) for of in (band, size, energy)]
    for i, j in _pairs(len(bands)):
        finer, its_energy = (_shrunk(of[i], bands[j].shape[-2]) for of in (bands, energies))
        found += [_shrunk(its_energy * bands[j], rows), _shrunk(finer * energies[j], rows)]
    skip = margin_px // CELL_PX
    return torch.cat(found, dim=1)[..., skip:, skip:]


def _steps() -> list[tuple[float, int]]:
    """For each band, by how much more the image is smoothed, in its pixels, and how large those are then."""
    before, scale, steps = 0.0, 1, []
    for sigma in SIGMAS_PX:
        scale *= 2 if before in HALVED else 1
        steps.append((math.sqrt(sigma**2 - before**2) / scale, scale))
        before = sigma
    return steps


REACH_PX = -(-sum(math.ceil(REACH * sigma) * scale for sigma, scale in _steps()) // CELL_PX) * CELL_PX
"""How far bands see, in whole cells."""


def _bands(image: Tensor) -> list[Tensor]:
    """Differences of Gaussians of (N, 1, Y, X), sides multiples of 4; coarse ones of fewer pixels."""
    size, bands = 1, []
    for sigma, scale in _steps():
        if scale > size:
            image, size = _halved(image), scale
        smooth = _smoothed(image, sigma)
        bands.append(image - smooth)
        image = smooth
    return bands


def _smoothed(image: Tensor, sigma: float) -> Tensor:
    """By a Gaussian, mirrored at its borders; shifted images are summed: a twentieth of the time of a convolution."""
    radius = math.ceil(REACH * sigma)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    weights /= weights[0] + 2 * weights[1:].sum()
    wide = functional.pad(image, (radius,) * 4, mode="reflect")
    for dim in (-2, -1):
        size = image.shape[dim]
        out = float(weights[0]) * wide.narrow(dim, radius, size)
        for k in range(1, radius + 1):
            for first in (radius - k, radius + k):
                out = torch.add(out, wide.narrow(dim, first, size), alpha=float(weights[k]))
        wide = out
    return wide


def _halved(values: Tensor) -> Tensor:
    """Means of two by two pixels: by sums, a tenth of the time of torch's pooling of one channel."""
    values = values[..., 0::2, :] + values[..., 1::2, :]
    return (values[..., 0::2] + values[..., 1::2]) / 4


def _shrunk(values: Tensor, rows: int) -> Tensor:
    while values.shape[-2] > rows:
        values = _halved(values)
    return values


def _patch_means(cells: int, side: int, step: int, device: torch.device) -> Tensor:
    """(patches, cells): takes the mean over each patch along an axis."""
    first = torch.arange(0, cells - side + 1, step, device=device)[:, None]
    cell = torch.arange(cells, device=device)[None, :]
    return ((cell >= first) & (cell < first + side)).float() / side


@lru_cache(maxsize=8)
def _plan(side: int, edges: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Window of a patch, (P, P), and what takes the mean over each ring of its power, (P·(P/2 + 1), rings)."""
    one, ring = np.hanning(side + 1)[:-1], ring_of(side, edges)
    mean = (ring[:, None] == np.arange(1, len(edges))).astype(float)
    window, mean = np.outer(one, one), mean / mean.sum(axis=0)
    return torch.from_numpy(window).float().to(device), torch.from_numpy(mean).float().to(device)
