"""The classical fusion methods of the literature: what each of them, and all of them, promise."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest

from napari_focusstack.core.fusion import METHODS, Series
from napari_focusstack.core.fusion.dsift import fuse_dsift
from napari_focusstack.core.fusion.guided import guided_filter
from napari_focusstack.core.fusion.multiscale import _spans, fuse_curvelet, fuse_dtcwt, fuse_nsct
from napari_focusstack.core.progress import drain
from napari_focusstack.core.quality import psnr

NAMES = ("dtcwt", "curvelet", "nsct", "gff", "dsift")
every_method = pytest.mark.parametrize("name", NAMES)
LUMA = (0.299, 0.587, 0.114)


def texture(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    scales = [cv2.GaussianBlur(noise, (0, 0), s) for s in (1, 2.5, 6)]
    return 128 + sum(30 * s / s.std() for s in scales)


def scene(n: int = 3, size: tuple[int, int] = (96, 120), colours: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth, and n slices that are each sharp in a vertical band of their own."""
    truth = texture((*size, colours) if colours else size)
    slices = np.stack([cv2.GaussianBlur(truth, (0, 0), 3)] * n)
    for z in range(n):
        band = slice(z * size[1] // n, (z + 1) * size[1] // n)
        slices[z, :, band] = truth[:, band]
    return truth, slices


def series(slices: np.ndarray) -> Series:
    mix = LUMA if slices.ndim == 4 else (1.0,)
    return Series(lambda i: slices[i], len(slices), slices.shape[1:], slices.dtype, mix)


def fuse(name: str, slices: np.ndarray) -> np.ndarray:
    return drain(METHODS[name].merge(series(slices))).image


@every_method
def test_equal_slices_give_themselves(name: str) -> None:
    truth = texture((70, 90))
    np.testing.assert_allclose(fuse(name, np.stack([truth] * 3)), truth, atol=0.02)


@every_method
@pytest.mark.parametrize("colours", [0, 3])
def test_the_truth_is_found_far_better_than_by_any_slice_or_the_mean(name: str, colours: int) -> None:
    truth, slices = scene(colours=colours)
    others = max(psnr(s, truth, span=255) for s in (*slices, slices.mean(axis=0)))
    assert psnr(fuse(name, slices), truth, span=255) > others + 6


@every_method
def test_the_index_tells_the_sharp_slice(name: str) -> None:
    _, slices = scene()
    merged = drain(METHODS[name].merge(series(slices)))
    expected = np.repeat(np.arange(3), 40)
    inner = np.abs((np.arange(120) % 40) - 19.5) < 10
    assert (merged.index == expected)[:, inner].mean() > 0.97
    assert np.abs(merged.peak - merged.index).max() <= 0.5


@every_method
def test_range_and_offset_carry_through(name: str) -> None:
    _, slices = scene()
    scaled = fuse(name, slices * 200 + 1000)
    np.testing.assert_allclose((scaled - 1000) / 200, fuse(name, slices), atol=1.5)
    assert np.abs((scaled - 1000) / 200 - fuse(name, slices)).mean() < 0.01


@every_method
def test_grey_and_colour_of_the_same_slices_agree(name: str) -> None:
    _, slices = scene()
    colour = fuse(name, np.repeat(slices[..., None], 3, axis=3))
    grey = fuse(name, slices)
    assert np.abs(colour - grey[..., None]).mean() < 0.02


@every_method
def test_a_channel_that_does_not_drive_does_not_choose(name: str) -> None:
    truth, slices = scene()
    both = np.stack([slices, slices[::-1]], axis=-1)
    work = Series(lambda i: both[i], 3, both.shape[1:], both.dtype, (1.0, 0.0))
    fused = drain(METHODS[name].merge(work)).image
    assert psnr(fused[..., 0], truth, span=255) > psnr(fused[..., 1], truth, span=255) + 6


@every_method
def test_progress_is_told_for_every_slice_of_every_pass(name: str) -> None:
    _, slices = scene()
    steps = list(METHODS[name].merge(series(slices)))
    assert [s.done for s in steps] == list(range(1, steps[0].total + 1))
    assert steps[0].total % 3 == 0


@every_method
def test_memory_does_not_grow_with_the_slices(name: str) -> None:
    base = texture((160, 200)).astype(np.uint8)
    peaks = []
    for n in (3, 12):
        work = Series(lambda i: np.roll(base, i, axis=1), n, base.shape, base.dtype)
        drain(METHODS[name].merge(work))
        tracemalloc.start()
        drain(METHODS[name].merge(work))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.parametrize(
    ("function", "options"),
    [(fuse_dtcwt, {"levels": 3}), (fuse_curvelet, {"levels": 3}), (fuse_nsct, {"directions": (8, 4)})],
)
def test_tiles_do_not_show(function: object, options: dict[str, object]) -> None:
    truth, slices = scene(size=(220, 300))
    whole = drain(function(series(slices), tile_px=400, **options))  # type: ignore[operator]
    tiled = drain(function(series(slices), tile_px=200, **options))  # type: ignore[operator]
    assert psnr(tiled.image, truth, span=255) == pytest.approx(psnr(whole.image, truth, span=255), abs=0.3)
    step = np.abs(np.diff(tiled.image - truth, axis=1)).mean(axis=0)
    assert step[130:170].max() < 2 * np.abs(np.diff(whole.image - truth, axis=1)).mean(axis=0)[130:170].max()
    assert (tiled.index == whole.index).mean() > 0.99


@pytest.mark.parametrize("n", [16, 100, 801, 1216, 4099])
def test_tiles_cover_every_pixel_once_in_all(n: int) -> None:
    spans = _spans(n, 800)
    total = np.zeros(n)
    for span in spans:
        total[span.start : span.start + span.size] += span.weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert max(span.size for span in spans) <= 802
    assert [span.own[1] for span in spans[:-1]] == [span.own[0] for span in spans[1:]]


def test_a_single_odd_coefficient_follows_its_neighbours() -> None:
    _, slices = scene(2)
    clean = fuse("dtcwt", slices)
    slices[1, 48, 20] += 60
    assert np.abs(fuse("dtcwt", slices) - clean).max() < 30


def test_dense_sift_copies_pixels() -> None:
    _, slices = scene()
    merged = drain(METHODS["dsift"].merge(series(slices)))
    np.testing.assert_array_equal(merged.image, np.take_along_axis(slices, merged.index[None].astype(int), 0)[0])


def test_dense_sift_forgives_a_small_shift() -> None:
    _, slices = scene(2)
    slices[1] = np.roll(slices[1], 1, axis=0)
    errors = []
    for search_px in (0, 2):
        options = {"patch_px": 16, "window_px": 16, "smallest_share": 0.001, "search_px": search_px}
        merged = drain(fuse_dsift(series(slices), **options))  # type: ignore[arg-type]
        errors.append((merged.index != np.repeat([0, 1], 60)).mean())
    assert errors[1] <= errors[0] < 0.1


def test_a_guided_filter_keeps_the_guides_edges_and_smooths_elsewhere() -> None:
    guide = np.zeros((60, 60), np.float32)
    guide[:, 30:] = 1
    rough = (guide + np.random.default_rng(0).normal(0, 0.1, guide.shape)).astype(np.float32)
    smooth = guided_filter(rough, guide, radius=5, eps=1e-4)
    assert np.abs(smooth - guide).max() < 0.1
    assert smooth[:, :25].std() < 0.3 * rough[:, :25].std()


def test_a_guided_filter_without_edges_is_a_mean_of_means() -> None:
    mask = texture((50, 60))
    expected = cv2.blur(cv2.blur(mask, (7, 7), borderType=cv2.BORDER_REFLECT), (7, 7), borderType=cv2.BORDER_REFLECT)
    flat = np.full(mask.shape, 0.5, np.float32)
    np.testing.assert_allclose(guided_filter(mask, flat, radius=3, eps=1e-4), expected, rtol=1e-4)
