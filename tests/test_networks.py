"""Properties of the networks, and of running them."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_focusstack.networks import infer, ldsenet, mmdf
from napari_focusstack.networks.dense_statistics import REACH_PX
from napari_focusstack.networks.layers import LocalNorm
from napari_focusstack.training.losses import (
    cross_entropy,
    ranked_probability_score,
    signed_defocus,
)


@pytest.fixture(scope="module", params=[False, True], ids=["paper", "statistics"])
def classifier(request):
    torch.manual_seed(0)
    return infer.prepare(mmdf.FocusClassifier(width=0.1, statistics=request.param), device=torch.device("cpu"))


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).uniform(0, 1, (200, 260)).astype(np.float32)


def weights(network):
    return sum(p.numel() for p in network.parameters())


def test_local_norm_forgets_brightness_contrast_and_slow_shading(image):
    norm = LocalNorm()
    x = torch.from_numpy(image)[None, None]
    ramp = torch.linspace(0, 1, 260)
    np.testing.assert_allclose(norm(x), norm(7 * x + 3), atol=2e-3)
    assert float((norm(x + ramp) - norm(x)).abs().mean()) < 0.15


def test_local_norm_leaves_a_flat_image_flat():
    assert float(LocalNorm()(torch.full((1, 1, 64, 64), 0.7)).abs().max()) < 0.01


@pytest.mark.parametrize("shape", [(64, 64), (61, 93), (5, 200)])
def test_local_norm_takes_any_size(shape):
    assert LocalNorm()(torch.rand(1, 1, *shape)).shape[-2:] == shape


def test_the_paper_sized_classifier_has_yangs_layers():
    network = mmdf.FocusClassifier()
    assert network(torch.rand(1, 1, 128, 128)).shape == (1, 10)
    assert weights(network) == (25 * 32 + 32) + (25 * 32 * 64 + 64) + (18 * 18 * 64 * 1024 + 1024) + (1024 * 10 + 10)


def test_the_dense_classifier_agrees_with_single_patches(classifier):
    image = torch.from_numpy(np.random.default_rng(1).uniform(0, 1, (290, 350)).astype(np.float32))
    ready, m = classifier.ready(image[None, None]), 0 if classifier.stream is None else REACH_PX
    with torch.inference_mode():
        dense = classifier.grid(ready, step=5, margin_px=m)
        for i, j in ((0, 0), (2, 3), (3, 6)):
            patch = ready[..., 20 * i : 20 * i + 84 + 2 * m, 20 * j : 20 * j + 84 + 2 * m]
            alone = classifier.grid(patch, margin_px=m)[..., 0, 0]
            torch.testing.assert_close(dense[..., i, j], alone, atol=1e-4, rtol=1e-4)


def test_a_tile_is_judged_by_its_middle_with_and_without_statistics(classifier, image):
    tiles = torch.from_numpy(np.stack([image[:128, :128], image[60:188, 99:227]]))[:, None]
    with torch.inference_mode():
        for tile, found in zip(tiles, classifier(tiles), strict=True):
            middle = classifier.grid(classifier.ready(tile[None]), margin_px=22)[0, :, 0, 0]
            torch.testing.assert_close(found, middle, atol=1e-4, rtol=1e-4)


def test_statistics_of_a_patch_are_told_alike_in_training_and_after_it(image):
    torch.manual_seed(0)
    stream = mmdf.StatisticsStream(8, dropout=0.0)
    patches = torch.from_numpy(np.stack([image[k : k + 84, k : k + 84] for k in range(6)]))[:, None]
    one = {"step_px": 84, "margin_px": 0}
    before = stream.eval()(patches, **one)
    stream.train()
    torch.testing.assert_close(stream(patches[:2], **one), before[:2], atol=5e-3, rtol=0)  # by their batch: 0.4
    assert not torch.allclose(stream.eval()(patches, **one), before, atol=1e-4, rtol=0)


def test_weights_of_before_there_were_statistics_fit():
    old = {f"features.{k}.{what}" for k in (0, 3) for what in ("weight", "bias")}
    old |= {f"{part}.{what}" for part in ("connected", "head.2") for what in ("weight", "bias")}
    assert set(mmdf.FocusClassifier(width=0.1).state_dict()) == old


def test_strips_leave_no_seams(classifier, image, monkeypatch):
    whole = mmdf.classify_plane(classifier, image, step_px=20)
    monkeypatch.setattr(infer, "TILE_BYTES", 200_000)
    np.testing.assert_allclose(mmdf.classify_plane(classifier, image, step_px=20), whole, atol=1e-5)


@pytest.mark.parametrize("shape", [(200, 260), (84, 84), (30, 41), (116, 55), (200, 260, 3)])
def test_every_pixel_of_a_plane_lies_in_a_patch(classifier, shape):
    p = mmdf.classify_plane(classifier, np.random.default_rng(0).integers(0, 255, shape, np.uint8), step_px=40)
    assert p.shape == (-(-shape[0] // 40), -(-shape[1] // 40), 10)
    np.testing.assert_allclose(p.sum(axis=-1), 1, atol=1e-5)


def test_classes_do_not_depend_on_the_grey_scale(classifier, image):
    a, b = (mmdf.classify_plane(classifier, image * k + 5) for k in (1, 1000))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_certainty_is_none_of_even_odds_and_full_of_one():
    even, sure = torch.full((1, 10), 0.1), torch.eye(10)[:1]
    assert float(mmdf.certainty(even)) == pytest.approx(0, abs=1e-6)
    assert float(mmdf.certainty(sure)) == pytest.approx(1, abs=1e-6)
    assert float(mmdf.level(torch.eye(10)[7:8])) == 7


def test_ldsenet_stays_under_a_megabyte():
    assert 4 * weights(ldsenet.ldsenet()) < 1_000_000


def test_resnet50_and_botnet_have_their_published_sizes():
    """23.5 and 18.8 million weights without a classifier's head of 2 million (He 2016; Srinivas 2021, table 1)."""
    assert weights(ldsenet.resnet50()) == pytest.approx(23.5e6, rel=0.01)
    assert weights(ldsenet.botnet()) == pytest.approx(18.8e6, rel=0.01)


