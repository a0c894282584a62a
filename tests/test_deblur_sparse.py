"""Sharpening of planes with little on them: beads, dust, hot pixels, whatever the pixel type and the method."""

import cv2
import numpy as np
import pytest

from napari_focusstack.core.deblur import DEBLURRERS, Wish, deblur_plane
from napari_focusstack.core.deblur.kernel import disc
from napari_focusstack.core.progress import drain

METHODS = ("wiener", "unsupervised_wiener", "richardson_lucy", "deblur_unet")
PLACES = np.array([(60, 70), (200, 150), (128, 31), (30, 220), (222, 60)])
SPARSE = {
    "beads": ((3, 2.0, 100, 4000, 5.0), np.uint16),
    "faint beads": ((5, 3.0, 10000, 300, 8.0), np.uint16),
    "dust": ((5, 2.0, 3000, -2500, 20.0), np.uint16),
    "deep dust": ((1, 3.0, 60000, -59000, 30.0), np.uint16),
    "beads in 8 bit": ((3, 2.0, 10, 200, 1.0), np.uint8),
    "beads on nothing": ((3, 2.0, 0, 200, 0.0), np.uint8),
    "dust in 8 bit": ((4, 1.5, 230, -220, 1.0), np.uint8),
    "beads in floats": ((2, 2.0, 0.01, 5.0, 0.002), np.float32),
}


def spots(n, sigma, base, height, noise):
    """A plane, and where its spots are."""
    plane = np.zeros((256, 256), np.float32)
    plane[tuple(PLACES[:n].T)] = 1
    plane = cv2.GaussianBlur(plane, (0, 0), sigma) if sigma else plane
    plane = base + height * plane / plane.max() + np.random.default_rng(0).normal(0, noise, plane.shape)
    return plane, tuple(PLACES[:n].T)


def typed(plane, dtype):
    if np.dtype(dtype).kind == "f":
        return plane.astype(dtype)
    return np.clip(np.rint(plane), 0, np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", SPARSE)
def test_few_small_objects_stay_what_they_are(kind, name):
    drawn, dtype = SPARSE[kind]
    plane, where = spots(*drawn)
    plane = typed(plane, dtype)
    height = np.sign(drawn[3]) * (plane[where].astype(float) - drawn[2])
    made = drain(deblur_plane(plane, DEBLURRERS[name], Wish(device="cpu")))
    assert made.dtype == dtype
    assert not np.array_equal(made, plane)
    restored = np.sign(drawn[3]) * (made[where].astype(float) - drawn[2])
    assert (restored > 0.7 * height).all()
    assert np.median(made) == pytest.approx(np.median(plane), abs=max(1, 3 * drawn[4]) if dtype != np.float32 else 0.02)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_bead_that_is_deconvolved_becomes_brighter_and_narrower(dtype):
    plane, where = spots(3, 1.0, 0, 1, 0.0)
    blurred = typed(20 + 80 * cv2.filter2D(plane, -1, disc(4)) / cv2.filter2D(plane, -1, disc(4)).max(), dtype)
    made = drain(deblur_plane(blurred, DEBLURRERS["richardson_lucy"], Wish(kernel=disc(4))))
    assert (made[where] > 20 + 1.5 * (blurred[where].astype(float) - 20)).all()
    assert np.sum(made > 20 + 0.5 * (made.max() - 20.0)) < 0.7 * np.sum(blurred > 60)


@pytest.mark.parametrize("name", METHODS)
def test_hot_pixels_neither_go_nor_ring(name):
    plane, where = spots(3, 0.0, 1000, 50000, 5.0)
    made = drain(deblur_plane(typed(plane, np.uint16), DEBLURRERS[name], Wish(device="cpu")))
    assert np.allclose(made[where], plane[where], rtol=0.05)
    beside = cv2.dilate((plane > 20000).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    beside &= plane < 20000
    assert abs(made[beside].astype(float) - 1000).max() < 0.02 * 50000


def test_single_pixels_on_nothing_are_left_alone():
    plane = np.zeros((96, 96), np.uint8)
    plane[10::60, 20::60] = 200
    made = drain(deblur_plane(plane, DEBLURRERS["wiener"], Wish()))
    assert np.array_equal(made, plane)
