"""Kernels from what is known of the blur: optics and defocus, motion; and parts of a plane judged by all of it."""

import cv2
import numpy as np
import pytest

from napari_focusstack.core.deblur import DEBLURRERS, DeblurSettings, Wish, deblur, deblur_job, deblur_plane
from napari_focusstack.core.deblur.kernel import both, defocused, disc, motion
from napari_focusstack.core.defocus import Calibration
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import Optics, from_array
from test_deblur import psnr
from test_patches import cells

KNOWN = Calibration(na=0.5, wavelength_um=0.52, pixel_um=0.325, index=1.0)


def photographed(scene, defocus_um):
    """The scene through a lens: the pupil's exact phase, not the formula that the kernel is made by."""
    n = scene.shape[0]
    sine = np.hypot(*np.meshgrid(*[np.fft.fftfreq(2 * n, KNOWN.pixel_um / 2) * KNOWN.wavelength_um] * 2))
    phase = 2 * np.pi * defocus_um / KNOWN.wavelength_um * np.sqrt(np.maximum(1 - sine**2, 0))
    point = np.abs(np.fft.ifft2((sine <= KNOWN.na) * np.exp(1j * phase))) ** 2
    point = np.fft.fftshift(point)
    point = cv2.filter2D(point, -1, np.ones((2, 2)) / 4)[::2, ::2]
    point = (point / point.sum())[n // 2 - 40 : n // 2 + 41, n // 2 - 40 : n // 2 + 41]
    return cv2.filter2D(scene, -1, point[::-1, ::-1].astype(np.float32), borderType=cv2.BORDER_REFLECT)


def scene():
    return cells(3).astype(np.float32)[:160, :160] / 255


@pytest.mark.parametrize("name", ["wiener", "richardson_lucy"])
@pytest.mark.parametrize("defocus_um", [1.5, 3.0, -5.0])
def test_the_kernel_of_the_optics_restores_more_than_the_disc(name, defocus_um):
    sharp, blurred = photographed(scene(), 0.0), photographed(scene(), defocus_um)
    blurred = blurred + np.random.default_rng(0).normal(0, 0.002, blurred.shape).astype(np.float32)
    optics = Optics(na=KNOWN.na, wavelength_um=KNOWN.wavelength_um, immersion_index=1.0)
    stack = from_array(blurred, axes="YX", y_um=KNOWN.pixel_um, x_um=KNOWN.pixel_um, optics=optics)
    radius = abs(defocus_um) * np.tan(np.arcsin(KNOWN.na)) / KNOWN.pixel_um
    told = deblur(stack, DeblurSettings(model=name, defocus_um=defocus_um)).data
    by_disc = deblur(stack, DeblurSettings(model=name, blur_px=radius)).data
    assert psnr(told, sharp) > psnr(blurred, sharp) + 1
    assert psnr(told, sharp) > psnr(by_disc, sharp) + 2


def test_the_kernel_of_the_optics_is_even_and_as_wide_as_its_disc():
    half = len(defocused(KNOWN, 0.0)) // 2
    assert defocused(KNOWN, 0.0)[half - 1 : half + 2, half - 1 : half + 2].sum() > 0.85
    for z in (2.0, 10.0):
        kernel = defocused(KNOWN, z)
        radius = 2 * z / KNOWN.um_per_wave / KNOWN.sampling
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert np.array_equal(kernel, defocused(KNOWN, -z))
        assert np.allclose(kernel, kernel[::-1, ::-1], atol=1e-6)
        y, x = np.indices(kernel.shape) - len(kernel) // 2
        assert np.sum(kernel[np.hypot(y, x) <= radius + 1]) > 0.8


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, -45.0])
def test_motion_is_a_line_along_its_direction(degrees):
    kernel = motion(9, degrees=degrees)
    y, x = np.indices(kernel.shape) - len(kernel) // 2
    a = np.deg2rad(degrees)
    along, across = x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert np.sqrt((kernel * along**2).sum()) == pytest.approx(9 / np.sqrt(12), abs=0.4)
    assert np.sqrt((kernel * across**2).sum()) < 0.6


