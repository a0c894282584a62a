"""BRISQUE and CNNIQA: what they see, what they make of odd images, and that they can learn."""

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import gennorm

from napari_focusstack.core.errors import InputError
from napari_focusstack.core.progress import drain
from napari_focusstack.core.quality import METRICS, assess
from napari_focusstack.io.samples import sample_stack
from napari_focusstack.networks.blind import CNNIQA, Brisque, _Shapes, judge_image, normalised
from napari_focusstack.training.distortions import KINDS, DistortionData, DistortionSettings, worth
from napari_focusstack.training.library import Sharp
from napari_focusstack.training.recipes import RECIPES, save_trained, train
from test_installed_models import install
from test_patches import cells

NETWORKS = {"brisque": Brisque, "cnniqa": CNNIQA}


def tile(side=128, seed=3):
    return torch.from_numpy(cells(seed)[:side, :side].astype(np.float32) / 255)[None, None]


def test_brightness_and_contrast_hardly_change_what_is_seen_but_for_the_saturation():
    image = tile()
    assert torch.allclose(normalised(image), normalised(image + 0.3), atol=1e-3)
    strong = normalised(image)[image > 0.2]
    assert torch.allclose(strong, normalised(0.7 * image)[image > 0.2], atol=0.2)


@pytest.mark.parametrize("shape", [0.8, 1.0, 2.0, 4.0])
def test_shapes_of_known_distributions_are_found(shape):
    rng = np.random.default_rng(0)
    values = gennorm.rvs(shape, size=(2, 100_000), random_state=rng).astype(np.float32)
    values[1] = np.where(values[1] > 0, 2 * values[1], values[1])
    found, mean, left, right = _Shapes()(torch.from_numpy(values))
    assert float(found[0]) == pytest.approx(shape, rel=0.06)
    assert float(mean[0]) == pytest.approx(0, abs=0.02)
    assert float(right[1] / left[1]) == pytest.approx(4, rel=0.06)
    assert float(mean[1]) > 0.2


def test_the_statistics_tell_noise_and_blur_from_the_original():
    image = tile()
    noisy = image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(image, 7, 1, 3)
    found = Brisque().features(torch.cat([image, noisy, soft]))
    assert found.shape == (3, 36)
    assert torch.isfinite(found).all()
    assert float((found[0] - found[1]).abs().max()) > 0.1
    assert float((found[0] - found[2]).abs().max()) > 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_runs_away_on_blank_saturated_or_deep_images(name):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    scene = cells(1)[:90, :70]
    ramp = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (150, 1))
    images = [np.full((70, 50), v, np.uint16) for v in (0, 65535)]
    images += [np.where(scene > 100, 65535, 0).astype(np.uint16), scene.astype(np.uint16) * 257, ramp, ramp[:3, :5]]
    for image in images:
        assert 0 <= judge_image(network, image) <= 100
    assert judge_image(network, scene) == pytest.approx(judge_image(network, scene.astype(np.uint16) * 257), abs=0.1)


def test_the_papers_layers_are_met():
    layers = [m for m in CNNIQA().modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert [tuple(m.weight.shape) for m in layers] == [(50, 1, 7, 7), (800, 100), (800, 800), (1, 800)]
    assert CNNIQA().patches(torch.rand(2, 1, 64, 96)).shape == (2, 6)


@pytest.fixture(scope="module")
def sharp():
    return [Sharp("made", f"{i}", ((cells(i) / 255).astype(np.float16),)) for i in range(4)]


def test_the_truth_falls_with_every_distortion_and_is_full_without(sharp):
    untouched = DistortionSettings(untouched=1.0, electrons=(1e8, 1e8))
    best = next(DistortionData(untouched).batches(sharp, batch=6, seed=0))
    assert float(best.quality.min()) > 98
    batches = DistortionData(DistortionSettings()).batches(sharp, batch=24, seed=1)
    some = next(batches)
    assert some.image.shape == (24, 1, 128, 128)
    assert float(some.quality.min()) < 60
    again = next(DistortionData(DistortionSettings()).batches(sharp, batch=24, seed=1))
    assert torch.equal(some.image, again.image)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_takes_something_away(kind):
    plane = tile()[0, 0].numpy()
    rng = np.random.default_rng(0)
    worse = np.stack([kind(plane, DistortionSettings(), rng) for _ in range(6)])
    assert worse.dtype == np.float32
    true = torch.from_numpy(plane).expand(6, 1, -1, -1)
    assert float(worth(torch.from_numpy(worse)[:, None], true).mean()) < 0.99


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_learn_a_batch_by_heart(name, sharp):
    torch.manual_seed(0)
    batch = next(DistortionData(DistortionSettings()).batches(sharp, batch=8, seed=2))
    recipe = RECIPES[name]
    network = recipe.build(width=0.25).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = recipe.loss(network, batch, torch.device("cpu"))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.85 * losses[0]


def test_a_trained_one_is_a_metric_that_needs_no_partner(tmp_path, monkeypatch):
    import imageio.v3 as iio

    for i in range(3):
        iio.imwrite(tmp_path / f"{i}.png", cells(i))
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path / "models"))
    recipe = RECIPES["brisque"]
    tiny = recipe.fit.model_copy(update={"epochs": 1, "steps": 2, "batch": 4, "valid_steps": 1})
    trained = drain(train(recipe, tmp_path, folder=tmp_path / "run", settings=tiny, width=0.1))
    save_trained(trained, recipe, name="mine", half=True)
    metric = METRICS["mine"]
    assert metric.against == "itself"
    assert 0 <= metric.begin(cells(1)).value() <= 100
    colour = np.repeat(cells(1)[..., None], 3, axis=-1)
    assert metric.begin(colour).value() == pytest.approx(metric.begin(cells(1)).value(), abs=0.5)


def test_one_without_its_weights_is_left_out_with_a_warning_unless_it_was_asked_for(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("FOCUSSTACK_MODELS", str(tmp_path))
    before = [q.metric.name for q in drain(assess(cells(0), reference=cells(0)))]
    install(tmp_path, "lost", "cnniqa")
    assert "lost" in METRICS
    with caplog.at_level("WARNING"):
        assert [q.metric.name for q in drain(assess(cells(0), reference=cells(0)))] == before
    assert "weights of 'lost' are missing" in caplog.text
    with pytest.raises(InputError, match="weights of 'lost' are missing"):
        drain(assess(cells(0), metrics=["lost"]))


def test_images_of_any_size_are_assessed():
    assert len(drain(assess(cells(0)[:5, :7]))) >= 2


@pytest.mark.parametrize("name", [n for n in NETWORKS if n in METRICS])
def test_a_bundled_one_puts_blurred_and_noisy_copies_of_a_real_image_behind_it(name):
    plane = np.asarray(sample_stack("organoids").plane(5))
    noise = np.random.default_rng(0).normal(0, 25, plane.shape[:2] + (1,) * (plane.ndim - 2))
    blurred = [cv2.GaussianBlur(plane, (0, 0), s) for s in (2, 6)]
    noisy = np.clip(plane + noise, 0, 255).astype(plane.dtype)
    found = [METRICS[name].begin(image).value() for image in (plane, *blurred, noisy)]
    assert found[0] > found[1] > found[2]
    assert found[0] > found[3]
