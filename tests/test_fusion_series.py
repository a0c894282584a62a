"""`fuse_series`: what holds for every fusion method."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion import DEFAULT_METHOD, METHODS, ClassicalMethod, Series, fuse_series
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import from_array
from napari_focusstack.io.read import read_stack

CLASSICAL = [m.name for m in METHODS if isinstance(m, ClassicalMethod)]
"""What networks promise depends on what they have seen; see test_fusion_pairs.py."""
BEADS = Path(__file__).parents[1] / "sample_data" / "beads.ome.tif"
every_method = pytest.mark.parametrize("method", CLASSICAL)
# The methods of the literature choose hard, by the largest magnitude: they promise less where there is only noise.
soft_method = pytest.mark.parametrize("method", ["pyramid", "select", "dwt"])


def bands(shape=(4, 96, 120), low=0.2, high=0.8, seed=0):
    """Slices that are each sharp in a vertical band of their own, and the plane that is sharp everywhere."""
    n, h, w = shape
    rng = np.random.default_rng(seed)
    sharp = low + (high - low) * rng.random((h, w)).astype(np.float32)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 3)
    stack = np.repeat(blurred[None], n, 0)
    for z in range(n):
        band = slice(z * w // n, (z + 1) * w // n)
        stack[z, :, band] = sharp[:, band]
    return stack, sharp


def band_numbers(shape=(4, 96, 120)):
    """(Y, X) slice that is sharp, and where that is clear: away from the borders of the bands."""
    n, h, w = shape
    x = np.arange(w)
    number = np.minimum(x * n // w, n - 1)
    clear = np.abs(x % (w // n) - w / n / 2) < w / n / 4
    return np.broadcast_to(number, (h, w)), np.broadcast_to(clear, (h, w))


def fuse(data, axes="ZYX", **options):
    keys = {k: options.pop(k) for k in ("z_um", "z_positions_um", "channels") if k in options}
    return drain(fuse_series(from_array(data, axes=axes, **keys), **options))


def rms(a, b):
    return float(np.sqrt(np.mean(np.square(a.astype(float) - b.astype(float)))))


@every_method
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64, np.uint32, np.bool_])
def test_type_and_shape_stay(method, dtype):
    stack, _ = bands()
    top = 1 if np.dtype(dtype).kind in "fb" else 200
    fused = fuse((stack * top).round().astype(dtype) if top > 1 else stack.astype(dtype), method=method)
    assert fused.image.dtype == (np.uint8 if dtype is np.bool_ else dtype)
    assert fused.image.shape == fused.index.shape == fused.confidence.shape == stack.shape[1:]
    assert fused.index.dtype == np.uint16
    assert fused.axes == "YX"


@every_method
@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 1, 40), (3, 7, 5), (2, 16, 16), (2, 129, 131), (2, 257, 33)])
def test_any_size_of_image_works(method, shape):
    stack = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    assert fuse(stack, method=method).image.shape == shape[1:]


@every_method
def test_constant_stack_stays_and_has_no_confidence(method):
    fused = fuse(np.full((3, 40, 50), 117, np.uint8), method=method)
    assert (fused.image == 117).all()
    assert (fused.index == 0).all()
    assert (fused.confidence == 0).all()


@every_method
def test_the_sharp_slice_is_found_and_its_pixels_taken(method):
    stack, sharp = bands()
    fused = fuse((stack * 65535).astype(np.uint16), method=method)
    number, clear = band_numbers()
    assert np.mean(fused.index[clear] == number[clear]) > 0.95
    assert rms(fused.image, sharp * 65535) < 0.5 * min(rms(s, sharp) for s in stack) * 65535


@soft_method
def test_reversed_slices_give_the_same_image_and_the_reversed_index(method):
    stack, _ = bands()
    there, back = fuse(stack, method=method), fuse(stack[::-1], method=method)
    np.testing.assert_allclose(there.image, back.image, atol=1e-4)
    _, clear = band_numbers()
    np.testing.assert_array_equal(there.index[clear], 3 - back.index[clear])


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int32", "float64", "bool"])
def test_the_default_takes_every_pixel_type(dtype):
    stack, _ = bands()
    planes = (stack * 100 > 50) if dtype == "bool" else (stack * 100).astype(dtype)
    image = fuse(planes).image
    assert image.min() >= planes.min()
    assert image.max() <= planes.max()


@every_method
def test_integers_are_rounded_and_overshoot_saturates(method):
    stack, _ = bands(low=0.0, high=1.0)
    stack = np.where(stack > 0.7, 255, np.where(stack < 0.3, 0, np.rint(stack * 255))).astype(np.uint8)
    series = Series(lambda i: stack[i], len(stack), stack.shape[1:], stack.dtype)
    merged = drain(METHODS[method].merge(series)).image
    np.testing.assert_array_equal(fuse(stack, method=method).image, np.clip(np.rint(merged), 0, 255))


def test_the_default_makes_up_no_brightness():
    """Bright blur over a dark place in all slices but one: no pixel is darker or brighter than all slices around it."""
    stack = read_stack(BEADS).series()
    planes = np.stack(list(stack.planes()))
    low, high = (f(planes, axis=0) for f in (np.min, np.max))
    image = drain(fuse_series(stack)).image
    assert (image >= cv2.erode(low, np.ones((3, 3)))).all()
    assert (image <= cv2.dilate(high, np.ones((3, 3)))).all()


@every_method
def test_floats_stay_within_the_range_of_the_slices(method):
    stack, _ = bands(low=0.0, high=1.0)
    image = fuse(stack, method=method).image
    assert image.min() >= stack.min()
    assert image.max() <= stack.max()


@every_method
def test_float_values_are_not_rescaled(method):
    stack, _ = bands()
    small, large = fuse(stack, method=method).image, fuse(stack * 4000, method=method).image
    np.testing.assert_allclose(small * 4000, large, rtol=1e-3, atol=2)


@every_method
def test_hues_stay(method):
    stack, _ = bands(low=0.4, high=0.6)
    colour = np.array([0.9, 0.6, 0.3], np.float32)
    image = fuse((stack[..., None] * colour * 65535).astype(np.uint16), axes="ZYXS", method=method).image
    luma = image / colour / 65535
    np.testing.assert_allclose(luma, np.repeat(luma[..., :1], 3, -1), atol=5e-3)


@every_method
def test_one_slice_is_refused(method):
    with pytest.raises(InputError, match="two slices"):
        fuse(np.zeros((1, 9, 9), np.uint8), method=method)


def test_nan_is_refused():
    stack, _ = bands()
    stack[1, 3, 3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        fuse(stack)


def test_a_time_series_has_to_be_cut_first():
    with pytest.raises(InputError, match="time point"):
        fuse(np.zeros((2, 3, 20, 20), np.uint8), axes="TZYX")


@pytest.mark.parametrize("slices", [[], [1], [0, 9], [-1, 2]])
def test_slices_that_do_not_exist_or_suffice_are_refused(slices):
    with pytest.raises(InputError, match="choose two or more from 0 to 3"):
        fuse(np.zeros((4, 20, 20), np.uint8), slices=slices)


@every_method
def test_each_channel_is_fused_by_itself(method):
    stack, _ = bands()
    both = np.stack([stack, stack[::-1]])
    fused = fuse(both, axes="CZYX", method=method)
    assert fused.axes == "CYX"
    assert fused.image.shape == fused.index.shape == both[:, 0].shape
    _, clear = band_numbers()
    np.testing.assert_array_equal(fused.index[0][clear], 3 - fused.index[1][clear])


@every_method
def test_one_channel_can_drive_the_others(method):
    stack, _ = bands()
    ramp = np.cumsum(np.ones_like(stack), axis=2) / 1000
    fused = fuse(np.stack([stack, ramp]), axes="CZYX", method=method, drive=0)
    alone = fuse(stack, method=method)
    assert fused.index.shape == stack.shape[1:]
    np.testing.assert_array_equal(fused.index, alone.index)
    np.testing.assert_allclose(fused.image[0], alone.image, atol=2e-2)
    np.testing.assert_allclose(fused.image[1], ramp[0], atol=2e-2)


def test_a_driven_channel_takes_its_pixels_from_the_driving_channels_slices():
    stack, _ = bands()
    levels = np.broadcast_to(np.linspace(100, 400, 4, dtype=np.float32)[:, None, None], stack.shape)
    texture = 20 * np.random.default_rng(1).standard_normal(stack.shape[1:]).astype(np.float32)
    driven = (levels + texture) / levels.mean((1, 2), keepdims=True)
    fused = fuse(np.stack([stack, driven]), axes="CZYX", method="select", drive=0)
    number, clear = band_numbers()
    expected = np.take_along_axis(driven, number[None].astype(int), 0)[0]
    assert rms(fused.image[1][clear], expected[clear]) < 0.3 * rms(driven[0][clear], expected[clear])


def test_index_and_slices_keep_the_numbering_of_the_whole_stack():
    stack, _ = bands()
    fused = fuse(stack, slices=[1, 3])
    assert fused.slices == (1, 3)
    assert set(np.unique(fused.index)) <= {1, 3}


@every_method
def test_depth_follows_uneven_heights(method):
    stack, _ = bands()
    heights = (0.0, 1.0, 10.0, 12.0)
    fused = fuse(stack, method=method, z_positions_um=heights)
    number, clear = band_numbers()
    error = np.abs(fused.depth_um - np.asarray(heights)[number])
    # Half a step up or down is what the sub-slice peak may make of a sudden change.
    assert np.median(error[clear & (number == 3)]) <= 1.0
    assert np.median(error[clear & (number == 0)]) <= 0.5


def test_no_depth_without_a_z_step():
    assert fuse(bands()[0]).depth_um is None


@soft_method
def test_flicker_leaves_no_seams(method):
    stack, _ = bands((4, 128, 160))
    lamp = np.array([0.94, 1.06, 0.97, 1.03], np.float32)[:, None, None]
    steady, flickering = (fuse((s * 40000).astype(np.uint16), method=method).image for s in (stack, stack * lamp))
    steady, flickering = (cv2.resize(i, (8, 1), interpolation=cv2.INTER_AREA) for i in (steady, flickering))
    assert np.ptp(flickering / steady) < 0.04


@soft_method
def test_empty_background_is_quieter_than_a_slice(method):
    noise = np.random.default_rng(0).normal(1000, 30, (8, 128, 128)).astype(np.uint16)
    assert fuse(noise, method=method).image.std() < 0.5 * noise[0].std()


@soft_method
def test_empty_background_has_no_salt_and_pepper_index(method):
    noise = np.random.default_rng(0).normal(1000, 30, (8, 128, 128)).astype(np.uint16)
    assert np.mean(np.diff(fuse(noise, method=method).index.astype(int), axis=1) != 0) < 0.1


@every_method
def test_empty_background_gives_no_confidence(method):
    noise = np.random.default_rng(0).normal(1000, 30, (8, 128, 128)).astype(np.uint16)
    assert np.median(fuse(noise, method=method).confidence) < 0.1


def test_progress_counts_every_slice_of_every_channel():
    steps = []
    drain(fuse_series(from_array(np.zeros((2, 3, 20, 20), np.uint8), axes="CZYX")), steps.append)
    assert [s.done for s in steps] == [1, 2, 3, 4, 5, 6]
    assert all(s.total == 6 for s in steps)


@every_method
def test_slices_stream_through(method):
    alive = []

    class Planes:
        shape, dtype, ndim = (9, 40, 40), np.dtype(np.uint8), 3

        def __getitem__(self, key):
            plane = np.random.default_rng(key[0]).integers(0, 255, (40, 40), dtype=np.uint8)
            alive.append(weakref.ref(plane))
            assert sum(ref() is not None for ref in alive) <= 2
            return plane

    drain(fuse_series(from_array(Planes(), axes="ZYX"), method=method))
    assert len(alive) >= 9


def test_every_method_says_what_it_is():
    for method in METHODS:
        assert method.title
        assert method.reference
        assert method.description.endswith(".")
        assert fuse(bands()[0], method=method.name).parameters.items() >= method.parameters.items()
    assert DEFAULT_METHOD in METHODS


def test_an_unknown_method_is_named_with_those_there_are():
    with pytest.raises(InputError, match="pyramid"):
        fuse(bands()[0], method="pyramyd")


def test_the_default_needs_neither_torch_nor_heavy_libraries():
    code = (
        "import sys, numpy as np;"
        "from napari_focusstack.core.fusion import fuse_series;"
        "from napari_focusstack.core.stack import from_array;"
        "from napari_focusstack.core.progress import drain;"
        "drain(fuse_series(from_array(np.eye(64, dtype='u1')[None].repeat(2, 0))));"
        "bad = {'torch', 'napari', 'qtpy', 'skimage', 'scipy', 'pywt'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@every_method
@pytest.mark.parametrize("noise", [0, 1, 20])
@pytest.mark.parametrize(("top", "dtype"), [(1, np.float32), (255, np.uint8), (30000, np.uint16), (1e9, np.float64)])
def test_bright_cells_on_an_empty_background_stay_whatever_the_noise(method, noise, top, dtype):
    rng = np.random.default_rng(0)
    truth = np.zeros((128, 160), np.float32)
    for _ in range(12):
        cv2.circle(truth, (int(rng.integers(160)), int(rng.integers(128))), 9, float(0.5 + 0.4 * rng.random()), -1)
    truth = cv2.GaussianBlur(truth, (0, 0), 1) * 0.9 + 0.02
    stack = np.stack([cv2.GaussianBlur(truth, (0, 0), 0.1 + 1.5 * abs(z - 2)) for z in range(5)])
    stack = stack.astype(np.float64) * top + rng.normal(size=stack.shape) * noise * top / 30000
    if np.dtype(dtype).kind == "u":
        stack = stack.round().clip(0, np.iinfo(dtype).max)
    fused = fuse(stack.astype(dtype), method=method)
    assert np.isfinite(fused.image).all()
    assert rms(fused.image, truth.astype(np.float64) * top) < 0.03 * top


@every_method
def test_weak_detail_on_a_large_float_background_is_kept(method):
    stack, sharp = bands()
    fused = fuse(stack.astype(np.float64) + 1e6, method=method)
    assert rms(fused.image - 1e6, sharp) < 0.5 * rms(stack.mean(0), sharp)


@every_method
def test_images_with_a_mean_near_zero_are_not_rescaled(method):
    stack, sharp = bands()
    stack, sharp = stack - sharp.mean(), sharp - sharp.mean()
    stack += np.array([0.0, 0.02, -0.01, 0.03], np.float32)[:, None, None]
    assert fuse(stack, method=method).image.std() < 1.2 * sharp.std()


@pytest.mark.parametrize("height", [3.0, 3.6, 4.4])
def test_depth_respects_uneven_steps(height):
    heights = np.array([0, 1, 2, 3, 6, 9, 12.0])
    rng = np.random.default_rng(0)
    sharp = rng.random((128, 128)).astype(np.float32) * 200
    stack = np.stack([cv2.GaussianBlur(sharp, (0, 0), np.hypot(1.2, 0.35 * abs(z - height))) for z in heights])
    fused = fuse(stack, z_positions_um=tuple(heights))
    assert abs(float(np.median(fused.depth_um)) - height) < 0.45


@every_method
@pytest.mark.parametrize("drive", [0, 1])
def test_a_channel_without_light_in_places_is_driven_by_the_other(method, drive):
    stack, _ = bands(seed=1)
    lit = np.zeros((2, *stack.shape), np.uint8)
    lit[0, :, :40, :60] = 200 * stack[:, :40, :60]
    lit[1, :, 40:, 60:] = 150 * stack[:, 40:, 60:]
    fused = fuse(lit, axes="CZYX", drive=drive, method=method)
    assert fused.image[0, 60:, 80:].max() < 10
    assert fused.image[drive].max() > 100