@pytest.mark.parametrize("build", [ldsenet.ldsenet, ldsenet.resnet50, ldsenet.botnet])
def test_defocus_networks_give_magnitude_and_side(build):
    network = build(width=0.25).eval()
    with torch.inference_mode():
        out = network(torch.rand(2, 1, ldsenet.LEAST_PX, ldsenet.LEAST_PX), torch.tensor([0.3, 1.0]))
    assert out.shape == (2, 2)
    assert bool((out[:, 0] >= 0).all())


@pytest.mark.parametrize("shape", [(40, 60), (90, 300)])
def test_a_plane_smaller_than_botnets_tile_is_judged(shape):
    """It takes tiles of one size: a smaller plane is mirrored at its borders."""
    plane = np.random.default_rng(0).random(shape, np.float32)
    found = ldsenet.measure_plane(ldsenet.botnet(width=0.125).eval(), plane, sampling=ldsenet.SAMPLING)
    assert np.isfinite(found.waves).all()
    assert found.waves.shape == (1, -(-max(shape[1], ldsenet.LEAST_PX) // ldsenet.LEAST_PX))


def test_a_camera_coarser_than_the_grid_is_told_of():
    torch.manual_seed(0)
    network = ldsenet.ldsenet().eval()
    tile = torch.rand(1, 1, 224, 224)
    with torch.inference_mode():
        a, b, c = (network(tile, torch.tensor([q])) for q in (0.3, 0.7, 2.0))
    assert float((a - c).abs().max()) > 1e-4
    torch.testing.assert_close(a, b)


def test_folding_batch_norm_changes_nothing():
    torch.manual_seed(0)
    network = ldsenet.ldsenet()
    network(torch.rand(8, 1, 224, 224), torch.full((8,), 0.5))  # fills the running statistics
    network.eval()
    ready = infer.prepare(network, device=torch.device("cpu"))
    tile, sampling = torch.rand(2, 1, 224, 224), torch.tensor([0.3, 1.0])
    with torch.inference_mode():
        torch.testing.assert_close(ready(tile, sampling), network(tile, sampling), atol=1e-4, rtol=1e-3)
    count = lambda n: sum(isinstance(m, torch.nn.BatchNorm2d) for m in n.modules())  # noqa: E731
    assert count(ready) < count(network)


def test_blank_tiles_are_told_from_specimen():
    rng = np.random.default_rng(0)
    plane = rng.normal(100, 3, (224, 672))
    y, x = np.mgrid[:224, :224]
    plane[:, 448:] += 30 * np.sin(x / 15) * np.sin(y / 11)
    plane[:, 216:456] = 100
    network = infer.prepare(ldsenet.ldsenet(width=0.4), device=torch.device("cpu"))
    found = ldsenet.measure_plane(network, plane, sampling=0.45)
    assert found.blank.tolist() == [[True, True, False]]
    assert np.isfinite(found.waves).all()


@pytest.mark.parametrize(("shape", "grid"), [((100, 90), (1, 1)), ((224, 448), (1, 2)), ((500, 700), (3, 4))])
@pytest.mark.parametrize("sampling", [0.4, 0.47])
def test_tiles_of_224_camera_pixels_cover_the_plane(shape, grid, sampling):
    network = infer.prepare(ldsenet.ldsenet(width=0.4), device=torch.device("cpu"))
    assert ldsenet.measure_plane(network, np.random.default_rng(0).random(shape), sampling=sampling).waves.shape == grid


def test_equal_defocus_looks_equal_at_another_pixel_size():
    """A finer camera's image, resampled, is the coarser one's: the same tiles reach the network."""
    torch.manual_seed(0)
    network = infer.prepare(ldsenet.ldsenet(width=0.4), device=torch.device("cpu"))
    coarse = ndimage.gaussian_filter(np.random.default_rng(0).random((90, 80)), 2)
    fine = np.kron(coarse, np.ones((2, 2)))
    a, b = (ldsenet.measure_plane(network, p, sampling=q) for p, q in ((coarse, 0.75), (fine, 0.375)))
    np.testing.assert_allclose(a.waves, b.waves, rtol=0.02)


def test_the_ranked_score_prefers_near_misses_and_cross_entropy_does_not():
    target = torch.eye(10)[3:4]
    near, far = 20 * torch.eye(10)[4:5], 20 * torch.eye(10)[9:10]
    assert float(ranked_probability_score(near, target)) < 0.3 * float(ranked_probability_score(far, target))
    assert float(cross_entropy(near, target)) == pytest.approx(float(cross_entropy(far, target)))


def test_the_ranked_score_is_zero_for_the_truth_and_one_at_worst():
    target = torch.eye(10)[:1]
    assert float(ranked_probability_score(50 * target, target)) == pytest.approx(0, abs=1e-6)
    assert float(ranked_probability_score(50 * torch.eye(10)[9:], target)) == pytest.approx(1, abs=1e-6)


def test_symmetric_optics_teach_no_side():
    def loss(side, sided):
        output = torch.tensor([[0.5, side]])
        return float(
            signed_defocus(output, torch.tensor([0.5]), above=torch.tensor([True]), sided=torch.tensor([sided]))
        )

    assert loss(-3.0, 0.0) == loss(3.0, 0.0)
    assert loss(3.0, 1.0) < loss(-3.0, 1.0)


def test_magnitudes_are_decoded_as_they_were_coded():
    waves = torch.tensor([-7.0, 0.2, 3.0])
    output = torch.stack([ldsenet.magnitude_code(waves), 5 * waves.sign()], dim=1)
    torch.testing.assert_close(ldsenet.signed_waves(output)[0], waves)
