from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_focusstack.core.decision import Evidence, decide, peak_height


def bell(n: int = 15, peak: float = 6.3, width: float = 2.0, floor: float = 0.2) -> np.ndarray:
    return floor + np.exp(-(((np.arange(n) - peak) / width) ** 2))


def patches(curve: np.ndarray, *, noise: float = 0.0, side: int = 8) -> Evidence:
    random = np.random.default_rng(0)
    maps = curve[:, None, None] + random.normal(0, noise, (len(curve), side, side))
    return Evidence(maps.astype(np.float32), np.ones((side, side), np.float32))


def test_the_highest_slice_is_best_and_the_peak_lies_between_slices() -> None:
    decision = decide(bell())
    assert decision.best == 6
    assert decision.peak == pytest.approx(6.3, abs=0.05)
    assert decision.peak_um is None


def test_the_peak_of_a_gaussian_is_found_at_uneven_heights() -> None:
    heights = np.array([0.0, 1.0, 2.5, 3.0, 5.0, 5.5, 7.0, 9.0])
    values = np.exp(-(((heights - 3.4) / 3) ** 2))
    assert decide(values, heights_um=heights).peak_um == pytest.approx(3.4, abs=0.1)


def test_heights_may_run_downwards() -> None:
    heights = np.arange(15) * -2.0
    assert decide(bell(), heights_um=heights).peak_um == pytest.approx(-12.6, abs=0.1)


def test_equal_heights_do_not_divide_by_zero() -> None:
    assert peak_height(bell(5, 2), 2, np.zeros(5)) == 0.0


@given(peak=st.floats(1.0, 12.0), gain=st.floats(1e-6, 1e6), offset=st.floats(-10, 10))
def test_neither_brightness_nor_offset_changes_the_decision(peak: float, gain: float, offset: float) -> None:
    plain, changed = decide(bell(peak=peak)), decide(gain * (bell(peak=peak) + offset))
    assert changed.best == plain.best
    assert changed.peak == pytest.approx(plain.peak, abs=1e-3)


def test_a_constant_curve_has_no_slice_in_focus() -> None:
    decision = decide(np.full(9, 3.0))
    assert decision.best is decision.peak is decision.good is None
    assert decision.confidence == 0
    assert "No slice is in focus" in decision.reason


@pytest.mark.parametrize("n", [2, 3, 5, 15, 60])
def test_a_curve_of_noise_has_no_slice_in_focus(n: int) -> None:
    found = []
    for seed in range(20):
        maps = np.random.default_rng(seed).normal(10, 1, (n, 8, 8)).astype(np.float32)
        evidence = Evidence(maps, np.ones((8, 8), np.float32))
        found.append(decide(maps.mean(axis=(1, 2), dtype=float), evidence=evidence).best)
    assert sum(best is None for best in found) >= 18


def test_a_single_plane_has_no_curve() -> None:
    decision = decide(np.array([4.0]))
    assert decision.best is None
    assert "no curve" in decision.reason


@pytest.mark.parametrize(("peak", "best", "end"), [(-3, 0, "first"), (20, 14, "last")])
def test_a_peak_on_the_edge_is_best_with_half_the_confidence_and_a_reason(peak: float, best: int, end: str) -> None:
    curve = bell(peak=peak, width=8)
    decision = decide(curve, evidence=patches(curve, noise=1e-4))
    assert decision.best == best
    assert decision.confidence == pytest.approx(0.5)
    assert f"the {end} slice: focus may lie beyond" in decision.reason


def test_confidence_falls_as_the_noise_of_the_patches_grows() -> None:
    curve = 1 + 0.05 * bell()
    seen = [decide(curve, evidence=patches(curve, noise=n)).confidence for n in (0.001, 0.06, 0.3)]
    assert seen[0] == 1
    assert seen[0] > seen[1] > seen[2]


def test_a_peak_of_five_percent_is_certain_if_the_patches_agree() -> None:
    curve = 1 + 0.05 * bell()
    assert decide(curve, evidence=patches(curve, noise=0.005)).confidence > 0.95


def test_patches_that_disagree_leave_little_confidence() -> None:
    n = 20
    maps = np.stack([bell(n, peak) for peak in np.linspace(2, 17, 64)], axis=1).reshape(n, 8, 8).astype(np.float32)
    evidence = Evidence(maps, np.ones((8, 8), np.float32))
    decision = decide(maps.mean(axis=(1, 2), dtype=float), evidence=evidence)
    assert decision.confidence < 0.5


