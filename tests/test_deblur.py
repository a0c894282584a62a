"""Sharpening: kernels, classical methods, networks, and what they do to odd images."""

import cv2
import numpy as np
import pytest
import torch

from napari_focusstack.core.deblur import DEBLURRERS, Deblurrer, DeblurSettings, Wish, deblur, deblur_job, deblur_plane
from napari_focusstack.core.deblur.kernel import disc, estimate_blur
from napari_focusstack.core.deblur.lucy import richardson_lucy
from napari_focusstack.core.deblur.methods import _by_network
from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import drain
from napari_focusstack.core.stack import from_array
from napari_focusstack.io.samples import sample_stack
from napari_focusstack.networks import deblur as nets
from napari_focusstack.networks.zoo import save_model
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.pairs import Pairs, PairSettings, path_kernel, scan_kernel
from test_patches import cells

CLASSICAL = ("wiener", "unsupervised_wiener", "richardson_lucy")
NETWORKS = {
    "unet": nets.UNet,
    "srcnn": nets.SRCNN,
    "deblurgan": nets.deblurgan,
    "deblurgan_upgraded": nets.deblurgan_upgraded,
    "autoencoder": nets.DenoisingAutoencoder,
    "stacked": nets.StackedAutoencoder,
    "coupled": nets.CoupledAutoencoder,
}


def scene(side=160):
    return cv2.GaussianBlur(cells(3).astype(np.float32), (0, 0), 0.7)[:side, :side] / 255


def psnr(a, b):
    return -10 * np.log10(np.mean((np.asarray(a, np.float64) - b) ** 2))


@pytest.mark.parametrize("radius", [0.0, 0.4, 1.0, 3.3, 12.0])
def test_a_disc_holds_all_the_light_and_has_the_area_of_its_radius(radius):
    kernel = disc(radius)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert kernel.shape[0] == kernel.shape[1] == 2 * int(np.ceil(radius)) + 1
    if radius >= 1:
        assert 1 / kernel.max() == pytest.approx(np.pi * radius**2, rel=0.3)


def test_the_estimated_blur_grows_with_the_true_one():
    image = scene()
    found = [estimate_blur(cv2.filter2D(image, -1, disc(r))) for r in (0, 2, 4, 7)]
    assert found == sorted(found)
    assert found[2] == pytest.approx(4, rel=0.5)


def test_an_image_without_edges_counts_as_sharp():
    assert estimate_blur(np.full((64, 64), 0.3, np.float32)) == 0


@pytest.mark.parametrize("name", CLASSICAL)
def test_the_classical_methods_sharpen_what_a_known_disc_has_blurred(name):
    image = scene()
    blurred = cv2.filter2D(image, -1, disc(4), borderType=cv2.BORDER_REFLECT)
    blurred += np.random.default_rng(0).normal(0, 0.01, blurred.shape).astype(np.float32)
    restored = drain(deblur_plane(blurred, DEBLURRERS[name], Wish(kernel=disc(4))))
    assert psnr(restored, image) > psnr(blurred, image) + 0.5


@pytest.mark.parametrize("z", [1, 3, 4, 5, 7])
def test_richardson_lucy_digs_no_holes_into_beads(z):
    plane = sample_stack("beads").plane(z=z).astype(np.float32)
    restored = drain(deblur_plane(plane, DEBLURRERS["richardson_lucy"], Wish()))
    smooth, near = cv2.GaussianBlur(plane, (0, 0), 1.0), np.ones((9, 9), np.uint8)
    crests = (smooth >= cv2.dilate(smooth, near)) & (smooth > np.median(plane) + 0.3 * np.ptp(plane))
    background = np.median(restored)
    depth = (restored - background) / (cv2.dilate(restored, near) - background)
    assert crests.sum() >= 3
    assert np.median(depth[crests]) > 0.88
    assert restored.min() > plane.min() - 0.02 * np.ptp(plane)


def test_richardson_lucy_with_too_large_a_kernel_leaves_spots_bright_in_their_middle():
    y, x = np.mgrid[-20:21, -20:21]
    ball = np.sqrt(np.clip(1 - (y**2 + x**2) / 36, 0, None)).astype(np.float32)
    taken = cv2.GaussianBlur(np.tile(ball, (4, 4)), (0, 0), 0.6)
    taken += np.random.default_rng(1).normal(0, 0.002, taken.shape).astype(np.float32)
    restored = richardson_lucy(taken, disc(2.0), turns=30)
    assert restored[20::41, 20::41].min() > 0.9 * restored.max()
    assert restored.min() > -0.02


@pytest.mark.parametrize(("length", "angle"), [(1.0, 0.0), (9.0, 0.5), (14.0, 2.0)])
def test_a_scan_blurs_along_its_way_and_leaves_the_middle_in_place(length, angle):
    kernel = scan_kernel(length, angle=angle)
    y, x = np.indices(kernel.shape) - len(kernel) // 2
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert (kernel * along).sum() == pytest.approx(0, abs=0.2)
    assert np.sqrt((kernel * along**2).sum()) == pytest.approx(length / np.sqrt(12), abs=0.4)
    assert np.sqrt((kernel * across**2).sum()) < 0.6


