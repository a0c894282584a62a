"""What the transforms promise: to be undone exactly, to keep still under shifts, to tell directions apart."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import pywt

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.transforms import Contourlet, Curvelet, DualTreeWavelet, Transform, extend
from napari_focusstack.core.transforms.dtcwt import (
    FIRST_ANALYSIS,
    FIRST_SYNTHESIS,
    H0_SHIFT,
)
from napari_focusstack.core.transforms.nsct import analysis_low, synthesis_low

KINDS = (DualTreeWavelet, Curvelet, Contourlet)
SHAPES = ((16, 16), (64, 96), (101, 77), (33, 250))


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def wave(angle: float, frequency: float, n: int = 256) -> np.ndarray:
    """A plane wave whose larger frequency (along x or y) is given, in cycles per pixel."""
    y, x = np.mgrid[:n, :n]
    d = np.array([np.sin(angle), np.cos(angle)])
    d *= frequency / np.abs(d).max()
    return np.cos(2 * np.pi * (d[0] * y + d[1] * x)).astype(np.float32)


def inner_energy(band: np.ndarray) -> float:
    """Mean energy of a band's middle, per sample of the plane."""
    h, w = band.shape
    return float((np.abs(band[h // 8 : h * 5 // 8, w // 8 : w * 5 // 8]) ** 2).mean() * band.size)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_plane_comes_back(kind: type[Transform], shape: tuple[int, int]) -> None:
    transform, plane = kind(shape), noise(shape)  # type: ignore[call-arg]
    assert np.abs(transform.inverse(transform.forward(plane)) - plane).max() < 3e-5


@pytest.mark.parametrize("kind", KINDS)
def test_16_bit_values_come_back_within_a_fraction_of_a_grey_level(kind: type[Transform]) -> None:
    plane = np.random.default_rng(1).integers(0, 65536, (90, 130)).astype(np.float32)
    transform = kind(plane.shape)  # type: ignore[call-arg]
    assert np.abs(transform.inverse(transform.forward(plane)) - plane).max() < 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_has_no_detail(kind: type[Transform]) -> None:
    transform = kind((64, 80))  # type: ignore[call-arg]
    *detail, low = transform.forward(np.full((64, 80), 100, np.float32))
    assert len(detail) == len(transform.levels)
    assert max(np.abs(band).max() for band in detail) < 1e-3 < np.abs(low).min()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_linear(kind: type[Transform]) -> None:
    transform, a, b = kind((48, 64)), noise((48, 64)), noise((48, 64), 1)  # type: ignore[call-arg]
    for x, y, z in zip(transform.forward(a), transform.forward(b), transform.forward(2 * a - b), strict=True):
        np.testing.assert_allclose(z, 2 * x - y, atol=2e-5)


@pytest.mark.parametrize(("kind", "tolerance"), [(Curvelet, 1e-5), (Contourlet, 0.02)])
def test_energy_is_kept(kind: type[Transform], tolerance: float) -> None:
    transform, plane = kind((101, 77)), noise((101, 77))  # type: ignore[call-arg]
    energy = sum(float((np.abs(band) ** 2).sum()) for band in transform.forward(plane))
    assert energy == pytest.approx(float((extend(plane, transform.padded) ** 2).sum()), rel=tolerance)


def test_shifting_a_plane_shifts_its_contourlet_bands() -> None:
    plane = np.zeros((160, 160), np.float32)
    plane[60:90, 60:90] = noise((30, 30))
    transform = Contourlet((160, 160))
    moved = transform.forward(np.roll(plane, (3, 5), (0, 1)))
    for band, other in zip(transform.forward(plane), moved, strict=True):
        np.testing.assert_allclose(np.roll(band, (3, 5), (0, 1)), other, atol=1e-5)


def spread_over_shifts(energies: list[float]) -> float:
    return float(np.ptp(energies) / np.mean(energies))


def test_the_dual_tree_hardly_notices_shifts_where_real_wavelets_do() -> None:
    planes = []
    for shift in range(16):
        step = np.zeros((128, 128), np.float32)
        step[:, 56 + shift :] = 1
        planes.append(step)
    for level in (1, 2, 3):
        tree, real = [], []
        for plane in planes:
            transform = DualTreeWavelet(plane.shape, levels=4)
            bands = zip(transform.forward(plane), (*transform.levels, -1), strict=True)
            tree.append(sum(inner_energy(band) for band, of in bands if of == level))
            real.append(sum(inner_energy(b) for b in pywt.wavedec2(plane, "sym4", "periodization", level + 1)[1]))
        assert spread_over_shifts(tree) < 0.1 < 5 * spread_over_shifts(tree) < spread_over_shifts(real)


def test_the_wavelets_of_the_two_trees_are_quadrature_partners() -> None:
    transform = DualTreeWavelet((256, 256), levels=4)
    low = [np.zeros(band.shape, band.dtype) for band in transform.forward(noise((256, 256)))]
    level_3 = transform.levels.index(3)
    low[level_3][8, 8] = 1
    real = transform.inverse(low)
    low[level_3][8, 8] = 1j
    spectrum = np.abs(np.fft.fft2(real + 1j * transform.inverse(low))) ** 2
    opposite = np.roll(spectrum[::-1, ::-1], (1, 1), (0, 1))
    assert np.minimum(spectrum, opposite).sum() < 0.05 * spectrum.sum()


@pytest.mark.parametrize(
    ("kind", "level", "least"),
    [(Contourlet, 0, 0.6), (Contourlet, 1, 0.8), (Curvelet, 0, 0.8), (Curvelet, 1, 0.8), (DualTreeWavelet, 1, 0.7)],
)
def test_each_direction_has_a_band_of_its_own(kind: type[Transform], level: int, least: float) -> None:
    transform = kind((256, 256))  # type: ignore[call-arg]
    n = transform.levels.count(level)
    strongest = set()
    for k in range(0, n, max(1, n // 8)):
        bands = [inner_energy(b) for b in transform.forward(wave(np.pi * (k + 0.5) / n, 0.36 / 2**level))]
        assert max(bands) > least * sum(bands)
        assert (*transform.levels, -1)[int(np.argmax(bands))] == level
        strongest.add(int(np.argmax(bands)))
    assert len(strongest) >= min(n, 8) - 1


def test_the_published_tables_undo_each_other() -> None:
    product = sum(np.convolve(a, s) for a, s in zip(FIRST_ANALYSIS, FIRST_SYNTHESIS, strict=True))
    np.testing.assert_allclose(product, np.eye(1, product.size, product.size // 2)[0], atol=1e-12)
    for lag in range(0, 14, 2):
        assert H0_SHIFT[lag:] @ H0_SHIFT[: 14 - lag] == pytest.approx(float(lag == 0), abs=1e-9)


def test_the_contourlet_polynomials_undo_each_other() -> None:
    x = np.linspace(-1, 1, 101, dtype=np.float32)
    product = analysis_low(x) * synthesis_low(x) + analysis_low(-x) * synthesis_low(-x)
    np.testing.assert_allclose(product, 1, atol=1e-6)


def test_a_continued_plane_meets_its_beginning() -> None:
    plane = cv2.GaussianBlur(noise((40, 50)), (0, 0), 6)
    whole = extend(plane, (72, 90))
    np.testing.assert_array_equal(whole[:40, :50], plane)
    largest = max(np.abs(np.diff(plane, axis=axis)).max() for axis in (0, 1))
    assert np.abs(whole - np.roll(whole, 1, axis=0)).max() < 2 * largest
    assert np.abs(whole - np.roll(whole, 1, axis=1)).max() < 2 * largest


@pytest.mark.parametrize("kind", KINDS)
def test_too_small_planes_are_refused(kind: type[Transform]) -> None:
    with pytest.raises(InputError, match="too small"):
        kind((7, 40))  # type: ignore[call-arg]
