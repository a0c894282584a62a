"""Autofocus policies, driven by formulas: they find focus from any start, stay within limits, know when to give up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ideal_stage import drive
from napari_focusstack.core.autofocus import (
    PAPER_SPEEDS,
    CurvePolicy,
    IndexPolicy,
    JumpPolicy,
    Look,
    Reading,
    Speeds,
    Travel,
)
from napari_focusstack.core.autofocus.methods import reading_of
from napari_focusstack.core.errors import InputError

DOF = 1.4
BANDS = (0.9, 3.5, 8.0)
"""Ends of the bands of distance 0, 1 and 2 in depths of field; beyond them it is 3."""


def classes(focus_um: float, *, toward: int = -1, side: float = 1.0, lie: int = 1) -> Callable[[float], Reading]:
    """An ideal HH-Net: whole classes; `lie` -1 turns its sides round."""

    def read(z_um: float) -> Reading:
        far = (focus_um - z_um) * toward / DOF
        index = float(np.searchsorted(np.array(BANDS) - 0.4, abs(far)))
        return Reading(index=np.copysign(index, far) * lie, side=side)

    return read


def travel(start: float, *, low: float = -40, high: float = 40, toward: int = -1) -> Travel:
    return Travel(start, low, high, DOF, toward)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(
    start=st.floats(-39, 39),
    focus=st.floats(-30, 30),
    toward=st.sampled_from([1, -1]),
    lie=st.sampled_from([1, -1]),
    side=st.sampled_from([0.0, 1.0]),
)
def test_the_index_leads_into_focus_from_any_start(start, focus, toward, lie, side):
    read = classes(focus, toward=toward, side=side, lie=lie)
    verdict, heights, _ = drive(IndexPolicy(), travel(start, toward=toward), read)
    assert verdict.found, verdict.reason
    assert abs(heights[-1] - focus) <= DOF / 2 + 1e-9
    assert verdict.z_um == heights[-1]


def test_few_images_are_needed_where_the_side_is_known():
    counts = [len(drive(IndexPolicy(), travel(z), classes(0.0))[1]) for z in np.linspace(-11, 11, 23)]
    assert np.median(counts) <= 5
    assert max(counts) <= 7


def test_at_index_1_a_step_stays_within_the_depth_of_field():
    speeds = Speeds.for_depth_of_field(DOF, latency_s=0.3)
    assert speeds.step_um(1) == pytest.approx(DOF)
    assert speeds.step_um(-1) == pytest.approx(DOF)
    assert speeds.default_um_s * 0.3 == pytest.approx(5 * DOF)


def test_speeds_are_those_of_algorithm_1():
    assert PAPER_SPEEDS.step_um(4) == pytest.approx(223.7 * 0.025)
    for index in (1, 2, 3, -1, -2):
        assert PAPER_SPEEDS.step_um(index) == pytest.approx(0.2 * abs(index) * PAPER_SPEEDS.step_um(4))


def test_beyond_class_minus_2_it_retracts_at_the_default_speed():
    policy, speeds = IndexPolicy(), Speeds.for_depth_of_field(DOF, latency_s=1)
    moves = policy.moves(travel(0.0, toward=-1))
    next(moves)
    move = moves.send(Look(0.0, Reading(index=-3.0)))
    assert move.phase == "retract"
    assert move.target_um == pytest.approx(speeds.step_um(4))


def test_overshoot_is_damped():
    hasty = IndexPolicy(Speeds(default_um_s=5 * 2.9 * DOF, latency_s=1.0))
    for start in np.linspace(-6, 6, 25):
        verdict, heights, _ = drive(hasty, travel(start), classes(0.0))
        assert verdict.found
        assert abs(heights[-1]) <= DOF / 2


def test_it_settles_by_the_fraction_of_the_index():
    def read(z_um: float) -> Reading:
        return Reading(index=float(np.clip(z_um / (1.6 * DOF), -3, 3)))

    verdict, heights, phases = drive(IndexPolicy(), travel(0.7 * DOF), read)
    assert verdict.found
    assert phases[-1] == "settle"
    assert abs(heights[-1]) < 0.45 * DOF


@pytest.mark.parametrize("policy", [IndexPolicy(), JumpPolicy()], ids=["index", "jumps"])
def test_an_empty_field_is_swept_to_both_limits_and_called_empty(policy):
    verdict, heights, phases = drive(policy, travel(5.0), lambda z: Reading(evidence=False))
    assert not verdict.found
    assert "empty" in verdict.reason
    assert min(heights) == -40
    assert max(heights) == 40
    assert set(phases) == {"look", "sweep"}


@pytest.mark.parametrize("policy", [IndexPolicy(), JumpPolicy()], ids=["index", "jumps"])
@pytest.mark.parametrize("focus", [-25.0, 25.0])
def test_blank_images_far_from_focus_are_passed_by(policy, focus):
    def read(z_um: float) -> Reading:
        if abs(z_um - focus) > 9 * DOF:
            return Reading(evidence=False)
        index = classes(focus)(z_um).index
        return Reading(index=index, defocus_um=z_um - focus)

    verdict, heights, _ = drive(policy, travel(0.0), read)
    assert verdict.found
    assert abs(heights[-1] - focus) <= DOF / 2


def test_an_uncertain_image_is_taken_again_before_it_is_passed_by():
    _, heights, phases = drive(IndexPolicy(), travel(0.0, low=-9, high=9), lambda z: Reading(index=0.0, certainty=0.05))
    assert phases[:3] == ["look", "again", "sweep"]
    assert heights[0] == heights[1] != heights[2]


def test_certainty_that_stays_too_low_ends_without_focus():
    verdict, _, _ = drive(IndexPolicy(), travel(0.0, low=-9, high=9), lambda z: Reading(index=0.0, certainty=0.05))
    assert not verdict.found
    assert "certain" in verdict.reason


@pytest.mark.parametrize("policy", [IndexPolicy(), JumpPolicy()], ids=["index", "jumps"])
@pytest.mark.parametrize("focus", [-17.0, 17.0])
def test_focus_beyond_a_limit_is_said_to_be(policy, focus):
    def read(z_um: float) -> Reading:
        return Reading(index=classes(focus)(z_um).index, defocus_um=z_um - focus)

    verdict, _, _ = drive(policy, travel(0.0, low=-10, high=10), read)
    assert not verdict.found
    assert "limit" in verdict.reason


@settings(max_examples=100, deadline=None)
@given(start=st.floats(-39, 39), focus=st.floats(-30, 30), lie=st.sampled_from([1, -1]), scale=st.floats(0.75, 1.2))
def test_jumps_lead_into_focus_though_signs_and_distances_are_wrong(start, focus, lie, scale):
    def read(z_um: float) -> Reading:
        return Reading(defocus_um=lie * scale * (z_um - focus))

    verdict, heights, _ = drive(JumpPolicy(), travel(start), read)
    assert verdict.found, verdict.reason
    # A reader that is wrong in sign and by a quarter in distance costs up to a depth of field.
    assert abs(heights[-1] - focus) <= DOF


def test_a_right_jump_needs_two_images():
    verdict, heights, phases = drive(JumpPolicy(), travel(3.2), lambda z: Reading(defocus_um=z))
    assert verdict.found
    assert heights == pytest.approx([3.2, 0.0], abs=0.1 * DOF)
    assert phases == ["look", "jump"]


def sharpness(focus_um: float, *, width: float = 4.0, noise: float = 0.0, seed: int = 0) -> Callable[[float], Reading]:
    rng = np.random.default_rng(seed)
    return lambda z: Reading(value=1 + 1 / (1 + ((z - focus_um) / width) ** 2) + noise * rng.normal())


@settings(max_examples=100, deadline=None)
@given(start=st.floats(-39, 39), focus=st.floats(-35, 35), width=st.floats(2, 20))
def test_the_search_finds_one_maximum(start, focus, width):
    verdict, heights, _ = drive(CurvePolicy(), travel(start), sharpness(focus, width=width))
    assert verdict.found, verdict.reason
    assert abs(heights[-1] - focus) <= DOF / 2


def test_the_search_converges_as_fast_as_scipy_s():
    from scipy.optimize import minimize_scalar

    for focus in (-22.0, 3.0, 14.0):
        read = sharpness(focus)
        _, heights, _ = drive(CurvePolicy(), travel(0.0), read)
        found = minimize_scalar(
            lambda z, read=read: -read(z).value, bounds=(-40, 40), method="bounded", options={"xatol": 0.75 * DOF}
        )
        assert len(heights) - 3 <= found.nfev + 2


@pytest.mark.parametrize("seed", range(8))
def test_the_search_says_so_where_nothing_is_sharper_than_the_rest(seed):
    rng = np.random.default_rng(seed)
    verdict, _, _ = drive(CurvePolicy(), travel(0.0), lambda z: Reading(value=100 + 0.2 * rng.normal()))
    assert not verdict.found
    assert "nothing" in verdict.reason


def test_the_search_says_so_where_it_gets_sharper_to_the_end():
    verdict, _, _ = drive(CurvePolicy(), travel(0.0), sharpness(60.0, width=30))
    assert not verdict.found
    assert "set wider limits" in verdict.reason


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"start_um": 50}, "outside"),
        ({"low_um": 9, "high_um": -9}, "lower first"),
        ({"high_um": float("nan")}, "lower first"),
        ({"dof_um": 0}, "depth of field"),
    ],
)
def test_impossible_travels_are_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        Travel(**{"start_um": 0.0, "low_um": -9.0, "high_um": 9.0, "dof_um": 1.0, **wrong})


def test_two_possible_sides_are_no_focus():
    reading = reading_of(np.array([0, 0.52, 0, 0, 0, 0.48, 0]))
    assert abs(reading.index) == pytest.approx(2)
    assert reading.side < 0.1
    assert reading.certainty == pytest.approx(1)
    assert reading.evidence


def test_all_classes_alike_are_no_evidence():
    assert not reading_of(np.full(7, 1 / 7)).evidence
