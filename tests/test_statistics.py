"""Statistics of an image that tell defocus, whatever the specimen."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from napari_focusstack.networks import ldsenet
from napari_focusstack.networks.statistics import Statistics, _plan

RINGS = 39


def numbers(*images: np.ndarray, least_px: int = 128) -> np.ndarray:
    with torch.inference_mode():
        return Statistics(least_px=least_px)(torch.from_numpy(np.stack(images)).float()[:, None]).numpy()


def points(seed: int = 0, size: int = 300, n: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size), np.float32)
    image[tuple(rng.integers(0, size, (2, n)))] = rng.uniform(0.5, 1, n)
    return image


def disc(radius: float) -> np.ndarray:
    """A lens far out of focus, by geometry; its edge smooth over a pixel."""
    half = int(radius) + 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1).astype(np.float32)
    return kernel / kernel.sum()


def blurred(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.filter2D(image, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT)


def grain(slope: float, seed: int = 0, size: int = 300) -> np.ndarray:
    """Noise whose amplitude falls by a power of frequency: a specimen of some kind."""
    rng = np.random.default_rng(seed)
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]).clip(1 / size)
    image = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) * f**-slope, s=(size, size))
    return (image / image.std()).astype(np.float32)


@pytest.mark.parametrize("least_px", [84, 96, 128])
def test_there_are_as_many_as_it_says_and_all_are_finite(least_px):
    for image in (points(), np.zeros((300, 300), np.float32), np.full((130, 131), 7e4, np.float32)):
        found = numbers(image, least_px=least_px)
        assert found.shape == (1, Statistics(least_px=least_px).count)
        assert np.isfinite(found).all()


def test_brightness_contrast_slope_and_mirroring_change_nothing():
    image = blurred(points(), disc(4)) + 0.01 * grain(1.0)
    slope = np.linspace(0, 3, 300, dtype=np.float32)[:, None]
    seen = numbers(image, 1000 * image + 200, image + slope, image[::-1].copy(), image[:, ::-1].copy())
    np.testing.assert_allclose(seen[1:], np.broadcast_to(seen[0], seen[1:].shape), atol=0.03)


def test_dark_on_bright_counts_as_bright_on_dark():
    image = blurred(points(), disc(3))
    a, b = numbers(image, 1 - image)
    np.testing.assert_allclose(a, b, atol=1e-3)
    assert a[RINGS] > 0.5  # points are bright


@pytest.mark.parametrize("slope", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("radius", [5.0, 8.0])
def test_rings_show_where_a_disc_lets_nothing_pass_whatever_the_specimen(slope, radius):
    """The first zero of ``2·J1(2πrf)/(2πrf)`` lies at ``f = 0.61/r``."""
    edges = np.array(Statistics().edges)
    middle = np.sqrt(edges[:-1] * edges[1:])
    near = (middle > 0.4 / radius) & (middle < 0.95 / radius)
    rings = numbers(blurred(grain(slope), disc(radius)))[0, :RINGS]
    assert middle[near][rings[near].argmin()] == pytest.approx(0.61 / radius, rel=0.12)


def test_moments_tell_rings_from_halos():
    """Two spread functions of like widths: a ring, and a core with a faint halo."""
    y, x = np.mgrid[-12:13, -12:13]
    r = np.hypot(y, x)
    ring = np.exp(-((r - 5) ** 2) / 2)
    core = np.exp(-(r**2) / 3) + 0.03 * (r < 9)
    found = numbers(*(blurred(points(seed), k / k.sum()) for seed in range(4) for k in (ring, core)))[:, RINGS:]
    within = np.abs(found[::2] - found[::2].mean(axis=0)).mean(axis=0) + np.abs(found[1::2] - found[1::2].mean(0)).mean(
        0
    )
    apart = np.abs(found[::2].mean(axis=0) - found[1::2].mean(axis=0))
    assert (apart > 4 * within).sum() > 10


@pytest.mark.parametrize("size", [(40, 300), (96, 97), (127, 62)])
def test_images_smaller_than_a_block_are_mirrored(size):
    assert np.isfinite(numbers(grain(1.0)[: size[0], : size[1]].copy())).all()


def test_each_image_of_a_batch_is_judged_by_itself():
    images = [blurred(grain(1.0, seed), disc(1 + seed)) for seed in range(7)]
    np.testing.assert_allclose(numbers(*images), np.concatenate([numbers(i) for i in images]), atol=1e-4)


def test_a_side_that_is_no_multiple_of_four_is_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        Statistics(least_px=90)


def test_what_a_network_with_statistics_says_rests_on_them():
    torch.manual_seed(0)
    network = ldsenet.ldsenet(width=0.4, statistics=True).eval()
    tile, sampling = torch.from_numpy(grain(1.0)[None, None, :96, :96].copy()), torch.tensor([0.75])
    with torch.inference_mode():
        before = network(tile, sampling)
        network.measured[0].weight.mul_(2)
        assert not torch.allclose(network(tile, sampling), before)


def test_a_graph_of_statistics_takes_any_batch_and_leaves_nothing_behind():
    torch.manual_seed(0)
    module, patches = Statistics(least_px=84).eval(), torch.rand(70, 1, 84, 84)
    _plan.cache_clear()
    sizes = ({0: torch.export.Dim("batch", min=1)},)
    graph = torch.export.export(module, (patches[:2],), dynamic_shapes=sizes, strict=False).module()
    with torch.inference_mode():
        torch.testing.assert_close(graph(patches), module(patches), atol=1e-3, rtol=1e-3)
