"""Statistics of many patches of one image: those of each alone, and what they tell."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from napari_focusstack.networks.dense_statistics import REACH_PX, DenseStatistics
from test_statistics import blurred, disc, grain, points

RINGS, PATCH_PX = 39, 84
STATISTICS = DenseStatistics(patch_px=PATCH_PX)


def numbers(image: np.ndarray, *, step_px: int = 40, margin_px: int = 0) -> np.ndarray:
    """(count, y, x)."""
    with torch.inference_mode():
        tensor = torch.from_numpy(np.ascontiguousarray(image, np.float32))[None, None]
        return STATISTICS(tensor, step_px=step_px, margin_px=margin_px)[0].numpy()


@pytest.fixture(scope="module")
def image():
    return (0.5 + 0.1 * blurred(grain(1.0, size=320), disc(2))).astype(np.float32)


def test_each_patch_has_its_own_numbers_wherever_it_lies(image):
    m = REACH_PX
    found = numbers(image, margin_px=m)
    assert found.shape == (STATISTICS.count, 3, 3)
    for i, j in ((0, 0), (1, 2), (2, 1)):
        part = image[40 * i : 40 * i + PATCH_PX + 2 * m, 40 * j : 40 * j + PATCH_PX + 2 * m]
        np.testing.assert_allclose(found[:, i, j], numbers(part, margin_px=m)[:, 0, 0], atol=2e-4)


@pytest.mark.parametrize("margin", [20, 22, 23])
def test_a_border_of_any_width_is_in_no_patch(image, margin):
    """Cells start where the border ends, but for what is no multiple of 4: bands differ by what they know, little."""
    cut = numbers(image[68 - margin :, 68 - margin :], margin_px=margin)[:RINGS, 0, 0]
    np.testing.assert_allclose(cut, numbers(image, margin_px=68)[:RINGS, 0, 0], atol=1e-5)


@pytest.mark.parametrize("shape", [(84, 84), (87, 140), (130, 85)])
def test_images_of_any_sides_have_finite_numbers(shape):
    for plane in (np.zeros(shape), np.full(shape, 0.7), np.random.default_rng(0).random(shape)):
        found = numbers(plane)
        assert found.shape == (STATISTICS.count, *((n - PATCH_PX) // 40 + 1 for n in shape))
        assert np.isfinite(found).all()


def test_brightness_contrast_and_mirroring_change_nothing(image):
    patch = image[:PATCH_PX, :PATCH_PX]
    own = numbers(patch)
    for other in (0.3 * patch + 0.2, patch[::-1], patch[:, ::-1]):
        np.testing.assert_allclose(numbers(other), own, atol=0.06)


def test_dark_on_bright_counts_as_bright_on_dark():
    patch = blurred(points(size=128, n=12), disc(3))
    np.testing.assert_allclose(numbers(1 - patch), numbers(patch), atol=2e-3)
    assert numbers(patch)[RINGS, 0, 0] > 0.5  # points are bright


@pytest.mark.parametrize("slope", [0.5, 1.0, 1.5])
def test_rings_show_where_a_disc_lets_nothing_pass_whatever_the_specimen(slope):
    """The first zero of ``2·J1(2πrf)/(2πrf)`` lies at ``f = 0.61/r``."""
    edges, radius = np.array(STATISTICS.edges), 6.0
    middle = np.sqrt(edges[:-1] * edges[1:])
    near = (middle > 0.4 / radius) & (middle < 0.95 / radius)
    rings = numbers(blurred(grain(slope), disc(radius)))[:RINGS].mean(axis=(1, 2))
    assert middle[near][rings[near].argmin()] == pytest.approx(0.61 / radius, rel=0.12)


def test_bands_tell_the_width_of_a_gaussian_blur():
    """Kurtosis of the finest bands falls with blur; the numbers of a sharp and of a blurred image are far apart."""
    sharp = points(size=212, n=200)
    noise = 0.002 * np.random.default_rng(0).normal(size=sharp.shape)
    found = [numbers(cv2.GaussianBlur(sharp, (0, 0), s) + noise)[RINGS + 8 : RINGS + 12].mean() for s in (0.7, 2, 4)]
    assert found[0] > found[1] > found[2]