def test_the_reason_tells_where_the_rest_of_the_specimen_is_sharp() -> None:
    n = 30
    peaks = np.where(np.arange(64) < 40, 6, np.linspace(14, 26, 64))
    maps = np.stack([bell(n, peak) for peak in peaks], axis=1).reshape(n, 8, 8).astype(np.float32)
    evidence = Evidence(maps, np.ones((8, 8), np.float32), subject="the specimen")
    decision = decide(maps.mean(axis=(1, 2), dtype=float), evidence=evidence)
    assert decision.best == 6
    own = np.bincount(maps.argmax(axis=0).ravel(), minlength=n)
    most = int(own[9:].argmax()) + 9
    told = f"38 % of the specimen is sharpest on other slices ({100 * own[most] / 64:.0f} % on slice {most} alone)"
    assert told in decision.reason
    assert "focus map" in decision.reason
    assert "fusing" in decision.reason


def test_good_slices_surround_the_best_and_lost_little() -> None:
    curve = bell(width=4)
    first, last = decide(curve).good
    assert first <= 6 <= last
    assert curve[first : last + 1].min() >= curve.max() - 0.1 * np.ptp(curve) - 1e-12
    assert curve[first - 1] < curve.max() - 0.1 * np.ptp(curve)


def test_two_peaks_without_inverted_contrast_are_two_depths_and_the_stronger_is_best() -> None:
    curve = bell(25, 6) + 0.7 * bell(25, 18)
    decision = decide(curve)
    assert decision.best == 6
    assert decision.peaks == (6, 18)
    assert "two depths" in decision.reason


def test_two_peaks_with_inverted_contrast_put_focus_between_them() -> None:
    curve = bell(25, 6) + 0.7 * bell(25, 18)
    random = np.random.default_rng(0).normal(size=(32, 32))
    views = np.stack([(12 - z) * random for z in range(25)]).astype(np.float16)
    evidence = patches(curve, noise=1e-4)
    decision = decide(curve, evidence=Evidence(evidence.maps, evidence.weights, views))
    assert decision.peaks == (6, 18)
    assert 11 <= decision.best <= 13
    assert "inverts" in decision.reason


def test_two_objects_that_merely_differ_are_no_phase_object() -> None:
    """What one object shows in the blur of the other may go against it a little: -0.19 has been seen."""
    curve = bell(25, 6) + 0.7 * bell(25, 18)
    one, other = np.random.default_rng(0).normal(size=(2, 64, 64))
    views = np.stack([one if z < 12 else other - 0.2 * one for z in range(25)]).astype(np.float16)
    evidence = patches(curve, noise=1e-4)
    assert decide(curve, evidence=Evidence(evidence.maps, evidence.weights, views)).best == 6


def test_two_objects_that_complement_each_other_are_no_phase_object() -> None:
    """Where one is the other's gaps, slices correlate by -0.3 to -0.7; but each object has a maximum of its own."""
    n = 25
    own = np.stack([bell(n, 6), 0.7 * bell(n, 18)], axis=1)[:, (np.arange(64) % 8 >= 4).astype(int)]
    maps = (own + np.random.default_rng(0).normal(0, 1e-4, own.shape)).reshape(n, 8, 8).astype(np.float32)
    one = np.random.default_rng(0).normal(size=(64, 64))
    views = np.stack([one if z < 12 else -one for z in range(n)]).astype(np.float16)
    evidence = Evidence(maps, np.ones((8, 8), np.float32), views)
    decision = decide(maps.mean(axis=(1, 2), dtype=float), evidence=evidence)
    assert (decision.best, decision.peaks) == (6, (6, 18))
    assert "two depths" in decision.reason


def test_one_peak_beside_an_inversion_is_reported_with_less_confidence() -> None:
    curve = bell(25, 18)
    random = np.random.default_rng(0).normal(size=(32, 32))
    views = np.stack([(12 - z) * random for z in range(25)]).astype(np.float16)
    evidence = patches(curve, noise=1e-4)
    decision = decide(curve, evidence=Evidence(evidence.maps, evidence.weights, views))
    assert decision.best == 18
    assert decision.confidence <= 0.5
    assert "about slice 12" in decision.reason


def test_the_same_curve_gives_the_same_confidence() -> None:
    curve = 1 + 0.05 * bell()
    assert decide(curve, evidence=patches(curve, noise=0.2)) == decide(curve, evidence=patches(curve, noise=0.2))
