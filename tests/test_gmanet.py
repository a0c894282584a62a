"""GMANet: its attention map, its layers, its score, its losses, its training's stacks."""

import numpy as np
import pytest
import torch

from napari_focusstack.core.measures import local_maximum_gradient_map
from napari_focusstack.networks import gmanet, infer
from napari_focusstack.networks.gmanet import GMANet, mean_of_scored
from napari_focusstack.networks.gmanet_infer import corners, dense, grad_cam, protocol, quick
from napari_focusstack.networks.imagenet import load_imagenet
from napari_focusstack.training.losses import stack_scores

CPU = torch.device("cpu")


def untrained(**arguments):
    """A narrow network whose heads answer to what they see: fresh ones give 50 to everything."""
    torch.manual_seed(0)
    network = GMANet(width=0.0625, **arguments).eval()
    for head in network.heads:
        torch.nn.init.normal_(head.body[-1].weight, std=0.02)
    return network


@pytest.fixture(scope="module")
def small():
    return untrained(channels=1)


@pytest.fixture(scope="module")
def image():
    return torch.from_numpy(np.random.default_rng(0).uniform(0, 1, (2, 1, 96, 130)).astype(np.float32))


@pytest.mark.parametrize("block", [2, 3, 8, 32, 200])
def test_the_attention_map_is_the_measures_map(image, block):
    """One definition (eq. 1-6), twice: with tensors for the network, with OpenCV for the measure."""
    scored = gmanet.z_scored(image)
    found = gmanet.local_maximum_gradient(scored, block_px=block)
    for one, plane in zip(found, image, strict=True):
        expected = local_maximum_gradient_map(plane[0].numpy(), block_px=(block, block))
        np.testing.assert_allclose(one[0], expected, rtol=1e-4)


def test_the_attention_map_of_a_constant_image_is_zero():
    assert not gmanet.local_maximum_gradient(gmanet.z_scored(torch.full((1, 1, 40, 50), 7.0))).any()


@pytest.mark.parametrize("backbone", ["vgg16", "resnet50"])
def test_the_paper_sized_network_has_the_papers_maps(backbone):
    network = GMANet(backbone=backbone).eval()
    with torch.inference_mode():
        third, fourth, fifth = network.backbone(*network.ready(torch.rand(1, 3, 64, 96)))
        finer = network.deconv4(fifth, fourth)
        finest = network.deconv3(finer, third)
    if backbone == "vgg16":
        assert fifth.shape == (1, 512, 4, 6)
        weights = sum(p.numel() for b in network.backbone.blocks() for p in [b.convolution.weight])
        assert weights == 14_710_464  # VGG16's 13 convolutions
    assert fifth.shape[-2:] == (4, 6)
    assert finer.shape == (1, 512, 8, 12)
    assert finest.shape == (1, 512, 16, 24)


def test_attention_adds_no_weights_and_changes_the_score(image):
    network, other = untrained(channels=1, attended=0), untrained(channels=1, attended=2)
    other.load_state_dict(network.state_dict())
    with torch.inference_mode():
        without, with_two = network(image), other(image)
        other.attended = 1
        assert not torch.allclose(other(image), with_two)
        assert not torch.allclose(without, with_two)
        other.attended = 0
        torch.testing.assert_close(other(image), without)


def test_a_gma_block_is_the_papers_equation():
    torch.manual_seed(0)
    block = gmanet.GmaBlock(2, 3).eval()
    x, attention = torch.randn(1, 2, 6, 7), torch.rand(1, 1, 6, 7)
    out, handed_on = block(x, attention)
    torch.testing.assert_close(handed_on[0, 0, 3, 3], attention[0, 0, 2:5, 2:5].mean())
    torch.testing.assert_close(handed_on[0, 0, 0, 0], attention[0, 0, :2, :2].mean())
    expected = torch.nn.functional.leaky_relu((1 + handed_on) * block.conv[:2](x), gmanet.SLOPE)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 3), (7, 6)])
