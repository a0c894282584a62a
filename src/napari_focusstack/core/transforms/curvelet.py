"""Fast discrete curvelet transform by wrapping: needles of every scale and direction, a tight frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.transforms.base import Band, Plane32, extend, smooth_step

FINEST_RADIUS = 1 / 3
"""Frequency in cycles per pixel from which on only the finest level answers."""
COARSEST_ANGLES = 16
SMALLEST_EXTENSION_PX = 32


@dataclass(frozen=True)
class _Wedge:
    """One direction of one level: where its rectangle takes its values from in the spectrum, and its window there."""

    level: int
    take: NDArray[np.int32]
    window: Plane32


class Curvelet:
    """Curvelets of planes of one shape (Candès et al. 2006, by wrapping; curvelets at the finest level too).

    The spectrum is cut by smooth windows into concentric squares, each an octave, and each square into wedges: 16
    directions at the coarsest level, doubled at every second finer one. Each wedge is wrapped into a rectangle about
    the origin and transformed back: its complex coefficients lie on a grid of their own. The squares of all windows add
    up to 1, so that the transform keeps energies and its adjoint undoes it. Coefficients of opposite wedges are
    conjugate; one of the two is kept, times √2.

    The plane is continued to odd sides, whose spectrum has no line that belongs to two opposite wedges. Wedges across
    a corner of a square are not wrapped but cut out by a rectangle.

    Parameters
    ----------
    shape : (int, int)
        (Y, X) of the planes.
    levels : int
        Number of levels of detail, fewer where the planes are small.

    Raises
    ------
    InputError
        If the planes are smaller than 16 × 16 pixels.

    References
    ----------
    Candès, Demanet, Donoho & Ying 2006, Multiscale Model. Simul. 5:861
    """

    def __init__(self, shape: tuple[int, int], *, levels: int = 5) -> None:
        if min(shape) < 16:
            raise InputError(f"A plane of {shape[0]}×{shape[1]} pixels is too small: give 16×16 pixels at least.")
        self.shape = shape
        self.n_levels = max(1, min(levels, int(np.log2(min(shape))) - 3))
        self.padded = _odd_fast(shape[0] + SMALLEST_EXTENSION_PX), _odd_fast(shape[1] + SMALLEST_EXTENSION_PX)
        self._wedges = [wedge for level in range(self.n_levels) for wedge in self._cut(level)]
        self.levels = tuple(wedge.level for wedge in self._wedges)
        radius = FINEST_RADIUS / 2 ** (self.n_levels - 1)
        self._rows, self._cols = (_up_to(n, radius) for n in self.padded)
        self._low = np.outer(
            _low_pass(self._rows / self.padded[0], radius), _low_pass(self._cols / self.padded[1], radius)
        )

    def forward(self, plane: Plane32) -> Iterator[Band]:
        """Yield a complex64 band for each wedge from the finest level on, then the low-pass (float32)."""
        import scipy.fft  # slow to load, and most jobs do without

        spectrum = scipy.fft.fft2(extend(plane, self.padded), norm="ortho")
        flat = spectrum.ravel()
        for wedge in self._wedges:
            yield scipy.fft.ifft2(flat[wedge.take] * wedge.window, norm="ortho", overwrite_x=True)
        low = scipy.fft.ifft2(scipy.fft.ifftshift(spectrum[np.ix_(self._rows, self._cols)] * self._low), norm="ortho")
        yield np.ascontiguousarray(low.real)

    def inverse(self, bands: Iterable[Band]) -> Plane32:
        """Put a plane together again; exact but for rounding."""
        import scipy.fft  # slow to load, and most jobs do without

        spectrum = np.zeros(self.padded, np.complex64)
        flat = spectrum.ravel()
        remaining = iter(bands)
        for wedge in self._wedges:
            flat[wedge.take] += scipy.fft.fft2(next(remaining), norm="ortho") * wedge.window
        low = scipy.fft.fftshift(scipy.fft.fft2(next(remaining), norm="ortho")) * self._low
        spectrum[np.ix_(self._rows, self._cols)] += low
        # The opposite wedges are the complex conjugates: the real part stands for both.
        plane = scipy.fft.ifft2(spectrum, norm="ortho", overwrite_x=True).real
        return np.ascontiguousarray(plane[: self.shape[0], : self.shape[1]], np.float32)

    def _cut(self, level: int) -> Iterator[_Wedge]:
        """The wedges of a level with directions in one half of the plane."""
        outer = 1.0 if level == 0 else FINEST_RADIUS / 2 ** (level - 1)
        inner = FINEST_RADIUS / 2**level
        n_angles = COARSEST_ANGLES * 2 ** ((self.n_levels - level) // 2)
        for number in range(n_angles // 2):
            centre, spacing = 8 * number / n_angles, 8 / n_angles
            rows, cols = self._rectangle(centre, spacing, inner / 2, min(outer, 0.5))
            fy, fx = (rows / self.padded[0]).astype(np.float32), (cols / self.padded[1]).astype(np.float32)
            window = _ring(fy, fx, inner, outer if level else None) * _wedge(fy, fx, centre, spacing)
            window[(np.abs(fy) >= 0.5) | (np.abs(fx) >= 0.5)] = 0
            window *= np.float32(np.sqrt(2))
            take = (rows % self.padded[0]) * self.padded[1] + cols % self.padded[1]
            yield _Wedge(level, take.astype(np.int32), window)

    def _rectangle(
        self, centre: float, spacing: float, low: float, high: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Row and column frequencies, in whole cycles over the plane, of each place of the rectangle of a wedge."""
        import scipy.fft  # slow to load, and most jobs do without

        ny, nx = self.padded
        if centre % 2 == 0:
            return self._corner(centre, spacing, low, high)
        across = centre < 2
        n_main, n_side = (nx, ny) if across else (ny, nx)
        slope = centre - 1 if across else 3 - centre
        main = np.arange(int(np.floor(low * n_main)), min(int(np.ceil(high * n_main)), (n_main - 1) // 2) + 1)
        first = np.floor((slope - spacing) * main / n_main * n_side).astype(int)
        last = np.ceil((slope + spacing) * main / n_main * n_side).astype(int)
        limit = (n_side - 1) // 2
        first, last = np.maximum(first, -limit), np.minimum(last, limit)
        width = min(scipy.fft.next_fast_len(int((last - first).max()) + 1), n_side)
        main = _lengthened(main, n_main)
        first = np.concatenate([first, np.full(main.size - first.size, first[-1])])
        place = np.arange(width)[:, None]
        # Each place holds the one frequency of its residue class that the wedge can reach: this is the wrapping.
        side = first + (place - first) % width
        mains = np.broadcast_to(main, side.shape)
        return (side, mains) if across else (mains.T, side.T)

    def _corner(
        self, centre: float, spacing: float, low: float, high: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The same for a wedge about a diagonal: the rectangle around it."""
        ny, nx = self.padded
        least = low * (1 - spacing)
        ky, kx = (np.arange(int(np.floor(least * n)), min(int(np.ceil(high * n)), (n - 1) // 2) + 1) for n in (ny, nx))
        ky, kx = _lengthened(ky, ny), _lengthened(kx, nx)
        if centre == 0:
            ky = -ky
        rows, cols = np.meshgrid(ky, kx, indexing="ij")
        return rows, cols


def _lengthened(k: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Frequencies continued to a number that is quick to transform, all different modulo n."""
    import scipy.fft  # slow to load, and most jobs do without

    size = min(scipy.fft.next_fast_len(k.size), n)
    return np.arange(k[0], k[0] + size)


def _odd_fast(n: int) -> int:
    """The smallest product of 3, 5, 7 and 11 that is not below n."""
    n += 1 - n % 2
    while True:
        rest = n
        for factor in (3, 5, 7, 11):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 2


def _up_to(n: int, radius: float) -> NDArray[np.intp]:
    """Frequencies from minus to plus a radius, in whole cycles."""
    top = min(int(np.ceil(radius * n)), (n - 1) // 2)
    return np.arange(-top, top + 1)


def _low_pass(f: NDArray[Any], radius: float) -> Plane32:
    """1 up to half the radius, 0 from the radius on; with the high-pass, the squares add up to 1."""
    answer: Plane32 = np.cos(np.pi / 2 * smooth_step(2 * np.abs(f) / radius - 1)).astype(np.float32)
    return answer


def _ring(fy: Plane32, fx: Plane32, inner: float, outer: float | None) -> Plane32:
    """Window of a level: what its low-pass leaves of the next finer one's."""
    coarse = _low_pass(fy, inner) * _low_pass(fx, inner)
    fine = 1.0 if outer is None else np.square(_low_pass(fy, outer) * _low_pass(fx, outer))
    ring: Plane32 = np.sqrt(np.maximum(fine - np.square(coarse), 0)).astype(np.float32)
    return ring


def _wedge(fy: Plane32, fx: Plane32, centre: float, spacing: float) -> Plane32:
    """Window of a direction: the squares of neighbours add up to 1 along the square around the origin (length 8)."""
    flat, steep = np.abs(fx) >= np.abs(fy), np.abs(fy) > np.abs(fx)
    slope = np.divide(fy, fx, out=np.zeros_like(fy), where=flat & (fx != 0))
    steepness = np.divide(fx, fy, out=np.zeros_like(fy), where=steep)
    along = np.where(flat, np.where(fx >= 0, 1 + slope, 5 + slope), np.where(fy > 0, 3 - steepness, 7 - steepness))
    distance = np.abs((along - centre + 4) % 8 - 4) / spacing
    window: Plane32 = np.cos(np.pi / 2 * smooth_step(distance)).astype(np.float32)
    return window
