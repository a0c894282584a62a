"""Properties of simulated stacks and of what is put on top of the optics."""

import numpy as np
import pytest
import torch

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import Progress
from napari_focusstack.training import camera
from napari_focusstack.training.scene import depth_map, depth_planes
from napari_focusstack.training.settings import SimulationSettings
from napari_focusstack.training.simulate import simulate, simulation

CLEAN = {"electrons": 1e9, "read_noise": 0.0, "offset": 0.0, "relief": "flat", "relief_um": 0.0}


def texture(shape=(96, 120), seed=0):
    """Bright blobs on a dark ground, away from the border."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.float32)
    for _ in range(40):
        y, x = rng.integers(24, shape[0] - 24), rng.integers(24, shape[1] - 24)
        image[y - 1 : y + 2, x - 1 : x + 2] = rng.uniform(0.3, 1)
    return image


def detail(plane):
    plane = np.asarray(plane, np.float64)
    return float((np.diff(plane, axis=0) ** 2).sum() + (np.diff(plane, axis=1) ** 2).sum())


def run(image=None, **changes):
    settings = SimulationSettings(**{"slices": 5, "z_um": 2.0, **CLEAN, **changes})
    return simulate(texture() if image is None else image, settings)


@pytest.mark.parametrize("blur", ["fluorescence", "brightfield", "gaussian"])
def test_the_slice_at_the_specimens_height_is_the_sharpest_and_detail_falls_on_both_sides(blur):
    curve = [detail(p) for p in run(blur=blur).stack.data]
    assert int(np.argmax(curve)) == 2
    assert curve[0] < curve[1] < curve[2] > curve[3] > curve[4]


def test_the_papers_bessel_blur_falls_on_both_sides_too():
    curve = [detail(p) for p in run(blur="bessel", slices=3).stack.data]
    assert curve[0] < curve[1] > curve[2]


def test_light_is_kept_from_slice_to_slice():
    sums = run(na=0.3).stack.data.sum(axis=(1, 2), dtype=np.float64)
    assert np.ptp(sums) / sums.mean() < 0.005


def test_without_aberration_slices_at_equal_distance_are_alike():
    data = run().stack.data.astype(float)
    assert np.abs(data[1] - data[3]).max() < 0.001 * data.max()


def test_with_spherical_aberration_they_are_not():
    data = run(spherical_waves=0.3).stack.data.astype(float)
    assert np.abs(data[1] - data[3]).max() > 0.01 * data.max()


def test_a_phase_object_has_more_contrast_out_of_focus_and_inverts():
    image = 1 - 0.001 * texture()
    data = run(image, blur="brightfield", phase_rad=0.3, slices=3, z_um=3.0).stack.data.astype(float)
    data -= np.median(data, axis=(1, 2), keepdims=True)
    assert data[1].std() < 0.3 * min(data[0].std(), data[2].std())
    assert np.corrcoef(data[0].ravel(), data[2].ravel())[0, 1] < -0.5


def test_a_tilted_specimen_is_sharp_where_its_height_is_that_of_the_slice():
    rng = np.random.default_rng(3)
    image = rng.uniform(0, 1, (96, 240)).astype(np.float32)
    depth = np.broadcast_to(np.linspace(-8, 8, 240, dtype=np.float32), (96, 240))
    settings = SimulationSettings(**{**CLEAN, "slices": 9, "z_um": 2.0})
    r = simulate(image, settings, depth_um=np.ascontiguousarray(depth))
    energy = np.diff(r.stack.data.astype(float), axis=2) ** 2
    for column in (30, 120, 210):
        best = energy[:, 16:-16, column - 8 : column + 8].mean(axis=(1, 2)).argmax()
        assert abs(best - r.best_slice[48, column]) <= 1


def test_truth_agrees_with_itself():
    r = run(relief="smooth", relief_um=8.0)
    heights = r.stack.heights_um - 4.0
    np.testing.assert_allclose(r.defocus_um, heights[:, None, None] - r.depth_um, atol=1e-5)
    assert (np.abs(r.defocus_um)[r.in_focus] <= r.microscope.depth_of_field_um / 2).all()


def test_the_all_in_focus_image_is_the_slice_in_focus_of_a_flat_specimen():
    r = run()
    np.testing.assert_allclose(r.all_in_focus, r.stack.data[2] / 65535, atol=0.002)


def test_a_higher_opaque_layer_hides_what_lies_under_it():
    """Its middle shows the layer's own blur and no light from beneath, whatever the slice."""
    shape = (96, 160)
    image = np.full(shape, 0.2, np.float32)
    image[:, 80:] = 1.0
    depth = np.zeros(shape, np.float32)
    depth[:, 80:] = 10.0
    settings = SimulationSettings(**{**CLEAN, "slices": 3, "z_um": 10.0, "na": 0.3, "occlusion": True})
    data = simulate(image, settings, depth_um=depth).stack.data / 65535
    assert data[:, 40:56, 130:150].min() > 0.97 * 0.9
    # Beside it, the ground keeps its own light but for the far wing of the diffraction pattern, some 1/(pi² q x).
    assert data[:, 40:56, 30:50].max() < 1.1 * 0.18


