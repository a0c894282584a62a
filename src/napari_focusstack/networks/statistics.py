"""What of an image's statistics tells defocus, whatever the specimen: its spectrum, and how lopsided its detail is.

A lens out of focus suppresses some spatial frequencies entirely, at places that depend on the defocus alone, while the
spectra of specimens fall smoothly: rings of zeros in the power spectrum tell the amount (Gennery 1973, J. Opt. Soc. Am.
63:1571; Cannon 1976, IEEE Trans. ASSP 24:58). Spherical aberration puts rings round bright points on one side of focus
and a bright core into a halo on the other: that is third and fourth moments of the image in bands of frequency, and how
the energy of fine detail goes with the brightness of coarser detail.

Nothing here is learned. Brightness, contrast and a slope of the light across the image change nothing, and dark
specimens on a bright ground count as bright ones on a dark ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_focusstack.networks.infer import mirrored

SIGMAS_PX = (0.7, 1.0, 1.5, 2.2, 3.2, 4.7, 7.0, 10.0)
"""Gaussians whose differences are the bands; the first band is what the first one takes away."""
FINE_PX, COARSE_PX = 2.2, 4.7
"""Smoothing from which on a band is kept at half and at a quarter of the pixels: it holds nothing finer."""
TAPER_PX = 12
"""Border that fades out, and is left out of the moments."""
WIDER = 0.15
"""Frequency in cycles a pixel from which on the rings of the spectrum are wider."""
CACHED_PX = 400_000
"""Pixels at once: more leave the processor's cache, and take three times as long."""
NEIGHBOURS = 2
"""Finer bands that each is compared with."""
LEAST = 1e-4
"""Of a share before its logarithm."""
DIM = 1e-9
"""Least power before its logarithm, of an image whose standard deviation is 1. Graphs for other programs lose so small
a term of a sum, so it is a limit."""
FLAT = 1e-6
"""Variation, over the largest grey level, that is rounding."""


def ring_edges(side: int, rings: int) -> tuple[float, ...]:
    """Frequencies in cycles a pixel between which the rings of a block's spectrum lie; narrow ones, then wider ones."""
    narrow = np.arange(1.5, WIDER * side) / side
    wide = np.linspace(narrow[-1], 0.5, rings + 2 - len(narrow))[1:]
    return tuple(float(e) for e in (*narrow, *wide))


def ring_of(side: int, edges: tuple[float, ...]) -> NDArray[np.int64]:
    """(B·(B/2 + 1),) ring of each frequency of a block; the first and the last are outside."""
    rings: NDArray[np.int64] = np.digitize(_cycles(side, side), edges).ravel()
    return rings


def numbers_of(rings: int, bands: int) -> int:
    """How many numbers rings and bands give."""
    return rings + 4 * bands + 2 * sum(min(j, NEIGHBOURS) for j in range(bands))


