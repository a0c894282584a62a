"""A network's policy whose end is measured sharpness: it focuses whatever the network says, and knows when to stop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ideal_stage import drive
from napari_focusstack.core.autofocus import (
    CurvePolicy,
    GuidedPolicy,
    IndexPolicy,
    JumpPolicy,
    Reading,
    Travel,
)
from napari_focusstack.core.autofocus.methods import STEERS, focus_methods

DOF = 1.4
GUIDES = [IndexPolicy(), JumpPolicy()]


def measured(focus_um: float, *, width: float = 3.0, fall: float = 3.0, floor: float = 0.0):
    """What sharpness reads at a height."""
    return lambda z: Reading(value=floor + (1 + ((z - focus_um) / width) ** 2) ** (-fall / 2))


def told(far_um: float) -> Reading:
    """What either network says of a distance."""
    return Reading(defocus_um=far_um, index=float(np.clip(far_um / (2 * DOF), -3, 3)))


@pytest.fixture(params=GUIDES, ids=lambda p: p.name)
def guide(request):
    return request.param


@pytest.mark.parametrize("guide", GUIDES, ids=lambda p: p.name)
@settings(max_examples=60, deadline=None)
@given(
    start=st.floats(-39, 39),
    focus=st.floats(-30, 30),
    lie=st.sampled_from([1, -1]),
    scale=st.floats(0.3, 2),
    width=st.floats(1.5, 8),
)
def test_it_ends_where_it_is_sharpest_though_sides_and_distances_are_wrong(guide, start, focus, lie, scale, width):
    sharp = measured(focus, width=width)

    def read(z: float) -> Reading:
        return replace(told(lie * scale * (z - focus)), value=sharp(z).value)

    verdict, heights, _ = drive(GuidedPolicy(guide), Travel(start, -40, 40, DOF, -1), read)
    assert verdict.found, verdict.reason
    assert abs(heights[-1] - focus) <= DOF / 2
    assert len(heights) <= 20


def test_a_good_network_needs_less_than_half_of_the_images_of_a_search_everywhere(guide):
    def read(z: float) -> Reading:
        return replace(told(z), value=measured(0.0)(z).value)

    counts = [len(drive(GuidedPolicy(guide), Travel(s, -40, 40, DOF, -1), read)[1]) for s in np.linspace(-9, 9, 13)]
    searched = len(drive(CurvePolicy(), Travel(-9, -40, 40, DOF, -1), read)[1])
    assert np.median(counts) <= 0.6 * searched


@pytest.mark.parametrize("says", [0.0, 50.0, -50.0])
def test_a_network_that_says_the_same_of_every_image_costs_a_few_images(guide, says):
    def read(z: float) -> Reading:
        return replace(told(says), value=measured(11.0)(z).value)

    verdict, heights, _ = drive(GuidedPolicy(guide), Travel(-8, -40, 40, DOF, -1), read)
    assert verdict.found, verdict.reason
    assert abs(heights[-1] - 11) <= DOF / 2
    assert len(heights) <= 20


def test_where_the_network_can_judge_nothing_sharpness_alone_leads(guide):
    def read(z: float) -> Reading:
        return Reading(value=measured(-13.0)(z).value, evidence=False)

    verdict, heights, _ = drive(GuidedPolicy(guide), Travel(5, -40, 40, DOF, -1), read)
    assert verdict.found, verdict.reason
    assert abs(heights[-1] + 13) <= DOF / 2


@pytest.mark.parametrize("sure", [False, True])
def test_an_empty_field_is_given_up_after_a_few_images_on_both_sides(guide, sure):
    """Even where the network sees something in the noise."""
    random = np.random.default_rng(0)

    def read(z: float) -> Reading:
        return replace(told(float(random.normal(0, 9))), value=None, evidence=sure)

    verdict, heights, _ = drive(GuidedPolicy(guide), Travel(5, -400, 400, DOF, -1), read)
    assert not verdict.found
    assert "empty" in verdict.reason
    assert (min(heights), max(heights)) == (-400, 400)
    assert len(heights) <= 11


def test_dirt_that_looks_alike_at_every_height_is_nothing_to_focus_on(guide):
    random = np.random.default_rng(0)

    def read(z: float) -> Reading:
        return replace(told(float(random.normal(0, 9))), value=1 + 0.002 * random.normal())

    verdict, heights, _ = drive(GuidedPolicy(guide), Travel(5, -40, 40, DOF, -1), read)
    assert not verdict.found
    assert "same at every height" in verdict.reason
    assert len(heights) <= 40


def test_focus_beyond_a_limit_is_not_found(guide):
    def read(z: float) -> Reading:
        return replace(told(z - 17), value=measured(17.0)(z).value)

    verdict, _, _ = drive(GuidedPolicy(guide), Travel(0, -10, 10, DOF, -1), read)
    assert not verdict.found
    assert "limit" in verdict.reason


def test_what_is_seen_from_afar_alone_is_found_from_a_blank_start(guide):
    def read(z: float) -> Reading:
        near = abs(z - 25) < 15
        return replace(told(z - 25), value=measured(25.0)(z).value if near else None, evidence=near)

    verdict, heights, _ = drive(GuidedPolicy(guide), Travel(-20, -40, 40, DOF, -1), read)
    assert verdict.found, verdict.reason
    assert abs(heights[-1] - 25) <= DOF / 2


def test_every_network_that_is_offered_ends_by_sharpness():
    methods = focus_methods()
    for name in methods.names():
        if methods[name].kind in STEERS.values():
            assert isinstance(methods[name].policy(), GuidedPolicy)
