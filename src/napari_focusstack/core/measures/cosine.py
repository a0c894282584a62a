"""Measures by the discrete cosine transform: a sharp image has energy beyond the constant term."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_focusstack.core.filters import Plane32, area_mean
from napari_focusstack.core.measures.base import Measure, PlaneInfo, blocks, mean_square, over
from napari_focusstack.core.measures.spectrum import cutoff_per_px
from napari_focusstack.core.report import Map

BLOCK_PX = 8
REDUCED = ((0, 1), (1, 0), (0, 2), (1, 1), (2, 0))
"""The five lowest frequencies beyond the constant."""
DEFAULT_SUPPORT_PER_PX = 0.25


def _cosines(n: int) -> NDArray[np.float64]:
    """(n, n) orthonormal DCT-II basis, one frequency a row."""
    import scipy.fft  # slow to load, and most commands do without

    basis: NDArray[np.float64] = scipy.fft.dct(np.eye(n), axis=0, norm="ortho")
    return basis


def _sliding(plane: Plane32, along_y: NDArray[np.float64], along_x: NDArray[np.float64]) -> Plane32:
    """(Y + 1, X + 1) separable correlation by even kernels, centred on the corners between pixels; mirrored borders."""
    n = len(along_y)
    (h, w), half = plane.shape, n // 2
    framed = cv2.copyMakeBorder(plane, half, half, half, half, cv2.BORDER_REFLECT)
    answer = cv2.sepFilter2D(framed, cv2.CV_32F, along_x, along_y)
    inside: Plane32 = np.ascontiguousarray(answer[half : half + h + 1, half : half + w + 1])
    return inside


def _energy(plane: Plane32, frequencies: tuple[tuple[int, int], ...], info: PlaneInfo) -> Map:
    """Mean energy of some coefficients of the 8 × 8 DCT, the block slid over all places."""
    basis = _cosines(BLOCK_PX)
    total = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1), np.float32)
    for ky, kx in frequencies:
        cv2.accumulateSquare(_sliding(plane, basis[ky], basis[kx]), total)
    return area_mean(total, info.grid.shape)


def _constant_energy(plane: Plane32) -> float:
    """Mean energy of the constant coefficient, over the same blocks."""
    lowest = _cosines(BLOCK_PX)[0]
    return mean_square(_sliding(plane, lowest, lowest))


def dct_energy_ratio(plane: Plane32, info: PlaneInfo) -> Map:
    """Energy of all 63 varying coefficients of the 8 × 8 DCT over that of the constant one (of the whole plane).

    By Parseval's theorem, the energy of the 63 is that of the block about its mean.
    """
    # About the plane's mean and in float64, as the energy about the mean is a difference of two large numbers.
    centred = plane.astype(np.float64) - plane.mean(dtype=np.float64)
    half, (h, w) = BLOCK_PX // 2, plane.shape
    framed = cv2.copyMakeBorder(centred, half, half, half, half, cv2.BORDER_REFLECT)
    size, inside = (BLOCK_PX, BLOCK_PX), (slice(half, half + h + 1), slice(half, half + w + 1))
    total = cv2.sqrBoxFilter(framed, cv2.CV_64F, size, normalize=False)[inside]
    total -= np.square(cv2.boxFilter(framed, cv2.CV_64F, size, normalize=False)[inside]) / BLOCK_PX**2
    varying = np.maximum(total, 0).astype(np.float32)
    return over(area_mean(varying, info.grid.shape), _constant_energy(plane))


def dct_reduced_ratio(plane: Plane32, info: PlaneInfo) -> Map:
    """Energy of the five lowest varying coefficients of the 8 × 8 DCT over that of the constant one (of the plane)."""
    return over(_energy(plane, REDUCED, info), _constant_energy(plane))


def modified_dct(plane: Plane32, info: PlaneInfo) -> Map:
    """Mean of ``|f ∗ M|``, M the 4 × 4 mask with 1 in two opposite corners' quarters and −1 in the others."""
    step = np.array([1.0, 1.0, -1.0, -1.0])
    response = _sliding(plane, step, step)
    return area_mean(np.abs(response, out=response), info.grid.shape)


def dct_entropy(plane: Plane32, info: PlaneInfo) -> Map:
    """Normalised Shannon entropy of the cosine transform of each patch, within the optical support.

    ``−2/r² Σ_{i+j<r} |c| / L₂ · log₂(|c| / L₂)``, L₂ the root of the energy of all coefficients of the patch and r
    the index of the support: ``2 · n · cut-off`` for n pixels, the cut-off from NA, wavelength and pixel size, or a
    quarter of a cycle per pixel.
    """
    import scipy.fft  # slow to load, and most commands do without

    cut = blocks(plane, info.grid)
    coefficients = np.abs(scipy.fft.dctn(cut, axes=(2, 3), norm="ortho", overwrite_x=True))
    norm = np.sqrt(np.square(coefficients).sum(axis=(2, 3), keepdims=True))
    cutoff = cutoff_per_px(info, default=DEFAULT_SUPPORT_PER_PX)
    ny, nx = cut.shape[2:]
    ry, rx = max(2.0, 2 * ny * cutoff), max(2.0, 2 * nx * cutoff)
    support = np.arange(ny)[:, None] / ry + np.arange(nx)[None, :] / rx < 1
    share = np.divide(coefficients, norm, out=np.zeros_like(coefficients), where=norm > 0)[..., support]
    terms = share * np.log2(share, out=np.zeros_like(share), where=share > 0)
    entropy: Map = np.abs(terms.sum(axis=-1)) * np.float32(2 / (ry * rx))
    return entropy


MEASURES = (
    Measure(
        "dct_energy_ratio",
        "DCT energy ratio",
        "cosine transform",
        "1",
        "Contrast within 8 × 8 pixels relative to brightness; a brighter lamp changes nothing.",
        "Shen & Chen 2006, IEEE ICCE 69",
        dct_energy_ratio,
        gain_exponent=0.0,
        offset_free=False,
    ),
    Measure(
        "dct_reduced_ratio",
        "DCT reduced energy ratio",
        "cosine transform",
        "1",
        "Coarser contrast within 8 × 8 pixels relative to brightness; leaves out the frequencies where noise rules.",
        "Lee et al. 2009, IEEE Signal Process. Lett. 16:133",
        dct_reduced_ratio,
        gain_exponent=0.0,
        offset_free=False,
    ),
    Measure(
        "modified_dct",
        "Modified DCT",
        "cosine transform",
        "grey",
        "How strong corners, crossings and oblique detail are; upright edges alone don't count.",
        "Lee et al. 2008, IEEE Trans. Circuits Syst. Video Technol. 18:1237",
        modified_dct,
        gain_exponent=1.0,
    ),
    Measure(
        "dct_entropy",
        "DCT entropy",
        "cosine transform",
        "bit",
        "How evenly a patch fills the frequencies that the optics can pass; found best in light-sheet microscopy.",
        "Royer et al. 2016, Nat. Biotechnol. 34:1267",
        dct_entropy,
        needs=("optics",),
        gain_exponent=0.0,
        offset_free=False,
    ),
)