class Statistics(nn.Module):
    """(N, 1, Y, X) images → (N, `count`) numbers: log power in rings, moments of bands, moments between bands.

    Parameters
    ----------
    least_px : int
        Least side of the images, a multiple of 4: smaller ones are mirrored at their borders up to it. Up to `WIDER`
        the rings of the spectrum are ``1/least_px`` cycles a pixel wide.
    rings : int
        Rings of the spectrum.
    """

    def __init__(self, *, least_px: int = 128, rings: int = 39) -> None:
        super().__init__()
        if least_px % 4:
            raise ValueError(f"a side of {least_px} px is no multiple of 4")
        self.least_px = least_px
        self.edges = ring_edges(least_px, rings)
        self.sigmas = tuple(s for s in SIGMAS_PX if s <= least_px / 8)
        self.count = numbers_of(rings, len(self.sigmas))

    def forward(self, image: Tensor) -> Tensor:
        """See the class; sides of any length, any grey levels. Powers of small numbers need all 32 bits."""
        with torch.autocast(image.device.type, enabled=False):
            return self._numbers(image.float())

    def _numbers(self, image: Tensor) -> Tensor:
        missing = [max(0, self.least_px - n) for n in image.shape[-2:]]
        if any(missing):
            before = missing[0] // 2, missing[1] // 2
            image = mirrored(image, before=before, after=(missing[0] - before[0], missing[1] - before[1]))
        h, w = (n // 4 * 4 for n in image.shape[-2:])
        # A graph for other programs takes batches of any length, so it has no loop over their parts; and the tensors
        # that torch traces it with hold no numbers, so they are not kept.
        exporting, few = torch.compiler.is_exporting(), max(1, CACHED_PX // (h * w))
        make = _plan.__wrapped__ if exporting else _plan
        plan = make(h, w, self.least_px, self.edges, self.sigmas, image.device)
        parts = (image,) if exporting else torch.split(image, few)
        return torch.cat([self._of(_level(part[:, 0, :h, :w], plan), plan) for part in parts])

    def _of(self, flat: Tensor, plan: _Plan) -> Tensor:
        return torch.cat([self._rings(flat, plan), self._moments(flat, plan)], dim=1)

    def _rings(self, flat: Tensor, plan: _Plan) -> Tensor:
        """Log of the mean power in each ring, less the mean over rings; blocks that overlap by half (Welch 1967)."""
        side, share = self.least_px, (plan.window / plan.window.sum()).flatten()
        power = torch.zeros((), device=flat.device)
        for y in plan.rows:  # one row of blocks at a time stays in the processor's cache
            blocks = torch.stack([flat[:, y : y + side, x : x + side] for x in plan.columns], dim=1)
            centred = blocks - (blocks.flatten(2) @ share)[..., None, None]
            spectrum = torch.fft.rfft2(centred * plan.window, norm="ortho")
            power = power + (spectrum.real.square() + spectrum.imag.square()).sum(dim=1)
        power = power.flatten(1) / (len(plan.rows) * len(plan.columns))
        sums = torch.zeros((power.shape[0], len(self.edges) + 1), device=power.device, dtype=power.dtype)
        logs = torch.log((sums.index_add(1, plan.ring, power)[:, 1:-1] / plan.count).clamp(min=DIM))
        return logs - logs.mean(dim=1, keepdim=True)

    def _moments(self, flat: Tensor, plan: _Plan) -> Tensor:
        """Of each band skewness, log kurtosis, mean size, and log of bright over dark; then between bands."""
        spectrum = torch.fft.rfft2(flat * plan.taper)
        sign = torch.where((_part(spectrum, plan.detail, 2) ** 3).mean(dim=(1, 2), keepdim=True) < 0, -1.0, 1.0)
        spectrum = spectrum * sign
        bands = [_part(spectrum, passed, shrink) for passed, shrink in zip(plan.passed, plan.shrink, strict=True)]
        energies = [b.square() for b in bands]
        spreads = [e.mean(dim=(1, 2)).sqrt().clamp(min=DIM) for e in energies]
        found = []
        for band, energy, spread in zip(bands, energies, spreads, strict=True):
            size = band.abs()
            skew, heavy = _mean(energy, band) / spread**3, _mean(energy, size) / spread**3
            bright, dark = (heavy + skew) / 2, (heavy - skew) / 2
            kurtosis = _mean(energy, energy) / spread**4
            found += [skew, torch.log(kurtosis + LEAST), size.mean(dim=(1, 2)) / spread]
            found.append(torch.log(bright.clamp(min=0) + LEAST) - torch.log(dark.clamp(min=0) + LEAST))
        for j, (band, energy) in enumerate(zip(bands, energies, strict=True)):
            for i in range(max(0, j - NEIGHBOURS), j):
                bands[i], energies[i] = _shrunk(bands[i], band), _shrunk(energies[i], band)
                found.append(_mean(energies[i], band) / (spreads[i] ** 2 * spreads[j]))
                found.append(_mean(bands[i], energy) / (spreads[i] * spreads[j] ** 2))
        return torch.stack(found, dim=1)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is ready for images of one size.

    Attributes
    ----------
    down, across : (Y, 1) and (1, X) tensors
        Places, -½ … ½ px of the sides.
    rows, columns : tuple of int
        First pixels of the blocks that the spectrum is the mean of.
    window : (B, B) tensor
        Of a block.
    ring : (B·(B/2 + 1),) int tensor
        The ring of each frequency; the first and the last are outside.
    count : (rings,) tensor
        Frequencies in each.
    taper : (Y, X) tensor
        Fades the image's border out.
    detail : (y, x/2 + 1) tensor
        What passes of all but slow changes, of an image reduced by half.
    passed : tuple of (y, x/2 + 1) tensors
        What passes of each band, reduced as it is.
    shrink : tuple of int
        By how much each band is reduced.
    """

    down: Tensor
    across: Tensor
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    window: Tensor
    ring: Tensor
    count: Tensor
    taper: Tensor
    detail: Tensor
    passed: tuple[Tensor, ...]
    shrink: tuple[int, ...]


@lru_cache(maxsize=8)
def _plan(
    h: int, w: int, least_px: int, edges: tuple[float, ...], sigmas: tuple[float, ...], device: torch.device
) -> _Plan:
    ring = ring_of(least_px, edges)
    cycles, one = _cycles(h, w), np.hanning(least_px + 2)[1:-1]
    smooth = [np.exp(-2 * (np.pi * s * cycles) ** 2) for s in sigmas]
    ends = [np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / TAPER_PX for n in (h, w)]
    fade = [0.5 - 0.5 * np.cos(np.pi * np.minimum(e, 1)) for e in ends]

    shrink = 1, *(4 if s >= COARSE_PX else 2 if s >= FINE_PX else 1 for s in sigmas[:-1])
    bands = [a - b for a, b in zip([np.ones_like(cycles), *smooth[:-1]], smooth, strict=True)]

    def tensor(values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).float().to(device)

    return _Plan(
        down=tensor((np.arange(h)[:, None] + 0.5) / h - 0.5),
        across=tensor((np.arange(w)[None, :] + 0.5) / w - 0.5),
        rows=_starts(h, least_px),
        columns=_starts(w, least_px),
        window=tensor(np.outer(one, one)),
        ring=torch.from_numpy(ring).to(device),
        count=tensor(np.bincount(ring, minlength=len(edges) + 1)[1:-1].astype(float)),
        taper=tensor(np.outer(*fade)),
        detail=_low(tensor(np.exp(-2 * (np.pi * FINE_PX * cycles) ** 2) - smooth[-1]), 2),
        passed=tuple(_low(tensor(band), k) for band, k in zip(bands, shrink, strict=True)),
        shrink=shrink,
    )


def _cycles(h: int, w: int) -> NDArray[np.float64]:
    """Frequencies of a real spectrum in cycles a pixel."""
    cycles: NDArray[np.float64] = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None, :])
    return cycles


def _starts(size: int, side: int) -> tuple[int, ...]:
    """First pixels of blocks that overlap by half or so."""
    return tuple(round(n) for n in np.linspace(0, size - side, round(2 * (size - side) / side) + 1))


def _level(image: Tensor, plan: _Plan) -> Tensor:
    """The image without its mean and its slope, of standard deviation 1."""
    flat = image - image.mean(dim=(1, 2), keepdim=True)
    for t in (plan.down, plan.across):
        flat = flat - t * ((flat * t).mean(dim=(1, 2), keepdim=True) / t.square().mean())
    spread, largest = flat.square().mean(dim=(1, 2), keepdim=True).sqrt(), image.abs().amax(dim=(1, 2), keepdim=True)
    return flat / (spread + FLAT * largest).clamp(min=DIM)


def _mean(a: Tensor, b: Tensor) -> Tensor:
    """Of a product, for each image."""
    a, b = a.flatten(1), b.flatten(1)
    if a.device.type == "cpu" and not torch.compiler.is_exporting():
        # The product of all rows at once is written down before it is summed: ten times as long.
        total = torch.stack([torch.dot(x, y) for x, y in zip(a.unbind(), b.unbind(), strict=True)])
    else:
        total = torch.linalg.vecdot(a, b)
    return total / a.shape[1]


def _shrunk(values: Tensor, like: Tensor) -> Tensor:
    """Means over the pixels of a coarser band, by halves: a tenth of the time of torch's pooling of one channel."""
    while values.shape[-2] > like.shape[-2]:
        values = values[:, 0::2] + values[:, 1::2]
        values = (values[..., 0::2] + values[..., 1::2]) / 4
    return values


def _part(spectrum: Tensor, passed: Tensor, shrink: int) -> Tensor:
    """An image of what passes, reduced, without its border; (N, Y, X/2 + 1) → (N, y, x)."""
    h, w = spectrum.shape[-2] // shrink, 2 * (spectrum.shape[-1] - 1) // shrink
    m = TAPER_PX // shrink
    image: Tensor = torch.fft.irfft2(_low(spectrum, shrink) * passed, s=(h, w))
    return image[:, m:-m, m:-m].contiguous()


def _low(spectrum: Tensor, shrink: int) -> Tensor:
    """What a reduced image has of a real spectrum, (…, Y, X/2 + 1)."""
    if shrink == 1:
        return spectrum
    h, w = spectrum.shape[-2] // shrink, 2 * (spectrum.shape[-1] - 1) // shrink
    down = torch.cat([spectrum[..., : (h + 1) // 2, :], spectrum[..., -(h // 2) :, :]], dim=-2)
    return down[..., : w // 2 + 1]
