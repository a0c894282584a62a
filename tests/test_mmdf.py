"""MMDF's classes, the rule that calls a patch in focus, and specimens drawn at random."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from napari_focusstack.core.learned.base import sampling_of  # noqa: E402
from napari_focusstack.core.learned.classes import CLASS_NAMES, PLAIN_RULE, in_focus  # noqa: E402
from napari_focusstack.core.scorer import PlaneContext  # noqa: E402
from napari_focusstack.core.stack import Optics  # noqa: E402
from napari_focusstack.networks import mmdf  # noqa: E402
from napari_focusstack.training.drawn import draw_specimen  # noqa: E402
from napari_focusstack.training.library import CRISP_PX, Sharp, edge_width, textured_crop  # noqa: E402
from napari_focusstack.training.patches import Patches, PatchSettings  # noqa: E402
from napari_focusstack.training.recipes.mmdf import Judged, balanced_logistic, focus_rule, rule_of  # noqa: E402

BLANK = Sharp("none", "none", (np.zeros((200, 200), np.float16),))


def test_the_rule_is_even_at_its_level_and_falls_with_the_class():
    rule = {"level": 4.0, "slope": 1.5}
    found = in_focus(np.array([0.0, 4.0, 9.0], np.float32), rule, sampling=None)
    assert found[1] == pytest.approx(0.5)
    assert found[0] > 0.99
    assert found[2] < 0.01


def test_a_calibrated_rule_allows_more_pixels_of_blur_the_finer_the_sampling():
    rule = {"level": 2.5, "slope": 1.0, "calibrated_level": 3.0, "calibrated_slope": 2.0, "per_octave": -1.0}
    seen = np.array([3.5], np.float32)
    fine, matched, coarse = (in_focus(seen, rule, sampling=s)[0] for s in (0.25, 0.5, 1.0))
    assert fine > 0.5 > matched > coarse
    assert in_focus(seen, rule, sampling=None)[0] == pytest.approx(1 / (1 + np.e))
    assert in_focus(seen, rule, sampling=0.01)[0] == fine


def test_the_sampling_is_known_where_aperture_and_pixel_size_are():
    optics = Optics(na=0.5, wavelength_um=0.5)
    assert sampling_of(PlaneContext(pixel_um=0.5, optics=optics)) == pytest.approx(0.5)
    assert sampling_of(PlaneContext(pixel_um=0.55, optics=Optics(na=0.5))) == pytest.approx(0.5)
    assert sampling_of(PlaneContext(optics=optics)) is None
    assert sampling_of(PlaneContext(pixel_um=0.5)) is None


def test_the_rule_is_found_between_two_groups_however_many_are_in_each():
    torch.manual_seed(0)
    for n in (50, 2000):
        values = torch.cat([torch.randn(n) + 2, torch.randn(2000) + 5])
        bias, (slope,) = balanced_logistic(values[:, None], torch.arange(n + 2000) < n)
        assert -bias / slope == pytest.approx(3.5, abs=0.35)
        assert slope > 1


def test_a_rule_of_two_numbers_finds_what_one_of_them_hides():
    torch.manual_seed(0)
    octaves, positive = 3 * torch.rand(4000) - 1, torch.arange(4000) % 2 == 0
    level = torch.where(positive, 2.0, 4.0) - octaves + 0.5 * torch.randn(4000)
    bias, (slope, per_octave) = balanced_logistic(torch.stack([level, octaves], dim=1), positive)
    assert per_octave / slope == pytest.approx(1, abs=0.1)
    assert -bias / slope == pytest.approx(3, abs=0.1)


def test_without_patches_of_both_kinds_the_rule_is_the_plain_one():
    batches = [Patches([BLANK], PatchSettings(blank=1.0), batch=8, seed=0).draw()]
    assert focus_rule(mmdf.FocusClassifier(width=0.1).eval(), batches, torch.device("cpu")) == PLAIN_RULE


def test_classes_in_focus_hold_half_a_depth_of_field_and_not_two_at_any_usual_sampling():
    sampling = torch.linspace(0.25, 1.4, 30)
    for dof, focused in ((0.5, True), (2.0, False)):
        found = mmdf.class_of(mmdf.seen_blur_px(dof * (1 + sampling) / sampling, sampling))
        assert ((found < mmdf.FOCUSED_CLASSES) == focused).all()
    assert CLASS_NAMES[: mmdf.FOCUSED_CLASSES] == ("in focus",) * mmdf.FOCUSED_CLASSES
    assert CLASS_NAMES[mmdf.FOCUSED_CLASSES] != "in focus"


def test_drawn_specimens_are_sharp_amounts_of_many_sizes():
    random = np.random.default_rng(0)
    drawn = [draw_specimen(random, 128) for _ in range(30)]
    assert all(d.shape == (128, 128) and d.dtype == np.float32 for d in drawn)
    assert min(d.min() for d in drawn) >= -0.01
    assert max(d.max() for d in drawn) < 1.3
    assert sum(edge_width(d) <= CRISP_PX for d in drawn) >= 25
    coverage = [float((d > 0.05).mean()) for d in drawn]
    assert min(coverage) < 0.3
    assert max(coverage) > 0.8


def test_drawn_specimens_repeat_with_their_seed():
    one, two = (draw_specimen(np.random.default_rng(5), 96) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_patches_take_drawn_specimens_in_the_place_of_images():
    shown = Patches([BLANK], PatchSettings(drawn=1.0, blank=0.0), batch=16, seed=0).draw()
    assert shown.evidence.float().mean() > 0.7
    empty = Patches([BLANK], PatchSettings(blank=0.0, texture=0.0), batch=16, seed=0).draw()
    assert not empty.evidence.any()


def test_soft_places_of_a_sharp_image_are_avoided():
    plane = np.zeros((128, 400), np.float32)
    random = np.random.default_rng(1)
    plane[:, :200] = draw_specimen(random, 256)[:128, :200]
    import cv2

    plane[:, 200:] = 3 * cv2.GaussianBlur(random.random((128, 200)).astype(np.float32), (0, 0), 6) * 4
    image = Sharp("made", "half soft", (plane.astype(np.float16),))
    widths = {
        crisp: np.median(
            [
                edge_width(textured_crop(image, 96, margin=6, rng=np.random.default_rng(s), crisp_px=crisp)[6:-6, 6:-6])
                for s in range(20)
            ]
        )
        for crisp in (None, 3.4)
    }
    assert widths[3.4] <= widths[None]
    assert widths[3.4] < 3.4


def test_a_rule_pooled_from_several_networks_lies_between_their_own():
    rng = np.random.default_rng(0)
    parts = []
    for middle in (4.0, 5.0):
        level = torch.from_numpy(rng.uniform(0, 9, 2000)).float()
        focused = torch.from_numpy(rng.random(2000)) < torch.sigmoid(2 * (middle - level))
        parts.append(Judged(level, focused, torch.full((2000,), 0.5)))
    own, other, pooled = (rule_of(p)["level"] for p in (parts[:1], parts[1:], parts))
    assert own == pytest.approx(4.0, abs=0.2)
    assert other == pytest.approx(5.0, abs=0.2)
    assert own + 0.3 < pooled < other - 0.3