def test_dirt_on_the_camera_stays_sharp_and_counts_as_out_of_focus():
    image = np.full((96, 120), 0.8, np.float32) + 0.01 * texture()
    r = run(image, dirt=6, seed=4)
    far, near = detail(r.stack.data[0][4:-4]), detail(r.stack.data[2][4:-4])
    assert far > 0.8 * near
    assert r.dirt.any()
    assert not r.in_focus[:, r.dirt].any()


def test_dirt_at_a_height_is_sharp_there():
    image = np.full((96, 120), 0.8, np.float32)
    curve = [detail(p[4:-4, 4:-4]) for p in run(image, dirt=6, dirt_um=-4.0, seed=4).stack.data]
    assert int(np.argmax(curve)) == 0


def test_empty_background_is_never_in_focus():
    image = np.zeros((96, 160), np.float32)
    image[:, 80:] = np.random.default_rng(0).uniform(0, 1, (96, 80))
    r = run(image)
    assert r.in_focus[2, :, 100:].mean() > 0.95
    assert not r.in_focus[:, :, :60].any()


def test_noise_comes_after_the_blur():
    """Far out of focus there is no detail left but the noise's, which is white."""
    r = run(electrons=200.0, na=0.9, slices=3, z_um=20.0)
    plane = r.stack.data[0].astype(float)
    residue = plane[1:-1, 1:-1] - plane[1:-1, :-2]
    neighbours = np.corrcoef(residue[:, 2:].ravel(), residue[:, :-2].ravel())[0, 1]
    assert abs(neighbours) < 0.1


@pytest.mark.parametrize(("bits", "dtype", "top"), [(8, np.uint8, 255), (12, np.uint16, 4095), (16, np.uint16, 65535)])
def test_pixels_come_in_the_cameras_bits(bits, dtype, top):
    data = run(bits=bits).stack.data
    assert data.dtype == dtype
    assert 0.5 * top < data.max() <= top


def test_colours_stay_colours():
    image = np.stack([texture(seed=s) for s in range(3)], axis=-1)
    r = run(image, blur="brightfield", bits=8, jpeg=90, slices=2)
    assert r.stack.axes == "ZYXS"
    assert r.all_in_focus.shape == image.shape


def test_flicker_and_drift_change_slices():
    still, moved = run(), run(drift_px=3.0, flicker=0.1)
    assert np.ptp(moved.stack.data.mean(axis=(1, 2))) > 10 * np.ptp(still.stack.data.mean(axis=(1, 2)))


