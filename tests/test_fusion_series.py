"""`fuse_series`: what holds for every fusion method."""

from __future__ import annotations

import numpy as np
import pytest

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.fusion import DEFAULT_METHOD, METHODS, fuse_series
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import from_array

RNG = np.random.default_rng(0)
every_method = pytest.mark.parametrize("method", METHODS.names())


def textured(shape=(4, 61, 83), low=0.2, high=0.8):
    """Slices that are each sharp in a vertical band of their own, 0 … 1."""
    import cv2

    n, h, w = shape
    sharp = RNG.random((h, w)).astype(np.float32)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 3)
    stack = np.repeat(blurred[None], n, 0)
    for z in range(n):
        band = slice(z * w // n, (z + 1) * w // n)
        stack[z, :, band] = sharp[:, band]
    return low + (high - low) * stack, low + (high - low) * sharp


def fuse(data, axes="ZYX", **options):
    keys = {k: options.pop(k) for k in ("z_um", "z_positions_um", "channels") if k in options}
    return drain(fuse_series(from_array(data, axes=axes, **keys), **options))


@every_method
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64, np.uint32, np.bool_])
def test_type_and_shape_stay(method, dtype):
    stack, _ = textured()
    top = 1 if np.dtype(dtype).kind in "fb" else 200
    fused = fuse((stack * top).round().astype(dtype) if top > 1 else stack.astype(dtype), method=method)
    assert fused.image.dtype == (np.uint8 if dtype is np.bool_ else dtype)
    assert fused.image.shape == fused.index.shape == fused.confidence.shape == stack.shape[1:]
    assert fused.axes == "YX"


@every_method
@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 1, 40), (3, 7, 5), (2, 16, 16), (2, 129, 131), (2, 257, 33)])
def test_any_size_of_image_works(method, shape):
    stack = RNG.integers(0, 255, shape, dtype=np.uint8)
    assert fuse(stack, method=method).image.shape == shape[1:]


@every_method
def test_constant_stack_stays_and_has_no_confidence(method):
    fused = fuse(np.full((3, 40, 50), 117, np.uint8), method=method)
    assert (fused.image == 117).all()
    assert (fused.index == 0).all()
    assert (fused.confidence == 0).all()


@every_method
def test_one_slice_is_refused(method):
    with pytest.raises(InputError, match="two slices"):
        fuse(np.zeros((1, 9, 9), np.uint8), method=method)


def test_default_method_is_registered():
    assert DEFAULT_METHOD in METHODS
