"""Properties of the optics: energy, widths against theory, symmetry, contrast inversion, an independent PSF."""

import math

import numpy as np
import pytest
import torch

from napari_focusstack.core.errors import InputError
from napari_focusstack.training import optics
from napari_focusstack.training.optics import Microscope

DRY = Microscope(na=0.75, wavelength_um=0.52, pixel_um=0.08)
LOW = Microscope(na=0.2, wavelength_um=0.55, pixel_um=0.3)


@pytest.fixture(scope="module")
def table():
    return optics.TransferTable()


def width_at_half(row):
    """Full width at half maximum of a peak in the middle, in samples."""
    half, middle = row.max() / 2, len(row) // 2
    right = np.interp(-half, -row[middle:], np.arange(len(row) - middle))
    return 2 * right


def test_the_psf_keeps_energy_whatever_the_defocus():
    for z in (0.0, 2.0, -5.0):
        assert float(optics.psf(DRY, defocus_um=z, size=129).sum()) == pytest.approx(1.0, abs=1e-12)


def test_the_psf_is_as_wide_as_theory_says():
    h = optics.psf(DRY, defocus_um=0.0, size=129).numpy()
    assert width_at_half(h[64]) * DRY.pixel_um == pytest.approx(0.514 * 0.52 / 0.75, rel=0.04)


def test_the_first_dark_ring_is_airys():
    m = Microscope(na=0.2, wavelength_um=0.55, pixel_um=0.05)
    row = optics.psf(m, defocus_um=0.0, size=257).numpy()[128, 128:]
    dark = int(np.argmax(np.diff(row) > 0)) * m.pixel_um
    assert dark == pytest.approx(0.61 * 0.55 / 0.2, rel=0.05)


def test_without_aberration_the_two_sides_of_focus_are_alike():
    up, down = (optics.psf(LOW, defocus_um=z, size=129) for z in (10.0, -10.0))
    assert torch.allclose(up, down, atol=1e-12)


def test_spherical_aberration_tells_the_two_sides_apart():
    m = Microscope(na=0.2, wavelength_um=0.55, pixel_um=0.3, spherical_waves=0.5)
    up, down = (optics.psf(m, defocus_um=z, size=129) for z in (30.0, -30.0))
    assert float((up - down).abs().sum()) > 0.3


def test_the_opposite_aberration_swaps_the_sides():
    plus, minus = (Microscope(na=0.2, wavelength_um=0.55, pixel_um=0.3, spherical_waves=a) for a in (0.5, -0.5))
    up = optics.psf(plus, defocus_um=20.0, size=129)
    assert torch.allclose(up, optics.psf(minus, defocus_um=-20.0, size=129), atol=1e-12)


def test_the_transfer_function_is_the_transform_of_the_psf():
    z = torch.tensor([0.0, 1.0, 3.0])
    profiles = optics.transfer(DRY, defocus_um=z, fluorescence=True).real
    shape = (257, 257)
    spread = optics.spread(profiles, sampling=torch.full((3,), DRY.sampling), shape=shape)
    pixel = torch.sinc(torch.fft.fftfreq(257))[:, None] * torch.sinc(torch.fft.rfftfreq(257))[None]
    for k in range(3):
        h = optics.psf(DRY, defocus_um=float(z[k]), size=257).float()
        direct = torch.fft.rfft2(torch.fft.ifftshift(h)).real
        assert float((direct - spread[k] * pixel).abs().max()) < 0.01


def test_the_in_focus_transfer_is_the_diffraction_limit():
    profile = optics.transfer(DRY, defocus_um=torch.zeros(1), fluorescence=True)[0].real.numpy()
    nu = 2 * np.linspace(0, 1, len(profile)) ** 2
    v = np.clip(nu / 2, 0, 1)
    ideal = 2 / np.pi * (np.arccos(v) - v * np.sqrt(1 - v**2))
    np.testing.assert_allclose(profile, ideal, atol=2e-3)


@pytest.mark.parametrize(("na", "index", "tolerance"), [(0.2, 1.0, 0.003), (0.75, 1.0, 0.015), (1.2, 1.33, 0.06)])
def test_the_table_agrees_with_the_exact_transfer(table, na, index, tolerance):
    m = Microscope(na=na, wavelength_um=0.55, index=index, pixel_um=0.1, spherical_waves=0.2)
    z = torch.tensor([0.0, 0.5, -1.5, 4.0]) * m.depth_of_field_um
    exact = optics.transfer(m, defocus_um=z, fluorescence=True)
    waves, spherical = optics.as_table_waves(z, m)
    assert float((table(waves, spherical) - exact).abs().max()) < tolerance


@pytest.mark.parametrize("na", [0.3, 0.75, 0.95])
def test_the_wide_transfer_agrees_with_the_exact_one(na):
    """One way goes by the point image, the other integrates over two overlapping pupils."""
    lens = Microscope(na=na, wavelength_um=0.5, index=1.0)
    waves = torch.tensor([0.0, 0.6, -0.6, 4.0, -9.0])
    exact = optics.transfer(lens, defocus_um=waves / lens.waves_per_um, fluorescence=True).real
    same = torch.full((5,), na)
    found = optics.wide_transfer(waves, aperture=same, spherical=torch.zeros(5), layer=torch.full((5,), 1.5))
    torch.testing.assert_close(found, exact.float(), atol=7e-3, rtol=0)