def test_a_random_path_stays_within_its_size():
    rng = np.random.default_rng(2)
    for side in (4, 15):
        kernel = path_kernel(side, rng)
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert side - 2 <= len(kernel) <= side + 3


@pytest.fixture(scope="module")
def sharp():
    return [Sharp("made", f"{i}", ((cells(i) / 255).astype(np.float16),)) for i in range(3)]


def test_pairs_are_the_same_for_the_same_seed_and_sharper_than_their_input(sharp):
    settings = PairSettings(patch_px=64, still=0.0)
    a, b, c = (Pairs(sharp, settings, batch=8, seed=s).draw() for s in (1, 1, 2))
    assert torch.equal(a.blurred, b.blurred)
    assert not torch.equal(a.blurred, c.blurred)
    assert a.blurred.shape == a.sharp.shape == (8, 1, 64, 64)

    def detail(x):
        return float(torch.diff(torch.nn.functional.avg_pool2d(x, 3), dim=-1).square().mean())

    assert detail(a.sharp) > 1.2 * detail(a.blurred)


def test_still_pairs_differ_by_noise_alone(sharp):
    settings = PairSettings(patch_px=64, still=1.0, electrons=(1e7, 1e7))
    pair = Pairs(sharp, settings, batch=6, seed=0).draw()
    assert float((pair.blurred - pair.sharp).abs().mean()) < 0.02


@pytest.mark.parametrize("name", NETWORKS)
def test_untrained_networks_return_their_input_whatever_its_channels(name):
    network = NETWORKS[name](width=0.125, channels=3).eval()
    x = torch.rand(1, 3, 48, 32)
    with torch.inference_mode():
        assert torch.allclose(network(x), x, atol=0.2)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_paper_size_learns_one_batch_by_heart(name):
    torch.manual_seed(0)
    network = NETWORKS[name](channels=3).train()
    image = scene()
    planes = (cv2.filter2D(image, -1, disc(4))[40:72, 40:72], image[40:72, 40:72])
    blurred, sharp = (torch.from_numpy(np.ascontiguousarray(p)).expand(1, 3, -1, -1) for p in planes)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4 if "gan" in name else 1e-3)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(network(blurred), sharp)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.75 * losses[0]


def test_the_channels_of_the_paper_are_met():
    assert [m.out_channels for m in nets.SRCNN(channels=3).modules() if isinstance(m, torch.nn.Conv2d)] == [64, 32, 3]
    encoder = nets.DenoisingAutoencoder(channels=3).encoder
    sizes = [m.out_channels for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert sizes == [32, 64, 128, 256, 256]
    generator = nets.deblurgan(channels=3)
    assert sum(isinstance(m, nets._Residual) for m in generator.modules()) == 9
    assert sum(isinstance(m, torch.nn.ConvTranspose2d) for m in generator.modules()) == 2
    assert not any(isinstance(m, torch.nn.ConvTranspose2d) for m in nets.deblurgan_upgraded().modules())


@pytest.fixture(params=list(NETWORKS))
def network_deblurrer(request, tmp_path):
    torch.manual_seed(1)
    network = NETWORKS[request.param](width=0.1)
    for parameter in network.parameters():  # as wild as a trained one
        parameter.data += 0.02 * torch.randn_like(parameter)
    architecture = request.param if "gan" in request.param else f"deblur_{request.param}"
    card = {
        "name": "mine",
        "title": "Mine",
        "task": "Sharpen",
        "paper": "none",
        "architecture": architecture,
        "arguments": {"width": 0.1},
        "input_px": (96, 96),
        "normalisation": "0 to 1",
        "outputs": "image",
    }
    card = save_model(network, card, tmp_path / "mine")
    run = _by_network(tmp_path / "mine", card.sha256)
    return Deblurrer("mine", "Mine", "", "", run, card)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_no_network_runs_away_on_blank_saturated_or_deep_images(network_deblurrer, dtype):
    top = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    blank = np.full((70, 50), top / 3, dtype)
    assert np.array_equal(drain(deblur_plane(blank, network_deblurrer, Wish(device="cpu"))), blank)
    saturated = np.where(scene(80) > 0.4, top, 0).astype(dtype)
    restored = drain(deblur_plane(saturated, network_deblurrer, Wish(device="cpu")))
    assert restored.dtype == dtype
    assert np.isfinite(restored.astype(float)).all()
    assert np.abs(restored.astype(float)).max() <= 4 * top


def ramp():
    return np.tile(np.linspace(0, 1, 400, dtype=np.float32), (230, 1))


def object_on_nothing():
    plane = np.full((230, 400), 0.2, np.float32)
    plane[100:125, 110:150] = 1
    return plane


@pytest.mark.parametrize("drawn", [ramp, object_on_nothing])
def test_tiles_make_what_the_whole_plane_makes(network_deblurrer, monkeypatch, drawn):
    from napari_focusstack.networks import infer

    tiles = []
    plane, at_once = drawn(), infer._tiles
    monkeypatch.setattr(infer, "_tiles", lambda *a, **more: tiles.append(at_once(*a, **more)) or tiles[-1])
    monkeypatch.setattr(infer, "TILE_BYTES", 2**40)
    whole = drain(deblur_plane(plane, network_deblurrer, Wish(device="cpu")))
    monkeypatch.setattr(infer, "TILE_BYTES", 1)
    tiled = drain(deblur_plane(plane, network_deblurrer, Wish(device="cpu")))
    assert np.allclose(tiled, whole, atol=1e-5)
    assert np.abs(whole - plane).max() > 1e-3
    if "gan" not in network_deblurrer.card.architecture:
        assert len(tiles[-1]) > 2


@pytest.mark.parametrize("network_deblurrer", ["deblurgan", "deblurgan_upgraded"], indirect=True)
def test_a_plane_that_no_memory_holds_as_a_whole_is_refused(network_deblurrer, monkeypatch):
    from napari_focusstack.networks import memory

    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**6)
    with pytest.raises(InputError, match=r"'mine' has to see a plane as a whole, .* choose a method that works"):
        drain(deblur_plane(ramp(), network_deblurrer, Wish(device="cpu")))


