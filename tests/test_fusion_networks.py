"""IFCNN and FuseGAN: what they take, what they give, and that they can learn."""

import cv2
import numpy as np
import pytest
import torch

from napari_focusstack.core.fusion import METHODS, fuse_series
from napari_focusstack.core.fusion.end_to_end import EndToEndMethod, fuse_by_groups, fuse_ifcnn
from napari_focusstack.core.fusion.learned import KINDS
from napari_focusstack.core.fusion.method import Series
from napari_focusstack.core.measures import harris_response as harris_of_the_measure
from napari_focusstack.core.progress import drain
from napari_focusstack.core.quality import psnr
from napari_focusstack.core.stack import from_array
from napari_focusstack.networks.fusegan import FuseGenerator, PatchCritic, focus_masks, harris_response
from napari_focusstack.networks.ifcnn import IFCNN
from napari_focusstack.networks.infer import prepare
from test_patches import cells


def learns(network, inputs, target, steps=12, rate=1e-3, to=0.75):
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = torch.nn.functional.l1_loss(network(*inputs), target)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses[-1] < to * losses[0]


@pytest.mark.parametrize("rule", ["max", "mean"])
def test_ifcnn_in_the_papers_size_learns_a_batch_of_any_number_of_slices(rule):
    torch.manual_seed(0)
    network = IFCNN(channels=3, rule=rule)
    slices = [torch.rand(2, 3, 24, 24) for _ in range(3)]
    assert learns(network, (slices,), slices[0])
    assert network(slices[:2]).shape == (2, 3, 24, 24)


def test_the_maximum_does_not_care_for_the_order_of_slices():
    network = IFCNN(width=0.1).eval()
    stack = torch.rand(1, 4, 20, 30)
    assert torch.allclose(network(stack), network(stack.flip(1)), atol=1e-6)


@pytest.mark.parametrize("masks", ["none", "concatenated", "multiplied"])
def test_fusegan_takes_fewer_slices_than_it_has_slots_with_or_without_masks(masks):
    network = FuseGenerator(width=0.1, slots=4, channels=3, masks=masks)
    slices, given = torch.rand(2, 6, 32, 48), torch.rand(2, 2, 32, 48)
    fused = network(slices, None if masks == "none" else given)
    assert fused.shape == (2, 3, 32, 48)
    assert float(fused.detach().min()) >= -0.1
    assert float(fused.detach().max()) <= 1.1
    if masks != "none":
        with pytest.raises(ValueError, match="masks"):
            network(slices)


def test_fusegan_in_the_papers_size_learns_a_batch():
    torch.manual_seed(0)
    network = FuseGenerator(slots=3, channels=3)
    slices = torch.nn.functional.interpolate(torch.rand(1, 9, 4, 4), size=(16, 16), mode="bilinear")
    masks = torch.softmax(torch.rand(1, 3, 16, 16), dim=1)
    assert learns(network, (slices, masks), slices[:, :3], steps=20, rate=3e-4, to=0.9)


def test_the_critic_has_eight_convolutions_and_judges_patches_of_64_px():
    critic = PatchCritic(width=0.2)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in critic.modules()) == 8
    image = torch.rand(1, 1, 256, 256, requires_grad=True)
    scores = critic(image)
    assert scores.shape == (1, 1, 16, 16)
    scores[0, 0, 8, 8].backward()
    rows = torch.nonzero(image.grad[0, 0].abs().sum(dim=1))
    assert 56 <= int(rows.max() - rows.min()) + 1 <= 130


