"""Focus from power spectra: by formulas from any start, and by images of a simulated microscope."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ideal_stage import drive
from napari_focusstack.core.autofocus import Reading, SpectraPolicy, Travel
from napari_focusstack.core.autofocus.base import Spectrum
from napari_focusstack.core.autofocus.methods import focus_methods
from napari_focusstack.core.autofocus.spectra import read_spectrum, spectrum_of, transferred
from napari_focusstack.core.defocus import Calibration
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.scorer import PlaneContext

KNOWN = Calibration(0.5, 0.52, 0.325, 1.0)
DOF = KNOWN.depth_of_field_um
EDGES = np.geomspace(0.05, 1.4, 13)


def lens(focus_um: float, *, fall: float = 2.5, rate: float = 1.0, noise: float = 1e-6, blank_beyond: float = np.inf):
    """What an ideal sensor reads at a height."""
    low, high = EDGES[:-1], EDGES[1:]
    specimen = 1e-3 * np.sqrt(low * high) ** -fall

    def read(z_um: float) -> Reading:
        waves = rate * abs(z_um - focus_um) / KNOWN.um_per_wave
        power = specimen * transferred(low, high, np.array([waves]))[0] + noise
        spectrum = Spectrum(power, np.full(12, noise), low, high, 1 / KNOWN.um_per_wave)
        value = float(((power - noise) * low * high).sum())
        return Reading(spectrum=spectrum, value=value, evidence=abs(z_um - focus_um) < blank_beyond)

    return read


@settings(max_examples=40, deadline=None)
@given(
    start=st.floats(-39, 39),
    focus=st.floats(-36, 36),
    fall=st.floats(1.5, 3.5),
    rate=st.sampled_from([0.6, 0.8, 1.0, 1.2]),
)
def test_focus_is_found_from_any_start_with_few_images(start, focus, fall, rate):
    verdict, heights, _ = drive(SpectraPolicy(), Travel(start, -40, 40, DOF), lens(focus, fall=fall, rate=rate))
    assert verdict.found, verdict.reason
    assert abs(heights[-1] - focus) <= DOF / 2
    assert verdict.z_um == heights[-1]
    assert verdict.likely_um[0] - DOF / 4 <= focus <= verdict.likely_um[1] + DOF / 4
    assert len(heights) <= 9


def test_both_sides_of_focus_are_looked_at():
    _, heights, _ = drive(SpectraPolicy(), Travel(-20, -40, 40, DOF), lens(5.0))
    assert min(h - 5 for h in heights) < 0 < max(h - 5 for h in heights)


def test_a_specimen_that_follows_no_law_is_focused_where_it_is_sharpest():
    """Spectra of another place: the sharpness has its peak 6 µm above it."""
    spectra, sharp = lens(5.0), 11.0

    def read(z_um: float) -> Reading:
        value = 1 / (1 + ((z_um - sharp) / 4) ** 2)
        return Reading(spectrum=spectra(z_um).spectrum, value=value)

    for start in (-30, 4, 35):
        verdict, heights, _ = drive(SpectraPolicy(), Travel(start, -40, 40, DOF), read)
        assert verdict.found, verdict.reason
        assert abs(heights[-1] - sharp) <= DOF / 2


def test_an_empty_field_is_searched_from_limit_to_limit_and_said_to_be_empty():
    verdict, heights, _ = drive(SpectraPolicy(), Travel(0, -10, 10, DOF), lens(0, blank_beyond=-1))
    assert not verdict.found
    assert "empty" in verdict.reason
    assert min(heights) == -10
    assert max(heights) == 10


def test_focus_beyond_the_limits_is_not_found():
    verdict, _, _ = drive(SpectraPolicy(), Travel(-10, -40, 0, DOF), lens(6.0))
    assert not verdict.found


@pytest.mark.parametrize("focus", [3.0, 5.0, 9.0])
def test_where_focus_lies_beyond_the_limits_it_is_said_where(focus):
    verdict, _, _ = drive(SpectraPolicy(), Travel(-10, -40, 0, DOF), lens(focus))
    assert "limit" in verdict.reason
    assert verdict.likely_um[0] <= focus <= verdict.likely_um[1]


def test_the_transfer_is_whole_in_focus_and_falls_with_defocus_the_faster_the_finer_the_detail():
    share = transferred(np.array([0.1, 0.8]), np.array([0.12, 0.85]), np.array([0.0, 0.3, 0.6]))
    ideal = [(2 / np.pi * (np.arccos(s / 2) - s / 2 * np.sqrt(1 - s * s / 4))) ** 2 for s in (0.11, 0.825)]
    assert share[0] == pytest.approx(ideal, rel=0.02)
    assert (np.diff(share, axis=0) < 0).all()
    assert share[1, 1] / share[0, 1] < share[1, 0] / share[0, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_noise_alone_is_no_evidence_and_has_the_power_that_is_told(dtype):
    image = np.random.default_rng(0).normal(100, 6, (256, 300)).astype(dtype)
    found = spectrum_of(image, KNOWN)
    assert found.power[3:].mean() == pytest.approx(found.noise.mean(), rel=0.15)
    assert not read_spectrum(image, KNOWN).evidence
    assert not read_spectrum(np.full((64, 64), 7, dtype), KNOWN).evidence


def test_brightness_and_an_even_slope_change_nothing():
    random = np.random.default_rng(1)
    image = 100 + 20 * np.cumsum(random.normal(size=(200, 200)), axis=1) / 14
    slope = 100 * np.linspace(0, 1, 200)[:, None]
    plain, sloped = spectrum_of(image, KNOWN), spectrum_of(image + slope - 50, KNOWN)
    assert sloped.power == pytest.approx(plain.power, rel=0.05)
    assert spectrum_of(3 * image, KNOWN).power == pytest.approx(plain.power, rel=1e-4)


def test_it_asks_for_the_optics():
    with pytest.raises(InputError, match="numerical aperture"):
        focus_methods()["spectra"].sensor(PlaneContext(pixel_um=0.3))
