"""Index, depth and confidence from a running maximum, and what the pyramid makes of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_focusstack.core.fusion import METHODS, Series, fuse_series
from napari_focusstack.core.fusion.noise import measure_noise
from napari_focusstack.core.fusion.sharpness import SharpnessTrack, fill
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import from_array


def tracked(curves, power=1):
    """Track of one row of pixels; curves (pixels, Z)."""
    track = SharpnessTrack((1, len(curves)), power=power, positions=np.arange(len(curves[0]), dtype=float))
    for sharpness in np.asarray(curves, np.float32).T:
        track.add(sharpness[None].copy())
    return track


def tilted(n=9, shape=(192, 256), noise=0.0, seed=0):
    """Slices of a textured plane that rises along x from slice 0.5 to n - 1.5, its truth and its height in slices."""
    rng = np.random.default_rng(seed)
    sharp = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), 0.7)
    height = np.broadcast_to(np.linspace(0.5, n - 1.5, shape[1], dtype=np.float32), shape)
    sigmas = np.array([0.01, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 9])
    ladder = np.stack([sharp, *(cv2.GaussianBlur(sharp, (0, 0), s) for s in sigmas[1:])])
    slices = []
    for z in range(n):
        at = np.interp(np.abs(height - z), sigmas, np.arange(len(sigmas)))
        below = np.minimum(at.astype(int), len(sigmas) - 2)
        a, b = (np.take_along_axis(ladder, (below + k)[None], 0)[0] for k in (0, 1))
        slices.append(a + (at - below) * (b - a) + noise * rng.standard_normal(shape))
    return np.asarray(slices, np.float32), sharp, height


@pytest.mark.parametrize("power", [1, 8])
@pytest.mark.parametrize("peak", [2.0, 3.3, 4.8])
def test_the_vertex_of_a_gaussian_is_found_between_slices(power, peak):
    curve = power * -0.3 * (np.arange(8) - peak) ** 2
    track = tracked([curve], power=power)
    assert track.index[0, 0] + track.offset()[0, 0] == pytest.approx(peak, abs=1e-3)
    assert track.lift()[0, 0] == pytest.approx(0.3 * (round(peak) - peak) ** 2, abs=1e-3)


@pytest.mark.parametrize("n", [3, 11, 50])
def test_noise_alone_gives_no_confidence_whatever_the_number_of_slices(n):
    rng = np.random.default_rng(0)
    noise = np.clip(1000 + 30 * rng.standard_normal((n, 160, 160)), 0, 65535).astype(np.uint16)
    fused = drain(fuse_series(from_array(noise, z_um=1.0)))
    assert (fused.confidence > 0.05).mean() < 0.002


def test_a_peak_on_the_last_slice_is_not_moved_outside():
    track = tracked([[0, 1, 2, 3]])
    assert track.index[0, 0] == 3
    assert track.offset()[0, 0] == 0
    assert track.lift()[0, 0] == 0


def test_confidence_grows_with_how_far_the_best_slice_stands_out():
    curves = [np.log(10 + z * np.array([0, 0, 1, 0, 0])) for z in (0, 5, 20, 200)]
    confidence = np.array([tracked([c]).confidence()[0, 0] for c in curves])
    assert confidence[0] == 0
    assert (np.diff(confidence) > 0).all()
    assert confidence[-1] > 0.8


def test_blur_of_a_bright_neighbour_is_no_evidence():
    bright, faint = np.log(10 + 1e5 * np.eye(5)[2]), np.log(10 + 30 * np.eye(5)[4])
    assert tracked([faint]).confidence()[0, 0] > 0.3
    assert tracked([bright, faint]).confidence()[0, 1] == 0


def test_filling_keeps_what_has_weight_and_spreads_it_over_the_rest():
    values = np.full((64, 64), 50, np.float32)
    weight = np.zeros_like(values)
    values[20:30, 20:30], weight[20:30, 20:30] = 7, 1
    filled = fill(values, weight)
    np.testing.assert_allclose(filled, 7, atol=1e-3)


@pytest.mark.parametrize("method", METHODS.names())
def test_the_depth_of_a_tilted_plane_is_found_between_slices(method):
    stack, _, height = tilted()
    fused = drain(fuse_series(from_array(stack, axes="ZYX", z_um=2.0), method=method))
    error = np.abs(fused.depth_um / 2 - height)[16:-16, 16:-16]
    assert np.median(error) < 0.2
    assert np.mean(fused.confidence) > 0.2


def test_detail_between_slices_is_brought_back():
    stack, sharp, _ = tilted(n=4)
    restored = drain(fuse_series(from_array(stack, axes="ZYX"))).image
    engine = METHODS["pyramid"]
    plain = {**engine.parameters, "boost": 0.0}
    series = Series(lambda i: stack[i], len(stack), stack.shape[1:], stack.dtype)
    without = drain(engine.function(series, **plain)).image
    assert np.std(restored - sharp) < 0.95 * np.std(without - sharp)
    assert restored.std() <= 1.03 * sharp.std()


def test_noise_is_measured_by_sample_and_not_below_rounding():
    rng = np.random.default_rng(0)
    sigma = np.array([2.0, 6.0, 3.0])
    stack = (120 + sigma * rng.standard_normal((3, 200, 200, 3))).round().astype(np.uint8)
    series = Series(lambda i: stack[i], 3, (200, 200, 3), np.dtype(np.uint8), (0.3, 0.6, 0.1))
    noise = measure_noise(series)
    np.testing.assert_allclose(np.sqrt(noise.samples), sigma, rtol=0.15)
    assert np.sqrt(noise.guide) == pytest.approx(np.hypot.reduce(sigma * [0.3, 0.6, 0.1]), rel=0.15)
    flat = Series(lambda i: np.full((64, 64), 9, np.uint8), 2, (64, 64), np.dtype(np.uint8))
    assert measure_noise(flat).guide == pytest.approx(1 / 12)
