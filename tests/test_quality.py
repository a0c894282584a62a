from __future__ import annotations

import numpy as np
import pytest

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import drain
from napari_focusstack.core.quality import assess, data_range, psnr, ssim
from napari_focusstack.core.stack import from_array


def image(seed: int = 0, shape: tuple[int, ...] = (40, 50)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_an_image_equals_itself() -> None:
    assert psnr(image(), image()) == np.inf
    assert ssim(image(), image()) == pytest.approx(1)


def test_psnr_of_a_known_error() -> None:
    reference = np.full((20, 20), 100, np.uint8)
    assert psnr(reference + np.uint8(10), reference) == pytest.approx(20 * np.log10(255 / 10), abs=1e-4)


def test_both_fall_as_noise_grows() -> None:
    reference = np.kron(image(1, (8, 8)), np.ones((8, 8), np.uint8)).astype(np.float32)
    noise = np.random.default_rng(2).normal(size=reference.shape).astype(np.float32)
    worse = [(psnr(reference + s * noise, reference), ssim(reference + s * noise, reference)) for s in (1, 5, 25)]
    assert worse == sorted(worse, reverse=True)


@pytest.mark.parametrize(("top", "span"), [(900, 1023), (4000, 4095), (60000, 65535)])
def test_the_range_of_a_16_bit_image_is_its_cameras(top: int, span: int) -> None:
    assert data_range(np.array([[0, top]], np.uint16)) == span


def test_images_of_different_size_are_refused() -> None:
    with pytest.raises(InputError, match="same size"):
        psnr(image(), image(0, (40, 51)))


def test_colour_images_are_compared() -> None:
    assert ssim(image(0, (40, 50, 3)), image(0, (40, 50, 3))) == pytest.approx(1)


def test_a_slice_that_the_image_equals_does_not_make_psnr_against_the_slices_infinite() -> None:
    fused, other = image(), image(1)
    (found,) = drain(assess(fused, sources=from_array(np.stack([fused, other]), axes="ZYX"), metrics=["psnr"]))
    assert found.value == pytest.approx(psnr(fused, other) + 10 * np.log10(2), abs=1e-4)
