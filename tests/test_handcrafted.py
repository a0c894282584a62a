"""Properties of HH-Net's handcrafted features."""

import cv2
import numpy as np
import pytest
from scipy import stats
from skimage.measure import label

from napari_focusstack.core import handcrafted as hc


def cells(size=320, seed=0, blur=0.0):
    rng = np.random.default_rng(seed)
    image = np.full((size, size), 0.1, np.float32)
    for _ in range(12):
        y, x = (int(v) for v in rng.integers(20, size - 20, 2))
        cv2.circle(image, (x, y), int(rng.integers(8, 22)), float(rng.uniform(0.4, 1)), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), blur) if blur else image


def disc(size=200, radius=60):
    y, x = np.mgrid[:size, :size] - size / 2
    return np.hypot(y, x) < radius


def pairs_of(levels):
    return hc.cooccurrence(levels, np.ones(levels.shape, bool))


def named(image):
    return dict(zip(hc.NAMES, hc.features(image), strict=True))


def test_there_are_18_features_and_all_are_finite():
    assert len(hc.NAMES) == 18
    for image in (cells(), cells() * 60000, np.zeros((64, 90)), np.random.default_rng(0).random((40, 33))):
        found = hc.features(image)
        assert found.shape == (18,)
        assert np.isfinite(found).all()


def test_exposure_offset_and_bits_do_not_matter():
    image = cells(blur=1.0)
    again = hc.features((2000 + 40000 * image).astype(np.uint16))
    np.testing.assert_allclose(hc.features(image), again, rtol=0.03, atol=0.02)


def test_the_same_image_has_the_same_features():
    np.testing.assert_array_equal(hc.features(cells()), hc.features(cells()))


