"""What every focus measure promises: higher is sharper, in a stated unit, on any image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.filters import noise_sigma, to_grey
from napari_focusstack.core.measures import (
    MEASURES,
    Measure,
    harris_response,
    local_maximum_gradient_map,
    stack_range,
)
from napari_focusstack.core.report import Grid
from napari_focusstack.core.stack import Optics

EVERY = [pytest.param(m, id=m.name) for m in MEASURES]
# Documented in docs/measures.md: blur fills in grey levels between an object and its surroundings, so flat objects gain
# levels (entropy) and small or flat ones gain pixels that stand out of their neighbours (patterns).
FOR_DENSE_TEXTURE_ONLY = {"histogram_entropy", "local_binary_patterns"}
THROUGH_FOCUS = (8.0, 5.0, 3.0, 2.0, 1.2, 0.0, 1.0, 1.8, 2.8, 4.5, 7.0)
IN_FOCUS = 5


def texture(shape: tuple[int, int] = (128, 96), seed: int = 0) -> np.ndarray:
    rough = np.random.default_rng(seed).normal(size=shape)
    return (1000 + 900 * cv2.GaussianBlur(rough, (0, 0), 0.8)).astype(np.float32)


def objects(size: int = 128) -> np.ndarray:
    rng = np.random.default_rng(1)
    image = np.full((size, size), 2000.0)
    for _ in range(30):
        y, x = (int(v) for v in rng.integers(0, size, 2))
        cv2.circle(image, (x, y), int(rng.integers(4, 20)), float(rng.uniform(500, 4000)), -1)
    return cv2.GaussianBlur(image, (0, 0), 0.6).astype(np.float32)


def through_focus(sharp: np.ndarray) -> list[np.ndarray]:
    return [cv2.GaussianBlur(sharp, (0, 0), sigma) if sigma else sharp for sigma in THROUGH_FOCUS]


def curve(measure: Measure, planes: list[np.ndarray]) -> np.ndarray:
    value_range, noise = stack_range(planes), min(noise_sigma(p) for p in planes)
    return np.array([measure.score(p, value_range=value_range, noise=noise).map.mean() for p in planes])


def test_there_are_the_37_of_the_literature_and_all_families() -> None:
    assert len(MEASURES) >= 37
    families = {m.family for m in MEASURES}
    assert families == {"gradient", "Laplacian", "wavelet", "statistics", "cosine transform", "spectrum", "other"}


@pytest.mark.parametrize("measure", EVERY)
def test_each_is_described_for_a_menu(measure: Measure) -> None:
    assert measure.title
    assert measure.units
    assert measure.reference
    assert measure.description.endswith(".")
    assert len(measure.description) <= 120


@pytest.mark.parametrize("measure", EVERY)
def test_falls_on_both_sides_of_focus_on_texture(measure: Measure) -> None:
    values = curve(measure, through_focus(texture()))
    steps = np.diff(values)
    assert (steps[:IN_FOCUS] > 0).all()
    assert (steps[IN_FOCUS:] < 0).all()


@pytest.mark.parametrize("measure", [p for p in EVERY if p.id not in FOR_DENSE_TEXTURE_ONLY])
def test_falls_on_both_sides_of_focus_on_flat_objects(measure: Measure) -> None:
    values = curve(measure, through_focus(objects()))
    steps = np.diff(values)
    assert (steps[:IN_FOCUS] > 0).all()
    assert (steps[IN_FOCUS:] < 0).all()


@pytest.mark.parametrize("measure", [p for p in EVERY if p.id not in FOR_DENSE_TEXTURE_ONLY])
def test_finds_focus_under_camera_noise_on_a_large_background(measure: Measure) -> None:
    rng = np.random.default_rng(2)
    planes = [rng.poisson(p + 8000).clip(0, 65535).astype(np.uint16) for p in through_focus(objects())]
    assert int(curve(measure, planes).argmax()) == IN_FOCUS


@pytest.mark.parametrize("measure", EVERY)
def test_map_lies_on_the_grid(measure: Measure) -> None:
    for shape, patch_px in (((128, 96), 32), ((75, 131), 16), ((8, 8), 4), ((9, 40), 32)):
        score = measure.score(texture(shape), patch_px=patch_px)
        assert score.grid == Grid.covering(shape, patch_px)
        assert score.map.shape == score.grid.shape
        assert score.map.dtype == np.float32
        assert np.isfinite(score.map).all()


@pytest.mark.parametrize("measure", EVERY)
def test_sharp_patch_stands_out_where_it_is(measure: Measure) -> None:
    sharp = texture((128, 128))
    plane = cv2.GaussianBlur(sharp, (0, 0), 4)
    plane[64:96, 32:64] = sharp[64:96, 32:64]
    values = measure.score(plane, patch_px=32).map
    assert np.unravel_index(values.argmax(), values.shape) == (2, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("measure", EVERY)
def test_constant_plane_is_finite_and_least_sharp(measure: Measure, dtype: type) -> None:
    for level in (0, 200):
        values = measure.score(np.full((33, 47), level, dtype)).map
        assert np.isfinite(values).all()
        assert values.max() <= 1e-3


@pytest.mark.parametrize("measure", EVERY)
def test_negative_floats_are_scored(measure: Measure) -> None:
    planes = [p - np.float32(1500) for p in through_focus(texture())]
    values = curve(measure, planes)
    assert np.isfinite(values).all()
    assert int(values.argmax()) == IN_FOCUS


@pytest.mark.parametrize("measure", EVERY)
def test_offset_changes_nothing_where_that_is_promised(measure: Measure) -> None:
    plane, offset = np.rint(texture()).astype(np.float32), np.float32(20000)
    low, high = stack_range([plane])
    before = measure.score(plane, value_range=(low, high), noise=3.0).map
    after = measure.score(plane + offset, value_range=(low + offset, high + offset), noise=3.0).map
    same = bool(np.allclose(before, after, rtol=2e-3, atol=1e-3 * before.mean()))
    assert same == measure.offset_free


@pytest.mark.parametrize("measure", EVERY)
def test_gain_scales_by_the_stated_power(measure: Measure) -> None:
    plane = texture()
    low, high = stack_range([plane])
    before = measure.score(plane, value_range=(low, high), noise=3.0).map
    after = measure.score(plane * 4, value_range=(low * 4, high * 4), noise=12.0).map
    assert measure.gain_exponent is not None
    np.testing.assert_allclose(after, before * 4.0**measure.gain_exponent, rtol=1e-3, atol=1e-4 * after.mean())


@pytest.mark.parametrize("measure", EVERY)
def test_turned_image_gives_the_turned_map(measure: Measure) -> None:
    plane = texture((96, 128))
    as_is = measure.score(plane, patch_px=16, noise=1.0).map
    close = {"rtol": 1e-3, "atol": 1e-4 * float(as_is.mean())}
    np.testing.assert_allclose(measure.score(plane.T, patch_px=16, noise=1.0).map, as_is.T, **close)
    np.testing.assert_allclose(measure.score(plane[::-1], patch_px=16, noise=1.0).map, as_is[::-1], **close)
    np.testing.assert_allclose(measure.score(plane[:, ::-1], patch_px=16, noise=1.0).map, as_is[:, ::-1], **close)


@pytest.mark.parametrize("measure", EVERY)
def test_pixel_type_does_not_matter(measure: Measure) -> None:
    plane = np.rint(texture()).clip(0, 4095)
    told = {"value_range": (0.0, 4095.0), "noise": 2.0}
    as_12_bit = measure.score(plane.astype(np.uint16), **told).map
    np.testing.assert_array_equal(measure.score(plane.astype(np.float64), **told).map, as_12_bit)
    np.testing.assert_array_equal(measure.score(plane.astype(np.int32), **told).map, as_12_bit)


@pytest.mark.parametrize("measure", EVERY)
def test_plane_is_left_as_it_was(measure: Measure) -> None:
    plane = texture()
    before = plane.copy()
    measure.score(plane)
    np.testing.assert_array_equal(plane, before)


def test_too_small_a_plane_is_named() -> None:
    with pytest.raises(InputError, match="7×20 pixels"):
        MEASURES["tenengrad"].score(np.zeros((7, 20)))


def test_too_small_a_patch_is_named() -> None:
    with pytest.raises(InputError, match="Patches of 3 pixels"):
        MEASURES["tenengrad"].score(np.zeros((20, 20)), patch_px=3)


def test_colours_are_scored_by_their_luma() -> None:
    rgb = np.stack([texture(seed=s) / 8 for s in range(3)], axis=-1).clip(0, 255).astype(np.uint8)
    luma = rgb.astype(np.float64) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(to_grey(rgb), luma, rtol=1e-5)
    np.testing.assert_allclose(MEASURES["tenengrad"].score(rgb).map, MEASURES["tenengrad"].score(luma).map, rtol=1e-3)


def test_grey_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"\(5, 5, 4\)"):
        to_grey(np.zeros((5, 5, 4)))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_noise_is_found_beneath_structure(kind: type) -> None:
    y, x = np.mgrid[:256, :256]
    clean = 120 + 60 * np.sin(x / 25) * np.cos(y / 20)
    noisy = clean + np.random.default_rng(0).normal(0, 6, clean.shape)
    assert noise_sigma(noisy.astype(kind)) == pytest.approx(6, rel=0.05)


def test_noise_is_found_beside_clipped_pixels() -> None:
    plane = np.random.default_rng(0).normal(500, 6, (256, 256))
    plane[:150] = 0
    plane[200:, :50] = 65535
    assert noise_sigma(plane.astype(np.uint16)) == pytest.approx(6, rel=0.05)


def test_constant_plane_has_no_noise() -> None:
    assert noise_sigma(np.full((64, 64), 7, np.uint8)) == 0


def test_midband_follows_the_optics() -> None:
    """A pattern of 8 µm a cycle is within the band of a lens that cuts off at 1.25 µm, not of one at 6 µm."""
    stripes = (1000 + 100 * np.cos(2 * np.pi * np.arange(160) / 16))[None, :].repeat(160, axis=0).astype(np.float32)
    measure = MEASURES["midband_power"]
    within = measure.score(stripes, pixel_um=0.5, optics=Optics(na=0.2, wavelength_um=0.5)).map.mean()
    without = measure.score(stripes, pixel_um=0.5, optics=Optics(na=0.04, wavelength_um=0.5)).map.mean()
    assert within == pytest.approx(100**2 / 2, rel=0.05)
    assert without < 0.02 * within


def test_local_maximum_gradient_map_equals_its_definition() -> None:
    plane = texture((13, 17))
    z = (plane.astype(np.float64) - plane.mean()) / plane.astype(np.float64).std()
    rows, cols = plane.shape
    for h, w in ((2, 2), (3, 5), (8, 8), (5, 2), (32, 32)):
        expected = np.zeros(plane.shape)
        for y in range(rows):
            for x in range(cols):
                top, bottom = max(0, y - (h - 1) // 2), min(rows - 1, y + h // 2)
                left, right = max(0, x - (w - 1) // 2), min(cols - 1, x + w // 2)
                for j in range(top, bottom):
                    for i in range(left, right):
                        g = (
                            abs(z[j, i + 1] - z[j, i])
                            + abs(z[j + 1, i] - z[j, i])
                            + abs(z[j + 1, i + 1] - z[j + 1, i])
                            + abs(z[j + 1, i + 1] - z[j, i + 1])
                        ) / 4
                        expected[y, x] = max(expected[y, x], g)
        np.testing.assert_allclose(local_maximum_gradient_map(plane, block_px=(h, w)), expected, rtol=1e-4)


def test_local_maximum_gradient_map_ignores_exposure() -> None:
    plane = texture()
    np.testing.assert_allclose(
        local_maximum_gradient_map(plane * 3 + 500), local_maximum_gradient_map(plane), rtol=1e-3
    )


def test_local_maximum_gradient_map_of_a_constant_plane_is_zero() -> None:
    assert not local_maximum_gradient_map(np.full((40, 50), 9, np.float32)).any()


def test_local_maximum_gradient_map_needs_a_block_of_two_pixels() -> None:
    with pytest.raises(InputError, match="1×4 pixels"):
        local_maximum_gradient_map(texture(), block_px=(1, 4))


def test_harris_counts_edges_and_corners_more() -> None:
    plane = np.zeros((60, 60), np.float32)
    plane[20:, 20:] = 100
    response = harris_response(plane)
    assert response[20, 20] > response[20, 45] > 10 * response[5, 5]
    np.testing.assert_allclose(harris_response(plane * 500), 500**2 * response, rtol=1e-3)
    assert not harris_response(np.full((20, 20), 3, np.float32)).any()


@pytest.mark.parametrize("measure", EVERY)
def test_the_page_of_the_measures_names_it(measure: Measure) -> None:
    page = (Path(__file__).parents[1] / "docs" / "measures.md").read_text(encoding="utf-8")
    assert f"| `{measure.name}` | {measure.description} | {measure.units} |" in page


def test_the_page_of_the_measures_owns_up_to_those_for_dense_texture_only() -> None:
    page = (Path(__file__).parents[1] / "docs" / "measures.md").read_text(encoding="utf-8")
    fails = page[page.index("## Where they fail") : page.index("## Best slice")]
    assert all(f"**`{name}`**" in fails for name in FOR_DENSE_TEXTURE_ONLY)


def test_real_stacks_are_hit_by_the_default(shared_data: Path) -> None:
    """Fluorescence and brightfield with one clear answer; the whole image is looked at."""
    read_stack = pytest.importorskip("napari_focusstack.io.read").read_stack
    for name, slices in {"beads_s1": {4}, "nucleus": {18, 19, 20}, "organoid_A01": {5, 6}}.items():
        planes = list(read_stack(shared_data / "stacks" / f"{name}.ome.tif").series().planes())
        assert int(curve(MEASURES["tenengrad"], planes).argmax()) in slices
