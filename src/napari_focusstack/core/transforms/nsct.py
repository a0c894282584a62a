"""Nonsubsampled contourlet transform: a pyramid and directional filters without decimation, indifferent to shifts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.transforms.base import Band, Plane32, extend

Response = NDArray[Any]
ROOT2 = float(np.sqrt(2))
FAN_TERMS = 6
PYRAMID_TERMS = 3
SMALLEST_EXTENSION_PX = 32
DIRECTIONS = (16, 8, 8, 4, 4)
"""Directions of each level from the finest on; 4, 8 or 16."""


def analysis_low(x: Response) -> Response:
    """``H0(x) = ½ (x + 1) (√2 + (1 − √2) x)``: 1 at x = 1, 0 at x = −1."""
    return (x + 1) * (ROOT2 + (1 - ROOT2) * x) / 2


def synthesis_low(x: Response) -> Response:
    """``G0(x) = ½ (x + 1) (√2 + (4 − 3√2) x + (2√2 − 3) x²)``; ``H0(x) G0(x) + H0(−x) G0(−x) = 1`` for every x."""
    return (x + 1) * (ROOT2 + (4 - 3 * ROOT2) * x + (2 * ROOT2 - 3) * np.square(x)) / 2


def _flat_sign(sine: Response, terms: int) -> Response:
    """Odd polynomial in a sine that is maximally flat at ±1: the binomial series of ``s / √(1 − (1 − s²))`` cut off."""
    rest = 1 - np.square(sine)
    total = np.zeros_like(sine)
    for k in range(terms - 1, -1, -1):
        total = total * rest + comb(2 * k, k) / 4**k
    return sine * total


class Contourlet:
    """Nonsubsampled contourlet transform of planes of one shape.

    A two-channel filter bank without decimation is undone exactly where ``H0 G0 + H1 G1 = 1``. Here, as da Cunha, Zhou
    and Do design it, all four are polynomials of one zero-phase mapping F(ω) in −1…1, with ``H1(x) = G0(−x)`` and
    ``G1(x) = H0(−x)``: any F will do, it only shapes the bands. F is

    - for the pyramid, ``2 L(ω1) L(ω2) − 1``, with L a maximally flat half-band low-pass, stretched (à trous) by
      2 a level;
    - for two fans (horizontal, vertical), ``S(ω1 + ω2) S(ω1 − ω2)``, with ``S(u)`` a maximally flat approximation of
      the sign of sin(u/2) (Phoong et al. 1995); for quadrants the same on the quincunx lattice, ``S(2ω1) S(2ω2)``; for
      the finer wedges, fans sheared by integers, ``S(n ω2 − m ω1) S(ω1)``. Products along the tree make 4, 8 or 16
      directions; they are stretched by 2 a level as well.

    All are FIR filters; they are applied in the frequency domain to the continued plane. Every band has the plane's
    full size, so that a shift of the (periodic) plane shifts its bands.

    Parameters
    ----------
    shape : (int, int)
        (Y, X) of the planes.
    directions : tuple of int
        Directions of each level from the finest on: 4, 8 or 16. Levels are left out where the planes are small.

    Raises
    ------
    InputError
        If the planes are smaller than 16 × 16 pixels, or a number of directions is another.

    References
    ----------
    da Cunha, Zhou & Do 2006, IEEE Trans. Image Process. 15:3089; Phoong, Kim, Vaidyanathan & Ansari 1995, IEEE Trans.
    Signal Process. 43:649
    """

    def __init__(self, shape: tuple[int, int], *, directions: tuple[int, ...] = DIRECTIONS) -> None:
        import scipy.fft  # slow to load, and most jobs do without

        if min(shape) < 16:
            raise InputError(f"A plane of {shape[0]}×{shape[1]} pixels is too small: give 16×16 pixels at least.")
        if not set(directions) <= {4, 8, 16}:
            raise InputError(f"{directions} directions were asked for: give 4, 8 or 16 for each level.")
        self.shape = shape
        self.directions = directions[: max(1, int(np.log2(min(shape))) - 3)]
        self.padded = (
            scipy.fft.next_fast_len(shape[0] + SMALLEST_EXTENSION_PX, real=True),
            scipy.fft.next_fast_len(shape[1] + SMALLEST_EXTENSION_PX, real=True),
        )
        self.levels = tuple(level for level, n in enumerate(self.directions) for _ in range(n))

    def forward(self, plane: Plane32) -> Iterator[Band]:
        """Yield the float32 bands of each level from the finest on, then the low-pass; all of the size `padded`."""
        import scipy.fft  # slow to load, and most jobs do without

        spectrum = scipy.fft.rfft2(extend(plane, self.padded))
        for response in self._analysis:
            yield scipy.fft.irfft2(spectrum * response, self.padded, overwrite_x=True)

    def inverse(self, bands: Iterable[Band]) -> Plane32:
        """Put a plane together again; exact but for rounding."""
        import scipy.fft  # slow to load, and most jobs do without

        total: NDArray[np.complex64] | None = None
        for band, response in zip(bands, self._responses(synthesis=True), strict=True):
            part = scipy.fft.rfft2(band)
            part *= response
            total = part if total is None else total + part
        plane = scipy.fft.irfft2(total, self.padded)
        return np.ascontiguousarray(plane[: self.shape[0], : self.shape[1]], np.float32)

    @cached_property
    def _analysis(self) -> list[Plane32]:
        return list(self._responses(synthesis=False))

    def _responses(self, *, synthesis: bool) -> Iterator[Plane32]:
        """Frequency response of each band's filter on the half spectrum: real, as all filters are symmetric."""
        keep: Response | None = None
        for level, n in enumerate(self.directions):
            low, high = _pair(self._pyramid(level), synthesis=synthesis)
            ring = high if keep is None else keep * high
            keep = low if keep is None else keep * low
            for wedge in self._directional(level, n, synthesis=synthesis):
                yield (ring * wedge).astype(np.float32)
        yield np.asarray(keep, np.float32)

    def _frequencies(self, level: int) -> tuple[Response, Response]:
        """ω1 along y and ω2 along x of the half spectrum, stretched for a level."""
        ny, nx = self.padded
        wy = 2 * np.pi * np.fft.fftfreq(ny) * 2**level
        wx = 2 * np.pi * np.fft.rfftfreq(nx) * 2**level
        return wy[:, None], wx[None, :]

    def _pyramid(self, level: int) -> Response:
        wy, wx = self._frequencies(level)
        low_y, low_x = ((1 + _flat_sign(np.cos(w), PYRAMID_TERMS)) / 2 for w in (wy, wx))
        return 2 * low_y * low_x - 1

    def _directional(self, level: int, n: int, *, synthesis: bool) -> Iterator[Response]:
        """Response of each of n wedges: the products along the tree of fans."""
        wy, wx = self._frequencies(level)

        def sign(a: int, b: int) -> Response:
            return _flat_sign(np.sin((a * wy + b * wx) / 2), FAN_TERMS)

        quadrants = _pair(sign(2, 0) * sign(0, 2), synthesis=synthesis)
        fans = _pair(sign(1, 1) * sign(-1, 1), synthesis=synthesis)
        for flat, fan in ((True, fans[0]), (False, fans[1])):
            for side, quadrant in ((1, quadrants[0]), (-1, quadrants[1])):
                wedges = [fan * quadrant]
                while len(wedges) < n // 4:
                    wedges = list(_halved(wedges, sign, flat=flat, side=side, synthesis=synthesis))
                yield from wedges


Sign = Callable[[int, int], Response]
"""S of a whole-number combination of ω1 and ω2."""


def _halved(wedges: list[Response], sign: Sign, *, flat: bool, side: int, synthesis: bool) -> Iterator[Response]:
    """Split each of the equal wedges of a quadrant's half, from its axis to its diagonal, along its middle slope."""
    k = 2 * len(wedges)
    for number, wedge in enumerate(wedges):
        m = side * (2 * number + 1)
        # Positive where the frequency across the axis is above m/k of that along it (the lattice needs k even, m odd).
        mapping = sign(k, -m) * sign(0, 1) if flat else sign(-m, k) * sign(1, 0)
        above, below = _pair(mapping, synthesis=synthesis)
        near, far = (below, above) if side > 0 else (above, below)
        yield wedge * near
        yield wedge * far


def _pair(mapping: Response, *, synthesis: bool) -> tuple[Response, Response]:
    """Responses of the channel where the mapping is +1, and of the other."""
    if synthesis:
        return synthesis_low(mapping), analysis_low(-mapping)
    return analysis_low(mapping), synthesis_low(-mapping)
