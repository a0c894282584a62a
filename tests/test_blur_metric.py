"""The no-reference blur metric: it falls as blur grows, in the whole image and in a region."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.measures import MEASURES, blur_metric

SIGMAS = (0.0, 0.7, 1.0, 2.0, 4.0, 8.0)


def cells(seed: int, *, dark: bool) -> np.ndarray:
    """Discs on an even field with a little texture, as a microscope in focus shows them: stained cells, or nuclei."""
    rng = np.random.default_rng(seed)
    image = np.full((200, 240), 20.0 if dark else 200.0, np.float32)
    for _ in range(40):
        y, x, r = rng.integers(0, 200), rng.integers(0, 240), rng.integers(4, 14)
        cv2.circle(image, (int(x), int(y)), int(r), float(rng.uniform(60, 200)), -1, cv2.LINE_AA)
    image += rng.normal(0, 4, image.shape).astype(np.float32)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_falls_as_blur_grows(seed: int, dark: bool) -> None:
    values = [blur_metric(blurred(cells(seed, dark=dark), s)).metric for s in SIGMAS]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 0.2


def test_it_falls_on_real_sharp_planes(shared_data) -> None:
    from skimage.io import imread

    files = sorted((shared_data / "sharp" / "bccd").glob("0[0-4]*")) + sorted(
        (shared_data / "sharp" / "dsb2018").glob("0[0-2]*")
    )
    assert len(files) > 10
    for file in files[::8]:
        image = imread(file)[..., :3].astype(np.float32)
        values = [blur_metric(blurred(image, s)).metric for s in SIGMAS]
        assert values == sorted(values, reverse=True), file.name


def test_a_region_is_rated_by_itself() -> None:
    image = cells(0, dark=False)
    image[:, 120:] = blurred(image, 4)[:, 120:]
    left = np.zeros(image.shape, bool)
    left[:, :112] = True
    right = np.zeros(image.shape, bool)
    right[:, 136:] = True
    assert blur_metric(image, region=left).metric > blur_metric(image, region=right).metric + 0.1
    assert blur_metric(image, region=left).n_edges < blur_metric(image).n_edges


def test_of_overlapping_slices_the_sharper_one_wins_within_any_region() -> None:
    sharp = cells(1, dark=True)
    soft = blurred(sharp, 1.5)
    region = np.zeros(sharp.shape, bool)
    cv2.circle(region.view(np.uint8), (120, 100), 50, 1, -1)
    assert blur_metric(sharp, region=region).metric > blur_metric(soft, region=region).metric


def test_the_exposure_does_not_matter() -> None:
    image = cells(2, dark=True)
    assert blur_metric(image * 200).metric == pytest.approx(blur_metric(image).metric, abs=1e-3)


def test_rows_and_columns_count_alike() -> None:
    image = cells(0, dark=False)
    assert blur_metric(image.T).metric == pytest.approx(blur_metric(image).metric, abs=1e-6)


def test_without_edges_there_is_nothing_sharp() -> None:
    found = blur_metric(np.full((20, 30), 7, np.uint8))
    assert (found.metric, found.n_edges) == (pytest.approx(-0.95), 0)
    empty = np.zeros((200, 240), bool)
    assert blur_metric(cells(0, dark=True), region=empty).n_edges == 0


def test_the_map_of_the_measure_adds_up_to_the_metric() -> None:
    image = cells(1, dark=False)
    score = MEASURES["inverse_blurriness"].score(image, patch_px=40)
    assert float(score.map.mean()) == pytest.approx((blur_metric(image).metric + 0.95) / 1.95, abs=1e-5)


def test_the_map_is_higher_where_the_image_is_sharp() -> None:
    image = cells(0, dark=False)
    image[:, 120:] = blurred(image, 4)[:, 120:]
    found = MEASURES["inverse_blurriness"].score(image, patch_px=40).map
    assert found[:, :3].mean() > 2 * found[:, 3:].mean()


def test_a_region_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="height and width"):
        blur_metric(cells(0, dark=True), region=np.ones((3, 3), bool))