def test_the_same_seed_gives_the_same_stack():
    a, b, c = (run(electrons=500.0, relief="smooth", relief_um=4.0, seed=s).stack.data for s in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()


def test_progress_is_told_for_every_slice():
    job = simulation(texture(), SimulationSettings(slices=4))
    steps = [p for p in job if isinstance(p, Progress)]
    assert [p.done for p in steps] == [1, 2, 3, 4]


def test_a_depth_map_of_another_size_is_refused():
    with pytest.raises(InputError, match="same size"):
        simulate(texture(), depth_um=np.zeros((5, 5), np.float32))


@pytest.mark.parametrize("kind", ["flat", "tilt", "smooth", "layers"])
def test_depth_maps_keep_to_their_relief(kind):
    depth = depth_map(kind, (40, 60), relief_um=6.0, rng=np.random.default_rng(0))
    assert np.abs(depth).max() <= 3.0 + 1e-5
    assert np.ptp(depth) == pytest.approx(0 if kind == "flat" else 6.0, abs=0.1)


def test_depth_planes_share_every_pixel_out():
    depth = depth_map("smooth", (40, 60), relief_um=6.0, rng=np.random.default_rng(0))
    heights, weights = depth_planes(depth, spacing_um=0.5)
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose((weights * heights[:, None, None]).sum(axis=0), depth, atol=1e-4)


def test_shot_noise_has_the_variance_of_its_electrons():
    light = torch.full((1, 200, 200), 0.5)
    g = torch.Generator().manual_seed(0)
    taken = camera.expose(light, electrons=1000.0, read_noise=0.0, generator=g)
    assert float(taken.var()) == pytest.approx(0.5 / 1000, rel=0.05)


def test_correlated_noise_keeps_its_variance():
    light = torch.full((1, 200, 200), 0.5)
    g = torch.Generator().manual_seed(0)
    taken = camera.expose(light, electrons=1000.0, read_noise=0.0, correlation_px=1.0, generator=g)
    assert float(taken.var()) == pytest.approx(0.5 / 1000, rel=0.05)
    a = taken[0] - taken.mean()
    assert float((a[:, 1:] * a[:, :-1]).mean() / a.var()) > 0.5


def test_light_beyond_full_well_saturates():
    g = torch.Generator().manual_seed(0)
    assert float(camera.expose(torch.full((1, 8, 8), 3.0), electrons=100.0, read_noise=0.0, generator=g).max()) == 1.0


def test_eight_bits_leave_256_values():
    values = camera.digitise(torch.rand(1, 100, 100), bits=8)
    assert len(torch.unique(values)) <= 256
    assert torch.allclose(values * 255, (values * 255).round(), atol=1e-4)


def test_strong_compression_loses_more_than_weak():
    image = torch.rand(64, 64)
    strong, weak = (float((camera.compress(image, quality=q) - image).abs().mean()) for q in (20, 95))
    assert strong > 2 * weak


def test_uneven_light_is_smooth():
    field = camera.uneven(3, shape=(64, 64), strength=0.3, generator=torch.Generator().manual_seed(0))
    assert float(field.diff(dim=1).abs().max()) < 0.15
    assert float(field.std()) > 0.05


def test_real_beads_fall_off_like_simulated_ones(shared_data):
    """The focus curve of real beads (20×/0.75, 5 µm steps) against simulated ones: same peak, same course."""
    tifffile = pytest.importorskip("tifffile")
    real = tifffile.imread(shared_data / "stacks" / "beads_s1.ome.tif").astype(float)
    focused = real[4]
    settings = SimulationSettings(
        **{**CLEAN, "slices": 10, "z_um": 5.0, "na": 0.75, "wavelength_um": 0.52, "pixel_um": 1.367, "offset": 0.004}
    )
    depth = np.full(focused.shape, (4 - 4.5) * 5.0, np.float32)
    made = simulate((focused - np.median(focused)).clip(0), settings, depth_um=depth).stack.data
    a, b = (np.log([detail(p) for p in s]) for s in (real, made))
    assert int(a.argmax()) == int(b.argmax()) == 4
    assert np.corrcoef(a, b)[0, 1] > 0.8
