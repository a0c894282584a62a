"""What the default fusion does to coefficients: noise out, what defocus between slices took back, hues count."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_focusstack.core.fusion import fuse_series
from napari_focusstack.core.fusion.restore import STRIP_ROWS, Lift, restore
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import from_array

SHAPE = (STRIP_ROWS + 41, 90)


def restored(detail, *, level=0, lift=None, shrink=1.0, noise=1.0):
    out = detail.copy()
    left = np.ones(detail.shape[:2], np.float32)
    samples = detail.shape[2] if detail.ndim == 3 else 1
    per_energy = np.full((1, samples), 1 / noise / samples, np.float32)
    restore(out, level, per_energy=per_energy, left=left, lift=lift, shrink=shrink, boost=1.0)
    return out


def plane(value, shape=SHAPE):
    return np.full(shape, value, np.float32)


def smooth(rng, sigma=1.2, shape=SHAPE):
    image = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), sigma)
    return image / image.std()


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("samples", [(), (3,)])
def test_strips_leave_no_trace(level, samples):
    rng = np.random.default_rng(0)
    detail = 3 * rng.standard_normal((*SHAPE, *samples)).astype(np.float32)
    lift = Lift(plane(0.1), plane(0.02))
    turned = [restored(np.ascontiguousarray(d), level=level, lift=lift) for d in (detail, detail[::-1])]
    np.testing.assert_allclose(turned[0], turned[1][::-1], atol=1e-4)


def test_fine_noise_goes_while_weak_smooth_detail_stays():
    rng = np.random.default_rng(1)
    signal, noise = 0.8 * smooth(rng), rng.standard_normal(SHAPE).astype(np.float32)
    clean = restored(signal + noise)
    assert np.std(clean - signal) < 0.75
    assert np.mean(clean * signal) > 0.6 * np.mean(signal**2)


def test_nothing_changes_without_noise_and_lift():
    detail = smooth(np.random.default_rng(2))
    np.testing.assert_allclose(restored(detail, shrink=0.0, lift=Lift(plane(0), plane(0))), detail, atol=1e-6)


def test_what_lies_between_slices_is_amplified_and_never_beyond_the_limit():
    detail = smooth(np.random.default_rng(3), sigma=0.8)
    gains = [restored(detail, shrink=0.0, lift=Lift(plane(x), plane(0))).std() / detail.std() for x in (0, 0.1, 0.3, 9)]
    assert (np.diff(gains) > 0).all()
    assert gains[-1] <= 2.0


def test_a_level_that_drowned_in_noise_goes_by_the_next():
    own, coarser = plane(0.0), plane(0.2)
    lift = Lift.of(own, coarser)
    detail = smooth(np.random.default_rng(4), sigma=2)
    assert restored(detail, shrink=0.0, lift=lift).std() > 1.3 * detail.std()
    assert Lift.of(plane(0.5), coarser).drowned.max() == 0


def test_texture_in_hue_alone_is_found():
    rng = np.random.default_rng(5)
    hue = 40 * smooth(rng, sigma=2, shape=(96, 112))
    # Red against green at constant luma.
    red, green = hue, -hue * 0.2126 / 0.7152
    sharp = np.stack([128 + red, 128 + green, np.full_like(hue, 128)], axis=-1)
    blurred = [cv2.GaussianBlur(sharp, (0, 0), s) for s in (6, 3)]
    slices = np.stack([blurred[0], blurred[1], sharp, blurred[1], blurred[0]]) + rng.normal(0, 1, (5, 96, 112, 3))
    stack = from_array(np.clip(slices, 0, 255).round().astype(np.uint8), axes="ZYXS")
    fused = drain(fuse_series(stack))
    assert np.mean(fused.index == 2) > 0.95
    assert np.std(fused.image - sharp) < 2.5