def test_moments_are_those_of_the_pixels_inside_the_mask():
    levels = np.random.default_rng(0).integers(0, 256, (60, 80)).astype(np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[10:50, 5:60] = True
    p, inside = hc.histogram(levels, mask), levels[mask] / 255
    assert hc.mean(p) == pytest.approx(inside.mean())
    assert hc.variance(p) == pytest.approx(inside.var())
    assert hc.skewness(p) == pytest.approx(stats.skew(inside), abs=1e-9)
    assert hc.kurtosis(p) == pytest.approx(stats.kurtosis(inside, fisher=False))


def test_a_flat_image_has_no_spread_and_no_shape_of_its_distribution():
    p = hc.histogram(np.full((20, 20), 9, np.uint8), np.ones((20, 20), bool))
    assert (hc.variance(p), hc.skewness(p), hc.kurtosis(p)) == (pytest.approx(0, abs=1e-12), 0, 0)


def test_cooccurrence_is_symmetric_a_distribution_and_on_the_diagonal_where_neighbours_are_alike():
    pairs = pairs_of(np.random.default_rng(0).integers(0, 256, (90, 70)).astype(np.uint8))
    assert pairs.sum() == pytest.approx(1)
    np.testing.assert_allclose(pairs, pairs.T)
    flat = pairs_of(np.full((30, 30), 200, np.uint8))
    assert flat.max() == pytest.approx(1)
    assert np.trace(flat) == pytest.approx(1)


def test_only_pairs_inside_the_mask_count():
    levels = np.full((40, 40), 8, np.uint8)
    levels[:, 20:] = 248
    mask = np.zeros((40, 40), bool)
    mask[:, :20] = True
    assert hc.sum_average(hc.cooccurrence(levels, mask)) == pytest.approx(2 * (8 // 8 + 1))


def test_bands_of_rows_stand_for_a_large_image():
    levels = hc.to_levels(cv2.GaussianBlur(np.random.default_rng(0).random((1200, 300), np.float32), (0, 0), 2.0))
    whole, banded = pairs_of(levels[:380]), pairs_of(levels)
    for feature in (hc.sum_entropy, hc.sum_average, hc.difference_entropy):
        assert feature(banded) == pytest.approx(feature(whole), rel=0.05)


def test_sums_and_differences_of_two_known_levels():
    pairs = np.zeros((hc.LEVELS, hc.LEVELS))
    pairs[3, 5] = pairs[5, 3] = 0.5
    assert hc.sum_average(pairs) == 3 + 5 + 2
    assert hc.sum_entropy(pairs) == 0
    assert hc.difference_variance(pairs) == 0
    assert hc.difference_entropy(pairs) == 0


def test_entropies_are_highest_for_noise():
    rng = np.random.default_rng(0)
    noise = pairs_of(rng.integers(0, 256, (200, 200)).astype(np.uint8))
    smooth = pairs_of(hc.to_levels(cv2.GaussianBlur(rng.random((200, 200), np.float32), (0, 0), 3.0)))
    assert hc.difference_entropy(noise) > hc.difference_entropy(smooth)
    assert hc.difference_variance(noise) > hc.difference_variance(smooth)
    assert hc.difference_entropy(noise) <= np.log(hc.LEVELS)
    assert hc.sum_entropy(noise) <= np.log(2 * hc.LEVELS - 1)


def test_a_disc_is_convex_compact_and_as_high_as_wide():
    assert hc.convexity(disc()) == pytest.approx(1, abs=0.03)
    assert hc.compactness(disc()) == pytest.approx(1, abs=0.12)
    assert hc.aspect_ratio(disc()) == 1
    assert hc.area_ratio(disc()) == pytest.approx(np.pi / 4, abs=0.02)


def test_a_rectangle_fills_its_box_and_its_hull():
    box = np.zeros((80, 90), bool)
    box[10:30, 20:80] = True
    assert hc.convexity(box) == 1
    assert hc.area_ratio(box) == 1
    assert hc.aspect_ratio(box) == pytest.approx(20 / 60)


def test_scattered_and_hollow_regions_are_neither_convex_nor_compact():
    ring = disc() & ~disc(radius=50)
    scattered = np.random.default_rng(0).random((100, 100)) > 0.7
    for region in (ring, scattered):
        assert hc.convexity(region) < 0.6
        assert hc.compactness(region) > 2


def test_the_mask_covers_the_specimen_bright_or_dark():
    image = cells()
    for shown in (image, 1 - image):
        mask = hc.specimen_mask(hc.to_levels(shown))
        small = cv2.resize(image, mask.shape[::-1], interpolation=cv2.INTER_AREA) > 0.25
        assert (mask & small).sum() > 0.85 * small.sum()
        assert mask.mean() < 1.6 * small.mean()
    assert label(mask).max() > 3


def test_the_four_parts_never_overlap_and_are_always_the_same():
    marks = np.arange(256 * 300).reshape(256, 300) % 251
    levels = marks.astype(np.uint8)
    parts = hc.four_parts(levels)
    assert parts.shape == (4, 100, 100)
    np.testing.assert_array_equal(parts, hc.four_parts(levels))
    place = np.zeros((256, 300), np.uint8)
    place[:128, :150], place[:128, 150:], place[128:, :150], place[128:, 150:] = 1, 2, 3, 4
    assert [np.unique(part).tolist() for part in hc.four_parts(place)] == [[1], [2], [3], [4]]


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (199, 201)])
def test_small_images_have_smaller_parts(shape):
    assert hc.four_parts(np.zeros(shape, np.uint8)).shape[0] == 4


def test_correlation_is_1_with_itself_minus_1_with_its_negative_and_0_with_a_flat_part():
    x = np.random.default_rng(0).random((30, 30)).astype(np.float32)
    assert hc.correlation(x, 3 * x + 2) == pytest.approx(1, abs=1e-5)
    assert hc.correlation(x, -x) == pytest.approx(-1, abs=1e-5)
    assert hc.correlation(x, np.ones_like(x)) == 0
    y = np.random.default_rng(1).random((30, 30)).astype(np.float32)
    assert abs(hc.correlation(x, y)) < 0.2
    assert hc.correlation(x, y) == pytest.approx(np.corrcoef(x.ravel(), y.ravel())[0, 1], abs=1e-5)


def test_blur_is_seen_by_the_texture_features():
    sharp, blurred = named(cells(seed=1)), named(cells(seed=1, blur=6.0))
    assert blurred["difference variance"] < sharp["difference variance"]


def test_colours_are_taken():
    rgb = np.repeat((255 * cells())[..., None], 3, axis=-1).astype(np.uint8)
    np.testing.assert_allclose(hc.features(rgb), hc.features(rgb[..., 0]), rtol=0.02, atol=0.01)