def test_a_layer_under_a_low_aperture_brings_primary_aberration_alone(table):
    waves, spherical = torch.tensor([0.5, -0.5, 3.0, -6.0]), torch.tensor([0.3, 0.3, -0.3, 0.2])
    found = optics.wide_transfer(
        waves, aperture=torch.full((4,), 0.05), spherical=spherical, layer=torch.full((4,), 1.5)
    )
    torch.testing.assert_close(found, table(waves, spherical).real, atol=5e-3, rtol=0)


def test_a_layer_under_a_high_aperture_brings_more_than_primary_aberration(table):
    waves, spherical = torch.tensor([1.0, -1.0]), torch.tensor([0.4, 0.4])
    found = [
        optics.wide_transfer(waves, aperture=torch.full((2,), 0.95), spherical=spherical, layer=torch.full((2,), m))
        for m in (1.15, 1.5)
    ]
    assert float((found[0] - found[1]).abs().max()) > 0.005
    assert float((found[1] - table(waves, spherical).real).abs().max()) > 0.03


def test_a_pure_phase_object_vanishes_in_focus_and_inverts_through_it():
    z = torch.tensor([-20.0, 0.0, 20.0])
    phase = optics.transfer(LOW, defocus_um=z, fluorescence=False).imag
    assert float(phase[1].abs().max()) < 1e-6
    assert torch.allclose(phase[0], -phase[2], atol=1e-6)
    assert float(phase[2].abs().max()) > 0.2


def test_a_full_condenser_shows_no_phase():
    m = Microscope(na=0.2, wavelength_um=0.55, pixel_um=0.3, coherence=1.0)
    phase = optics.transfer(m, defocus_um=torch.tensor([20.0]), fluorescence=False).imag
    assert float(phase.abs().max()) < 1e-4


def test_the_transfer_of_a_narrow_condenser_reaches_less_far():
    narrow = Microscope(na=0.2, wavelength_um=0.55, pixel_um=0.3, coherence=0.3)
    profile = optics.transfer(narrow, defocus_um=torch.zeros(1), fluorescence=False)[0].real
    nu = 2 * torch.linspace(0, 1, len(profile)) ** 2
    assert float(profile[nu > 1.31].abs().max()) < 1e-3
    assert float(profile[nu < 0.69].min()) > 0.99


def test_the_bessel_psf_agrees_with_the_pupil_at_low_aperture():
    m = Microscope(na=0.2, wavelength_um=0.55, pixel_um=0.2)
    bessel = optics.bessel_psf(m, defocus_um=25.0, size=201)
    pupil = optics.psf(m, defocus_um=25.0, size=201)
    assert float((bessel - pupil).abs().max()) < 0.05 * float(pupil.max())


def test_small_apertures_follow_the_paraxial_rule():
    m = Microscope(na=0.1, wavelength_um=0.5)
    assert 10 * m.waves_per_um == pytest.approx(10 * 0.01 / (2 * 0.5), rel=0.01)


def test_an_aperture_above_the_index_is_refused():
    with pytest.raises(InputError, match="below the index"):
        Microscope(na=1.2, index=1.0)


def test_an_independent_electromagnetic_psf_agrees():
    """`psf` computes the vectorial field (Richards and Wolf); ours is scalar: widths along x and z within 10 %."""
    psf = pytest.importorskip("psf")
    step = 0.05
    other = psf.PSF(
        psf.ISOTROPIC | psf.EMISSION,
        shape=(64, 64),
        dims=(64 * step, 64 * step),
        ex_wavelen=488.0,
        em_wavelen=520.0,
        num_aperture=0.75,
        refr_index=1.0,
        magnification=1.0,
        pinhole_radius=None,
    )
    values = np.asarray(other.data if hasattr(other, "data") else other)  # (z, r), focus at the origin
    m = Microscope(na=0.75, wavelength_um=0.52, pixel_um=step)
    ours_x = optics.psf(m, defocus_um=0.0, size=127).numpy()[63, 63:]
    along_z = [float(optics.psf(m, defocus_um=z * step, size=127)[63, 63]) for z in range(0, 50, 2)]
    theirs_x, theirs_z = values[0], values[:, 0]

    def half(row, stride=1):
        return stride * np.interp(-row[0] / 2, -np.asarray(row), np.arange(len(row)))

    assert half(ours_x) == pytest.approx(half(theirs_x), rel=0.1)
    assert half(np.array(along_z), 2) == pytest.approx(half(theirs_z), rel=0.12)


def test_gaussian_transfer_has_the_width_asked_for():
    image = torch.zeros((1, 129, 129))
    image[0, 64, 64] = 1
    t = optics.gaussian_transfer(torch.tensor([5.0]), shape=(129, 129))
    blurred = torch.fft.irfft2(torch.fft.rfft2(image) * t, s=(129, 129))[0].double().numpy()
    x = np.arange(129) - 64
    assert math.sqrt((blurred.sum(axis=0) * x**2).sum() / blurred.sum()) == pytest.approx(5.0, rel=0.01)


def test_refined_profiles_agree_with_spread_ones():
    profiles = optics.transfer(DRY, defocus_um=torch.tensor([1.0]), fluorescence=True).real
    a = optics.spread(profiles, sampling=torch.tensor([DRY.sampling]), shape=(96, 120))
    b = optics.refine(profiles)[:, optics.lookup(sampling=DRY.sampling, shape=(96, 120))]
    assert float((a - b).abs().max()) < 0.01