def test_networks_that_take_means_over_the_image_say_so():
    for make in NETWORKS.values():
        network = make(width=0.1)
        means = any(isinstance(m, torch.nn.InstanceNorm2d) for m in network.modules())
        assert network.sees_whole == means


def test_a_stack_keeps_axes_type_and_calibration():
    stack = sample_stack("nucleus")
    few = from_array(np.asarray(stack.data[10:12, :64, :60]), z_um=0.5, y_um=0.2, x_um=0.2)
    sharper = deblur(few, DeblurSettings(model="richardson_lucy"))
    assert (sharper.axes, sharper.dtype, sharper.data.shape) == (few.axes, few.dtype, few.data.shape)
    assert (sharper.z_um, sharper.x_um) == (0.5, 0.2)
    assert not np.array_equal(sharper.data, few.data)


@pytest.mark.parametrize("name", CLASSICAL)
def test_the_blur_that_was_estimated_is_told_of_each_plane_in_px_and_um(name):
    image = scene()
    planes = np.stack([cv2.filter2D(image, -1, disc(r)) for r in (2, 7)])
    made = drain(deblur_job(from_array(planes, z_um=1.0, y_um=0.2, x_um=0.2), DeblurSettings(model=name)))
    assert made.blurs_px[0] < made.blurs_px[1]
    assert made.blurs_um == pytest.approx([0.2 * b for b in made.blurs_px])
    assert f"{made.blurs_px[0]:.3g} to {made.blurs_px[1]:.3g}" in made.blur_told
    assert "µm" in made.blur_told
    one = drain(deblur_job(from_array(planes), DeblurSettings(model=name), at={"Z": 1}))
    assert one.blurs_px == made.blurs_px[1:]
    assert one.blur_told == f"{one.blurs_px[0]:.3g} px"
    assert np.array_equal(one.stack.data, made.stack.data[1:])


def test_a_blur_that_was_given_is_not_called_estimated():
    made = drain(deblur_job(from_array(scene(64)), DeblurSettings(model="wiener", blur_px=3)))
    assert (made.blurs_px, made.blur_told) == ((), "")


@pytest.mark.parametrize("at", [None, {"Z": 2}, {"Z": 2, "T": 1}])
def test_the_slice_that_holds_nan_is_named(at):
    data = np.tile(scene(32), (2, 4, 1, 1))
    data[1 if at and "T" in at else slice(None), 2, 5, 5] = np.nan
    with pytest.raises(InputError, match=r"Slice 2 \(time point") as told:
        drain(deblur_job(from_array(data, axes="TZYX"), DeblurSettings(model="wiener"), at=at))
    assert f"time point {(at or {}).get('T', 0)}" in str(told.value)


def test_colours_are_sharpened_alike():
    grey = (scene(96) * 200).astype(np.uint8)
    colour = from_array(np.stack([grey] * 3, axis=-1), axes="YXS")
    restored = deblur(colour, DeblurSettings(model="wiener")).data
    assert restored.shape == (96, 96, 3)
    assert np.array_equal(restored[..., 0], restored[..., 2])


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(InputError, match="wiener"):
        deblur(from_array(np.eye(8), axes="YX"), DeblurSettings(model="magic"))


def test_a_network_that_is_told_the_blur_names_the_methods_that_take_it():
    with pytest.raises(InputError, match=r"leave it out, or choose one of wiener, .*richardson_lucy") as told:
        deblur(from_array(scene(32), axes="YX"), DeblurSettings(model="deblur_unet", blur_px=3))
    assert "'deblur_unet' is a network" in str(told.value)


def test_a_plane_too_small_is_named_and_a_wide_blur_on_a_small_one_is_none_of_its_worry():
    with pytest.raises(InputError, match="2×2 pixels is too small"):
        deblur(from_array(np.eye(2), axes="YX"), DeblurSettings(model="wiener"))
    small = from_array(scene(20), axes="YX")
    for name in CLASSICAL:
        assert np.isfinite(deblur(small, DeblurSettings(model=name, blur_px=20)).data).all()
