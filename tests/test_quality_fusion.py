"""Metrics of a fused image by their properties."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import drain
from napari_focusstack.core.quality import (
    METRICS,
    assess,
    average_gradient,
    edge_preservation,
    mutual_information,
    normalised_mutual_information,
    qabf,
    spatial_frequency,
)
from napari_focusstack.core.stack import from_array

TOP = 0.9994 / (1 + np.exp(-7.5)) * 0.9879 / (1 + np.exp(-4.4))
"""What the published sigmoids leave of a perfect copy."""


def texture(seed: int = 0, shape: tuple[int, ...] = (96, 120)) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip(smooth / smooth.std() * 40 + 128, 0, 255).astype(np.uint8)


def half_blurred(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    blurred, middle = cv2.GaussianBlur(truth, (0, 0), 4), truth.shape[1] // 2
    left, right = truth.copy(), truth.copy()
    left[:, middle:], right[:, :middle] = blurred[:, middle:], blurred[:, :middle]
    return left, right


def test_a_copy_of_the_only_source_reaches_the_top_of_qabf() -> None:
    assert qabf(texture(), [texture()]) == pytest.approx(TOP, abs=1e-4)


def test_qabf_is_its_definition_written_out() -> None:
    truth = texture()
    left, right = half_blurred(truth)
    fused = ((left.astype(float) + right) / 2).astype(np.uint8)

    def edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sx, sy = (cv2.Sobel(image, cv2.CV_64F, *d, borderType=cv2.BORDER_REFLECT_101) for d in ((1, 0), (0, 1)))
        return np.hypot(sx, sy), np.arctan(sy / np.where(sx == 0, 1e-300, sx))

    g_fused, a_fused = edges(fused)
    over = under = 0.0
    for source in (left, right):
        g, a = edges(source)
        strength = np.minimum(g, g_fused) / np.maximum(np.maximum(g, g_fused), 1e-300)
        alike = np.abs(np.abs(a - a_fused) - np.pi / 2) / (np.pi / 2)
        kept = 0.9994 / (1 + np.exp(-15 * (strength - 0.5))) * 0.9879 / (1 + np.exp(-22 * (alike - 0.8)))
        over, under = over + (kept * g).sum(), under + g.sum()
    assert qabf(fused, [left, right]) == pytest.approx(over / under, abs=1e-4)


def test_a_flat_image_keeps_no_edge() -> None:
    assert qabf(np.full((96, 120), 128, np.uint8), [texture()]) < 0.01


def test_the_right_fusion_keeps_more_edges_than_the_mean_or_a_source() -> None:
    truth = texture()
    sources = half_blurred(truth)
    mean = ((sources[0].astype(float) + sources[1]) / 2).astype(np.uint8)
    assert qabf(truth, sources) > max(qabf(mean, sources), qabf(sources[0], sources), qabf(sources[1], sources)) + 0.05


def test_qabf_weighs_the_sources_by_their_gradients() -> None:
    truth = texture()
    assert qabf(truth, [truth, np.full_like(truth, 100)]) == pytest.approx(qabf(truth, [truth]))


def test_qabf_does_not_ask_for_the_order_of_the_sources() -> None:
    left, right = half_blurred(texture())
    assert qabf(left, [left, right]) == pytest.approx(qabf(left, [right, left]))


def test_inverted_edges_count_as_the_same_lines() -> None:
    assert qabf(255 - texture(), [texture()]) == pytest.approx(TOP, abs=1e-4)


def test_turned_edges_are_lost() -> None:
    ramp = np.tile(np.arange(100, dtype=np.uint8), (100, 1))
    assert qabf(ramp, [ramp.T]) < 1e-3


@pytest.mark.parametrize("name", ["qabf", "nmi", "mi"])
def test_the_bit_depth_does_not_matter(name: str) -> None:
    left, right = half_blurred(texture())
    values = []
    for convert in (lambda a: a, lambda a: a.astype(np.uint16) * 257, lambda a: a.astype(np.float32) / 255):
        stack = from_array(np.stack([convert(left), convert(right)]))
        values.append(drain(assess(convert(texture()), sources=stack, metrics=[name]))[0].value)
    assert values == pytest.approx([values[0]] * 3, rel=0.02)


def test_where_edges_got_lost_is_seen() -> None:
    truth = texture()
    left, _ = half_blurred(truth)
    kept = edge_preservation(left, truth)
    assert kept[:, :50].mean() > 2 * kept[:, 70:].mean()


def test_an_image_tells_all_of_itself() -> None:
    p = np.bincount(texture().ravel()) / texture().size
    entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
    assert mutual_information(texture(), [texture()]) == pytest.approx(entropy)
    assert normalised_mutual_information(texture(), [texture()]) == pytest.approx(1)


def test_information_is_summed_over_the_sources() -> None:
    a, b, c = (*half_blurred(texture()), texture())
    assert mutual_information(c, [a, b]) == pytest.approx(mutual_information(c, [a]) + mutual_information(c, [b]))


def test_a_constant_image_tells_nothing() -> None:
    assert mutual_information(np.full((96, 120), 9, np.uint8), [texture()]) == pytest.approx(0, abs=1e-9)


def test_independent_images_tell_little() -> None:
    many = (400, 500)
    assert normalised_mutual_information(texture(1, many), [texture(2, many)]) < 0.1


def test_the_gradient_of_a_ramp_is_its_slope() -> None:
    ramp = np.add.outer(3.0 * np.arange(20), 4.0 * np.arange(30)).astype(np.float32)
    assert average_gradient(ramp) == pytest.approx(5 / np.sqrt(2))
    assert spatial_frequency(ramp) == pytest.approx(5)


@pytest.mark.parametrize("metric", [average_gradient, spatial_frequency])
def test_sharpness_falls_as_blur_grows(metric: object) -> None:
    values = [metric(cv2.GaussianBlur(texture(), (0, 0), s)) for s in (0.5, 1, 2, 4, 8)]  # type: ignore[operator]
    assert values == sorted(values, reverse=True)


def test_all_metrics_are_found_in_one_pass_and_say_what_they_mean() -> None:
    truth = texture()
    rated = drain(assess(truth, sources=from_array(np.stack(half_blurred(truth))), reference=truth))
    assert [q.metric.name for q in rated] == list(METRICS.names())
    assert {q.metric.name: q.against for q in rated}["ssim"] == "reference"
    assert all(len(q.metric.hint) > 40 and np.isfinite(q.value) for q in rated if q.metric.name != "psnr")


def test_without_a_reference_the_sources_are_one() -> None:
    truth = texture()
    left, right = half_blurred(truth)
    rated = {q.metric.name: q for q in drain(assess(left, sources=from_array(np.stack([right, right]))))}
    assert rated["psnr"].against == "sources"
    assert 0 < rated["ssim"].value < 1


def test_without_sources_only_what_can_be_known_is_told() -> None:
    assert [q.metric.name for q in drain(assess(texture()))] == ["ag", "sf"]


def test_colour_and_grey_of_the_same_image_agree() -> None:
    left, right = half_blurred(texture())
    grey = drain(assess(texture(), sources=from_array(np.stack([left, right]), axes="ZYX")))
    rgb = [np.repeat(a[..., None], 3, axis=2) for a in (texture(), left, right)]
    colour = drain(assess(rgb[0], sources=from_array(np.stack(rgb[1:]), axes="ZYXS")))
    assert [q.value for q in colour] == pytest.approx([q.value for q in grey], rel=1e-3)


def test_images_of_different_shape_are_refused() -> None:
    with pytest.raises(InputError, match="same size"):
        qabf(texture(), [texture(0, (96, 121))])


def test_a_comparison_without_sources_is_refused() -> None:
    with pytest.raises(InputError, match="No source"):
        mutual_information(texture(), [])


def test_slices_are_read_one_at_a_time() -> None:
    planes = np.stack(half_blurred(texture()))
    job = assess(texture(), sources=from_array(planes), metrics=["qabf"])
    assert [step.done for step in job] == [1, 2]