def test_the_networks_masks_are_the_measures_response():
    plane = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    found = harris_response(torch.from_numpy(plane)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(found[8:-8, 8:-8], harris_of_the_measure(plane)[8:-8, 8:-8], rtol=1e-3, atol=1e-6)


def test_masks_follow_the_sharper_slice_and_sum_to_one():
    sharp = torch.rand(1, 1, 64, 64)
    soft = torch.nn.functional.avg_pool2d(sharp, 7, 1, 3)
    masks = focus_masks(torch.cat([soft, sharp, soft], dim=1))
    assert torch.allclose(masks.sum(dim=1), torch.ones(1, 64, 64), atol=1e-5)
    assert float(masks[:, 1].mean()) > 0.95
    assert torch.allclose(focus_masks(torch.zeros(1, 4, 16, 16)), torch.full((1, 4, 16, 16), 0.25), atol=1e-4)


def series(n, *, colours=1, dtype=np.uint16, seed=0):
    rng = np.random.default_rng(seed)
    shape = (n, 40, 56) + ((colours,) if colours > 1 else ())
    data = (rng.random(shape) * 0.7 * np.iinfo(dtype).max).astype(dtype)
    mix = (1 / 3,) * 3 if colours > 1 else (1.0,)
    return Series(lambda i: data[i], n, data.shape[1:], data.dtype, mix), data


@pytest.mark.parametrize(("n", "colours", "dtype"), [(2, 1, np.uint16), (5, 3, np.uint8), (9, 1, np.uint8)])
@pytest.mark.parametrize("kind", ["ifcnn", "fusegan"])
def test_any_number_of_slices_in_colour_and_16_bit_become_one_image(kind, n, colours, dtype):
    torch.manual_seed(0)
    given, data = series(n, colours=colours, dtype=dtype)
    network = IFCNN(width=0.1) if kind == "ifcnn" else FuseGenerator(width=0.1)
    if kind == "fusegan":
        torch.nn.init.zeros_(network.head.bias)
    network = prepare(network, device=torch.device("cpu"))
    merged = drain((fuse_ifcnn if kind == "ifcnn" else fuse_by_groups)(given, network))
    assert merged.image.shape == given.shape
    assert np.isfinite(merged.image).all()
    assert merged.index.max() < n
    # Untrained, both begin at a mean of the slices.
    assert merged.image.mean() == pytest.approx(data.mean(), rel=0.25)


@pytest.mark.parametrize("kind", ["ifcnn", "fusegan"])
def test_an_even_stack_stays_even_and_nothing_runs_away(kind):
    data = np.full((3, 32, 32), 400, np.uint16)
    given = Series(lambda i: data[i], 3, (32, 32), data.dtype, (1.0,))
    network = prepare(IFCNN(width=0.1) if kind == "ifcnn" else FuseGenerator(width=0.1), device=torch.device("cpu"))
    merged = drain((fuse_ifcnn if kind == "ifcnn" else fuse_by_groups)(given, network))
    assert np.abs(merged.image - 400).max() < 40


FAMILIES = ["max", "mean", "none", "concatenated", "multiplied"]


def fuse_wildly(rule, data):
    """Fuse slices by a network whose weights are as wild as trained ones."""
    torch.manual_seed(1)
    given = Series(lambda i: data[i], len(data), data.shape[1:], data.dtype, (1.0,))
    joins = rule in ("max", "mean")
    network = IFCNN(width=0.1, rule=rule) if joins else FuseGenerator(width=0.1, masks=rule)
    for parameter in network.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    network = prepare(network, device=torch.device("cpu"))
    return drain((fuse_ifcnn if joins else fuse_by_groups)(given, network)).image


@pytest.mark.parametrize("rule", FAMILIES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_no_family_runs_away_on_blank_or_saturated_slices(rule, dtype):
    top = np.iinfo(dtype).max
    blank = np.zeros((3, 32, 40), dtype)
    saturated = np.where(np.random.default_rng(0).random((3, 40, 48)) > 0.5, top, 0).astype(dtype)
    assert np.abs(fuse_wildly(rule, blank)).max() <= 0.01 * top
    fused = fuse_wildly(rule, saturated)
    assert np.isfinite(fused).all()
    assert -0.5 * top <= fused.min() <= fused.max() <= 2 * top


@pytest.mark.parametrize("rule", FAMILIES)
@pytest.mark.parametrize("scene", ["constant", "ramp"])
def test_tiles_of_every_family_leave_no_seams(rule, scene, monkeypatch):
    from napari_focusstack.networks import infer

    line = np.full(400, 300.0) if scene == "constant" else np.linspace(100, 60000, 400)
    data = np.stack([np.tile(line, (48, 1)) * f for f in (0.9, 1.0)]).astype(np.uint16)
    whole = fuse_wildly(rule, data)
    monkeypatch.setattr(infer, "TILE_BYTES", 48 * 160 * 60)
    tiled = fuse_wildly(rule, data)
    assert np.abs(tiled - whole).max() < 2e-3 * data.max()


def test_both_kinds_are_known_to_the_list_of_methods():
    assert {"ifcnn", "fusegan"} <= set(KINDS)
    assert all(isinstance(m, EndToEndMethod) for m in METHODS if m.name in ("ifcnn", "fusegan"))


@pytest.mark.parametrize("name", ["ifcnn", "fusegan"])
def test_the_bundled_ones_are_nearer_to_the_truth_than_the_mean_of_the_slices(name):
    truth = cells(2)[:96, :128]
    soft = cv2.GaussianBlur(truth, (0, 0), 4)
    left = np.arange(truth.shape[1]) < 64
    slices = np.stack([np.where(left, truth, soft), np.where(left, soft, truth)])
    fused = drain(fuse_series(from_array(slices, axes="ZYX"), method=name, device="cpu")).image
    assert fused.dtype == np.uint8
    assert psnr(fused, truth) > psnr(np.rint(slices.mean(axis=0)).astype(np.uint8), truth) + 0.3


def test_colours_come_from_the_same_slice_though_each_has_its_own_contrast():
    """Green and blue are sharp in one slice; there red is flat, and it is noisy in the other."""
    rng = np.random.default_rng(0)
    sharp = np.repeat(cells(2)[:96, :128, None], 3, axis=2).astype(np.float32) / 255
    soft = cv2.GaussianBlur(sharp, (0, 0), 4)
    sharp[..., 0], soft[..., 0] = 0.4, 0.6 + 0.05 * rng.standard_normal(soft.shape[:2])
    data = np.rint(255 * np.clip(np.stack([sharp, soft]), 0, 1)).astype(np.uint8)
    given = Series(lambda i: data[i], 2, data.shape[1:], data.dtype, (0.3, 0.6, 0.1))
    network = FuseGenerator(width=0.1)
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    fused = drain(fuse_by_groups(given, prepare(network, device=torch.device("cpu")))).image
    clear = np.abs(cv2.Laplacian(sharp[..., 1], cv2.CV_32F)) > 0.2
    taken = [np.abs(fused[..., k] - data[0, ..., k])[clear].mean() for k in range(3)]
    assert max(taken) < 10


def test_groups_weigh_all_slices_as_if_they_were_one_group():
    """An untrained network gives the slices weighted by their masks; in groups of two as well as all at once."""
    given, data = series(5, dtype=np.uint8, seed=3)
    fused = []
    for slots in (2, 4, 5):
        network = FuseGenerator(width=0.1, slots=slots)
        torch.nn.init.zeros_(network.head.weight)
        torch.nn.init.zeros_(network.head.bias)
        fused.append(drain(fuse_by_groups(given, prepare(network, device=torch.device("cpu")))).image)
    slices = torch.from_numpy(data.astype(np.float32) / data.max())
    weighed = (focus_masks(slices[None])[0] * slices).sum(dim=0).numpy() * data.max()
    for image in fused:
        np.testing.assert_allclose(image.reshape(weighed.shape), weighed, atol=1.0)