@pytest.mark.parametrize("name", ["wiener", "richardson_lucy"])
def test_a_motion_that_is_known_is_undone(name):
    image = cv2.GaussianBlur(scene(), (0, 0), 0.7)
    blurred = cv2.filter2D(image, -1, motion(9, degrees=30), borderType=cv2.BORDER_REFLECT)
    blurred += np.random.default_rng(0).normal(0, 0.005, blurred.shape).astype(np.float32)
    stack = from_array(blurred, axes="YX")
    right, across = (DeblurSettings(model=name, motion_px=9, motion_degrees=d) for d in (30, 120))
    made = drain(deblur_job(stack, right))
    assert made.blurs_px == ()
    assert psnr(made.stack.data, image) > psnr(blurred, image) + 2
    assert psnr(made.stack.data, image) > psnr(deblur(stack, across).data, image) + 2


def test_without_noise_only_richardson_lucy_undoes_a_known_motion():
    image = cv2.GaussianBlur(scene(), (0, 0), 0.7)
    blurred = cv2.filter2D(image, -1, motion(9, degrees=30), borderType=cv2.BORDER_REFLECT)
    stack = from_array(blurred, axes="YX")
    gained = {
        name: psnr(deblur(stack, DeblurSettings(model=name, motion_px=9, motion_degrees=30)).data, image)
        - psnr(blurred, image)
        for name in ("wiener", "unsupervised_wiener", "richardson_lucy")
    }
    # As the docs say: where one of these begins to gain, tell it there.
    assert gained["wiener"] < 0
    assert gained["unsupervised_wiener"] < 0
    assert gained["richardson_lucy"] > 5


def test_two_blurs_are_told_together():
    kernel = both(disc(3), motion(7, degrees=0))
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    image = scene()
    made = deblur(from_array(image), DeblurSettings(model="wiener", blur_px=3, motion_px=7)).data
    assert np.array_equal(made, drain(deblur_plane(image, DEBLURRERS["wiener"], Wish(kernel=kernel))))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"defocus_um": 3.0}, "numerical aperture, wavelength and pixel size"),
        ({"defocus_um": 3.0, "blur_px": 2.0}, "give one of them"),
        ({"motion_degrees": 40.0}, "give the length"),
        ({"model": "deblur_unet", "defocus_um": 3.0}, "is a network"),
        ({"model": "deblur_unet", "motion_px": 3.0}, "is a network"),
    ],
)
def test_what_can_not_be_used_of_the_blur_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        deblur(from_array(scene(), axes="YX"), DeblurSettings(**({"model": "wiener"} | settings)))


def test_a_defocus_too_far_for_any_kernel_is_refused():
    with pytest.raises(InputError, match="give one that blurs over 100 px at most"):
        defocused(KNOWN, 200.0)


@pytest.mark.parametrize("name", ["wiener", "richardson_lucy", "deblur_unet"])
@pytest.mark.parametrize("samples", [(), (3,)])
def test_a_part_shows_what_the_whole_plane_shows_there(name, samples):
    plane = cv2.GaussianBlur(np.tile(cells(5).astype(np.float32), (2, 2))[:400, :380], (0, 0), 1.5)
    plane[:100] *= 0.3  # other quantiles than the part's
    plane = np.stack([plane] * 3, axis=-1) if samples else plane
    stack = from_array(plane.astype(np.uint8), axes="YXS" if samples else "YX")
    settings = DeblurSettings(model=name, device="cpu")
    within = (slice(203, 331), slice(101, 211))
    whole, part = (drain(deblur_job(stack, settings, within=w)) for w in (None, within))
    assert part.blurs_px == whole.blurs_px
    assert part.stack.data.shape == (128, 110, *samples)
    off = np.abs(part.stack.data.astype(int) - whole.stack.data[within].astype(int))
    assert off.max() <= 3
    assert off.mean() < 0.25


def test_a_part_of_a_blank_plane_is_that_part():
    made = deblur_plane(np.full((64, 70), 7, np.uint8), DEBLURRERS["wiener"], Wish(within=(slice(3, 40), slice(0, 20))))
    assert drain(made).shape == (37, 20)