def test_the_map_is_averaged_over_pixels_not_over_padding(shape):
    attention = torch.rand(2, 1, *shape)
    found = gmanet.mean_of_three(gmanet.mean_of_three(attention, -1), -2)
    expected = torch.nn.functional.avg_pool2d(attention, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(found, expected)


def test_values_are_limited_by_the_inverse_hyperbolic_sine():
    values = torch.cat([torch.linspace(-200, 200, 4001), torch.tensor([0.0, 1e-6, -1e-6, 1e4])])
    torch.testing.assert_close(gmanet.limited(values), 3 * torch.asinh(values / 3), atol=0, rtol=2e-6)


@pytest.mark.parametrize("arguments", [{"attended": n} for n in (0, 1, 2)] + [{"backbone": "resnet50"}], ids=str)
def test_the_quicker_backbone_gives_the_same_scores_and_attention(arguments):
    slow, fast = (infer.prepare(untrained(channels=1, **arguments), device=CPU) for _ in range(2))
    plane = np.random.default_rng(0).normal(100, 20, (90, 121)).astype(np.float32)
    a, b = dense(slow, plane), dense(quick(fast), plane)
    assert b.score == pytest.approx(a.score, rel=1e-4)
    np.testing.assert_allclose(b.map, a.map, atol=1e-3)
    np.testing.assert_allclose(b.cam, a.cam, atol=1e-2)


def test_only_scores_above_zero_are_averaged():
    scores = torch.tensor([[0.0, 4.0], [0.0, 8.0]]).reshape(1, 1, 2, 2)
    assert float(mean_of_scored(scores)) == 6


def test_an_image_without_scores_can_learn_its_way_back(small):
    raw = torch.full((1, 1, 3, 3), -2.0, requires_grad=True)
    mean_of_scored(raw).sum().backward()
    assert bool((raw.grad > 0).all())
    with torch.inference_mode():
        assert float(small(torch.zeros(1, 1, 64, 64))) >= 0


def test_the_score_does_not_depend_on_brightness_and_contrast(small, image):
    with torch.inference_mode():
        torch.testing.assert_close(small(image), small(300 * image + 5000), rtol=1e-3, atol=1e-3)


def test_folding_batch_norm_changes_no_score(small, image):
    with torch.inference_mode():
        torch.testing.assert_close(infer.prepare(small, device=CPU)(image), small(image), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [(97, 131), (63, 64), (40, 57)])
def test_any_size_can_be_trained_on(small, size):
    outputs = small.outputs(*small.ready(torch.rand(1, 1, *size)))
    assert outputs.score.shape == outputs.auxiliary[0].shape == outputs.auxiliary[1].shape == (1,)


def test_grey_images_can_be_given_to_a_network_for_colours_and_the_other_way_round(small, image):
    colours = image.expand(-1, 3, -1, -1)
    with torch.inference_mode():
        torch.testing.assert_close(small(colours), small(image), rtol=1e-3, atol=1e-3)
        network = untrained(channels=3)
        torch.testing.assert_close(network(image), network(colours), rtol=1e-3, atol=1e-3)


def test_grad_cam_weighs_features_by_the_gradient_of_the_score():
    """With one channel and a score that is that channel's mean, the map is the channel itself."""
    network = infer.prepare(untrained(channels=1), device=CPU)
    features = torch.zeros(1, 32, 5, 7)
    features[0, 3, 1, 2] = 2.0
    cam = grad_cam(network, features)
    assert cam.shape == (1, 5, 7)
    assert bool(((cam >= 0) & (cam <= 1)).all())
    outside = torch.ones(5, 7, dtype=torch.bool)
    outside[1, 2] = False
    assert float(cam[0][outside].max()) == 0


@pytest.mark.parametrize(("cells", "scale"), [(1, 1.0), (2, 1.0), (2, 0.8), (1, 0.5)])
def test_the_map_lies_exactly_on_the_image(small, cells, scale):
    """Texture in one place of an even plane changes the scores around that place alone."""
    network = infer.prepare(small, device=CPU)
    plane = np.full((400, 640), 0.5, np.float32)
    plane[200:264, 320:384] += np.random.default_rng(0).normal(0, 0.2, (64, 64)).astype(np.float32)
    found = dense(network, plane, scale=scale, cells=cells, block_px=8)
    assert found.map.shape[0] * found.cell_px[0] >= 400
    assert (found.map.shape[0] - 1) * found.cell_px[0] < 400
    away = np.abs(found.map - np.median(found.map))
    y, x = (np.average(np.arange(n) + 0.5, weights=away.sum(axis=1 - a)) for a, n in enumerate(found.map.shape))
    assert y * found.cell_px[0] == pytest.approx(232, abs=16 * cells)
    assert x * found.cell_px[1] == pytest.approx(352, abs=16 * cells)


def test_the_protocol_is_as_printed(small):
    network = infer.prepare(small, device=CPU)
    assert len(list(corners((1024, 1536), (512, 768)))) == 12
    plane = np.random.default_rng(0).uniform(0, 1, (120, 180)).astype(np.float32)
    found = protocol(network, plane)
    assert found.map.shape == (64, 96)
    assert found.cell_px == (120 / 64, 180 / 96)
    turned = protocol(network, np.ascontiguousarray(plane.T))
    assert turned.map.shape == (96, 64)


def test_imagenet_weights_of_torchvision_fill_the_backbone(tmp_path):
    """A file of torchvision's layout; the bias of its convolutions goes into the batch norm."""
    network = GMANet(attended=0).eval()
    state, number = {}, 0
    generator = torch.Generator().manual_seed(0)
    for layer in gmanet.VGG16_LAYERS:
        for _ in layer:
            block = network.backbone.blocks()[len([k for k in state if k.endswith("running_var")])]
            shape = block.convolution.weight.shape
            state[f"features.{number}.weight"] = 0.05 * torch.randn(shape, generator=generator)
            state[f"features.{number}.bias"] = torch.randn(shape[0], generator=generator)
            for part, value in (("weight", 1.5), ("bias", 0.2), ("running_mean", 0.3), ("running_var", 2.0)):
                state[f"features.{number + 1}.{part}"] = torch.full((shape[0],), value)
            number += 3
        number += 1
    torch.save(state, tmp_path / "vgg16_bn.pth")
    load_imagenet(network, tmp_path / "vgg16_bn.pth")
    x = torch.randn(1, 3, 20, 20)
    plain = torch.nn.functional.conv2d(x, state["features.0.weight"], state["features.0.bias"], padding=1)
    expected = (plain - 0.3) / np.sqrt(2.0 + 1e-5) * 1.5 + 0.2
    torch.testing.assert_close(network.backbone.blocks()[0].conv[:2](x), expected, atol=1e-4, rtol=1e-4)


def test_other_weights_than_imagenets_are_refused(tmp_path):
    torch.save({"a.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="vgg16_bn"):
        load_imagenet(GMANet(width=0.0625), tmp_path / "other.pth")


def test_the_losses_are_the_papers():
    label = torch.tensor([[100.0, 60.0, 20.0]])
    scores, differences, wrong = stack_scores(torch.tensor([[90.0, 60.5, 20.0]]), label)
    assert float(scores) == pytest.approx((9.5 + 0.125 + 0) / 3)
    assert float(differences) == pytest.approx(((10.5 - 0.5) + (10 - 0.5)) / 2)
    assert float(wrong) == 0
    assert float(stack_scores(torch.tensor([[50.0, 60.0, 20.0]]), label)[2]) == 1


def test_the_paper_sized_network_overfits_one_batch():
    """Three images that only their blur tells apart."""
    torch.manual_seed(0)
    network = GMANet(attended=1).train()
    sharp = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    blurred = [torch.nn.functional.avg_pool2d(sharp, 2 * k + 1, 1, k, count_include_pad=False) for k in range(3)]
    batch, label = torch.cat(blurred), torch.tensor([[100.0, 50.0, 0.0]])
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-4)
    losses = []
    for _ in range(14):
        optimiser.zero_grad()
        outputs = network.outputs(*network.ready(batch, block_px=8))
        parts = [stack_scores(s[None], label) for s in (outputs.score, *outputs.auxiliary)]
        loss = sum((scores + wrong * differences).mean() for scores, differences, wrong in parts)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    assert outputs.score.argmax() == 0


def test_weights_that_do_not_fit_are_refused_in_a_sentence(tmp_path):
    from napari_focusstack.core.errors import InputError
    from napari_focusstack.training.recipes import RECIPES
    from napari_focusstack.training.recipes.base import _fill

    (tmp_path / "vgg.pth").write_bytes(b"nothing")
    recipe = RECIPES["gmanet"]
    with pytest.raises(InputError, match="ImageNet"):
        _fill(recipe.build(width=0.0625, **recipe.arguments), tmp_path / "vgg.pth")
    with pytest.raises(InputError, match="without VGG16"):
        _fill(torch.nn.Linear(2, 2), tmp_path / "vgg.pth")
