"""Dual-tree complex wavelet transform: six orientations a level, nearly indifferent to shifts, four times redundant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.transforms.base import Band, Plane32, extend

Filter = NDArray[np.float64]
Trees = dict[tuple[int, int], Plane32]
"""The four real trees by (row, column): 0 for tree a, 1 for tree b."""


def _symmetric(half: list[float]) -> Filter:
    return np.array(half + half[-2::-1])


# Near-symmetric (13, 19)-tap biorthogonal filters of level 1 (Kingsbury 2001), h0 and g0; h1 and g1 follow by (-1)ⁿ.
H0_FIRST = _symmetric([-0.0017578125, 0.0, 0.022265625, -0.046875, -0.0482421875, 0.296875, 0.55546875])
G0_FIRST = _symmetric(
    [
        7.062639508928571e-05,
        0.0,
        -0.0013419015066964285,
        -0.0018833705357142855,
        0.007156808035714285,
        0.023856026785714284,
        -0.05564313616071428,
        -0.05168805803571428,
        0.29975760323660716,
        0.5594308035714286,
    ]
)
# Quarter-sample-shift orthonormal 14-tap low-pass of tree a from level 2 on (Kingsbury 2001); tree b has it reversed.
H0_SHIFT = np.array(
    [
        0.003253142763653182,
        -0.00388321199915849,
        0.03466034684485349,
        -0.03887280126882779,
        -0.11720388769911527,
        0.27529538466888204,
        0.7561456438925225,
        0.5688104207121227,
        0.011866092033797,
        -0.1067118046866654,
        0.023825384794920298,
        0.01702522388155399,
        -0.005439475937274115,
        -0.004556895628475491,
    ]
)


def _modulated(low: Filter) -> Filter:
    """The filter times (-1)ⁿ, n counted from its middle: a low-pass becomes a high-pass."""
    return low * (-1.0) ** (np.arange(low.size) - low.size // 2)


FIRST_ANALYSIS = (H0_FIRST, _modulated(G0_FIRST))
FIRST_SYNTHESIS = (G0_FIRST, _modulated(H0_FIRST))
SHIFT = tuple((low, _modulated(low[::-1])) for low in (H0_SHIFT, H0_SHIFT[::-1]))
"""(low, high) of tree a and of tree b."""
DETAIL = ((0, 1), (1, 0), (1, 1))
"""(row, column) of the detail of a level: 1 for the high-pass."""
SMALLEST_EXTENSION_PX = 16


class DualTreeWavelet:
    """Kingsbury's dual-tree complex wavelet transform of planes of one shape.

    Level 1 filters without decimation, by near-symmetric biorthogonal filters (13 and 19 taps): its even and odd
    samples are the two trees. Later levels filter each tree by quarter-sample-shift orthonormal filters (14 taps) and
    decimate by 2. Rows and columns together make four trees, whose bands combine to complex bands of six orientations
    (about ±15°, ±45°, ±75°).

    Parameters
    ----------
    shape : (int, int)
        (Y, X) of the planes.
    levels : int
        Number of levels, fewer where the planes are small.

    Raises
    ------
    InputError
        If the planes are smaller than 8 × 8 pixels.

    References
    ----------
    Kingsbury 2001, Appl. Comput. Harmon. Anal. 10:234; Selesnick, Baraniuk & Kingsbury 2005, IEEE Signal Process. Mag.
    22(6):123
    """

    def __init__(self, shape: tuple[int, int], *, levels: int = 5) -> None:
        if min(shape) < 8:
            raise InputError(f"A plane of {shape[0]}×{shape[1]} pixels is too small: give 8×8 pixels at least.")
        self.shape = shape
        self.n_levels = max(1, min(levels, int(np.log2(min(shape))) - 2))
        self.padded = _multiple(shape[0], 2**self.n_levels), _multiple(shape[1], 2**self.n_levels)
        self.levels = tuple(level for level in range(self.n_levels) for _ in range(6))

    def forward(self, plane: Plane32) -> Iterator[Band]:
        """Yield six complex64 bands a level from the finest on, then the low-pass: the four trees side by side."""
        framed = cv2.copyMakeBorder(extend(plane, self.padded), 9, 9, 9, 9, cv2.BORDER_WRAP)
        for row, col in DETAIL:
            full = _crop(_filtered(framed, FIRST_ANALYSIS[row], FIRST_ANALYSIS[col]), 9)
            yield from _to_complex(_split(full))
        low = _split(_crop(_filtered(framed, FIRST_ANALYSIS[0], FIRST_ANALYSIS[0]), 9))
        for _ in range(1, self.n_levels):
            frames = {tree: cv2.copyMakeBorder(x, 7, 7, 7, 7, cv2.BORDER_WRAP) for tree, x in low.items()}
            for row, col in DETAIL:
                trees = {(r, c): _analysed(x, SHIFT[r][row], SHIFT[c][col]) for (r, c), x in frames.items()}
                yield from _to_complex(trees)
            low = {(r, c): _analysed(x, SHIFT[r][0], SHIFT[c][0]) for (r, c), x in frames.items()}
        yield _joined(low)

    def inverse(self, bands: Iterable[Band]) -> Plane32:
        """Put a plane together again; exact but for rounding."""
        *detail, last = bands
        low = _split(last)
        for level in range(self.n_levels - 1, 0, -1):
            parts = self._real(detail, level)
            low = {
                (r, c): _synthesised({(0, 0): low[r, c], **{d: parts[d][r, c] for d in DETAIL}}, SHIFT[r], SHIFT[c])
                for r, c in low
            }
        parts = self._real(detail, 0)
        whole = np.zeros(self.padded, np.float32)
        for (row, col), trees in {(0, 0): low, **parts}.items():
            framed = cv2.copyMakeBorder(_joined(trees), 9, 9, 9, 9, cv2.BORDER_WRAP)
            whole += _crop(_filtered(framed, FIRST_SYNTHESIS[row], FIRST_SYNTHESIS[col]), 9)
        return np.ascontiguousarray(whole[: self.shape[0], : self.shape[1]])

    def _real(self, detail: list[Band], level: int) -> dict[tuple[int, int], Trees]:
        """The trees of the three kinds of detail of a level."""
        six = detail[6 * level : 6 * level + 6]
        return {d: _to_trees(six[2 * i], six[2 * i + 1]) for i, d in enumerate(DETAIL)}


def _multiple(n: int, step: int) -> int:
    """The smallest multiple of `step` that leaves room for the continuation."""
    return -(-(n + SMALLEST_EXTENSION_PX) // step) * step


def _filtered(framed: Plane32, rows: Filter, cols: Filter, anchor: tuple[int, int] = (-1, -1)) -> Plane32:
    answer: Plane32 = cv2.sepFilter2D(framed, cv2.CV_32F, cols, rows, anchor=anchor)
    return answer


def _crop(framed: Plane32, border: int) -> Plane32:
    return framed[border:-border, border:-border]


def _analysed(framed: Plane32, rows: Filter, cols: Filter) -> Plane32:
    """Every second sample of a tree (framed by 7) correlated with 14 taps; output n is centred on samples 2n, 2n+1."""
    return np.ascontiguousarray(_crop(_filtered(framed, rows, cols, (6, 6)), 7)[::2, ::2])


def _synthesised(
    parts: dict[tuple[int, int], Plane32], rows: tuple[Filter, Filter], cols: tuple[Filter, Filter]
) -> Plane32:
    """The transpose of `_analysed`, summed over low-pass and detail."""
    h, w = parts[0, 0].shape
    whole = np.zeros((2 * h, 2 * w), np.float32)
    apart = np.zeros((2 * h, 2 * w), np.float32)
    for (row, col), part in parts.items():
        apart[::2, ::2] = part
        framed = cv2.copyMakeBorder(apart, 7, 7, 7, 7, cv2.BORDER_WRAP)
        whole += _crop(_filtered(framed, rows[row][::-1], cols[col][::-1], (7, 7)), 7)
    return whole


def _split(full: Plane32) -> Trees:
    """Even and odd rows and columns."""
    return {(r, c): np.ascontiguousarray(full[r::2, c::2]) for r, c in product((0, 1), repeat=2)}


def _joined(trees: Trees) -> Plane32:
    h, w = trees[0, 0].shape
    full = np.empty((2 * h, 2 * w), np.float32)
    for (r, c), tree in trees.items():
        full[r::2, c::2] = tree
    return full


def _to_complex(trees: Trees) -> tuple[Band, Band]:
    """The two complex bands, of opposite slant, of four real ones; an orthonormal change of basis."""
    half = np.float32(np.sqrt(0.5))
    aa, ab, ba, bb = (trees[t] * half for t in ((0, 0), (0, 1), (1, 0), (1, 1)))
    one = np.empty(aa.shape, np.complex64)
    two = np.empty(aa.shape, np.complex64)
    one.real, one.imag = aa - bb, ab + ba
    two.real, two.imag = aa + bb, ab - ba
    return one, two


def _to_trees(one: Band, two: Band) -> Trees:
    half = np.float32(np.sqrt(0.5))
    return {
        (0, 0): (one.real + two.real) * half,
        (0, 1): (one.imag + two.imag) * half,
        (1, 0): (one.imag - two.imag) * half,
        (1, 1): (two.real - one.real) * half,
    }
